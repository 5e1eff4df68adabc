//===- Deadlock.cpp - messages of the emulator ----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Machine.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <string>

using namespace moe::rt::simt;

void Machine::trap(const Thread &thread, uint32_t siteIndex, const char *message, ...) {
  const Block &block = *thread.warp->block;
  const uint32_t *size = launch.block;
  char text[480];
  int length =
      snprintf(text, sizeof text, "kernel '%s', block (%u, %u, %u), thread (%u, %u, %u): ", launch.kernel->name,
               block.index[0], block.index[1], block.index[2], thread.index % size[0], thread.index / size[0] % size[1],
               thread.index / size[0] / size[1]);
  va_list arguments;
  va_start(arguments, message);
  length = std::min<int>(length, sizeof text - 1);
  length += vsnprintf(text + length, sizeof text - length, message, arguments);
  va_end(arguments);
  length = std::min<int>(length, sizeof text - 1);
  if (const MoeSimtSite *where = site(siteIndex))
    snprintf(text + length, sizeof text - length, " at '%s' of '%s'", where->text, where->function);
  moe_rt_fail(text);
}

const char *moe::rt::simt::operationName(uint32_t operation) {
  static constexpr const char *names[] = {
      "bar.warp.sync", "shfl.sync.up",  "shfl.sync.down",   "shfl.sync.bfly", "shfl.sync.idx",  "vote.sync.all",
      "vote.sync.any", "vote.sync.uni", "vote.sync.ballot", "match.any.sync", "match.all.sync", "elect.sync",
      "redux.sync",    "redux.sync",    "redux.sync",       "redux.sync",     "redux.sync",     "redux.sync",
      "redux.sync",    "redux.sync",    "ldmatrix",         "stmatrix"};
  switch (operation) {
  case arriveOperation:
    return "barrier.arrive";
  case MoeSimtWgmma:
    return "wgmma.mma_async";
  case MoeSimtWgmmaFence:
    return "wgmma.fence";
  case MoeSimtWgmmaCommit:
    return "wgmma.commit_group";
  case MoeSimtWgmmaWait:
    return "wgmma.wait_group";
  case MoeSimtSetRegisters:
    return "setmaxnreg";
  default:
    break;
  }
  return operation < std::size(names) ? names[operation] : "mma.sync";
}

/// "lane 3" or "lanes 0-15, 20".
static std::string describeLanes(uint32_t mask) {
  std::string text = std::popcount(mask) == 1 ? "lane " : "lanes ";
  for (bool isFirst = true; mask; isFirst = false) {
    int first = std::countr_zero(mask);
    int end = first + std::countr_one(mask >> first);
    text += (isFirst ? "" : ", ") + std::to_string(first);
    if (end - 1 > first)
      text += "-" + std::to_string(end - 1);
    mask = end == 32 ? 0 : mask >> end << end;
  }
  return text;
}

/// What the lanes of `mask` do, by the first of them.
static std::string describeState(const Warp &warp, uint32_t mask) {
  const Thread &thread = warp.threads[std::countr_zero(mask)];
  std::string text = "lane " + std::to_string(thread.lane);
  switch (thread.state) {
  case State::Exited:
    return text + " has exited";
  case State::AtBarrier:
    return text + " waits at barrier " + std::to_string(thread.operation);
  case State::AtMBarrier: {
    char address[32];
    snprintf(address, sizeof address, "0x%x", thread.operation);
    return text + " waits at the mbarrier at shared address " + address;
  }
  case State::AtWarpgroup:
    return text + " waits for other warps of its warpgroup at wgmma.wait_group";
  case State::AtCollective:
    return text + " waits at " + operationName(thread.operation);
  case State::Ready:
    break;
  }
  return text + " runs";
}

/// Nothing in the block can go on: says why.
void Machine::reportDeadlock(Block &block) {
  uint32_t warpCount = (block.threadCount + warpSize - 1) / warpSize;
  // An mbarrier that lacks something says most.
  uint32_t waiting = 0;
  if (std::string text = block.mbarriers.describeWaits(waiting); !text.empty())
    trap(block.threads[waiting], block.threads[waiting].site, "deadlock: %s", text.c_str());
  for (uint32_t i = 0; i < block.threadCount; ++i)
    if (const Thread &thread = block.threads[i]; thread.state == State::AtWarpgroup)
      trap(thread, thread.site, "deadlock: %s", describeState(*thread.warp, 1u << thread.lane).c_str());
  // Lanes that wait for others of their warp.
  for (uint32_t w = 0; w < warpCount; ++w) {
    Warp &warp = block.warps[w];
    for (const Group &group : warp.groups) {
      uint32_t missing = group.mask & ~group.arrived;
      const Thread &thread = warp.threads[std::countr_zero(group.arrived)];
      const char *name = operationName(group.operation);
      bool isAligned = (group.operation & 0xff) >= MoeSimtFirstAligned;
      trap(thread, group.site, "%s%s of warp %u wait%s at %s for %s (%s)",
           isAligned ? "part of a warp at an operation of the whole warp: " : "deadlock: ",
           describeLanes(group.arrived).c_str(), w, std::popcount(group.arrived) == 1 ? "s" : "", name,
           describeLanes(missing).c_str(), describeState(warp, missing).c_str());
    }
  }
  // Lanes that wait at a barrier, where others of their warp went another way.
  for (uint32_t w = 0; w < warpCount; ++w) {
    Warp &warp = block.warps[w];
    for (uint32_t id = 0; id < block.barriers.size(); ++id) {
      uint32_t waiting = block.barriers[id].waiting[w];
      if (!waiting || waiting == warp.present)
        continue;
      trap(warp.threads[std::countr_zero(waiting)], block.barriers[id].sites[w],
           "divergent barrier: %s of warp %u wait%s at barrier %u, but %s", describeLanes(waiting).c_str(), w,
           std::popcount(waiting) == 1 ? "s" : "", id, describeState(warp, warp.present & ~waiting).c_str());
    }
  }
  // Whole warps that wait.
  std::string text;
  const Thread *thread = nullptr;
  uint32_t site = noSite;
  for (uint32_t id = 0; id < block.barriers.size(); ++id) {
    const Barrier &barrier = block.barriers[id];
    if (!barrier.arrived)
      continue;
    for (uint32_t w = 0; w < warpCount && !thread; ++w)
      if (barrier.waiting[w]) {
        thread = &block.warps[w].threads[0];
        site = barrier.sites[w];
      }
    text += (text.empty() ? "" : ", ") + std::to_string(barrier.arrived) + " of " + std::to_string(barrier.expected) +
            " threads have come to barrier " + std::to_string(id);
  }
  uint32_t exited = block.threadCount - block.live;
  if (exited)
    text += "; " + std::to_string(exited) + " have exited";
  trap(thread ? *thread : block.threads[0], site, "%s: %s", exited ? "divergent barrier" : "deadlock", text.c_str());
}

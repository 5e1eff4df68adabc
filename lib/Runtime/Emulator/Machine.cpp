//===- Machine.cpp - who runs next ----------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A thread runs until it waits (or exits), then switches straight to another one: the next lane of its warp, another
// warp of its block, another block. With seed 0 that is in order, and one block runs after the other, unless threads
// spin: then more blocks are taken into flight, until one of them brings what is waited for. Other seeds choose at
// random, with a few blocks in flight from the start.
//
//===----------------------------------------------------------------------===//
#include "Machine.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <bit>
#include <sys/mman.h>

using namespace moe::rt::simt;

uint32_t *moe_simt_lane;

static constexpr uint32_t blocksOfSeededSchedule = 4;
static constexpr uint64_t yieldsBeforeNextBlock = 4096;
static constexpr uint64_t yieldsBeforeGivingUp = 1'000'000;

Block::~Block() {
  if (shared)
    munmap(shared, sharedCapacity);
}

Machine &Machine::get() {
  static Machine machine;
  return machine;
}

void Machine::run(const Launch &what) {
  launch = what;
  const MoeSimtModule &module = *launch.details->module;
  checking = module.executions != nullptr;
  counters.begin(module.siteCount);
  if (checking) {
    std::fill_n(module.executions, module.basicBlockCount, 0);
    order.begin(uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2]);
  }
  random.seed(seed);
  nextBlock = turn = 0;
  blockCount = uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  uint32_t wanted = seed ? blocksOfSeededSchedule : 1;
  yieldsWithoutProgress = 0;
  countdown = 1;

  for (bool isDone = false; !isDone;) {
    candidates.clear();
    for (auto &block : blocks)
      if (block->running) {
        // What was put off may be what all wait for.
        while (block->live && !block->readyWarps)
          if (!block->mbarriers.deliverAll(*block))
            reportDeadlock(*block);
        candidates.push_back(block.get());
      }
    // Threads that spin may wait for a block that has not begun.
    if (yieldsWithoutProgress >= yieldsBeforeNextBlock)
      wanted = std::min(std::max<uint32_t>(wanted, candidates.size() + 1), mostBlocks);
    while (candidates.size() < wanted && nextBlock < blockCount)
      candidates.push_back(&startBlock());
    isDone = candidates.empty();
    if (!isDone) {
      uint32_t count = candidates.size();
      switchTo(nextOf(*candidates[seed ? random.below(count) : turn++ % count], nullptr));
    }
  }
  if (checking)
    for (int64_t i = 0; i < module.basicBlockCount; ++i)
      counters.instructions += module.executions[i] * module.instructions[i];
}

static uint32_t rotate(uint32_t mask, uint32_t by) { return std::rotr(mask, int(by)); }

/// The first bit of `mask` from position `from` on, cyclically.
static uint32_t cyclicFirst(uint32_t mask, uint32_t from) { return (std::countr_zero(rotate(mask, from)) + from) % 32; }

/// A ready thread of `block`, if there is one: behind `after`, where it belongs to the block.
Thread *Machine::nextOf(Block &block, const Thread *after) {
  if (!block.readyWarps)
    return nullptr;
  Warp *warp = after ? after->warp : nullptr;
  if (seed) {
    if (!warp || !warp->ready || random.below(4) == 0)
      warp = &block.warps[cyclicFirst(block.readyWarps, random.below(32))];
    return &warp->threads[cyclicFirst(warp->ready, random.below(32))];
  }
  if (warp && warp->ready)
    return &warp->threads[cyclicFirst(warp->ready, (after->lane + 1) % 32)];
  warp = &block.warps[cyclicFirst(block.readyWarps, warp ? (warp->index + 1) % 32 : 0)];
  return &warp->threads[std::countr_zero(warp->ready)];
}

/// Goes on with `thread`, or where `run` waits if it is null.
void Machine::switchTo(Thread *thread) {
  Thread *from = current;
  if (from == thread)
    return;
  current = thread;
  moe_simt_lane = thread ? thread->words : nullptr;
  moe_simt_switch(from ? &from->stack : &mainStack, thread ? thread->stack : mainStack);
}

void Machine::block(State state) {
  Thread &thread = *current;
  thread.state = state;
  thread.warp->ready &= ~(1u << thread.lane);
  if (!thread.warp->ready)
    thread.warp->block->readyWarps &= ~(1u << thread.warp->index);
  Block &block = *thread.warp->block;
  switchTo(seed && random.below(64) == 0 ? nullptr : nextOf(block, &thread));
}

void Machine::wake(Warp &warp, uint32_t mask) {
  for (uint32_t lanes = mask; lanes; lanes &= lanes - 1)
    warp.threads[std::countr_zero(lanes)].state = State::Ready;
  warp.ready |= mask;
  warp.block->readyWarps |= 1u << warp.index;
  ++progress;
}

void Machine::yield() {
  if (progress != progressAtYield) {
    progressAtYield = progress;
    yieldsWithoutProgress = 0;
  }
  if (++yieldsWithoutProgress > yieldsBeforeGivingUp)
    trap(*current, noSite,
         "no progress: threads wait in a loop for something that does not happen (%zu of %llu blocks are in flight)",
         size_t(std::count_if(blocks.begin(), blocks.end(), [](auto &block) { return block->running; })),
         (unsigned long long)blockCount);
  Thread &thread = *current;
  Warp &warp = *thread.warp;
  Block &block = *warp.block;
  if (seed) {
    switchTo(random.below(4) == 0 ? nullptr : nextOf(block, &thread));
    return;
  }
  // The other lanes, then the warps behind this one, then other blocks.
  if (uint32_t lanes = warp.ready & ~((2u << thread.lane) - 1)) {
    switchTo(&warp.threads[std::countr_zero(lanes)]);
  } else if (uint32_t warps = block.readyWarps & ~((2u << warp.index) - 1)) {
    Warp &next = block.warps[std::countr_zero(warps)];
    switchTo(&next.threads[std::countr_zero(next.ready)]);
  } else {
    switchTo(nullptr);
  }
}

void Machine::preempt() {
  if (!seed || --countdown)
    return;
  countdown = 1 + random.below(64);
  if (Block &block = *current->warp->block; block.mbarriers.hasArrivals() && random.below(2))
    block.mbarriers.deliverSome(block, random);
  switchTo(nextOf(*current->warp->block, current));
}

void Machine::threadMain() {
  Machine &machine = get();
  machine.launch.kernel->host(machine.launch.params);
  machine.leave();
}

void Machine::leave() {
  Thread &thread = *current;
  Warp &warp = *thread.warp;
  Block &block = *warp.block;
  finishCopies(thread, 0, /*all=*/true);
  if (block.stacks.overflowed(thread.index))
    trap(thread, noSite, "stack overflow: more than %zu bytes of local memory", Stacks::usableBytes);
  thread.state = State::Exited;
  warp.exited |= 1u << thread.lane;
  warp.ready &= ~(1u << thread.lane);
  if (warp.exited == warp.present)
    flushRequests(warp);
  if (!warp.ready)
    block.readyWarps &= ~(1u << warp.index);
  ++progress;
  if (--block.live == 0) {
    if (block.mbarriers.hasArrivals())
      trap(block.threads[block.mbarriers.threadOfArrival()], noSite,
           "the block ends while copies to its shared memory that this thread has begun are under way");
    block.running = false;
  }
  // The stacks of a finished block are only used again from the main one.
  switchTo(nextOf(block, &thread));
  __builtin_unreachable();
}

/// Takes the next block of the grid into flight.
Block &Machine::startBlock() {
  Block *block = nullptr;
  // The first free one, so that a launch goes on as if it was the first.
  for (auto &candidate : blocks)
    if (!candidate->running && !block)
      block = candidate.get();
  if (!block)
    block = blocks.emplace_back(std::make_unique<Block>()).get();
  uint64_t index = nextBlock++;
  block->index[0] = index % launch.grid[0];
  block->index[1] = index / launch.grid[0] % launch.grid[1];
  block->index[2] = index / launch.grid[0] / launch.grid[1];
  block->number = uint32_t(index);
  block->running = true;
  startThreads(*block);
  ++progress;
  return *block;
}

/// Memory that begins where a window of matrix descriptors does, as that of a GPU's blocks: the 18 bits of an address
/// that a descriptor has are the place in shared memory.
static char *mapShared(size_t bytes) {
#ifdef MAP_32BIT
  constexpr int low = MAP_32BIT;
#else
  constexpr int low = 0;
#endif
  size_t reserved = bytes + descriptorWindow;
  void *mapped = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | low, -1, 0);
  if (mapped == MAP_FAILED)
    moe_rt_fail("out of memory: emulated shared memory");
  // What lies around it goes back.
  auto *begin = static_cast<char *>(mapped);
  size_t before = -reinterpret_cast<uintptr_t>(begin) % descriptorWindow;
  if (before)
    munmap(begin, before);
  munmap(begin + before + bytes, descriptorWindow - before);
  return begin + before;
}

/// Shared memory of at least `bytes` bytes, all of them 0xFF.
static void prepareShared(Block &block, uint64_t bytes) {
  if (bytes > block.sharedCapacity) {
    if (block.shared)
      munmap(block.shared, block.sharedCapacity);
    size_t page = 4096;
    block.sharedCapacity = (bytes + page - 1) / page * page;
    block.shared = mapShared(block.sharedCapacity);
  }
  std::fill_n(block.shared, bytes, char(0xff));
}

void Machine::startThreads(Block &block) {
  uint32_t count = launch.block[0] * launch.block[1] * launch.block[2];
  uint32_t warpCount = (count + warpSize - 1) / warpSize;
  block.threadCount = block.live = count;
  // Never 0: its address says which block a thread belongs to.
  prepareShared(block, std::max<uint64_t>(sharedBytes(), 1));
  block.stacks.reserve(count);
  if (block.threads.size() < count)
    block.threads.resize(count);
  if (block.warps.size() < warpCount)
    block.warps.resize(warpCount);
  for (uint32_t i = 0; i < count; ++i) {
    Thread &thread = block.threads[i];
    thread.stack = block.stacks.prepare(i, &threadMain);
    thread.warp = &block.warps[i / warpSize];
    thread.index = i;
    thread.lane = i % warpSize;
    thread.state = State::Ready;
    thread.copies.clear();
    thread.spins = 0;
    thread.hasArrivals = false;
  }
  for (uint32_t i = 0; i < warpCount; ++i) {
    Warp &warp = block.warps[i];
    uint32_t lanes = std::min(count - i * warpSize, warpSize);
    warp.block = &block;
    warp.threads = &block.threads[i * warpSize];
    warp.index = i;
    warp.present = warp.ready = lanes == warpSize ? ~0u : (1u << lanes) - 1;
    warp.exited = 0;
    warp.groups.clear();
  }
  block.readyWarps = warpCount == 32 ? ~0u : (1u << warpCount) - 1;
  block.barriers = {};
  block.mbarriers.begin();
  if (checking)
    block.shadow.begin(sharedBytes(), warpCount);
  block.warpgroups.resize(warpCount / Warpgroup::warps);
  for (Warpgroup &group : block.warpgroups)
    group.begin();
}

const MoeSimtSite *Machine::site(uint32_t index) const {
  const MoeSimtModule &module = *launch.details->module;
  return index < uint64_t(module.siteCount) ? &module.sites[index] : nullptr;
}

//===- Collectives.cpp - what lanes of a warp do together -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Machine.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

using namespace moe::rt::simt;

static bool isAligned(uint32_t operation) { return (operation & 0xff) >= MoeSimtFirstAligned; }

void moe_simt_collective(uint32_t operation, uint32_t mask, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Warp &warp = *thread.warp;
  uint32_t self = 1u << thread.lane;
  if (!(mask & self))
    machine.trap(thread, site, "%s with a member mask of 0x%08x, which lacks the lane itself (%u)",
                 operationName(operation), mask, thread.lane);
  if (isAligned(operation) && warp.present != ~0u && operation != arriveOperation)
    machine.trap(thread, site, "part of a warp at an operation of the whole warp: %s by a warp of %d threads",
                 operationName(operation), std::popcount(warp.present));
  mask &= warp.present;
  if (mask & warp.exited)
    machine.trap(thread, site, "%s%s waits for lane %d, which has exited",
                 isAligned(operation) ? "part of a warp at an operation of the whole warp: " : "deadlock: ",
                 operationName(operation), std::countr_zero(mask & warp.exited));

  // Usually there is one group, or none.
  size_t i = 0;
  for (; i < warp.groups.size(); ++i) {
    const Group &group = warp.groups[i];
    if (group.operation == operation && group.mask == mask && (group.site == site || !isAligned(operation)))
      break;
  }
  if (i == warp.groups.size())
    warp.groups.push_back({operation, mask, site, 0});
  warp.groups[i].arrived |= self;
  if (warp.groups[i].arrived != mask) {
    thread.operation = operation;
    thread.mask = mask;
    machine.block(State::AtCollective);
    return;
  }
  warp.groups.erase(warp.groups.begin() + i);
  execute(warp, operation, mask, site);
  if (mask == warp.present)
    flushRequests(warp);
  machine.wake(warp, mask & ~self);
  machine.preempt();
}

namespace {

/// Lanes of a mask, in order.
template <typename Body> void forEachLane(Warp &warp, uint32_t mask, Body &&body) {
  for (; mask; mask &= mask - 1)
    body(warp.threads[std::countr_zero(mask)]);
}

/// Sets result `index` of all lanes.
void setAll(Warp &warp, uint32_t mask, uint32_t index, uint32_t value) {
  forEachLane(warp, mask, [&](Thread &thread) { thread.words[MoeSimtResult + index] = value; });
}

/// shfl.sync: operands value, b and c as PTX names them.
void shuffle(Warp &warp, uint32_t operation, uint32_t mask, uint32_t site) {
  forEachLane(warp, mask, [&](Thread &thread) {
    uint32_t b = thread.words[1] & 31, clamp = thread.words[2] & 31, segment = thread.words[2] >> 8 & 31;
    int lane = int(thread.lane), last = int((thread.lane & segment) | (clamp & ~segment)), source;
    bool inRange;
    switch (operation) {
    case MoeSimtShuffleUp:
      source = lane - int(b);
      inRange = source >= last;
      break;
    case MoeSimtShuffleDown:
      source = lane + int(b);
      inRange = source <= last;
      break;
    case MoeSimtShuffleXor:
      source = lane ^ int(b);
      inRange = source <= last;
      break;
    default:
      source = int((thread.lane & segment) | (b & ~segment));
      inRange = source <= last;
      break;
    }
    if (!inRange)
      source = lane;
    if (!(mask >> source & 1))
      Machine::get().trap(thread, site, "%s reads lane %d, which is not in the member mask 0x%08x",
                          operationName(operation), source, mask);
    thread.words[MoeSimtResult] = warp.threads[source].words[0];
    thread.words[MoeSimtResult + 1] = inRange;
  });
}

void vote(Warp &warp, uint32_t operation, uint32_t mask) {
  uint32_t ballot = 0;
  forEachLane(warp, mask, [&](Thread &thread) { ballot |= uint32_t(thread.words[0] != 0) << thread.lane; });
  uint32_t result = operation == MoeSimtVoteAll       ? ballot == mask
                    : operation == MoeSimtVoteAny     ? ballot != 0
                    : operation == MoeSimtVoteUniform ? ballot == 0 || ballot == mask
                                                      : ballot;
  setAll(warp, mask, 0, result);
}

void match(Warp &warp, uint32_t operation, uint32_t mask) {
  forEachLane(warp, mask, [&](Thread &thread) {
    uint32_t same = 0;
    forEachLane(warp, mask, [&](Thread &other) {
      same |= uint32_t(memcmp(thread.words, other.words, 2 * sizeof(uint32_t)) == 0) << other.lane;
    });
    thread.words[MoeSimtResult] = operation == MoeSimtMatchAny || same == mask ? same : 0;
    thread.words[MoeSimtResult + 1] = same == mask;
  });
}

void reduce(Warp &warp, uint32_t operation, uint32_t mask) {
  bool isFirst = true;
  uint32_t result = 0;
  forEachLane(warp, mask, [&](Thread &thread) {
    uint32_t value = thread.words[0];
    if (std::exchange(isFirst, false)) {
      result = value;
      return;
    }
    switch (operation) {
    case MoeSimtReduceAdd:
      result += value;
      break;
    case MoeSimtReduceMin:
      result = uint32_t(std::min(int32_t(result), int32_t(value)));
      break;
    case MoeSimtReduceMax:
      result = uint32_t(std::max(int32_t(result), int32_t(value)));
      break;
    case MoeSimtReduceUnsignedMin:
      result = std::min(result, value);
      break;
    case MoeSimtReduceUnsignedMax:
      result = std::max(result, value);
      break;
    case MoeSimtReduceAnd:
      result &= value;
      break;
    case MoeSimtReduceOr:
      result |= value;
      break;
    default:
      result ^= value;
      break;
    }
  });
  setAll(warp, mask, 0, result);
}

char *pointerOperand(const Thread &thread) {
  char *pointer;
  memcpy(&pointer, thread.words, sizeof pointer);
  return pointer;
}

/// ldmatrix and stmatrix of 8 x 8 matrices of 16-bit elements: lane 8 j + r has the address of row r of matrix j.
void moveMatrices(Warp &warp, bool isLoad, uint32_t site) {
  Machine &machine = Machine::get();
  uint32_t matrices = warp.threads[0].words[2];
  bool isTransposed = warp.threads[0].words[3];
  Request request;
  for (uint32_t lane = 0; lane < 8 * matrices; ++lane) {
    Thread &thread = warp.threads[lane];
    char *row = pointerOperand(thread);
    const Block &block = *warp.block;
    uint64_t offset = uint64_t(row - block.shared);
    if (reinterpret_cast<uintptr_t>(row) % 16)
      machine.trap(thread, site, "misaligned row: expected a multiple of 16 but got shared address 0x%llx",
                   (unsigned long long)offset);
    checkShared(thread, row, 16, isLoad ? MoeSimtLoad : MoeSimtStore, site);
    request.mask |= 1u << lane;
    request.addresses[lane] = offset;
  }
  machine.counters.add(site, MoeSimtShared, request, 16, /*atomic=*/false);

  for (uint32_t matrix = 0; matrix < matrices; ++matrix) {
    char *rows[8];
    for (uint32_t r = 0; r < 8; ++r)
      rows[r] = pointerOperand(warp.threads[8 * matrix + r]);
    for (uint32_t lane = 0; lane < warpSize; ++lane) {
      uint32_t &word = warp.threads[lane].words[isLoad ? MoeSimtResult + matrix : 4 + matrix];
      uint32_t outer = lane / 4, inner = lane % 4 * 2;
      if (!isTransposed) {
        if (isLoad)
          memcpy(&word, rows[outer] + 2 * inner, 4);
        else
          memcpy(rows[outer] + 2 * inner, &word, 4);
        continue;
      }
      for (uint32_t half = 0; half < 2; ++half) {
        char *inWord = reinterpret_cast<char *>(&word) + 2 * half, *inRow = rows[inner + half] + 2 * outer;
        memcpy(isLoad ? inWord : inRow, isLoad ? inRow : inWord, 2);
      }
    }
  }
}

} // namespace

void moe::rt::simt::execute(Warp &warp, uint32_t operation, uint32_t mask, uint32_t site) {
  Machine &machine = Machine::get();
  ++machine.counters.collectives;
  switch (operation) {
  case MoeSimtSyncWarp:
    if (machine.checking && mask == warp.present)
      warp.block->shadow.syncWarp(warp.index);
    return;
  case MoeSimtShuffleUp:
  case MoeSimtShuffleDown:
  case MoeSimtShuffleXor:
  case MoeSimtShuffleIndex:
    return shuffle(warp, operation, mask, site);
  case MoeSimtVoteAll:
  case MoeSimtVoteAny:
  case MoeSimtVoteUniform:
  case MoeSimtBallot:
    return vote(warp, operation, mask);
  case MoeSimtMatchAny:
  case MoeSimtMatchAll:
    return match(warp, operation, mask);
  case MoeSimtElect:
    setAll(warp, mask, 0, std::countr_zero(mask));
    setAll(warp, mask, 1, 0);
    warp.threads[std::countr_zero(mask)].words[MoeSimtResult + 1] = 1;
    return;
  case MoeSimtLoadMatrix:
  case MoeSimtStoreMatrix:
    return moveMatrices(warp, operation == MoeSimtLoadMatrix, site);
  case MoeSimtWgmma:
  case MoeSimtWgmmaFence:
  case MoeSimtWgmmaCommit:
  case MoeSimtWgmmaWait:
  case MoeSimtSetRegisters:
    return controlProducts(warp, operation, site);
  case arriveOperation:
    return arriveAtBarrier(warp, site);
  default:
    break;
  }
  if (operation < MoeSimtFirstAligned)
    return reduce(warp, operation, mask);
  --machine.counters.collectives;
  multiplyMatrices(warp, operation);
}

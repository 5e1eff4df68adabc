//===- Simt.cpp - registers, yields and traps of emulated kernels ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Machine.h"

#include "moe/Runtime/Abi.h"

using namespace moe::rt::simt;

uint32_t moe_simt_register(uint32_t which) {
  Machine &machine = Machine::get();
  const Thread &thread = machine.self();
  const Block &block = *thread.warp->block;
  const Launch &launch = machine.launch;
  const uint32_t *size = launch.block;
  uint32_t bit = 1u << thread.lane;
  switch (which) {
  case MoeSimtThreadIndex:
    return thread.index % size[0];
  case MoeSimtThreadIndex + 1:
    return thread.index / size[0] % size[1];
  case MoeSimtThreadIndex + 2:
    return thread.index / size[0] / size[1];
  case MoeSimtLane:
    return thread.lane;
  case MoeSimtWarp:
    return thread.warp->index;
  case MoeSimtWarpCount:
    return (block.threadCount + warpSize - 1) / warpSize;
  case MoeSimtWarpSize:
    return warpSize;
  case MoeSimtMultiprocessor:
    return (block.index[0] + launch.grid[0] * (block.index[1] + launch.grid[1] * block.index[2])) %
           machine.multiprocessors;
  case MoeSimtMultiprocessorCount:
    return machine.multiprocessors;
  case MoeSimtLaneMaskEqual:
    return bit;
  case MoeSimtLaneMaskLess:
    return bit - 1;
  case MoeSimtLaneMaskLessEqual:
    return bit | (bit - 1);
  case MoeSimtLaneMaskGreater:
    return ~(bit | (bit - 1));
  case MoeSimtLaneMaskGreaterEqual:
    return ~(bit - 1);
  case MoeSimtDynamicSharedBytes:
    return uint32_t(launch.sharedBytes);
  default:
    break;
  }
  uint32_t axis = which % 3;
  return which < MoeSimtBlockSize ? block.index[axis] : which < MoeSimtGridSize ? size[axis] : launch.grid[axis];
}

void *moe_simt_shared_memory() { return Machine::get().self().warp->block->shared; }

void *moe_simt_dynamic_shared_memory() {
  Machine &machine = Machine::get();
  return machine.self().warp->block->shared + machine.launch.details->dynamicOffset;
}

void moe_simt_spin() {
  // Often enough for threads that wait, seldom enough for those that only count.
  constexpr uint32_t period = 16;
  Machine &machine = Machine::get();
  if (++machine.self().spins % period == 0)
    machine.yield();
}

void moe_simt_yield() { Machine::get().yield(); }

void moe_simt_trap(uint32_t site) {
  Machine &machine = Machine::get();
  machine.trap(machine.self(), site, "the kernel gave up");
}

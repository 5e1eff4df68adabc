//===- Barriers.cpp - barriers of a block ---------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Machine.h"

#include <bit>

using namespace moe::rt::simt;

/// Barrier `id`, about to be reached by threads that expect `count` of them (0: all of the block).
static Barrier &barrierFor(const Thread &thread, uint32_t id, uint32_t count, uint32_t site) {
  Machine &machine = Machine::get();
  Block &block = *thread.warp->block;
  if (id >= block.barriers.size())
    machine.trap(thread, site, "barrier %u: expected a number from 0 to 15", id);
  if (count % warpSize != 0)
    machine.trap(thread, site, "barrier %u for %u threads: expected a multiple of 32", id, count);
  if (count > (block.threadCount + warpSize - 1) / warpSize * warpSize)
    machine.trap(thread, site, "deadlock: barrier %u for %u threads, but the block has %u", id, count,
                 block.threadCount);
  Barrier &barrier = block.barriers[id];
  uint32_t expected = count ? std::min(count, block.threadCount) : block.threadCount;
  if (barrier.arrived == 0) {
    barrier.expected = expected;
    barrier.population = barrier.any = 0;
    barrier.all = 1;
    barrier.clocks.clear();
  } else if (barrier.expected != expected) {
    machine.trap(thread, site, "barrier %u is reached for %u threads and for %u at the same time", id, barrier.expected,
                 expected);
  }
  return barrier;
}

/// Everybody is there: those who wait go on.
static void complete(Block &block, Barrier &barrier) {
  Machine &machine = Machine::get();
  ++machine.counters.barriers;
  barrier.arrived = 0;
  for (bool isAcquiring : {false, true})
    for (Warp &warp : block.warps) {
      uint32_t waiting = warp.index < 32 ? barrier.waiting[warp.index] : 0;
      if (!waiting)
        continue;
      if (!isAcquiring) {
        if (machine.checking)
          block.shadow.release(warp.index, barrier.clocks);
        continue;
      }
      if (machine.checking)
        block.shadow.acquire(warp.index, barrier.clocks);
      if (waiting == (warp.present & ~warp.exited))
        flushRequests(warp);
      for (uint32_t lanes = waiting; lanes; lanes &= lanes - 1) {
        uint32_t *words = warp.threads[std::countr_zero(lanes)].words + MoeSimtResult;
        words[0] = barrier.population;
        words[1] = barrier.all;
        words[2] = barrier.any;
      }
      barrier.waiting[warp.index] = 0;
      machine.wake(warp, waiting);
    }
}

void moe::rt::simt::arriveAtBarrier(Warp &warp, uint32_t site) {
  const Thread &thread = warp.threads[0];
  Barrier &barrier = barrierFor(thread, thread.words[0], thread.words[1], site);
  if (Machine::get().checking)
    warp.block->shadow.release(warp.index, barrier.clocks);
  barrier.arrived += std::popcount(warp.present);
  if (barrier.arrived == barrier.expected)
    complete(*warp.block, barrier);
}

uint32_t moe_simt_barrier(uint32_t id, uint32_t threads, uint32_t flags, uint32_t predicate, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Warp &warp = *thread.warp;
  if (flags & MoeSimtArrive) {
    thread.words[0] = id;
    thread.words[1] = threads;
    moe_simt_collective(arriveOperation, warp.present, site);
    return 0;
  }
  Barrier &barrier = barrierFor(thread, id, threads, site);
  uint32_t &waiting = barrier.waiting[warp.index];
  if (!waiting)
    barrier.sites[warp.index] = site;
  else if (flags & MoeSimtAligned && barrier.sites[warp.index] != site)
    machine.trap(
        thread, site,
        "divergent barrier: threads of warp %u reach barrier %u at different instructions, the other one is '%s'",
        warp.index, id, machine.site(barrier.sites[warp.index])->text);
  waiting |= 1u << thread.lane;
  ++barrier.arrived;
  barrier.population += predicate != 0;
  barrier.all &= predicate != 0;
  barrier.any |= predicate != 0;
  thread.operation = id;
  if (barrier.arrived < barrier.expected) {
    machine.block(State::AtBarrier);
  } else {
    if (flags & MoeSimtAligned)
      for (Warp &other : thread.warp->block->warps)
        if (uint32_t lanes = barrier.waiting[other.index]; lanes && lanes != other.present)
          machine.trap(other.threads[std::countr_zero(lanes)], barrier.sites[other.index],
                       "divergent barrier: barrier %u is complete, but only by a part of warp %u", id, other.index);
    complete(*warp.block, barrier);
    machine.preempt();
  }
  const uint32_t *result = thread.words + MoeSimtResult;
  return flags & MoeSimtBarrierPopulation ? result[0]
         : flags & MoeSimtBarrierAnd      ? result[1]
         : flags & MoeSimtBarrierOr       ? result[2]
                                          : 0;
}

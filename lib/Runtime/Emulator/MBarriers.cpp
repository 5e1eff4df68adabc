//===- MBarriers.cpp - barriers in shared memory --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "MBarriers.h"
#include "Machine.h"

#include <cstdio>
#include <utility>

using namespace moe::rt::simt;

using ull = unsigned long long;

static constexpr uint64_t barrierBytes = 8;

void MBarriers::initialize(Thread &thread, uint64_t offset, uint32_t count, uint32_t site) {
  Block &block = *thread.warp->block;
  Machine &machine = Machine::get();
  if (offset % barrierBytes)
    machine.trap(thread, site, "misaligned mbarrier: expected a multiple of 8 but got shared address 0x%llx",
                 ull(offset));
  if (count < 1 || count >= 1u << 20)
    machine.trap(thread, site, "mbarrier for %u arrivals: expected a number from 1 to 1048575", count);
  if (auto known = barriers.find(offset); known != barriers.end())
    machine.trap(thread, site, "mbarrier at shared address 0x%llx is initialised again, without mbarrier.inval",
                 ull(offset));
  checkShared(thread, block.shared + offset, barrierBytes, MoeSimtStore, site);
  MBarrier &barrier = barriers[offset];
  barrier.expected = count;
  barrier.pending = count;
  if (machine.checking)
    barrier.agent = block.shadow.addAgent();
}

void MBarriers::invalidate(Thread &thread, uint64_t offset, uint32_t site) {
  const MBarrier &barrier = at(thread, offset, site);
  if (!barrier.arrivals.empty())
    Machine::get().trap(thread, site, "mbarrier at shared address 0x%llx is invalidated, but copies will arrive at it",
                        ull(offset));
  checkShared(thread, thread.warp->block->shared + offset, barrierBytes, MoeSimtStore, site);
  barriers.erase(offset);
}

MBarrier &MBarriers::at(const Thread &thread, uint64_t offset, uint32_t site) {
  auto known = barriers.find(offset);
  if (known == barriers.end())
    Machine::get().trap(thread, site, "no mbarrier is initialised at shared address 0x%llx", ull(offset));
  // That somebody initialised it has to be known to the thread, too.
  checkShared(thread, thread.warp->block->shared + offset, barrierBytes, MoeSimtLoad, site);
  return known->second;
}

uint64_t MBarriers::arrive(Block &block, MBarrier &barrier, uint32_t warp, uint32_t count, uint32_t bytes) {
  uint64_t phase = barrier.phase;
  barrier.bytes += bytes;
  barrier.expectedBytes += bytes;
  if (count) {
    if (Machine::get().checking)
      block.shadow.releaseLane(warp, barrier.arriving);
    barrier.pending -= count;
  }
  advance(block, barrier);
  deliverIfComplete(block, barrier);
  return phase;
}

void MBarriers::add(Block &block, MBarrier &barrier, Arrival arrival) {
  barrier.arrivals.push_back(std::move(arrival));
  ++arrivalCount;
  deliverIfComplete(block, barrier);
}

/// Completes the phase if nothing is missing.
void MBarriers::advance(Block &block, MBarrier &barrier) {
  Machine &machine = Machine::get();
  if (barrier.pending > 0 || barrier.bytes != 0)
    return;
  ++barrier.phase;
  ++machine.progress;
  ++machine.counters.barriers;
  barrier.pending = barrier.expected;
  barrier.expectedBytes = barrier.arrivedBytes = 0;
  barrier.completed = barrier.arriving;
  for (uint32_t thread : std::exchange(barrier.waiting, {})) {
    Warp &warp = block.warps[thread / warpSize];
    machine.wake(warp, 1u << thread % warpSize);
  }
}

void MBarriers::deliver(Block &block, MBarrier &barrier, size_t index) {
  Arrival arrival = std::move(barrier.arrivals[index]);
  barrier.arrivals.erase(barrier.arrivals.begin() + index);
  --arrivalCount;
  bool checking = Machine::get().checking;
  for (const AsyncCopy &copy : arrival.copies) {
    copy.perform();
    if (checking)
      block.shadow.finishCopy(uint64_t(copy.to - block.shared), copy.bytes, barrier.agent);
  }
  for (const TensorCopy &copy : arrival.tensor) {
    copy.perform(block.shared);
    uint64_t bytes = copy.map.boxBytes();
    if (checking)
      block.shadow.finishCopy(copy.to, bytes, barrier.agent, Proxy::Async);
    barrier.bytes -= int64_t(bytes);
    barrier.arrivedBytes += int64_t(bytes);
  }
  if (arrival.tensor.empty() && --barrier.pending < 0)
    Machine::get().trap(block.threads[arrival.thread], noSite,
                        "mbarrier for %u arrivals: more copies than that arrive in one phase", barrier.expected);
  if (checking)
    block.shadow.releaseLane(barrier.agent / warpSize, barrier.arriving);
  advance(block, barrier);
}

void MBarriers::deliverIfComplete(Block &block, MBarrier &barrier) {
  if (barrier.waiting.empty() || barrier.arrivals.empty())
    return;
  int64_t pending = barrier.pending, bytes = barrier.bytes;
  for (const Arrival &arrival : barrier.arrivals) {
    pending -= arrival.tensor.empty();
    for (const TensorCopy &copy : arrival.tensor)
      bytes -= int64_t(copy.map.boxBytes());
  }
  if (pending > 0 || bytes != 0)
    return;
  for (uint64_t phase = barrier.phase; barrier.phase == phase;)
    deliver(block, barrier, 0);
}

bool MBarriers::deliverAll(Block &block) {
  if (!hasArrivals())
    return false;
  for (auto &entry : barriers)
    while (!entry.second.arrivals.empty())
      deliver(block, entry.second, 0);
  return true;
}

void MBarriers::deliverSome(Block &block, Random &random) {
  if (!hasArrivals())
    return;
  size_t index = random.below(uint32_t(arrivalCount));
  for (auto &entry : barriers) {
    MBarrier &barrier = entry.second;
    if (index < barrier.arrivals.size())
      return deliver(block, barrier, index);
    index -= barrier.arrivals.size();
  }
}

void MBarriers::deliverOf(Block &block, uint32_t thread) {
  for (auto &entry : barriers) {
    MBarrier &barrier = entry.second;
    for (size_t i = 0; i < barrier.arrivals.size();)
      if (barrier.arrivals[i].thread == thread && barrier.arrivals[i].tensor.empty())
        deliver(block, barrier, i);
      else
        ++i;
  }
}

uint32_t MBarriers::threadOfArrival() const {
  for (const auto &entry : barriers)
    if (!entry.second.arrivals.empty())
      return entry.second.arrivals.front().thread;
  return 0;
}

std::string MBarriers::describeWaits(uint32_t &thread) const {
  std::string text;
  for (const auto &[offset, barrier] : barriers) {
    if (barrier.waiting.empty())
      continue;
    if (text.empty())
      thread = barrier.waiting.front();
    char part[200];
    snprintf(part, sizeof part,
             "%smbarrier at shared address 0x%llx, phase %llu: %lld of %u arrivals and %lld of %lld bytes have come",
             text.empty() ? "" : "; ", ull(offset), ull(barrier.phase),
             (long long)(barrier.expected - std::max<int64_t>(barrier.pending, 0)), barrier.expected,
             (long long)barrier.arrivedBytes, (long long)barrier.expectedBytes);
    text += part;
  }
  return text;
}

/// Offset in the block's shared memory of an address that has to lie there.
static uint64_t offsetOf(const Thread &thread, const void *address) {
  return uint64_t(static_cast<const char *>(address) - thread.warp->block->shared);
}

void moe_simt_mbarrier_init(void *barrier, uint32_t count, uint32_t site) {
  Thread &thread = Machine::get().self();
  thread.warp->block->mbarriers.initialize(thread, offsetOf(thread, barrier), count, site);
}

void moe_simt_mbarrier_invalidate(void *barrier, uint32_t site) {
  Thread &thread = Machine::get().self();
  thread.warp->block->mbarriers.invalidate(thread, offsetOf(thread, barrier), site);
}

uint64_t moe_simt_mbarrier_arrive(void *barrier, uint32_t count, uint32_t bytes, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Block &block = *thread.warp->block;
  MBarrier &object = block.mbarriers.at(thread, offsetOf(thread, barrier), site);
  if (int64_t(count) > object.pending)
    machine.trap(thread, site, "mbarrier at shared address 0x%llx: %u arrivals, but only %lld of %u are missing",
                 ull(offsetOf(thread, barrier)), count, (long long)object.pending, object.expected);
  uint64_t phase = block.mbarriers.arrive(block, object, thread.warp->index, count, bytes);
  machine.preempt();
  return phase;
}

uint32_t moe_simt_mbarrier_test(void *barrier, uint64_t phase, uint32_t flags, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Block &block = *thread.warp->block;
  uint64_t offset = offsetOf(thread, barrier);
  for (bool isFirst = true;; isFirst = false) {
    MBarrier &object = block.mbarriers.at(thread, offset, site);
    bool isComplete = flags & MoeSimtParity ? (object.phase & 1) != (phase & 1) : object.phase > phase;
    if (isComplete) {
      if (machine.checking)
        block.shadow.acquire(thread.warp->index, object.completed);
      machine.preempt();
      return 1;
    }
    if (!(flags & MoeSimtWait)) {
      if (!isFirst)
        return 0;
      // Who only asks may ask for ever: what is under way comes in the meantime.
      block.mbarriers.deliverAll(block);
      machine.yield();
      continue;
    }
    object.waiting.push_back(thread.index);
    block.mbarriers.deliverIfComplete(block, object);
    if (object.waiting.empty()) // the phase is complete
      continue;
    thread.operation = uint32_t(offset);
    thread.site = site;
    machine.block(State::AtMBarrier);
  }
}

void moe_simt_mbarrier_copies(void *barrier, uint32_t increments, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Block &block = *thread.warp->block;
  MBarrier &object = block.mbarriers.at(thread, offsetOf(thread, barrier), site);
  object.pending += increments;
  thread.hasArrivals = true;
  block.mbarriers.add(block, object, {thread.index, thread.copies.take(), {}});
  machine.preempt();
}

void moe_simt_proxy_fence() {
  Machine &machine = Machine::get();
  const Warp &warp = *machine.self().warp;
  if (machine.checking)
    warp.block->shadow.fenceProxy(warp.index);
}

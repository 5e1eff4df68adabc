//===- Shadow.cpp - who touched which byte of shared memory ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Shadow.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <sys/mman.h>

using namespace moe::rt::simt;

namespace {

constexpr uint64_t threadMask = 0x7ff;
constexpr uint64_t severalFlag = 0x800; // other threads of the same warp too
constexpr uint64_t atomicFlag = 0x1000;
constexpr uint64_t inFlightFlag = 0x2000;
constexpr uint64_t asyncFlag = 0x4000; // by Proxy::Async

uint64_t flagOf(Proxy proxy) { return proxy == Proxy::Async ? asyncFlag : 0; }

uint32_t threadOf(uint64_t stamp) { return uint32_t(stamp & threadMask); }
uint64_t clockOf(uint64_t stamp) { return stamp >> 16; }

} // namespace

Shadow::~Shadow() {
  if (bytes)
    munmap(bytes, capacity * sizeof(Byte));
}

void Shadow::begin(uint64_t size, uint32_t warpCount) {
  if (size > capacity) {
    if (bytes)
      munmap(bytes, capacity * sizeof(Byte));
    // Zero, and only what is touched takes memory.
    void *mapped =
        mmap(nullptr, size * sizeof(Byte), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
      moe_rt_fail("out of memory: shadow of emulated shared memory");
    bytes = static_cast<Byte *>(mapped);
    capacity = size;
  }
  // Clocks go on from block to block, so nothing has to be erased.
  for (uint32_t i = 0; i < parties; ++i)
    start = std::max(start, own(i));
  ++start;
  warps = parties = warpCount;
  agents = 0;
  clocks.resize(mostParties * mostParties);
  visible.resize(mostParties * mostParties);
  laneClocks.assign(mostParties, start);
  for (uint32_t i = 0; i < warps; ++i)
    meetFirst(i, warps);
}

/// Nothing is known of `party` yet, and it knows nothing of the first `count` ones.
void Shadow::meetFirst(uint32_t party, uint32_t count) {
  for (std::vector<uint64_t> *table : {&clocks, &visible})
    for (uint32_t i = 0; i < count; ++i)
      (*table)[party * mostParties + i] = (*table)[i * mostParties + party] = start;
}

uint32_t Shadow::addAgent() {
  uint32_t party = warps + agents++ % (mostParties - warps);
  if (party >= parties) // otherwise it is shared from now on
    meetFirst(party, ++parties);
  return party * 32;
}

/// Whether the access of `stamp` comes before what `thread` does now. Accesses of earlier blocks do.
bool Shadow::isOrdered(Stamp stamp, uint32_t thread) const {
  uint64_t clock = clockOf(stamp);
  if (clock < start || (threadOf(stamp) == thread && !(stamp & severalFlag)))
    return true;
  uint32_t warp = thread / 32, other = threadOf(stamp) / 32;
  return (warp == other ? laneClocks[warp] : seen(warp, other)) > clock;
}

bool Shadow::isVisible(const Byte &byte, uint32_t warp) const {
  uint64_t clock = clockOf(byte.write);
  return clock < start || byte.write & asyncFlag || visible[warp * mostParties + threadOf(byte.write) / 32] > clock;
}

void Shadow::addRead(Byte &byte, uint32_t thread) {
  Stamp now = stamp(thread, 0);
  bool replace = isOrdered(byte.read, thread);
  if (!replace && threadOf(byte.read) / 32 == thread / 32) {
    byte.read |= severalFlag;
    return;
  }
  (replace ? byte.read : byte.otherRead) = now;
}

template <typename Step> Finding Shadow::forEachByte(uint64_t offset, uint64_t size, Step &&step) {
  // Bytes that were accessed together before are so again, as a rule.
  Byte before{}, after{};
  for (uint64_t i = 0; i < size; ++i) {
    Byte &byte = bytes[offset + i];
    if (i == 0 || byte != before) {
      before = after = byte;
      if (Finding found = step(after); found.conflict != Conflict::None) {
        found.offset = uint32_t(offset + i);
        return found;
      }
    }
    byte = after;
  }
  return {};
}

Finding Shadow::read(uint64_t offset, uint64_t size, uint32_t thread) {
  return forEachByte(offset, size, [&](Byte &byte) -> Finding {
    if (clockOf(byte.write) < start)
      return {Conflict::NeverWritten, thread};
    if (byte.write & inFlightFlag)
      return {Conflict::InFlight, threadOf(byte.write)};
    if (!isOrdered(byte.write, thread))
      return {Conflict::AfterWrite, threadOf(byte.write)};
    addRead(byte, thread);
    return {};
  });
}

Finding Shadow::checkWrite(const Byte &byte, uint32_t thread, bool atomic) const {
  bool isOld = clockOf(byte.write) < start;
  if (!isOld && byte.write & inFlightFlag)
    return {Conflict::InFlight, threadOf(byte.write)};
  if (!isOrdered(byte.write, thread) && !(atomic && byte.write & atomicFlag))
    return {Conflict::AfterWrite, threadOf(byte.write)};
  for (Stamp read : {byte.read, byte.otherRead})
    if (!isOrdered(read, thread))
      return {Conflict::AfterRead, threadOf(read)};
  return {};
}

Finding Shadow::write(uint64_t offset, uint64_t size, uint32_t thread) {
  return forEachByte(offset, size, [&](Byte &byte) {
    Finding found = checkWrite(byte, thread, false);
    byte = {stamp(thread, 0), 0, 0};
    return found;
  });
}

Finding Shadow::update(uint64_t offset, uint64_t size, uint32_t thread) {
  return forEachByte(offset, size, [&](Byte &byte) -> Finding {
    if (clockOf(byte.write) < start)
      return {Conflict::NeverWritten, thread};
    Finding found = checkWrite(byte, thread, true);
    byte = {stamp(thread, atomicFlag), 0, 0};
    return found;
  });
}

Finding Shadow::startCopy(uint64_t offset, uint64_t size, uint32_t thread, Proxy proxy) {
  return forEachByte(offset, size, [&](Byte &byte) {
    Finding found = checkWrite(byte, thread, false);
    if (found.conflict == Conflict::None && proxy == Proxy::Async && !isVisible(byte, thread / 32))
      found = {Conflict::NoProxyFence, threadOf(byte.write)};
    byte = {stamp(thread, inFlightFlag | flagOf(proxy)), 0, 0};
    return found;
  });
}

void Shadow::finishCopy(uint64_t offset, uint64_t size, uint32_t thread, Proxy proxy) {
  std::fill_n(bytes + offset, size, Byte{stamp(thread, flagOf(proxy)), 0, 0});
}

Finding Shadow::readByAgent(uint64_t offset, uint64_t size, uint32_t agentThread, const View &view) {
  return forEachByte(offset, size, [&](Byte &byte) -> Finding {
    uint32_t writer = threadOf(byte.write) / 32;
    uint64_t clock = clockOf(byte.write);
    if (clock < start)
      return {Conflict::NeverWritten, agentThread};
    if (byte.write & inFlightFlag)
      return {Conflict::InFlight, threadOf(byte.write)};
    if (writer >= view.seen.size() || view.seen[writer] <= clock)
      return {Conflict::AfterWrite, threadOf(byte.write)};
    if (!(byte.write & asyncFlag) && view.visible[writer] <= clock)
      return {Conflict::NoProxyFence, threadOf(byte.write)};
    addRead(byte, agentThread);
    return {};
  });
}

Shadow::View Shadow::view(uint32_t warp) const {
  auto row = [&](const std::vector<uint64_t> &of) {
    auto begin = of.begin() + warp * mostParties;
    return std::vector<uint64_t>(begin, begin + parties);
  };
  View view{row(clocks), row(visible)};
  ++view.seen[warp]; // what the warp itself has done
  return view;
}

void Shadow::meet(View &view, const View &other) {
  auto join = [](std::vector<uint64_t> &to, const std::vector<uint64_t> &from) {
    to.resize(std::min(to.size(), from.size())); // agents that one of them does not know yet
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = std::min(to[i], from[i]);
  };
  join(view.seen, other.seen);
  join(view.visible, other.visible);
}

void Shadow::releaseLane(uint32_t warp, Clocks &to) {
  to.seen.resize(parties, 0);
  to.visible.resize(parties, 0);
  for (uint32_t i = 0; i < parties; ++i) {
    to.seen[i] = std::max(to.seen[i], seen(warp, i) + (i == warp));
    to.visible[i] = std::max(to.visible[i], visible[warp * mostParties + i]);
  }
  ++own(warp);
}

void Shadow::release(uint32_t warp, Clocks &to) {
  releaseLane(warp, to);
  laneClocks[warp] = own(warp);
}

void Shadow::acquire(uint32_t warp, const Clocks &from) {
  for (size_t i = 0; i < from.seen.size(); ++i) {
    uint64_t &clock = i == warp ? laneClocks[warp] : seen(warp, uint32_t(i));
    clock = std::max(clock, from.seen[i]);
    uint64_t &through = visible[warp * mostParties + i];
    through = std::max(through, from.visible[i]);
  }
}

void Shadow::acquireAgent(uint32_t warp, uint32_t agentThread, uint64_t clock) {
  uint64_t &known = seen(warp, agentThread / 32);
  known = std::max(known, clock);
}

void Shadow::fenceProxy(uint32_t warp) {
  uint64_t now = ++own(warp);
  for (uint32_t i = 0; i < parties; ++i)
    visible[warp * mostParties + i] = i == warp ? now : seen(warp, i);
}

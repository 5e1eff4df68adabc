//===- Shadow.cpp - who touched which byte of shared memory ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Shadow.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <sys/mman.h>

using namespace moe::rt::simt;

namespace {

constexpr uint64_t threadMask = 0x3ff;
constexpr uint64_t severalFlag = 0x400; // other threads of the same warp too
constexpr uint64_t atomicFlag = 0x800;
constexpr uint64_t inFlightFlag = 0x1000;

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
  for (uint64_t clock : clocks)
    start = std::max(start, clock);
  ++start;
  warps = warpCount;
  clocks.assign(size_t(warps) * warps, start);
}

/// Whether the access of `stamp` comes before what `thread` does now. Accesses of earlier blocks do.
bool Shadow::isOrdered(Stamp stamp, uint32_t thread) const {
  uint64_t clock = clockOf(stamp);
  if (clock < start || (threadOf(stamp) == thread && !(stamp & severalFlag)))
    return true;
  return clocks[thread / 32 * warps + threadOf(stamp) / 32] > clock;
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

Finding Shadow::startCopy(uint64_t offset, uint64_t size, uint32_t thread) {
  return forEachByte(offset, size, [&](Byte &byte) {
    Finding found = checkWrite(byte, thread, false);
    byte = {stamp(thread, inFlightFlag), 0, 0};
    return found;
  });
}

void Shadow::finishCopy(uint64_t offset, uint64_t size, uint32_t thread) {
  std::fill_n(bytes + offset, size, Byte{stamp(thread, 0), 0, 0});
}

void Shadow::release(uint32_t warp, Clocks &to) {
  to.resize(warps, 0);
  for (uint32_t i = 0; i < warps; ++i)
    to[i] = std::max(to[i], clocks[warp * warps + i] + (i == warp));
  ++own(warp);
}

void Shadow::acquire(uint32_t warp, const Clocks &from) {
  for (uint32_t i = 0; i < warps; ++i)
    if (i != warp)
      clocks[warp * warps + i] = std::max(clocks[warp * warps + i], from[i]);
}

//===- DeviceMemory.cpp - buffers in the memory of a GPU ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DeviceMemory.h"

#include <algorithm>

namespace moe::rt::cuda {

static constexpr size_t alignment = 256;
/// Segments are multiples of what the driver hands out, so that small buffers share them.
static constexpr size_t segmentBytes = size_t(2) << 20;

static size_t roundUp(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

DevicePointer DeviceMemory::allocate(size_t bytes) {
  size_t size = roundUp(std::max<size_t>(bytes, 1), alignment);
  auto found = unused.lower_bound({size, 0});
  if (found == unused.end()) {
    // Where a whole segment is too much, what is needed may still be there.
    if (!addSegment(roundUp(size, segmentBytes)) && !addSegment(size))
      return 0;
    found = unused.lower_bound({size, 0});
  }
  Position range = ranges.find(found->second);
  unused.erase(found);
  range->second.isUsed = true;
  if (range->second.bytes > size) {
    Position rest = ranges.insert({range->first + size, {range->second.bytes - size, false, false}}).first;
    range->second.bytes = size;
    markUnused(rest);
  }
  return range->first;
}

void DeviceMemory::free(DevicePointer buffer) {
  Position range = ranges.find(buffer), next = std::next(range);
  range->second.isUsed = false;
  if (next != ranges.end() && !next->second.isUsed && !next->second.isFirst)
    merge(range, next);
  if (!range->second.isFirst)
    if (Position before = std::prev(range); !before->second.isUsed) {
      merge(before, range);
      range = before;
    }
  markUnused(range);
}

bool DeviceMemory::releaseUnused() {
  bool released = false;
  for (Position range = ranges.begin(); range != ranges.end();) {
    Position next = std::next(range);
    bool isWhole = range->second.isFirst && (next == ranges.end() || next->second.isFirst);
    if (isWhole && !range->second.isUsed) {
      check(api.MemFree(range->first), "giving memory back");
      unused.erase({range->second.bytes, range->first});
      ranges.erase(range);
      released = true;
    }
    range = next;
  }
  return released;
}

bool DeviceMemory::addSegment(size_t bytes) {
  DevicePointer begin = 0;
  Result result = api.MemAlloc(&begin, bytes);
  if (result == OutOfMemory)
    return false;
  check(result, "an allocation");
  markUnused(ranges.insert({begin, {bytes, false, true}}).first);
  return true;
}

void DeviceMemory::markUnused(Position range) { unused.insert({range->second.bytes, range->first}); }

/// `next`, behind `range`, becomes a part of it; neither is in use.
void DeviceMemory::merge(Position range, Position next) {
  unused.erase({range->second.bytes, range->first});
  unused.erase({next->second.bytes, next->first});
  range->second.bytes += next->second.bytes;
  ranges.erase(next);
}

} // namespace moe::rt::cuda

//===- DeviceMemory.h - allocations of the emulated GPU -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_EMULATOR_DEVICEMEMORY_H
#define MOE_LIB_RUNTIME_EMULATOR_DEVICEMEMORY_H

#include "BlockOrder.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

namespace moe::rt::simt {

/// Memory that kernels may use.
struct Allocation {
  uintptr_t begin;
  uint64_t size;
  bool isWritable;
  void *mapping = nullptr; // with its guard pages; null: not ours
  uint64_t mappingSize = 0;
  // One bit for each 32 bytes that the running kernel read or wrote.
  std::vector<uint64_t> sectorsRead, sectorsWritten;
  // For each two bytes who wrote them in the running launch; null: nobody wrote anything. From calloc, so that only
  // what is written takes memory.
  struct Free {
    void operator()(void *memory) const { std::free(memory); }
  };
  std::unique_ptr<BlockOrder::Stamp[], Free> writes;
};

/// All of it. Allocations of our own end (but for the alignment of their start) at a page that cannot be touched, and
/// begin behind one.
class DeviceMemory {
public:
  static constexpr uint64_t alignment = 256;

  void *allocate(uint64_t size);
  /// Ends the process with a message if `pointer` is no allocation, or if bytes behind it were written.
  void free(void *pointer);
  /// Makes memory of others known. Known already: makes it at least as large.
  void add(const void *pointer, uint64_t size, bool isWritable);
  /// Ends that. Ends the process with a message if `pointer` was not added.
  void remove(const void *pointer);

  /// The allocation that has the byte at `address`, or null. Quick if the last one with the same `hint` was the same.
  Allocation *find(const void *address, uint32_t hint = 0);
  /// Whether `size` bytes at `address` lie in one allocation.
  bool contains(const void *address, uint64_t size);
  /// The last allocation that begins at or before `address`, or null; for messages.
  const Allocation *before(const void *address) const;

  /// The block that wrote some of these bytes (of an allocation) in this launch, in no order with an access of `block`
  /// now; ~0u if there is none. Notes the access if it is a write. Single bytes are not looked at.
  static uint32_t findRace(Allocation &allocation, const void *address, uint64_t size, bool isWrite, uint32_t block,
                           BlockOrder &order);

  /// Forgets who wrote.
  void forgetWrites();

  /// Notes sectors that were read or written ...
  static void note(Allocation &allocation, const void *address, uint64_t size, bool isWrite);
  /// ... and counts the different ones, and forgets them.
  uint64_t takeSectors(bool written);

private:
  std::map<uintptr_t, Allocation> allocations; // by their begin
  std::array<Allocation *, 16> found{};        // last, by hints
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_DEVICEMEMORY_H

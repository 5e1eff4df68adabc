//===- DeviceMemory.cpp - allocations of the emulated GPU -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DeviceMemory.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

using namespace moe::rt::simt;

static constexpr uint64_t pageSize = 4096;
static constexpr unsigned char fillByte = 0xff; // floats of it are not a number

static uint64_t roundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

[[noreturn]] static void fail(const char *message, uint64_t size) {
  char text[128];
  snprintf(text, sizeof text, message, (unsigned long long)size);
  moe_rt_fail(text);
}

void *DeviceMemory::allocate(uint64_t size) {
  uint64_t rounded = roundUp(std::max<uint64_t>(size, 1), alignment);
  uint64_t pages = roundUp(rounded, pageSize);
  uint64_t total = pages + 2 * pageSize;
  void *mapping = size > uint64_t(1) << 46
                      ? MAP_FAILED
                      : mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(static_cast<char *>(mapping) + pageSize, pages, PROT_READ | PROT_WRITE) != 0)
    fail("out of memory: %llu bytes of device memory were asked for", size);
  char *begin = static_cast<char *>(mapping) + pageSize + (pages - rounded);
  memset(begin, fillByte, rounded);
  uintptr_t key = reinterpret_cast<uintptr_t>(begin);
  allocations[key] = {key, size, /*isWritable=*/true, mapping, total, {}, {}, nullptr};
  return begin;
}

void DeviceMemory::free(void *pointer) {
  auto entry = allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (entry == allocations.end() || !entry->second.mapping)
    moe_rt_fail("device memory is freed that was not allocated, or twice");
  const Allocation &allocation = entry->second;
  const auto *begin = static_cast<unsigned char *>(pointer);
  uint64_t rounded = roundUp(std::max<uint64_t>(allocation.size, 1), alignment);
  for (uint64_t i = allocation.size; i < rounded; ++i)
    if (begin[i] != fillByte)
      fail("memory was written behind the end of an allocation of %llu bytes of device memory", allocation.size);
  munmap(allocation.mapping, allocation.mappingSize);
  allocations.erase(entry);
  found.fill(nullptr);
}

void DeviceMemory::add(const void *pointer, uint64_t size, bool isWritable) {
  uintptr_t key = reinterpret_cast<uintptr_t>(pointer);
  Allocation &allocation = allocations[key];
  allocation.begin = key;
  allocation.size = std::max(allocation.size, size);
  allocation.isWritable |= isWritable;
  found.fill(nullptr);
}

void DeviceMemory::remove(const void *pointer) {
  auto entry = allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (entry == allocations.end() || entry->second.mapping)
    moe_rt_fail("constant data is released that was not uploaded, or twice");
  allocations.erase(entry);
  found.fill(nullptr);
}

const Allocation *DeviceMemory::before(const void *address) const {
  auto next = allocations.upper_bound(reinterpret_cast<uintptr_t>(address));
  return next == allocations.begin() ? nullptr : &std::prev(next)->second;
}

Allocation *DeviceMemory::find(const void *address, uint32_t hint) {
  uintptr_t at = reinterpret_cast<uintptr_t>(address);
  Allocation *&last = found[hint % found.size()];
  if (last && at - last->begin < last->size)
    return last;
  // Constant data may lie in larger constant data, so look further back than one.
  auto next = allocations.upper_bound(at);
  for (int i = 0; i < 4 && next != allocations.begin(); ++i) {
    --next;
    if (at - next->second.begin < next->second.size)
      return last = &next->second;
  }
  return nullptr;
}

bool DeviceMemory::contains(const void *address, uint64_t size) {
  if (size == 0)
    return true;
  Allocation *allocation = find(address);
  return allocation && size <= allocation->begin + allocation->size - reinterpret_cast<uintptr_t>(address);
}

void DeviceMemory::note(Allocation &allocation, const void *address, uint64_t size, bool isWrite) {
  std::vector<uint64_t> &bits = isWrite ? allocation.sectorsWritten : allocation.sectorsRead;
  if (bits.empty())
    bits.resize(allocation.size / 32 / 64 + 2);
  uintptr_t base = allocation.begin / 32, at = reinterpret_cast<uintptr_t>(address);
  for (uintptr_t sector = at / 32; sector <= (at + size - 1) / 32; ++sector)
    bits[(sector - base) / 64] |= uint64_t(1) << (sector - base) % 64;
}

uint32_t DeviceMemory::findRace(Allocation &allocation, const void *address, uint64_t size, bool isWrite,
                                uint32_t block, BlockOrder &order) {
  if (size < 2 || (!isWrite && !allocation.writes))
    return ~0u;
  if (!allocation.writes) {
    allocation.writes.reset(
        static_cast<BlockOrder::Stamp *>(calloc(allocation.size / 2 + 1, sizeof(BlockOrder::Stamp))));
    if (!allocation.writes)
      fail("out of memory: shadow of %llu bytes of device memory", allocation.size);
  }
  uint64_t first = (reinterpret_cast<uintptr_t>(address) - allocation.begin) / 2;
  for (uint64_t i = first; i < first + size / 2; ++i) {
    BlockOrder::Stamp &stamp = allocation.writes[i];
    if (!order.isOrdered(stamp, block))
      return BlockOrder::writerOf(stamp);
    if (isWrite)
      stamp = order.write(block);
  }
  return ~0u;
}

void DeviceMemory::forgetWrites() {
  for (auto &[key, allocation] : allocations)
    allocation.writes.reset();
}

uint64_t DeviceMemory::takeSectors(bool written) {
  uint64_t count = 0;
  for (auto &[key, allocation] : allocations) {
    std::vector<uint64_t> &bits = written ? allocation.sectorsWritten : allocation.sectorsRead;
    for (uint64_t word : bits)
      count += std::popcount(word);
    bits.clear();
  }
  return count;
}

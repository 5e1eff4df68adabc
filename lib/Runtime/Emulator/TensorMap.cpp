//===- TensorMap.cpp - bulk copies of tensors -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TensorMap.h"
#include "Machine.h"

#include "moe/Runtime/Abi.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

using namespace moe::rt::simt;

using ull = unsigned long long;

[[noreturn]] static void __attribute__((format(printf, 1, 2))) fail(const char *message, ...) {
  char text[300] = "a tensor map: ";
  size_t length = strlen(text);
  va_list arguments;
  va_start(arguments, message);
  vsnprintf(text + length, sizeof text - length, message, arguments);
  va_end(arguments);
  moe_rt_fail(text);
}

/// Refuses what cuTensorMapEncodeTiled refuses.
void moe_rt_gpu_tensor_map(void *map, const void *device, int32_t element, int32_t rank, const int64_t *sizes,
                           const int64_t *strideBytes, const int32_t *box, int32_t swizzleBytes) {
  if (rank < 1 || rank > int32_t(TensorMap::mostDimensions))
    fail("expected 1 to 5 dimensions but got %d", rank);
  if (element != MoeGpuF16 && element != MoeGpuBF16 && element != MoeGpuF32)
    fail("unknown type of elements %d", element);
  if (swizzleBytes != 0 && swizzleBytes != 32 && swizzleBytes != 64 && swizzleBytes != 128)
    fail("expected a swizzle of 0, 32, 64 or 128 bytes but got %d", swizzleBytes);
  if (reinterpret_cast<uintptr_t>(device) % 16)
    fail("expected an address that is a multiple of 16 but got %p", device);
  if (reinterpret_cast<uintptr_t>(map) % 64)
    fail("expected a place for it that is a multiple of 64 but got %p", map);
  TensorMap result = {};
  result.magic = TensorMap::magicNumber;
  result.address = static_cast<const char *>(device);
  result.rank = uint8_t(rank);
  result.elementBytes = element == MoeGpuF32 ? 4 : 2;
  result.swizzleBytes = uint8_t(swizzleBytes);
  for (int32_t d = 0; d < rank; ++d) {
    if (sizes[d] < 1 || sizes[d] > int64_t(1) << 32)
      fail("dimension %d: expected a size from 1 to 4294967296 but got %lld", d, (long long)sizes[d]);
    if (box[d] < 1 || box[d] > 256)
      fail("dimension %d: expected a box of 1 to 256 elements but got %d", d, box[d]);
    result.sizes[d] = uint64_t(sizes[d]);
    result.box[d] = uint16_t(box[d]);
    if (d == 0)
      continue;
    int64_t stride = strideBytes[d - 1];
    if (stride < 0 || stride % 16 || stride >= int64_t(1) << 40)
      fail("dimension %d: expected a stride that is a multiple of 16 and less than 2^40 but got %lld", d,
           (long long)stride);
    result.strides[d - 1] = uint64_t(stride);
  }
  uint32_t rowBytes = uint32_t(box[0]) * result.elementBytes;
  if (rowBytes % 16)
    fail("misaligned box: expected rows of a multiple of 16 bytes but got %u", rowBytes);
  // The hardware takes narrower rows, too, but nothing of ours has them.
  if (swizzleBytes && rowBytes != uint32_t(swizzleBytes))
    fail("expected rows of %d bytes, as the swizzle has it, but got %u", swizzleBytes, rowBytes);
  memset(map, 0, 128);
  memcpy(map, &result, sizeof result);
}

void TensorCopy::perform(char *shared) const {
  forEachRow([&](uint64_t offset, const char *address, uint64_t first, uint64_t bytes) {
    char row[256 * 4] = {};
    if (bytes)
      memcpy(row + first, address, bytes);
    for (uint64_t chunk = 0; chunk < rowBytes(); chunk += 16)
      memcpy(shared + swizzled(to + offset + chunk, map.swizzleBytes), row + chunk, 16);
  });
}

/// Sectors of what a copy reads, row by row.
static AccessCounts countSectors(const TensorCopy &copy) {
  AccessCounts counts;
  counts.requests = 1;
  copy.forEachRow([&](uint64_t, const char *address, uint64_t, uint64_t bytes) {
    uint64_t begin = reinterpret_cast<uintptr_t>(address);
    if (!bytes)
      return;
    counts.bytes += bytes;
    counts.sectorBytes += bytes;
    counts.sectors += (begin + bytes + 31) / 32 - begin / 32;
  });
  return counts;
}

void moe_simt_copy_tensor(void *shared, const void *map, void *barrier, uint32_t rank, const int32_t *at,
                          uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Block &block = *thread.warp->block;
  TensorCopy copy;
  memcpy(&copy.map, map, sizeof copy.map);
  if (copy.map.magic != TensorMap::magicNumber)
    machine.trap(thread, site, "expected a tensor map at %p but got something else", map);
  if (copy.map.rank != rank)
    machine.trap(thread, site, "expected a tensor map of %u dimensions but got one of %u", rank, copy.map.rank);
  for (uint32_t d = 0; d < rank; ++d)
    copy.at[d] = at[d];
  copy.to = uint64_t(static_cast<char *>(shared) - block.shared);
  uint64_t bytes = copy.map.boxBytes();
  if (copy.to % 128)
    machine.trap(thread, site, "misaligned bulk copy: expected a multiple of 128 but got shared address 0x%llx",
                 ull(copy.to));
  if (!isInShared(machine, copy.to, bytes))
    machine.trap(thread, site, "write out of bounds: %llu bytes at shared address 0x%llx, the block has %llu bytes",
                 ull(bytes), ull(copy.to), ull(machine.sharedBytes()));
  // A swizzle exchanges chunks within whole lines, and within what its pattern covers: the same bytes as without.
  uint64_t pattern = copy.map.swizzleBytes * 8;
  if (pattern && copy.to % pattern)
    machine.trap(thread, site,
                 "misaligned bulk copy: expected a multiple of %llu, for the swizzle, but got shared "
                 "address 0x%llx",
                 ull(pattern), ull(copy.to));
  copy.forEachRow([&](uint64_t, const char *address, uint64_t, uint64_t rowBytes) {
    if (rowBytes)
      checkGlobal(thread, address, rowBytes, MoeSimtLoad, site);
  });
  uint64_t barrierOffset = uint64_t(static_cast<char *>(barrier) - block.shared);
  MBarrier &object = block.mbarriers.at(thread, barrierOffset, site);
  if (machine.checking) {
    if (!block.shadow.isVisible(barrierOffset, thread.warp->index))
      machine.trap(thread, site,
                   "a bulk copy arrives at the mbarrier at shared address 0x%llx, but there is no fence "
                   "(fence.mbarrier_init or fence.proxy.async) behind its initialisation",
                   ull(barrierOffset));
    Finding found = block.shadow.startCopy(copy.to, bytes, thread.index, Proxy::Async);
    if (found.conflict != Conflict::None)
      report(thread, found, MoeSimtStore, site);
  }
  ++machine.counters.bulkCopies;
  machine.counters.bulkBytes += bytes;
  machine.counters.add(site, MoeSimtGlobal, countSectors(copy));
  block.mbarriers.add(block, object, {thread.index, {}, {copy}});
  machine.preempt();
}

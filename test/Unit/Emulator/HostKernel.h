//===- HostKernel.h - kernels in C++ --------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_TEST_UNIT_EMULATOR_HOSTKERNEL_H
#define MOE_TEST_UNIT_EMULATOR_HOSTKERNEL_H

#include "moe/Runtime/Gpu.h"
#include "moe/Runtime/Simt.h"

#include <algorithm>
#include <vector>

namespace moe::test {

/// Sites that all kernels here use.
enum Site : uint32_t {
  sharedRead,
  sharedWrite,
  sharedAtomic,
  globalRead,
  globalWrite,
  globalAtomic,
  genericRead,
  barrierA,
  barrierB,
  operation,
  copy16,
  siteCount
};

/// Runs `body` on a grid of `blocks` blocks of `threads` threads, with checks and this much dynamic shared memory.
/// `params` are passed on.
void launch(MoeHostKernel body, int64_t blocks, int64_t threads, int64_t sharedBytes = 0,
            std::vector<void *> params = {});

/// Device memory with the elements of a vector, and back.
template <typename T> T *upload(const std::vector<T> &values) {
  void *memory = moe_rt_gpu_alloc(int64_t(values.size() * sizeof(T)));
  moe_rt_gpu_copy_in(memory, values.data(), int64_t(values.size() * sizeof(T)));
  return static_cast<T *>(memory);
}
template <typename T> std::vector<T> download(const T *memory, size_t count) {
  std::vector<T> values(count);
  moe_rt_gpu_copy_out(values.data(), memory, int64_t(count * sizeof(T)));
  return values;
}

// What kernels do, checked.
inline uint32_t threadIndex() { return moe_simt_register(MoeSimtThreadIndex); }
inline uint32_t blockIndex() { return moe_simt_register(MoeSimtBlockIndex); }
inline uint32_t laneIndex() { return moe_simt_register(MoeSimtLane); }
inline float *shared() { return static_cast<float *>(moe_simt_shared_memory()); }
inline void barrier(uint32_t id = 0, uint32_t threads = 0, Site site = barrierA) {
  moe_simt_barrier(id, threads, MoeSimtAligned, 0, site);
}
inline float read(const float *address, Site site = sharedRead) {
  moe_simt_access(address, site);
  return *address;
}
inline void write(float *address, float value, Site site = sharedWrite) {
  moe_simt_access(address, site);
  *address = value;
}
/// Does an operation on words; returns the first result.
inline uint32_t collective(uint32_t operationCode, uint32_t mask, std::vector<uint32_t> operands) {
  uint32_t *words = moe_simt_lane;
  std::copy(operands.begin(), operands.end(), words);
  moe_simt_collective(operationCode, mask, operation);
  return words[MoeSimtResult];
}
template <typename T> T param(void **params, size_t index) { return *static_cast<T *>(params[index]); }

} // namespace moe::test

#endif // MOE_TEST_UNIT_EMULATOR_HOSTKERNEL_H

//===- KernelCounters.h - what kernels did in a call --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// `bench --counters`: sums of the emulator's counters over the launches of a call (docs/KernelEmulator.md), beside the
// bytes that any implementation has to move.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_APP_KERNELCOUNTERS_H
#define MOE_LIB_RUNTIME_APP_KERNELCOUNTERS_H

#include <cstdint>
#include <string>
#include <vector>

namespace moe::rt {

/// Counters of all launches of one kernel.
struct KernelCounters {
  std::string name;
  uint64_t launches = 0, blocks = 0;
  uint64_t products = 0, productOperations = 0; // matrix instructions
  uint64_t threadInstructions = 0, barriers = 0;
  uint64_t movedBytes = 0;     // of all sectors of global memory, as often as they were asked for
  uint64_t usedBytes = 0;      // of those that were asked for
  uint64_t differentBytes = 0; // of different sectors of each launch, read and written
  uint64_t bankConflicts = 0;  // wavefronts of shared memory beyond the least possible

  KernelCounters &operator+=(const KernelCounters &other);
};

struct CountedCall {
  std::string entry;
  int64_t tokens = 0;
  double leastBytes = 0; // weights that are needed once, and the tensors in and out
  std::vector<KernelCounters> kernels;
};

/// The counters in the text of moe_rt_gpu_take_counters.
std::vector<KernelCounters> parseKernelCounters(const std::string &text);

std::string countersJson(const std::vector<CountedCall> &calls);
std::string countersTable(const std::vector<CountedCall> &calls);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_KERNELCOUNTERS_H

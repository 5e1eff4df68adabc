//===- KernelSums.h - counters of all launches of each kernel -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_EMULATOR_KERNELSUMS_H
#define MOE_LIB_RUNTIME_EMULATOR_KERNELSUMS_H

#include "Machine.h"

#include <string>
#include <vector>

namespace moe::rt::simt {

/// Adds up what launches count, by kernel. Idle until someone has asked for the sums once: they cost a little for every
/// launch.
class KernelSums {
public:
  void add(const Launch &launch, const Counters &counters);

  /// The sums since the last call as a JSON list, in the order of the kernels' first launches.
  std::string take();

private:
  struct Kernel {
    std::string name;
    const MoeSimtModule *module;
    uint64_t launches = 0, blocks = 0;
    Counters counters;
  };

  bool isAsked = false;
  std::vector<Kernel> kernels;
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_KERNELSUMS_H

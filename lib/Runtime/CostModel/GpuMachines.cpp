//===- GpuMachines.cpp - GPUs that the cost model knows -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// docs/CostModel.md says where each number is from, and which are estimates.
//
//===----------------------------------------------------------------------===//

#include "moe/Runtime/GpuCostModel.h"

#include <cstdlib>

namespace moe::rt {

namespace {
constexpr double kb = 1024, mb = 1024 * kb, mhz = 1e6, gbPerSecond = 1e9, us = 1e-6;

/// "90" of "sm_90a".
int numberOf(std::string_view architecture) {
  return architecture.size() > 3 ? atoi(std::string(architecture.substr(3)).c_str()) : 0;
}
} // namespace

const std::vector<GpuMachine> &gpuMachines() {
  // Columns as in GpuMachine: multiprocessors, clock, mma and fma operations, shared memory, registers, shared bytes
  // per cycle, L2 and its bytes per cycle, memory, latency, launch.
  static const std::vector<GpuMachine> machines = {
      {"A100 SXM 80 GB", "sm_80", 108, 1410 * mhz, 2048, 128, 164 * kb, 65536, 128, 40 * mb, 47, 2039 * gbPerSecond,
       0.6 * us, 2 * us},
      {"A40", "sm_86", 84, 1740 * mhz, 1024, 256, 100 * kb, 65536, 128, 6 * mb, 20, 696 * gbPerSecond, 0.6 * us,
       2 * us},
      {"RTX 3090", "sm_86", 82, 1695 * mhz, 512, 256, 100 * kb, 65536, 128, 6 * mb, 20, 936 * gbPerSecond, 0.6 * us,
       2 * us},
      {"L4", "sm_89", 58, 2040 * mhz, 1024, 256, 100 * kb, 65536, 128, 48 * mb, 20, 300 * gbPerSecond, 0.6 * us,
       2 * us},
      {"RTX 4090", "sm_89", 128, 2520 * mhz, 512, 256, 100 * kb, 65536, 128, 72 * mb, 20, 1008 * gbPerSecond, 0.6 * us,
       2 * us},
      {"H100 SXM", "sm_90a", 132, 1830 * mhz, 2540, 256, 228 * kb, 65536, 128, 50 * mb, 39, 3352 * gbPerSecond,
       0.7 * us, 2 * us},
      {"B200", "sm_100a", 148, 1860 * mhz, 2540, 256, 228 * kb, 65536, 128, 126 * mb, 39, 8000 * gbPerSecond, 0.8 * us,
       2 * us},
      {"RTX 5090", "sm_120a", 170, 2407 * mhz, 512, 256, 100 * kb, 65536, 128, 96 * mb, 20, 1792 * gbPerSecond,
       0.6 * us, 2 * us},
  };
  return machines;
}

const GpuMachine &gpuMachineFor(std::string_view architecture) {
  const GpuMachine *best = &gpuMachines().front();
  for (const GpuMachine &machine : gpuMachines())
    if (int number = numberOf(machine.architecture);
        number <= numberOf(architecture) && number > numberOf(best->architecture))
      best = &machine;
  return *best;
}

} // namespace moe::rt

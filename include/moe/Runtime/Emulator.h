//===- Emulator.h - settings and counters of the kernel emulator ----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels are launched through Gpu.h; see docs/KernelEmulator.md for what is checked and counted.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_EMULATOR_H
#define MOE_RUNTIME_EMULATOR_H

#include <cstdint>
#include <string>

namespace moe::rt {

/// Chooses the schedule of the launches to come: 0 runs threads and blocks in order, any other number at random, in the
/// same way every time. Overrides the environment's MOE_GPU_SEED.
void setEmulatorSeed(uint64_t seed);

/// Counters of the last launch as one line of JSON; "{}" before the first.
std::string lastLaunchCounters();

} // namespace moe::rt

#endif // MOE_RUNTIME_EMULATOR_H

//===- PeakKernels.h - instructions to time ------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_APP_PEAKKERNELS_H
#define MOE_LIB_RUNTIME_APP_PEAKKERNELS_H

#include "moe/Runtime/CostModel.h"

#include <cstddef>
#include <cstdint>

namespace moe::rt {

/// Does `rounds` rounds of multiply-adds in registers; returns the operations done.
using ComputeKernel = double (*)(int64_t rounds);

/// Reads `size` bytes (a multiple of 4096, 64-byte aligned) in four streams, as prefetchers like it best.
using ReadKernel = void (*)(const char *data, size_t size);

/// The instruction that `level` multiplies `arithmetic` with. Null for a level that this build does not know. Must only
/// be called where the level is available.
ComputeKernel computeKernel(std::string_view level, Arithmetic arithmetic);

/// The widest loads that this machine has.
ReadKernel readKernel();

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_PEAKKERNELS_H

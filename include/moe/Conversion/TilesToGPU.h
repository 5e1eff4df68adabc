//===- TilesToGPU.h - from bufferized tiles to kernels --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_CONVERSION_TILESTOGPU_H
#define MOE_CONVERSION_TILESTOGPU_H

#include "moe/Runtime/GpuCostModel.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <string>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace moe {

/// What stands for an instruction-set level in programs for a GPU: entries are `moe_entry_<function>.cuda`.
constexpr llvm::StringLiteral gpuLevel = "cuda";
/// The gpu.module with all kernels of a program.
constexpr llvm::StringLiteral gpuKernelModule = "kernels";
/// Attribute of a kernel, in the LLVM dialect and in LLVM IR: the only architecture that can run it.
constexpr llvm::StringLiteral gpuArchitectureAttr = "moe.arch";
/// Attribute of a kernel: how many of its last arguments are tensor maps, 128 bytes that it gets by value. The
/// conversion to the LLVM dialect keeps no attribute of an argument that says so.
constexpr llvm::StringLiteral gpuTensorMapsAttr = "moe.tensor_maps";
constexpr int64_t gpuTensorMapBytes = 128, gpuTensorMapAlignment = 64;
/// Most rows in a tile of a grouped matmul.
constexpr int64_t gpuTileRows = rt::gpuMostTileRows;

/// Adds the passes of the phase `kernel` for GPUs to `pm`, which must be at a module. Before: functions on memrefs
/// without deallocations. After: host functions that allocate and launch, and `gpu.module @kernels` with the kernels as
/// loops of one thread. Blocks of products have the rows that suit the GPU which stands for the first one of
/// `architectures` ("sm_80"). With sm_90a among them there are kernels for it beside the others.
void addGPUKernelPasses(mlir::OpPassManager &pm, llvm::ArrayRef<std::string> architectures);

/// Adds the passes of the phase `llvm` for GPUs. Before: what addGPUKernelPasses leaves. After: LLVM dialect on both
/// sides; the host calls the runtime of moe/Runtime/Gpu.h, kernels are functions with `nvvm.kernel`.
void addGPULLVMPasses(mlir::OpPassManager &pm);

} // namespace moe

#endif // MOE_CONVERSION_TILESTOGPU_H

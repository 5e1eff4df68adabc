//===- KernelToHost.h - GPU kernels as host code --------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// For the kernel emulator (docs/KernelEmulator.md): the LLVM IR that the NVPTX back end would turn into PTX becomes
// code for the host that calls the emulator where the kernel does what only a GPU can do.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_TARGET_KERNELTOHOST_H
#define MOE_TARGET_KERNELTOHOST_H

#include "llvm/Support/Error.h"

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace moe {

struct KernelToHostOptions {
  /// Whether the code checks every access to global and shared memory (bounds, alignment, races) and counts accesses
  /// and instructions. Several times slower. Barriers, warp operations, matrix loads and asynchronous copies are
  /// checked and counted either way.
  bool instrument = true;
};

/// Rewrites `module`, LLVM IR for NVPTX with kernels of calling convention ptx_kernel, for `host`, in place:
/// * NVVM intrinsics and the inline assembly known here become calls of the functions in moe/Runtime/Simt.h;
/// * variables in shared memory become offsets in the memory of the block that runs;
/// * arithmetic in f16 and bf16 is done in f32, and rounded;
/// * each kernel K gets a trampoline `moe_kernel_K` and a constant `moe_gpu_kernel_K` (MoeGpuKernel of
///   moe/Runtime/Gpu.h), the only symbols that stay visible (hidden).
/// The result is not optimised. Fails, naming it and the function, if there is an intrinsic, an assembly string or a
/// call of an undefined function that the emulator does not know; then the module is of no use any more.
llvm::Error convertKernelsToHost(llvm::Module &module, const llvm::TargetMachine &host,
                                 const KernelToHostOptions &options = {});

} // namespace moe

#endif // MOE_TARGET_KERNELTOHOST_H

//===- TilesToCPU.h - from bufferized tiles to the LLVM dialect -----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_CONVERSION_TILESTOCPU_H
#define MOE_CONVERSION_TILESTOCPU_H

#include "llvm/ADT/ArrayRef.h"

#include <string>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace moe {

/// Adds the passes of the phase `kernel` for a CPU to `pm`, which must be at a module. Before: functions on memrefs
/// with moe.grouped_matmul, linalg on memrefs, scf.forall. After: scf.for, vector, arith and memref; every parallel
/// loop is a function of its own, called through moe_rt_parallel_for; no math function is left that is not an
/// instruction.
void addKernelPasses(mlir::OpPassManager &pm);

/// Adds the passes that convert what addKernelPasses leaves to the LLVM dialect, for code that runs on this machine at
/// once (module @prepare): no entry points, one version of each function.
void addLLVMConversion(mlir::OpPassManager &pm);

/// Adds the passes of the phase `llvm` for a CPU to `pm`, which must be at a module. Before: what addKernelPasses
/// leaves. After: LLVM dialect only, `moe_entry_<function>.<level>` for each public function and level. `levels` are
/// names of knownIsaLevels(), each at most once; empty: all of them.
void addLLVMPasses(mlir::OpPassManager &pm, llvm::ArrayRef<std::string> levels);

} // namespace moe

#endif // MOE_CONVERSION_TILESTOCPU_H

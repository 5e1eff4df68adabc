//===- TilesToCPU.h - from bufferized tiles to the LLVM dialect -----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_CONVERSION_TILESTOCPU_H
#define MOE_CONVERSION_TILESTOCPU_H

#include "llvm/ADT/ArrayRef.h"

#include <optional>
#include <string>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace moe {

/// Adds the passes after which arithmetic on bf16 and f16 is done in f32, each result rounded; loads, stores and
/// conversions stay in the storage type.
void addNarrowFloatEmulation(mlir::OpPassManager &pm);

/// Adds the passes of the phase `kernel` for a CPU to `pm`, which must be at a module. Before: functions on memrefs
/// with moe.grouped_matmul, linalg on memrefs, scf.forall. After: scf.for, vector, arith and memref; every parallel
/// loop is a function of its own, called through moe_rt_parallel_for; no math function is left that is not an
/// instruction.
///
/// With `levels`, names of instruction-set levels (each at most once; empty: all of knownIsaLevels()), every function
/// has a clone for each, with the kernels of that level. Levels that would give the same code as a lower one are
/// replaced by that; the module's attribute isaLevelsAttr says what is left. Without `levels`, the code is for the
/// machine that compiles it.
void addKernelPasses(mlir::OpPassManager &pm, std::optional<llvm::ArrayRef<std::string>> levels);

/// Adds the passes that convert what addKernelPasses leaves to the LLVM dialect, without entry points. Functions with a
/// level get its target features; those without (module @prepare) are for the machine they are compiled on.
void addLLVMConversion(mlir::OpPassManager &pm);

/// Adds the passes of the phase `llvm` for a CPU to `pm`, which must be at a module. Before: what addKernelPasses
/// leaves. After: LLVM dialect only, `moe_entry_<function>` for each public function; names of functions with a level
/// end in `.<level>`.
void addLLVMPasses(mlir::OpPassManager &pm);

} // namespace moe

#endif // MOE_CONVERSION_TILESTOCPU_H

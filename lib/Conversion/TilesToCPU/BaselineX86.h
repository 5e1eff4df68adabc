//===- BaselineX86.h - do without instructions a level lacks --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_BASELINEX86_H
#define MOE_LIB_CONVERSION_TILESTOCPU_BASELINEX86_H

#include "moe/Conversion/IsaLevels.h"

#include "mlir/IR/Operation.h"

namespace moe {

/// Replaces operations inside `function` that code generation would turn into library calls at `level`: fused
/// multiply-add (by a multiplication and an addition, which round twice), conversions between f16 and f32, and rounding
/// to integers (by arithmetic with the same results).
void legalizeForLevel(mlir::Operation *function, const IsaLevel &level);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_BASELINEX86_H

//===- VectorTranspose.h - blocks of 16 by 16 in registers ----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_VECTORTRANSPOSE_H
#define MOE_LIB_CONVERSION_TILESTOCPU_VECTORTRANSPOSE_H

#include "mlir/IR/Builders.h"

namespace moe {

/// The transpose of 16 vectors of 16 elements of 32 bits: element j of vector i becomes element i of vector j. Made of
/// the shuffles that x86 has instructions for (unpack within 128 bits, then moves of 128 bits).
llvm::SmallVector<mlir::Value> transpose16x16(mlir::OpBuilder &b, mlir::Location loc, mlir::ValueRange rows);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_VECTORTRANSPOSE_H

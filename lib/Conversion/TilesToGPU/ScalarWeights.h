//===- ScalarWeights.h - one weight at a time ------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_SCALARWEIGHTS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_SCALARWEIGHTS_H

#include "mlir/IR/Builders.h"

namespace moe {

class GroupedMatmulOp;

/// An element of a memref as what sums are made of: floats as f32, integers as i32.
mlir::Value loadNumber(mlir::OpBuilder &b, mlir::Location loc, mlir::Value memref, mlir::ValueRange at);

/// Element `k` (index) of column `column` of a group, of the weight operand with that number: as loadNumber gives it,
/// or decoded to f32 where weights are codes.
mlir::Value loadWeight(mlir::OpBuilder &b, GroupedMatmulOp op, size_t number, mlir::Value group, mlir::Value column,
                       mlir::Value k);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_SCALARWEIGHTS_H

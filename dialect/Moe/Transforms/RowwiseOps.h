//===- RowwiseOps.h - recognising matrix products and row-wise ops --*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef DIALECT_MOE_TRANSFORMS_ROWWISEOPS_H
#define DIALECT_MOE_TRANSFORMS_ROWWISEOPS_H

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace moe {

/// x [M, K] times weight [N, K] transposed, summed in f32 from zero.
struct TransposedProduct {
  mlir::Value x, weight;
};

/// Recognises `op` as such a product: out[m, n] = sum over k of f32(x[m, k]) * f32(weight[n, k]), or says why not.
mlir::FailureOr<TransposedProduct> matchTransposedProduct(mlir::linalg::LinalgOp op, std::string &why);

/// True if `op` is an elementwise linalg.generic on rows: every loop is parallel, results are indexed by the loops as
/// they are, and an operand's row depends on loop 0 only, and the body sees scalars only, neither
/// loop numbers nor the number of rows.
bool isRowwise(mlir::linalg::GenericOp op);

/// True if every element of `value` is known to be +0.
bool isZeroFilled(mlir::Value value);

/// True if `op` has one group and that is known to hold every row of x: offsets [0, rows of x].
bool coversAllRows(GroupedMatmulOp op);

/// Builds a grouped_matmul on tensors whose epilogue yields the first accumulator, rounded to the element type of
/// `init`.
GroupedMatmulOp buildGroupedMatmul(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, mlir::Value weight,
                                   mlir::Value offsets, mlir::Value init);

} // namespace moe

#endif // DIALECT_MOE_TRANSFORMS_ROWWISEOPS_H

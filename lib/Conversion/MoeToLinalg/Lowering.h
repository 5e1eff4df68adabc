//===- Lowering.h - helpers of the reference lowering ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One file per group of ops; each adds its patterns. The helpers keep the patterns close to the formulas in the ops'
// documentation: this lowering is the oracle, it is written to be obviously right.
//
//===----------------------------------------------------------------------===//
#ifndef LIB_CONVERSION_MOETOLINALG_LOWERING_H
#define LIB_CONVERSION_MOETOLINALG_LOWERING_H

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/PatternMatch.h"

namespace moe {

void populateRoutingToLinalg(mlir::RewritePatternSet &patterns);       // top_k, drop, plan
void populateRowsToLinalg(mlir::RewritePatternSet &patterns);          // dispatch, combine
void populateExpertsToLinalg(mlir::RewritePatternSet &patterns);       // experts
void populateGroupedMatmulToLinalg(mlir::RewritePatternSet &patterns); // grouped_matmul
void populateTileMapToLinalg(mlir::RewritePatternSet &patterns);       // tile_map
void populateGaussianToLinalg(mlir::RewritePatternSet &patterns);      // gaussian
void populateAttentionToLinalg(mlir::RewritePatternSet &patterns);     // attention

namespace lowering {

/// Scalars of one iteration: one per input, then one per output; returns one value per output.
using ScalarBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ImplicitLocOpBuilder &, mlir::ValueRange)>;

/// A linalg.generic on tensors. `maps` are lists of loop numbers, one per operand ({0, 2} reads operand[i0, i2]);
/// loops listed in `reductions` are reductions, the others parallel. Loops run in ascending order.
llvm::SmallVector<mlir::Value> generic(mlir::ImplicitLocOpBuilder &b, mlir::ValueRange inputs, mlir::ValueRange outputs,
                                       unsigned loops, llvm::ArrayRef<llvm::SmallVector<unsigned>> maps,
                                       llvm::ArrayRef<unsigned> reductions, ScalarBody body);

/// A tensor of `sizes` filled with `value`.
mlir::Value filled(mlir::ImplicitLocOpBuilder &b, llvm::ArrayRef<mlir::OpFoldResult> sizes, mlir::Value value);
/// A tensor of `sizes` whose elements are written before they are read.
mlir::Value uninitialized(mlir::ImplicitLocOpBuilder &b, llvm::ArrayRef<mlir::OpFoldResult> sizes, mlir::Type element);

/// Dimension `dim` of `value` as an index.
mlir::Value sizeOf(mlir::ImplicitLocOpBuilder &b, mlir::Value value, int64_t dim);

mlir::Value indexConstant(mlir::ImplicitLocOpBuilder &b, int64_t value);
mlir::Value i32Constant(mlir::ImplicitLocOpBuilder &b, int64_t value);
mlir::Value floatConstant(mlir::ImplicitLocOpBuilder &b, mlir::Type type, double value);
/// -infinity of `type`.
mlir::Value negativeInfinity(mlir::ImplicitLocOpBuilder &b, mlir::FloatType type);

mlir::Value toIndex(mlir::ImplicitLocOpBuilder &b, mlir::Value i32);
mlir::Value toI32(mlir::ImplicitLocOpBuilder &b, mlir::Value index);
/// `value` as f32; every float type widens exactly but f64, which is rounded.
mlir::Value toF32(mlir::ImplicitLocOpBuilder &b, mlir::Value value);

/// for i = 0 .. count with loop-carried `values`; the body returns the next ones.
llvm::SmallVector<mlir::Value>
forLoop(mlir::ImplicitLocOpBuilder &b, mlir::Value count, mlir::ValueRange values,
        llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ImplicitLocOpBuilder &, mlir::Value, mlir::ValueRange)>
            body);

/// if `condition` then the body's values else `otherwise`.
llvm::SmallVector<mlir::Value>
ifThen(mlir::ImplicitLocOpBuilder &b, mlir::Value condition, mlir::ValueRange otherwise,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ImplicitLocOpBuilder &)> body);

/// Replaces `op` by `values`, cast to its result types where an op says more or less about sizes than its operands do.
void replaceWithCasts(mlir::PatternRewriter &rewriter, mlir::Operation *op, mlir::ValueRange values);

} // namespace lowering
} // namespace moe

#endif // LIB_CONVERSION_MOETOLINALG_LOWERING_H

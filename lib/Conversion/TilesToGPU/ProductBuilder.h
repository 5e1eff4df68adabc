//===- ProductBuilder.h - what kernels of products share -----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_PRODUCTBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_PRODUCTBUILDER_H

#include "TensorCoreBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"

namespace moe {

/// Neighbouring columns of a weight that a thread should have sums of, for stores of 16 bytes: 4 or 8. Tensor cores
/// give a thread two neighbours of each eight columns; which columns of the result these eight are is free.
int64_t columnsPerStore(GroupedMatmulOp op);

/// Emits code for one product in front of it: its tile, and the way of sums to the result.
class ProductBuilder : protected TensorCoreBuilder {
protected:
  explicit ProductBuilder(GroupedMatmulOp op)
      : TensorCoreBuilder(op), op(op), weights(op.getWeights().size()), run(columnsPerStore(op)) {}

  /// Sets `begin`, `rows` and `columns`.
  void prepareTile();
  /// Stores what a thread has of the row `inTile` of the tile, if there is such a row: `run` columns from `firstColumn`
  /// on, and so on every 4 * run columns up to `span`. `sum(weight, eight, element)` is the sum number `element` (0 or
  /// 1) of the product whose eight columns have the number `eight` of the weight's.
  void storeRow(mlir::Value inTile, mlir::Value firstColumn, int64_t span,
                llvm::function_ref<mlir::Value(int64_t weight, int64_t eight, int64_t element)> sum);

  GroupedMatmulOp op;
  int64_t weights;
  int64_t run; ///< neighbouring columns of a weight that a thread has sums of

  mlir::Value begin, rows, columns; ///< of the tile, i32

private:
  void store(mlir::Value row, mlir::Value column, mlir::ArrayRef<mlir::Value> rowScalars,
             mlir::ArrayRef<mlir::SmallVector<mlir::Value>> columnSums);
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_PRODUCTBUILDER_H

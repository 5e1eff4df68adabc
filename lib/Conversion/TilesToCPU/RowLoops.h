//===- RowLoops.h - loops over the rows of a linalg op ----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_ROWLOOPS_H
#define MOE_LIB_CONVERSION_TILESTOCPU_ROWLOOPS_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace moe {

/// Lowers a linalg op on memrefs to loops of which the innermost, along a "row", is not like the others. This is what
/// all such lowerings need: how operands lie along the row, and what is where.
class RowLoops {
protected:
  explicit RowLoops(mlir::linalg::LinalgOp op) : b(op), op(op), loc(op.getLoc()), rowDim(op.getNumLoops() - 1) {}

  static constexpr int64_t lanes = 16;

  /// How an operand is read along the row.
  enum class Access { Same, Contiguous, Other };
  Access accessOf(mlir::OpOperand &operand);
  bool isMemRef(mlir::OpOperand &operand) { return mlir::isa<mlir::MemRefType>(operand.get().getType()); }

  /// Where element `k` of the row is; a null `k` stands for an operand that is the same along the row.
  mlir::SmallVector<mlir::Value> indicesOf(mlir::OpOperand &operand, mlir::Value k);
  mlir::Value load(mlir::OpOperand &operand, mlir::Value k);
  /// Per input what it holds if that is the same along the row, else null.
  mlir::SmallVector<mlir::Value> loadSame();
  /// What linalg.index operations of the body stand for at element `k`, or, along the row, at the 16 from `k` on.
  mlir::SmallVector<std::pair<mlir::Value, mlir::Value>> positions(mlir::Value k, bool vector);

  /// A loop over another dimension of the op; code goes into it from now on.
  void openLoop(mlir::Value begin, mlir::Value end, int64_t step);
  mlir::Value index(int64_t value);

  mlir::OpBuilder b;
  mlir::linalg::LinalgOp op;
  mlir::Location loc;
  unsigned rowDim;
  mlir::SmallVector<mlir::Value> outer; ///< indices of the other dimensions
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_ROWLOOPS_H

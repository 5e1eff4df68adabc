//===- TileRows.h - several ops as one loop over rows ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef DIALECT_MOE_TRANSFORMS_TILEROWS_H
#define DIALECT_MOE_TRANSFORMS_TILEROWS_H

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

namespace moe {

/// Whether row r of every result of `op` depends on row r of its row-wise operands and on no other row of them, so that
/// `op` can be done for some rows alone: dense products of few columns, top_k, softmax along a row, and linalg ops
/// whose first loop goes over the rows. Otherwise `why` says what is in the way.
bool isTiledByRows(mlir::Operation *op, std::string &why);

/// Whether `operand` of such an op is only read in the rows that are computed.
bool isReadByRows(mlir::OpOperand &operand);

/// What a loop over rows has become.
struct RowLoop {
  mlir::scf::ForallOp loop;
  mlir::SmallVector<mlir::Operation *> tiled; ///< the ops in its body, one for each that was given
  mlir::OpFoldResult first, rows;             ///< of an iteration
};

/// Replaces `ops` (on tensors of `rows` rows; each in front of its users, all in the order of their block) by one
/// parallel loop in front of the last of them, with `block` rows in an iteration. Values that something else uses are
/// results of the loop.
mlir::FailureOr<RowLoop> tileRows(mlir::RewriterBase &rewriter, mlir::ArrayRef<mlir::Operation *> ops,
                                  mlir::OpFoldResult rows, int64_t block);

} // namespace moe

#endif // DIALECT_MOE_TRANSFORMS_TILEROWS_H

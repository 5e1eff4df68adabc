//===- TileGroupedMatmul.h - a grouped matmul as a loop over tiles --*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef DIALECT_MOE_TRANSFORMS_TILEGROUPEDMATMUL_H
#define DIALECT_MOE_TRANSFORMS_TILEGROUPEDMATMUL_H

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

namespace moe {

/// Replaces `op` (on tensors) by a parallel loop over tiles: at most `maxRows` rows of one group times a range of
/// columns. Each tile is a grouped_matmul of one group again. How many ranges of columns there are is decided at run
/// time: as few as keep all workers busy, since every tile reads (and gathers) its rows anew.
mlir::scf::ForallOp tileGroupedMatmul(mlir::RewriterBase &rewriter, GroupedMatmulOp op, int64_t maxRows);

/// The tiles of the rows of a grouped matmul, as values that are there before any loop over them.
struct RowTiles {
  mlir::Value count, table; ///< table: [count, 3] as moe.tile_map makes it
};
RowTiles makeRowTiles(mlir::OpBuilder &builder, GroupedMatmulOp op, int64_t maxRows);

/// Emits a sequential loop over `tiles` that computes `columns` columns from `column` on into `outs` [rows of `op`,
/// columns], and returns the result. No tile has more than `mostRows` rows.
mlir::Value multiplyColumns(mlir::OpBuilder &builder, GroupedMatmulOp op, const RowTiles &tiles, int64_t mostRows,
                            mlir::OpFoldResult column, int64_t columns, mlir::Value outs);

} // namespace moe

#endif // DIALECT_MOE_TRANSFORMS_TILEGROUPEDMATMUL_H

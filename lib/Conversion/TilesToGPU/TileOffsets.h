//===- TileOffsets.h - the offsets of a tile with one group ---------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_TILEOFFSETS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_TILEOFFSETS_H

#include "mlir/IR/Value.h"

namespace moe {

class GroupedMatmulOp;

/// Whether `memref` only holds the offsets [first, end] of products of one group: numbers that are stored to it at
/// constant positions, and that the lowering of those products takes directly.
bool isTileOffsets(mlir::Value memref);

/// The i32 values of the two offsets of `op`; none unless isTileOffsets.
std::pair<mlir::Value, mlir::Value> getTileOffsets(GroupedMatmulOp op);

/// Erases the buffer of offsets once no product uses it.
void eraseTileOffsets(mlir::Value memref);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_TILEOFFSETS_H

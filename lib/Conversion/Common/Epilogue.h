//===- Epilogue.h - the epilogue of a grouped matmul on vectors -----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_COMMON_EPILOGUE_H
#define MOE_LIB_CONVERSION_COMMON_EPILOGUE_H

#include "mlir/IR/Builders.h"

namespace moe {

class GroupedMatmulOp;

/// Emits the epilogue of one element of `op`, on buffers, from its `sums` (one per weight): loads the scalars of row
/// `row` and of column `column` of `group`, computes, and stores the result there.
void storeElement(mlir::OpBuilder &b, GroupedMatmulOp op, mlir::ValueRange sums, mlir::Value group, mlir::Value row,
                  mlir::Value column);

/// Clones the scalar block `epilogue` with its arguments replaced by `arguments`; returns the value it yields.
mlir::Value cloneScalarEpilogue(mlir::OpBuilder &b, mlir::Block &epilogue, mlir::ValueRange arguments);

/// Clones the scalar block `epilogue` for `width` columns at once; returns the vector it yields. Each argument is
/// either a vector of `width` elements or a scalar, the same for all columns. Elementwise operations become vector
/// operations, operations on scalars only stay scalar, a branch that all columns take stays one, neighbours in memory
/// are loaded together, and any other operation is cloned once per column. Operations with a result in `known` (pairs
/// of that and of what stands for it) are left out.
mlir::Value cloneVectorEpilogue(mlir::OpBuilder &b, mlir::Block &epilogue, mlir::ValueRange arguments, int64_t width,
                                llvm::ArrayRef<std::pair<mlir::Value, mlir::Value>> known = {});

} // namespace moe

#endif // MOE_LIB_CONVERSION_COMMON_EPILOGUE_H

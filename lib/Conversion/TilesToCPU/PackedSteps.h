//===- PackedSteps.h - reading panels of quantised weights ----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What kernels on i8 and on codes share: a panel of quantised weights is read in steps of 32 bits for each of its 16
// columns, one lane of a vector for each.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_PACKEDSTEPS_H
#define MOE_LIB_CONVERSION_TILESTOCPU_PACKEDSTEPS_H

#include "MicroKernelBuilder.h"

#include "dialect/Moe/IR/MoeOps.h"

namespace moe::packed {

inline constexpr int64_t panelWidth = GroupedMatmulOp::panelWidth;
/// Bytes of a panel that a step takes: 32 bits for each column.
inline constexpr int64_t stepBytes = 4 * panelWidth;

/// A lane of `element` for each column.
mlir::VectorType lanesOf(mlir::Type element);
mlir::Value splat(mlir::OpBuilder &b, mlir::Location loc, int32_t value);
mlir::Value splat(mlir::OpBuilder &b, mlir::Location loc, float value);

/// 32 bits of each column of a panel.
mlir::Value loadStep(mlir::OpBuilder &b, mlir::Location loc, mlir::Value weights, mlir::Value group, mlir::Value panel,
                     mlir::Value step);
/// Bits first .. first + width of each lane, as a signed number.
mlir::Value signedBits(mlir::OpBuilder &b, mlir::Location loc, mlir::Value lanes, unsigned first, unsigned width);
/// Calls an instruction that MLIR has no op for.
mlir::Value intrinsic(mlir::OpBuilder &b, mlir::Location loc, llvm::StringRef name, mlir::Type result,
                      mlir::ValueRange operands);

/// Whether the function that `op` is in is for a level with 512-bit vectors (and dot products of bytes).
bool hasAvx512(mlir::Operation *op);

/// Whether `op` has packed weights with panels that can be read in steps; says why not as an error at `op`.
llvm::LogicalResult checkContiguous(GroupedMatmulOp op);
/// The weights of `op`: [E, panels, steps, stepBytes] of i8.
llvm::SmallVector<mlir::Value> collapsed(mlir::OpBuilder &b, GroupedMatmulOp op);

/// Rows and panels of kernels for `weights` operands whose sums fill 32 vector registers of 16 lanes, or 16 of 8. One
/// row takes several panels at once, or it would wait for the latency of its chains, and as many streams of weights as
/// memory serves best.
llvm::ArrayRef<KernelShape> ladderOf32Registers(size_t weights);
llvm::ArrayRef<KernelShape> ladderOf16Registers(size_t weights);

} // namespace moe::packed

#endif // MOE_LIB_CONVERSION_TILESTOCPU_PACKEDSTEPS_H

//===- MmaKernelBuilder.h - a grouped matmul on tensor cores --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_MMAKERNELBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_MMAKERNELBUILDER_H

#include "moe/Runtime/GpuCostModel.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Builders.h"

#include <optional>

namespace moe {

class GroupedMatmulOp;

/// Threads of a block that multiplies on tensor cores.
constexpr int64_t mmaThreads = 128;
/// Attribute of a product: rows of the blocks that compute it, one of rt::blockShapes(); without it the most.
constexpr llvm::StringLiteral blockRowsAttr = "moe.block_rows";

/// How a block of 128 threads computes a part of a product.
using MmaShape = rt::BlockShape;

/// The shape for `op` with blocks of at least `rows` rows, or the one with the most. None where tensor cores cannot do
/// the op: only for rows of bf16, f16, f32 or i8, weights of that type or packed codes, a tile of one group, and rows
/// in multiples of 4 bytes.
std::optional<MmaShape> findMmaShape(GroupedMatmulOp op, int64_t rows);

/// The shapes to make kernels of `op` in, by ascending rows, each with the most rows that a group may have on average
/// to be launched; the last one is for all others. Empty where tensor cores cannot do the op.
std::vector<rt::ShapeChoice> chooseMmaShapes(GroupedMatmulOp op, const rt::GpuMachine &machine);

/// Emits the kernel of `shape` in front of `op`, which stays. `kernel` gets the shared memory.
void buildMmaKernel(GroupedMatmulOp op, const MmaShape &shape, mlir::gpu::GPUFuncOp kernel);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_MMAKERNELBUILDER_H

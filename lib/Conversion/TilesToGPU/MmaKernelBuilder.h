//===- MmaKernelBuilder.h - a grouped matmul on tensor cores --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_MMAKERNELBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_MMAKERNELBUILDER_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Builders.h"

#include <optional>

namespace moe {

class GroupedMatmulOp;

/// Threads of a block that multiplies on tensor cores.
constexpr int64_t mmaThreads = 128;
/// Attribute of a product whose tiles mostly have 16 rows or fewer.
constexpr llvm::StringLiteral fewRowsAttr = "moe.few_rows";

/// How a block of 128 threads computes a part of a product.
struct MmaShape {
  int64_t rows;                        ///< of x in a block
  int64_t columns;                     ///< of all weights together in a block
  int64_t warpRows;                    ///< warps along the rows
  int64_t warpColumns;                 ///< and along the columns: four warps in all
  int64_t stages;                      ///< of the pipeline of copies
  int64_t blocks;                      ///< that a multiprocessor should hold: they share its 65536 registers
  static constexpr int64_t depth = 32; ///< elements along k in a stage: 64 bytes

  /// Bytes of shared memory.
  int64_t sharedBytes() const { return stages * stageBytes(); }
  int64_t stageBytes() const { return (rows + columns) * depth * 2; }
};

/// The shape for `op`; with `fewRows` one that reads the weights once for up to 16 rows. None where tensor cores cannot
/// do the op: only for 16-bit rows and weights of one type, a tile of one group, and rows in multiples of 4 bytes.
std::optional<MmaShape> chooseMmaShape(GroupedMatmulOp op, bool fewRows);

/// Emits the kernel of `shape` in front of `op`, which stays. `kernel` gets the shared memory.
void buildMmaKernel(GroupedMatmulOp op, const MmaShape &shape, mlir::gpu::GPUFuncOp kernel);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_MMAKERNELBUILDER_H

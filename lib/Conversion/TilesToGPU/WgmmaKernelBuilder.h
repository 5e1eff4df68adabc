//===- WgmmaKernelBuilder.h - a grouped matmul on sm_90a ------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_WGMMAKERNELBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_WGMMAKERNELBUILDER_H

#include "TensorMaps.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Builders.h"

#include <optional>
#include <string>

namespace moe {

class GroupedMatmulOp;

/// Threads of a block: a warpgroup that has tiles copied, and two that multiply.
constexpr int64_t wgmmaThreads = 384;

/// How a block computes a part of a product.
struct WgmmaShape {
  int64_t columns;                                 ///< of all weights together in a block, and of an instruction
  int64_t stages;                                  ///< of the ring of tiles in shared memory
  int64_t run;                                     ///< neighbouring columns of a weight that a thread has sums of
  static constexpr int64_t rows = 128, depth = 64; ///< of x in a block; elements along k in a stage: 128 bytes

  int64_t stageBytes() const { return (rows + columns) * depth * 2; }
  /// Bytes of dynamic shared memory: the stages, and two barriers for each.
  int64_t sharedBytes() const { return stages * (stageBytes() + 16); }
};

/// The shape for `op` in a kernel; none, with a reason in `why`, where it cannot be done this way.
std::optional<WgmmaShape> chooseWgmmaShape(GroupedMatmulOp op, std::string &why);

/// The tensor maps that the kernel of `op` needs as arguments behind the others, in that order: of each weight, and of
/// x unless its rows are gathered.
mlir::SmallVector<TensorMap> tensorMapsOf(GroupedMatmulOp op, const WgmmaShape &shape);

/// Makes `kernel`, whose body does nothing but compute where the tiles of `op` are and the op, into one of two roles.
/// Its last arguments must be pointers to the maps of tensorMapsOf. Erases `op`.
void buildWgmmaKernel(GroupedMatmulOp op, const WgmmaShape &shape, mlir::gpu::GPUFuncOp kernel);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_WGMMAKERNELBUILDER_H

//===- AttentionKernelBuilder.h - attention on tensor cores ---------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_ATTENTIONKERNELBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_ATTENTIONKERNELBUILDER_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <optional>

namespace moe {

class AttentionOp;

/// What a kernel for few rows does of its rows' keys.
enum class AttentionPart {
  All,     ///< all chunks, up to the result
  Chunks,  ///< every gridDim.y-th chunk; its sums go to memory between kernels
  Combine, ///< the result from the sums of all chunks; a block has 32 columns, number blockIdx.y
};
/// Attribute of moe.attention in a kernel: an AttentionPart as i64. Absent: All. For the others the last arguments of
/// the kernel are the memory between kernels (memref<f32>), and for how many chunks of a row it has room (index).
constexpr llvm::StringLiteral attentionPartAttr = "moe.attention_part";

/// How a block of 128 threads computes moe.attention for one key-value head. A row is a query of one of its query
/// heads.
struct AttentionShape {
  int64_t depth; ///< elements of a head
  bool fewRows;  ///< 16 rows, each warp with other keys, instead of 64 rows and the same keys for all warps
  AttentionPart part = AttentionPart::All;

  /// Keys of a tile, which begins at a multiple of that. Part of the order of sums.
  static constexpr int64_t keys = 64;
  /// Tiles of a chunk, which begins at a multiple of that. Part of the order of sums too.
  static constexpr int64_t chunkTiles = 4;
  static constexpr int64_t chunkKeys = chunkTiles * keys;
  /// Keys that a warp with its own copies at once.
  static constexpr int64_t keysPerStep = 16;
  /// Copies of keys or values that shared memory holds.
  static constexpr int64_t slots = 3;

  int64_t rows() const { return fewRows ? 16 : 64; }
  int64_t rowBytes() const { return 2 * depth; }
  /// Bytes of one copy, and of all.
  int64_t slotBytes() const { return (fewRows ? keysPerStep : keys) * rowBytes(); }
  int64_t sharedBytes() const {
    if (part == AttentionPart::Combine)
      return 4 * 2 * chunksAtOnce * 2 * columnsBytes; // of each warp two groups of chunks: sums and statistics
    return slots * slotBytes() * (fewRows ? 4 : 1);
  }
  /// Memory between kernels for what is known of 16 rows over one chunk: sums, and behind them as much as eight columns
  /// for the statistics.
  int64_t chunkBytes() const { return (depth / 8 + 1) * columnsBytes; }
  /// Sums of a warp's 16 rows in eight columns: four of a lane.
  static constexpr int64_t columnsBytes = 32 * 4 * 4;
  /// Chunks whose sums are copied together when they are combined.
  static constexpr int64_t chunksAtOnce = 4;
};

/// The shape for `op`; none where tensor cores cannot do it: only for queries, keys and values of one 16-bit type,
/// heads in multiples of 16 elements up to 128, one sequence and one key-value head, and a positive scale.
std::optional<AttentionShape> chooseAttentionShape(AttentionOp op, bool fewRows);

/// Emits the kernel of `shape` in front of `op`, which stays. `kernel` gets the shared memory. With few rows or many:
/// the same bits for a row.
void buildAttentionKernel(AttentionOp op, const AttentionShape &shape, mlir::gpu::GPUFuncOp kernel);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_ATTENTIONKERNELBUILDER_H

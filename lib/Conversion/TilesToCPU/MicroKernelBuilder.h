//===- MicroKernelBuilder.h - inner loops of a grouped matmul -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The innermost loop of a matrix product on packed weights: a block of rows times some panels of 16 columns, all sums
// in registers. VectorRecipe.cpp chooses rows and panels.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_MICROKERNELBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOCPU_MICROKERNELBUILDER_H

#include "mlir/IR/Builders.h"

namespace moe {

class GroupedMatmulOp;

/// Rows and panels of one kernel: rows * panels * (weight operands) accumulators of 16 f32 each.
struct KernelShape {
  int64_t rows;
  int64_t panels;
};

/// Emits the innermost loops for one layout of weights, with rows read where they lie; makeBuilderRecipe makes a recipe
/// of it.
class KernelBuilder {
public:
  virtual ~KernelBuilder() = default;

  /// The kernels for the rows of a group, best first. Each takes as many rows as it can of what its predecessors left;
  /// the last one has one row.
  virtual llvm::ArrayRef<KernelShape> ladder() const = 0;

  /// Emits one kernel at the insertion point of `b`. `rows` are views of rank 1 of the rows of x, `group` the index of
  /// the group, `panels` the indices of the panels. Returns accumulators, vectors of 16, the one of weight operand w,
  /// panel p and row r at (w * panels + p) * rows + r.
  virtual llvm::SmallVector<mlir::Value> build(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                               mlir::ValueRange panels) const = 0;
};

/// How many lines ahead to fetch each of `streams` panels that are read line by line in turn. Panels often lie a power
/// of two apart, so what all streams fetch ahead shares few sets of the first-level cache: eight streams of 16 lines
/// evict each other.
int64_t prefetchDistance(size_t streams);

/// How the products of an element are summed: one after the other, k ascending; or as AMX tiles do, 32 k at a time from
/// zero, even and odd ones each by themselves, and then both sums are added. Then the bits are those of tiles, but for
/// numbers below 2^-100, which the tiles' instruction may take as zeros.
enum class SumOrder { Ascending, AsTiles };

/// Emits loops over k with f32 fused multiply-add: acc = fma(x[r, k], w[n, k], acc), k ascending, one accumulator per
/// element; or over pairs of k with dot products of bf16 (vdpbf16ps, bfdot), pairs ascending; or, of pairs, in the
/// order of tiles. So every kernel shape gives the same bits.
class MicroKernelBuilder {
public:
  /// Whether `op` has packed weights this builder can read; says why not as an error at `op`.
  static mlir::LogicalResult check(GroupedMatmulOp op);

  /// What K is a multiple of in the order of tiles, where weights are pairs.
  static constexpr int64_t tileDepth = 32;

  /// Prepares views of the weights of `op` at the insertion point of `b`. With `dot`, weights are pairs of bf16.
  MicroKernelBuilder(mlir::OpBuilder &b, GroupedMatmulOp op, bool dot = false, SumOrder order = SumOrder::Ascending);

  /// The builder of weight operand `w` alone.
  MicroKernelBuilder ofWeight(size_t w) const;

  /// Emits one kernel at the insertion point of `b`. `rows` are views of rank 1 of the rows of x (with `dot`: bf16, of
  /// even length, contiguous), `group` the index of the group, `panels` the indices of the panels. Returns
  /// vector<16xf32> accumulators, the one of weight operand w, panel p and row r at (w * panels + p) * rows + r. With
  /// `prefetches` each panel is fetched ahead.
  llvm::SmallVector<mlir::Value> build(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                       mlir::ValueRange panels, bool prefetches = false) const;

private:
  struct Operand {
    mlir::Value memref; ///< [E, panels, K, 16], or [E, panels, (K + 1) / 2, 32] of pairs
    mlir::Type element;
  };

  /// Values of one step over k, or over pairs of k, at index `step`: one vector per k.
  llvm::SmallVector<mlir::Value> loadWeights(mlir::OpBuilder &b, const Operand &weight, mlir::Value group,
                                             mlir::Value panel, mlir::Value step, unsigned depth) const;
  llvm::SmallVector<mlir::Value> loadRow(mlir::OpBuilder &b, mlir::Value row, mlir::Value step, unsigned depth) const;
  /// One step of all sums: `combine` of what `loadRow` and `loadPanel` give, row by row within a panel. Of rows and
  /// panels the fewer are held in registers while the others pass by, so that operands and sums fit.
  using Load = llvm::function_ref<llvm::SmallVector<mlir::Value>(size_t)>;
  using Combine =
      llvm::function_ref<mlir::Value(llvm::ArrayRef<mlir::Value> x, llvm::ArrayRef<mlir::Value> w, mlir::Value sum)>;
  llvm::SmallVector<mlir::Value> combine(size_t rowCount, size_t panelCount, mlir::ValueRange accumulators,
                                         Load loadRow, Load loadPanel, Combine combine) const;
  llvm::SmallVector<mlir::Value> multiplyAdd(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                             mlir::ValueRange panels, mlir::Value step, unsigned depth,
                                             mlir::ValueRange accumulators) const;

  mlir::Location loc;
  llvm::SmallVector<Operand> weights;
  llvm::SmallVector<mlir::Value> multiplyPairs(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                               mlir::ValueRange panels, mlir::Value step,
                                               mlir::ValueRange accumulators) const;
  void prefetch(mlir::OpBuilder &b, mlir::Value group, mlir::ValueRange panels, mlir::Value step) const;

  llvm::SmallVector<mlir::Value> buildAsTiles(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                              mlir::ValueRange panels, bool prefetches) const;
  /// One step: the even k is added to the first half of `sums`, the odd one to the second.
  llvm::SmallVector<mlir::Value> multiplyAddApart(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                                  mlir::ValueRange panels, mlir::Value step,
                                                  mlir::ValueRange sums) const;

  int64_t depth;
  bool pairs, dot;
  SumOrder order;
  bool neon; ///< dot products are those of Arm, of 128 bits
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_MICROKERNELBUILDER_H

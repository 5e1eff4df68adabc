//===- QuantizedKernels.h - inner loops over quantised weights ------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_QUANTIZEDKERNELS_H
#define MOE_LIB_CONVERSION_TILESTOCPU_QUANTIZEDKERNELS_H

#include "MicroKernelBuilder.h"

namespace moe {

/// i8 times i8 in quads along k: sums of vector<16xi32>. They are exact, so the same at every level.
class IntegerKernelBuilder : public KernelBuilder {
public:
  static mlir::LogicalResult check(GroupedMatmulOp op);
  IntegerKernelBuilder(mlir::OpBuilder &b, GroupedMatmulOp op);

  llvm::ArrayRef<KernelShape> ladder() const override;
  llvm::SmallVector<mlir::Value> build(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                       mlir::ValueRange panels) const override;

private:
  mlir::Value loadQuad(mlir::OpBuilder &b, mlir::Value row, mlir::Value step, unsigned count) const;
  llvm::SmallVector<mlir::Value> multiplyAdd(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                             mlir::ValueRange panels, mlir::Value step, unsigned count,
                                             mlir::ValueRange accumulators) const;
  llvm::SmallVector<mlir::Value> multiplyWords(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                               mlir::ValueRange panels, mlir::Value step, unsigned count,
                                               mlir::ValueRange accumulators) const;
  llvm::SmallVector<mlir::Value> dot(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                     mlir::ValueRange panels, mlir::Value step, unsigned count,
                                     mlir::ValueRange accumulators) const;
  void prefetch(mlir::OpBuilder &b, mlir::Value group, mlir::ValueRange panels, mlir::Value step) const;

  mlir::Location loc;
  llvm::SmallVector<mlir::Value> weights; ///< [E, panels, (K + 3) / 4, 64] i8
  int64_t depth;
  bool hasDot;          ///< instructions for sums of four products of bytes
  int64_t wordSums = 0; ///< sums that an instruction makes of two products of words each; 0: there is none
};

/// Codes of 4 or 8 bits, decoded to f32 in registers but not scaled: the k that share a scale are summed by themselves,
/// from zero, by fused multiply-add; the scale is applied when that sum is added to those before. In the order of tiles
/// the k of a tile are a sum of their own, and the result is rounded between scaling and adding, as AmxCodes.cpp has
/// it.
class CodeKernelBuilder : public KernelBuilder {
public:
  static mlir::LogicalResult check(GroupedMatmulOp op);
  CodeKernelBuilder(mlir::OpBuilder &b, GroupedMatmulOp op, SumOrder order = SumOrder::Ascending);

  llvm::ArrayRef<KernelShape> ladder() const override;
  llvm::SmallVector<mlir::Value> build(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                       mlir::ValueRange panels) const override;

  /// The 16 scales of the panel's columns in weight operand `w` for the codes of `block`, as f32.
  mlir::Value loadScale(mlir::OpBuilder &b, size_t w, mlir::Value group, mlir::Value panel, mlir::Value block) const {
    return loadScale(b, scales[w], group, panel, block);
  }
  /// Codes of a column in a step, which takes 32 bits of each.
  int64_t codesOfStep() const { return 32 / bits; }
  /// The codes of step `step` of the panel's columns in weight operand `w` as numbers, not scaled, which are exact in
  /// bf16: vectors of pairs, as weights of bf16 are packed.
  llvm::SmallVector<mlir::Value> loadPairs(mlir::OpBuilder &b, size_t w, mlir::Value group, mlir::Value panel,
                                           mlir::Value step) const;
  /// Fetches step `step` of the panels that come next.
  void prefetchCodes(mlir::OpBuilder &b, mlir::Value group, mlir::ValueRange panels, mlir::Value step) const {
    prefetchNext(b, weights, group, panels, step);
  }
  /// Fetches the scales that those have for the codes of `block`.
  void prefetchScales(mlir::OpBuilder &b, mlir::Value group, mlir::ValueRange panels, mlir::Value block) const {
    prefetchNext(b, scales, group, panels, block);
  }

private:
  void prefetchNext(mlir::OpBuilder &b, mlir::ValueRange operands, mlir::Value group, mlir::ValueRange panels,
                    mlir::Value place) const;
  mlir::Value loadScale(mlir::OpBuilder &b, mlir::Value scales, mlir::Value group, mlir::Value panel,
                        mlir::Value block) const;
  /// Code `k` of a step of each of the 16 columns in `codes`, as a number.
  mlir::Value decode(mlir::OpBuilder &b, mlir::Value codes, unsigned k) const;
  mlir::Value decode4Bits(mlir::OpBuilder &b, mlir::Value codes, unsigned first) const;
  mlir::Value decodeE2m1(mlir::OpBuilder &b, mlir::Value codes, unsigned first) const;
  mlir::Value decode8Bits(mlir::OpBuilder &b, mlir::Value codes, unsigned first) const;
  /// Those of k = 2 pair and the next, as bf16 in 32 lanes of 16 bits.
  mlir::Value lookUpPairs(mlir::OpBuilder &b, mlir::Value codes, unsigned pair) const;
  mlir::Value decodePairs(mlir::OpBuilder &b, mlir::Value codes, unsigned pair) const;
  /// The even or the odd numbers of such pairs, as f32.
  mlir::Value halfOfPairs(mlir::OpBuilder &b, mlir::Value pairs, bool odd) const;
  /// The first `count` k of a step: for each chain, its sums.
  llvm::SmallVector<mlir::Value> multiplyStep(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                              mlir::ValueRange panels, mlir::Value step, unsigned count,
                                              mlir::ValueRange partialSums) const;
  /// The sums of `count` k from `firstStep` on, not scaled: in one piece, or tile by tile in the order of tiles.
  llvm::SmallVector<mlir::Value> sumChains(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                           mlir::ValueRange panels, mlir::Value firstStep, int64_t count) const;
  llvm::SmallVector<mlir::Value> sumTiles(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                          mlir::ValueRange panels, mlir::Value firstStep, int64_t count) const;
  unsigned chainCount() const { return order == SumOrder::AsTiles ? 2 : 1; }

  mlir::Location loc;
  llvm::SmallVector<mlir::Value> weights; ///< [E, panels, steps, 64] i8
  llvm::SmallVector<mlir::Value> scales;  ///< [E, panels, groups of k, 16]
  int64_t depth, bits, scaleGroup;
  SumOrder order;
  bool isInt4;
  bool hasLookup;      ///< an instruction that looks 16 codes up in a table of f32
  bool hasSmallLookup; ///< one that looks 8 up in a table of 8
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_QUANTIZEDKERNELS_H

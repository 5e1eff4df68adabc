//===- AmxRecipe.h - products in AMX tiles --------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_AMXRECIPE_H
#define MOE_LIB_CONVERSION_TILESTOCPU_AMXRECIPE_H

#include "GatheredRows.h"
#include "KernelRecipe.h"
#include "QuantizedKernels.h"

#include "dialect/Moe/IR/MoeOps.h"

namespace moe {

/// On amx.tile_load: the lines are in the second-level cache and will not stay in the first. The load does not put them
/// there then, and takes less time.
inline constexpr llvm::StringLiteral amxFromSecondLevelAttr = "moe.from_second_level";

/// Described in AmxRecipe.cpp, which has what all element types share; products of codes are in AmxCodes.cpp.
class AmxRecipe : public KernelRecipe {
public:
  AmxRecipe(GroupedMatmulOp op);

  /// Panels that one row tile is multiplied with: an op has no more weight operands.
  static constexpr int64_t maxPanels = 4;

  mlir::Type getSumType(mlir::MLIRContext *context) const override {
    return isInteger ? mlir::Type(mlir::IntegerType::get(context, 32)) : KernelRecipe::getSumType(context);
  }
  void prepare(mlir::OpBuilder &b) override;
  void packRows(mlir::OpBuilder &b, size_t plan, const RowBlock &rows, const DepthBlock *block) override;
  void multiply(mlir::OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels,
                const DepthBlock *block, RowsDone done) override;

private:
  static constexpr int64_t tileRows = 16, panelWidth = GroupedMatmulOp::panelWidth, sumsOfTile = tileRows * panelWidth;
  /// Tile registers that hold sums at most.
  static constexpr int64_t maxSums = 4;
  int64_t weightCount() const { return weights.size(); }
  int64_t wholeTiles() const { return depth / tileDepth; }
  bool hasOneTile(size_t plan) const { return plan + 2 == getPlans().size(); }
  bool usesVectors(size_t plan) const { return plan + 2 < getPlans().size(); }

  /// Tiles of rows, `together` of them side by side: groups that are full, then tiles alone.
  struct Groups {
    mlir::Value whole, count; ///< groups that are full, and all
  };
  Groups groupsOf(mlir::OpBuilder &b, const RowBlock &rows);
  /// A group of tiles of rows, or its part that has `count` tiles.
  struct RowTiles {
    int64_t count;
    mlir::Value first;             ///< index of the first tile
    mlir::Value start;             ///< where they begin, in elements
    mlir::Value tileStep, rowStep; ///< from a tile to the next in the direction of K, from a row to the next
    mlir::Value lines = nullptr; ///< of the next panels to fetch per tile and step; null if there is only one row tile
  };
  /// Which tiles of K: those of `block`, or all.
  struct Depth {
    mlir::Value begin, count;
  };
  Depth depthOf(mlir::OpBuilder &b, const DepthBlock *block);
  /// The same for codes, where a last tile that K does not fill is one like others.
  Depth codeTilesOf(mlir::OpBuilder &b, const DepthBlock *block);
  struct Strides {
    mlir::Value tileStep, rowStep;
  };
  Strides oneTile(mlir::OpBuilder &b, const RowBlock &rows);

  /// Lines of packed weights that make a tile.
  int64_t linesOfTile() const { return codes ? tileDepth / codes->codesOfStep() : tileRows; }
  mlir::Value lastTile(mlir::OpBuilder &b) { return index(b, wholeTiles()); }
  void packRow(mlir::OpBuilder &b, mlir::Value row, mlir::Value first, mlir::Value tileStep, const Depth &range);
  void copyTails(mlir::OpBuilder &b, mlir::Value group, const PanelBlock &panels);
  /// The inner loop for some tiles of rows and `panels`. The sums go to `sums` from `sumStart` on, tile by tile; with a
  /// block of K they are added to what is there.
  void multiplyTiles(mlir::OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                     const DepthBlock *block, mlir::Value sumStart);
  /// Fetches line `line` of `count` panels of each weight operand.
  void prefetchLines(mlir::OpBuilder &b, mlir::Value group, mlir::Value panel, int64_t count, mlir::Value line,
                     int64_t locality);
  void prefetchPanels(mlir::OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                      const Depth &range, mlir::Value k);

  /// Decodes tile `k` of K of `panels` to `decoded`, from `to` on, where a panel has `room` tiles.
  void decodeTile(mlir::OpBuilder &b, mlir::Value group, const PanelBlock &panels, mlir::Value k, mlir::Value to,
                  int64_t room, bool fetches);
  /// Emits the product of `rows` by vectors; they are gathered but for those of i8.
  llvm::SmallVector<mlir::Value> buildByVectors(mlir::OpBuilder &b, mlir::ValueRange rows, mlir::Value group,
                                                mlir::ValueRange panels);
  /// The product of as many rows as the plan has by vectors. The sums are where those of a tile would be.
  void multiplyByVectors(mlir::OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels);
  /// The product, from zero, of the tiles of K from `k` to `end` that share a scale, decoded from `from` on; to
  /// `products`.
  void multiplyGroup(mlir::OpBuilder &b, const RowTiles &tiles, int64_t panelCount, mlir::Value k, mlir::Value end,
                     mlir::Value from, int64_t room);
  /// As multiplyTiles, of codes.
  void multiplyCodes(mlir::OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                     const DepthBlock *block, mlir::Value sumStart);

  GroupedMatmulOp op;
  int64_t depth;
  bool isInteger;
  mlir::Type element;
  int64_t tileDepth, tileSize;                    ///< elements of a row of a tile, and of a tile
  int64_t together;                               ///< tiles of rows in one inner loop, of blocks of many rows
  int64_t blockTiles;                             ///< tiles of K in a block; all, if K is not cut
  int64_t groupTiles;                             ///< of codes: tiles of K that share a scale
  llvm::SmallVector<mlir::Value> weights;         ///< [E, panels, pairs or quads of k, tileDepth]
  std::unique_ptr<CodeKernelBuilder> codes;       ///< of weights with a format
  std::unique_ptr<MicroKernelBuilder> vectors;    ///< of bf16
  std::unique_ptr<IntegerKernelBuilder> integers; ///< of i8
  int64_t vectorRows = 0;                         ///< most rows that vectors multiply
  GatheredRows gathered;                          ///< the rows that vectors multiply
  mlir::Value decoded;                            ///< of codes: panels x tiles of k x 16 x 32
  mlir::Value products;                           ///< of codes: those of one group of k
  mlir::Value packed;   ///< groups of tiles of rows x tiles of k x tiles of the group, 16 x tileDepth elements
  mlir::Value tails;    ///< the last tiles of up to maxPanels panels; null for codes, or if K is a multiple of a tile's
  mlir::Value sums;     ///< tiles; with blocks of K, behind them 16 zeros
  int64_t zeroSums = 0; ///< where those are
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_AMXRECIPE_H

//===- AmxRecipe.cpp - products of bf16 in AMX tiles ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A tile multiplication takes 16 rows of x, 16 columns and 32 k. Rows are packed into tiles of 1 KB first, which also
// keeps them from lying 4 KB apart; weights in pairs are tiles as they are: 16 pairs of k make one. All sums of one
// inner loop stay in tiles over the whole K, so every element is added in the instruction's own order, whatever the
// number of rows and panels.
//
// Rows that fill no tile are not cleared: they only reach sums that nobody reads. Where K is no multiple of 32, x ends
// in zeros, and the last tile of a panel is a copy that does too: what lies behind a panel may be anything.
//
//===----------------------------------------------------------------------===//

#include "KernelRecipe.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t tileRows = 16, tileDepth = 32, panelWidth = GroupedMatmulOp::panelWidth;
/// Rows of a block: x in tiles should stay in the second-level cache while panels pass by.
static constexpr int64_t maxBlockRows = 256, maxBlockBytes = 1 << 20;
/// Tiles of sums in one inner loop. With the operands' tiles all eight registers are in use.
static constexpr int64_t maxSums = 4;

namespace {
class AmxRecipe : public KernelRecipe {
public:
  AmxRecipe(GroupedMatmulOp op);

  void prepare(OpBuilder &b) override;
  void packRows(OpBuilder &b, size_t plan, const RowBlock &rows) override;
  void multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels, Value sums) override;

private:
  int64_t weightCount() const { return weights.size(); }
  int64_t wholeTiles() const { return depth / tileDepth; }
  int64_t tilesOfRow() const { return llvm::divideCeil(depth, tileDepth); }
  bool hasOneTile(size_t plan) const { return plan == 0; }
  /// Where tiles of rows lie, in elements: from one tile of a row to the next, and from a row of a tile to the next.
  struct Layout {
    Value tileStep, rowStep;
  };
  Layout layoutOf(OpBuilder &b, size_t plan, const RowBlock &rows);

  void packRow(OpBuilder &b, Value row, Value tile, Value inner, const Layout &layout);
  void copyTails(OpBuilder &b, Value group, const PanelBlock &panels);
  /// The inner loop for `count` tiles of rows from `firstTile` and `panels`; the row of `sums` is that of the tiles.
  void multiplyTiles(OpBuilder &b, size_t plan, int64_t count, Value firstTile, const Layout &layout, Value group,
                     const PanelBlock &panels, Value sums);
  void prefetch(OpBuilder &b, size_t plan, Value group, const PanelBlock &panels, Value pair, Value k, int64_t panel);

  GroupedMatmulOp op;
  int64_t depth;
  SmallVector<Value> weights; ///< [E, panels, pairs of k, 32]
  Value packed;               ///< tiles of rows x tiles of k, 16 x 32 elements each
  Value tails;                ///< the last tiles of up to maxSums panels; null if K is a multiple of 32
};
} // namespace

static Value zeros(OpBuilder &b, Location loc, int64_t count) {
  return arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({count}, b.getBF16Type())));
}

AmxRecipe::AmxRecipe(GroupedMatmulOp op) : KernelRecipe(op.getLoc()), op(op), depth(op.getDepth()) {
  weights.assign(op.getWeights().begin(), op.getWeights().end());
  auto stepsFor = [&](int64_t tiles) {
    SmallVector<int64_t, 3> steps{std::max<int64_t>(maxSums / (tiles * weightCount()), 1)};
    if (steps.front() > 1)
      steps.push_back(1);
    return steps;
  };
  plans.push_back({tileRows, stepsFor(1)});
  int64_t rows = maxBlockBytes / (2 * tileDepth * tilesOfRow()) / (2 * tileRows) * (2 * tileRows);
  plans.push_back({std::clamp(rows, 2 * tileRows, maxBlockRows), stepsFor(weightCount() > 2 ? 1 : 2)});
}

void AmxRecipe::prepare(OpBuilder &b) {
  for (Value &weight : weights)
    weight = memref::CollapseShapeOp::create(b, loc, weight, SmallVector<ReassociationIndices>{{0}, {1}, {2}, {3, 4}});
  Type bf16 = b.getBF16Type();
  packed = allocate(b, MemRefType::get({getPlans().back().maxRows * tilesOfRow() * tileDepth}, bf16));
  if (depth % tileDepth)
    tails = allocate(b, MemRefType::get({maxSums, tileRows, tileDepth}, bf16));
}

/// A row alone lies as it is: loaded with a distance of 0, its tiles are 16 copies of it.
AmxRecipe::Layout AmxRecipe::layoutOf(OpBuilder &b, size_t plan, const RowBlock &rows) {
  Value tileStep = index(b, tileRows * tileDepth), rowStep = index(b, tileDepth);
  if (!hasOneTile(plan))
    return {tileStep, rowStep};
  Value alone = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, subtract(b, rows.end, rows.begin), index(b, 1));
  return {arith::SelectOp::create(b, loc, alone, rowStep, tileStep),
          arith::SelectOp::create(b, loc, alone, index(b, 0), rowStep)};
}

/// Copies the elements of `row` to row `inner` of the tiles of tile row `tile`.
void AmxRecipe::packRow(OpBuilder &b, Value row, Value tile, Value inner, const Layout &layout) {
  bool isContiguous = cast<MemRefType>(row.getType()).isLastDimUnitStride();
  auto load = [&](OpBuilder &b, Value k, int64_t count) -> Value {
    if (isContiguous)
      return vector::LoadOp::create(b, loc, VectorType::get({count}, b.getBF16Type()), row, k);
    Value vector = zeros(b, loc, count);
    for (int64_t i = 0; i < count; ++i)
      vector = vector::InsertOp::create(b, loc, memref::LoadOp::create(b, loc, row, add(b, k, i)), vector, i);
    return vector;
  };
  Value first = multiplyBy(b, tile, tilesOfRow() * tileRows * tileDepth);
  first = add(b, first, multiplyBy(b, inner, tileDepth));
  auto store = [&](OpBuilder &b, Value vector, Value k) {
    Value offset = arith::MulIOp::create(b, loc, k, layout.tileStep);
    vector::StoreOp::create(b, loc, vector, packed, add(b, first, offset));
  };
  loop(b, index(b, 0), index(b, wholeTiles()), 1,
       [&](OpBuilder &b, Value k) { store(b, load(b, multiplyBy(b, k, tileDepth), tileDepth), k); });
  if (int64_t rest = depth % tileDepth) {
    Value tail = load(b, index(b, wholeTiles() * tileDepth), rest);
    tail = vector::InsertStridedSliceOp::create(b, loc, tail, zeros(b, loc, tileDepth), ArrayRef<int64_t>{0},
                                                ArrayRef<int64_t>{1});
    store(b, tail, index(b, wholeTiles()));
  }
}

void AmxRecipe::packRows(OpBuilder &b, size_t plan, const RowBlock &rows) {
  Layout layout = layoutOf(b, plan, rows);
  loop(b, rows.begin, rows.end, 1, [&](OpBuilder &b, Value row) {
    Value position = subtract(b, row, rows.begin);
    packRow(b, rows.source.row(b, row), divide(b, position, tileRows), remainder(b, position, tileRows), layout);
  });
}

/// Copies the last tiles of the panels to `tails`, filled up with zeros.
void AmxRecipe::copyTails(OpBuilder &b, Value group, const PanelBlock &panels) {
  auto vectorType = VectorType::get({tileDepth}, b.getBF16Type());
  Value zero = index(b, 0);
  int64_t pairs = llvm::divideCeil(depth % tileDepth, 2);
  for (auto [w, weight] : llvm::enumerate(weights))
    for (int64_t p = 0; p < panels.count; ++p) {
      Value number = index(b, int64_t(w) * panels.count + p), panel = add(b, panels.first, p);
      for (int64_t pair = 0; pair < tileRows; ++pair) {
        Value line = zeros(b, loc, tileDepth);
        if (pair < pairs)
          line =
              vector::LoadOp::create(b, loc, vectorType, weight,
                                     ValueRange{group, panel, index(b, wholeTiles() * (tileDepth / 2) + pair), zero});
        vector::StoreOp::create(b, loc, line, tails, ValueRange{number, index(b, pair), zero});
      }
    }
}

/// One row tile: the lines of the panel's tile some steps ahead, to the first-level cache. More: a share of the panels
/// of the next step, to the second-level cache; 256 rows fetch just all of them.
void AmxRecipe::prefetch(OpBuilder &b, size_t plan, Value group, const PanelBlock &panels, Value pair, Value k,
                         int64_t panel) {
  Value zero = index(b, 0);
  int64_t w = panel / panels.count, p = panel % panels.count;
  if (hasOneTile(plan)) {
    constexpr int64_t stepsAhead = 4;
    Value first = multiplyBy(b, add(b, k, stepsAhead), tileDepth / 2);
    for (int64_t line = 0; line < tileRows; ++line)
      memref::PrefetchOp::create(b, loc, weights[w],
                                 ValueRange{group, add(b, panels.first, p), add(b, first, line), zero},
                                 /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
    return;
  }
  constexpr int64_t lines = 4;
  int64_t perPanel = std::max<int64_t>(lines / (weightCount() * panels.count), 1);
  // Panels lie one after the other.
  Value first = multiplyBy(b, add(b, multiplyBy(b, pair, wholeTiles()), k), perPanel);
  for (int64_t line = 0; line < perPanel; ++line)
    memref::PrefetchOp::create(b, loc, weights[w],
                               ValueRange{group, add(b, panels.first, panels.count + p), add(b, first, line), zero},
                               /*isWrite=*/false, /*localityHint=*/2, /*isDataCache=*/true);
}

void AmxRecipe::multiplyTiles(OpBuilder &b, size_t plan, int64_t count, Value firstTile, const Layout &layout,
                              Value group, const PanelBlock &panels, Value sums) {
  auto operandType = amx::TileType::get({tileRows, tileDepth}, b.getBF16Type());
  auto sumType = amx::TileType::get({tileRows, panelWidth}, b.getF32Type());
  int64_t panelCount = weightCount() * panels.count;
  Value zero = index(b, 0), pair = divide(b, firstTile, 2);
  SmallVector<Value> rowTiles;
  for (int64_t t = 0; t < count; ++t)
    rowTiles.push_back(multiplyBy(b, add(b, firstTile, t), tilesOfRow() * tileRows * tileDepth));

  // Loads next to their first use; `weightTile` loads the tile of a panel.
  auto step = [&](OpBuilder &b, Value k, ValueRange sums, function_ref<Value(OpBuilder &, int64_t)> weightTile,
                  bool fetches) {
    SmallVector<Value> next(sums), weightTiles(panelCount);
    Value offset = arith::MulIOp::create(b, loc, k, layout.tileStep);
    for (int64_t t = 0; t < count; ++t) {
      Value rowTile;
      for (int64_t p = 0; p < panelCount; ++p) {
        if (!weightTiles[p])
          weightTiles[p] = weightTile(b, p);
        if (!rowTile)
          rowTile = amx::TileLoadOp::create(b, loc, operandType, packed, ValueRange{add(b, rowTiles[t], offset)},
                                            layout.rowStep);
        Value &sum = next[t * panelCount + p];
        sum = amx::TileMulFOp::create(b, loc, sumType, rowTile, weightTiles[p], sum);
        if (fetches && t == 0)
          prefetch(b, plan, group, panels, pair, k, p);
      }
    }
    return next;
  };

  SmallVector<Value> results;
  for (int64_t i = 0; i < count * panelCount; ++i)
    results.push_back(amx::TileZeroOp::create(b, loc, sumType));
  if (wholeTiles() > 0) {
    auto body = [&](OpBuilder &b, Location, Value k, ValueRange accumulators) {
      Value firstPair = multiplyBy(b, k, tileDepth / 2);
      auto weightTile = [&](OpBuilder &b, int64_t panel) -> Value {
        return amx::TileLoadOp::create(b, loc, operandType, weights[panel / panels.count],
                                       ValueRange{group, add(b, panels.first, panel % panels.count), firstPair, zero});
      };
      scf::YieldOp::create(b, loc, step(b, k, accumulators, weightTile, /*fetches=*/true));
    };
    auto loop = scf::ForOp::create(b, loc, zero, index(b, wholeTiles()), index(b, 1), results, body);
    results.assign(loop.result_begin(), loop.result_end());
  }
  if (tails) {
    auto weightTile = [&](OpBuilder &b, int64_t panel) -> Value {
      return amx::TileLoadOp::create(b, loc, operandType, tails, ValueRange{index(b, panel), zero, zero});
    };
    results = step(b, index(b, wholeTiles()), results, weightTile, /*fetches=*/false);
  }

  Value stride = index(b, cast<MemRefType>(sums.getType()).getDimSize(1) * panelWidth);
  Value sumRow = multiplyBy(b, firstTile, tileRows);
  for (int64_t t = 0; t < count; ++t)
    for (int64_t p = 0; p < panelCount; ++p)
      amx::TileStoreOp::create(b, loc, sums, ValueRange{add(b, sumRow, t * tileRows), index(b, p), zero},
                               results[t * panelCount + p], stride);
}

void AmxRecipe::multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels, Value sums) {
  if (tails)
    copyTails(b, rows.group, panels);
  Value zero = index(b, 0);
  Layout layout = layoutOf(b, plan, rows);
  if (hasOneTile(plan))
    return multiplyTiles(b, plan, 1, zero, layout, rows.group, panels, sums);
  // The last pair of tiles may have one that holds no row: its sums go where nobody looks.
  int64_t together = weightCount() * panels.count * 2 <= maxSums ? 2 : 1;
  Value tiles = divide(b, add(b, subtract(b, rows.end, rows.begin), tileRows - 1), tileRows);
  loop(b, zero, tiles, together,
       [&](OpBuilder &b, Value tile) { multiplyTiles(b, plan, together, tile, layout, rows.group, panels, sums); });
}

std::unique_ptr<KernelRecipe> moe::makeAmxRecipe(GroupedMatmulOp op, const IsaLevel *level) {
  if (!level || !level->hasAmx || op.getWeightRank() != 5 || int64_t(op.getWeights().size()) > maxSums)
    return nullptr;
  auto isBf16 = [](Value value) { return cast<ShapedType>(value.getType()).getElementType().isBF16(); };
  if (!isBf16(op.getX()) || !llvm::all_of(op.getWeights(), isBf16))
    return nullptr;
  return std::make_unique<AmxRecipe>(op);
}

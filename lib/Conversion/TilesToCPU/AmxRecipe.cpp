//===- AmxRecipe.cpp - products of bf16 and of i8 in AMX tiles ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A tile multiplication takes 16 rows of x, 16 columns and 32 k of bf16 or 64 of i8. Rows are packed into tiles of 1 KB
// first, which also keeps them from lying 4 KB apart; weights in pairs or quads are tiles as they are: 16 of them make
// one. Every element is added in the instruction's own order, whatever the number of rows and panels.
//
// Loads limit the rate. Two tiles of rows are multiplied with two panels, which takes one load for each multiplication:
// more sums would leave too few registers to keep operands in. All eight registers are in use; the operands of the next
// step are loaded as soon as the last multiplication that needs the old ones is under way. Where another thread shares
// the core, loads and multiplications do not overlap at all, and the fewest loads win by more. A tile of rows that is
// left over is multiplied alone. The tiles of rows that are multiplied together lie together. Rows are done, and
// stored, while the next ones are multiplied.
//
// Rows of great depth do not stay in the second-level cache. They are done in blocks of K, with the sums of some panels
// in memory in between.
//
// Codes are exact in bf16 without their scale, and 32 or 128 k have one: a tile of 4-bit codes, or four of fp8. Their
// product starts at zero; then vectors multiply it by the scales of its columns and add it to the sums, which are in
// memory. Codes become tiles of bf16 first: those of a step over panels once for all rows of a block, or one group of k
// after the other where there is only one tile of rows.
//
// Few rows are multiplied by vectors, bf16 in the order of the tiles: reading weights is what takes time then, and
// vectors take a line of each panel in turn, where tiles take 16 of one. Codes are decoded in registers.
//
// Rows that fill no tile are not cleared: they only reach sums that nobody reads. Where K is no multiple of a tile's, x
// ends in zeros, and the last tile of a panel is a copy that does too: what lies behind a panel may be anything.
//
//===----------------------------------------------------------------------===//

#include "AmxRecipe.h"

#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;
using namespace moe;

static constexpr int64_t tileBytes = 1024, lineBytes = 64;
/// Rows of a block: x in tiles should stay in the second-level cache while panels pass by.
static constexpr int64_t maxBlockRows = 256, maxBlockBytes = 1 << 20;
/// Sums that blocks of K leave in memory.
static constexpr int64_t maxSumBytes = 2 << 20;
/// Tile registers.
static constexpr int64_t registers = 8;
/// Memory is read fastest in that many streams.
static constexpr int64_t memoryStreams = 8;

AmxRecipe::AmxRecipe(GroupedMatmulOp op)
    : KernelRecipe(op.getLoc()), op(op), depth(op.getDepth()), isInteger(op.isInteger()),
      element(cast<ShapedType>(op.getX().getType()).getElementType()),
      tileDepth(lineBytes / (element.getIntOrFloatBitWidth() / 8)), tileSize(tileRows * tileDepth),
      groupTiles(op.getFormat() ? op.getScaleGroup() / tileDepth : 1),
      gathered(loc, depth, Float32Type::get(op.getContext())) {
  weights.assign(op.getWeights().begin(), op.getWeights().end());
  auto steps = [&](int64_t panels) {
    SmallVector<int64_t, 3> list{std::max<int64_t>(panels / weightCount(), 1)};
    if (list.front() > 4)
      list.push_back(4);
    if (list.front() > 1)
      list.push_back(1);
    return list;
  };
  // Short panels of bf16 would gain little.
  constexpr int64_t minVectorDepth = 512;
  bool isLong = depth % MicroKernelBuilder::tileDepth == 0 && depth >= minVectorDepth;
  auto byVectors = [&](ArrayRef<KernelShape> shapes) {
    for (const KernelShape &shape : shapes)
      plans.push_back({shape.rows, steps(shape.panels)});
    vectorRows = plans.back().maxRows;
  };
  // As many panels as registers have room for, and at most the eight streams that memory serves best.
  if (op.getFormat())
    byVectors({{1, 4}, {2, 4}});
  else if (isInteger)
    byVectors({{1, 8}, {2, 8}});
  else if (isLong)
    byVectors({{1, 8}});
  plans.push_back({tileRows, steps(maxPanels)});

  Plan many{maxBlockRows, steps(2)};
  many.passesCaches = true;
  together = weightCount() * many.panelSteps.front() <= 2 ? 2 : 1;
  int64_t tiles = llvm::divideCeil(depth, tileDepth), most = maxBlockBytes / (maxBlockRows / tileRows * tileBytes);
  blockTiles = tiles;
  if (depth % tileDepth == 0) {
    many.depthBlocks = llvm::divideCeil(tiles, most);
    blockTiles = llvm::alignTo(llvm::divideCeil(tiles, many.depthBlocks), groupTiles);
    many.panelsOfBlock = maxSumBytes / (maxBlockRows * panelWidth * 4 * weightCount()) / 2 * 2;
    if (int64_t columns = op.getNumColumns(); !ShapedType::isDynamic(columns))
      many.panelsOfBlock = std::min<int64_t>(many.panelsOfBlock, llvm::alignTo(columns, 2 * panelWidth) / panelWidth);
  } else {
    int64_t rows = maxBlockBytes / (tileBytes * tiles) / together * together * tileRows;
    many.maxRows = std::clamp(rows, together * tileRows, maxBlockRows);
  }
  plans.push_back(many);
}

void AmxRecipe::prepare(OpBuilder &b) {
  if (usesVectors(0) && !isInteger)
    gathered.setBuffer(allocate(b, gathered.typeOf(vectorRows)));
  if (isInteger)
    integers = std::make_unique<IntegerKernelBuilder>(b, op);
  else if (usesVectors(0) && !op.getFormat())
    vectors = std::make_unique<MicroKernelBuilder>(b, op, /*dot=*/false, SumOrder::AsTiles);
  for (Value &weight : weights)
    weight = memref::CollapseShapeOp::create(b, loc, weight, SmallVector<ReassociationIndices>{{0}, {1}, {2}, {3, 4}});
  const Plan &many = getPlans().back();
  if (op.getFormat()) {
    codes = std::make_unique<CodeKernelBuilder>(b, op, SumOrder::AsTiles);
    int64_t room = std::max(many.panelSteps.front() * blockTiles, maxPanels / weightCount() * groupTiles);
    decoded = allocate(b, MemRefType::get({weightCount() * room * tileSize}, element));
    products = allocate(b, MemRefType::get({maxSums * sumsOfTile}, b.getF32Type()));
  }
  // With pairs, there may be room for one tile more than there are.
  int64_t rowTiles = llvm::alignTo(many.maxRows / tileRows, 2);
  int64_t tiles = std::max(rowTiles * blockTiles, int64_t(llvm::divideCeil(depth, tileDepth)));
  packed = allocate(b, MemRefType::get({tiles * tileSize}, element));
  if (depth % tileDepth && !op.getFormat())
    tails = allocate(b, MemRefType::get({maxPanels, tileRows, tileDepth}, element));
  int64_t sumTiles = maxSums;
  if (usesVectors(0))
    sumTiles = std::max(sumTiles, getPlans().front().panelSteps.front() * weightCount());
  if (many.depthBlocks > 1)
    sumTiles = zeroSums = rowTiles * many.panelsOfBlock * weightCount();
  zeroSums *= sumsOfTile;
  Type sumType = getSumType(b.getContext());
  sums = allocate(b, MemRefType::get({sumTiles * sumsOfTile + (zeroSums ? panelWidth : 0)}, sumType));
  if (zeroSums) {
    Value zeros = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({panelWidth}, sumType)));
    vector::StoreOp::create(b, loc, zeros, sums, index(b, zeroSums));
  }
}

/// A row alone lies as it is: loaded with a distance of 0, its tiles are 16 copies of it.
AmxRecipe::Strides AmxRecipe::oneTile(OpBuilder &b, const RowBlock &rows) {
  Value tile = index(b, tileSize), line = index(b, tileDepth);
  Value alone = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, subtract(b, rows.end, rows.begin), index(b, 1));
  return {arith::SelectOp::create(b, loc, alone, line, tile),
          arith::SelectOp::create(b, loc, alone, index(b, 0), line)};
}

AmxRecipe::Groups AmxRecipe::groupsOf(OpBuilder &b, const RowBlock &rows) {
  Value tiles = divide(b, add(b, subtract(b, rows.end, rows.begin), tileRows - 1), tileRows);
  Value whole = divide(b, tiles, together);
  return {whole, add(b, whole, remainder(b, tiles, together))};
}

AmxRecipe::Depth AmxRecipe::depthOf(OpBuilder &b, const DepthBlock *block) {
  if (!block)
    return {index(b, 0), index(b, wholeTiles())};
  Value begin = multiplyBy(b, block->number, blockTiles);
  return {begin, arith::MinSIOp::create(b, loc, subtract(b, lastTile(b), begin), index(b, blockTiles))};
}

AmxRecipe::Depth AmxRecipe::codeTilesOf(OpBuilder &b, const DepthBlock *block) {
  return block ? depthOf(b, block) : Depth{index(b, 0), index(b, llvm::divideCeil(depth, tileDepth))};
}

/// Copies the elements of `row` in the tiles of `range` to the packed tiles: to `first`, then `tileStep` further on.
void AmxRecipe::packRow(OpBuilder &b, Value row, Value first, Value tileStep, const Depth &range) {
  bool isContiguous = cast<MemRefType>(row.getType()).isLastDimUnitStride();
  auto zeros = [&](int64_t count) -> Value {
    return arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({count}, element)));
  };
  auto load = [&](OpBuilder &b, Value k, int64_t count) -> Value {
    if (isContiguous)
      return vector::LoadOp::create(b, loc, VectorType::get({count}, element), row, k);
    Value vector = zeros(count);
    for (int64_t i = 0; i < count; ++i)
      vector = vector::InsertOp::create(b, loc, memref::LoadOp::create(b, loc, row, add(b, k, i)), vector, i);
    return vector;
  };
  auto store = [&](OpBuilder &b, Value vector, Value k) {
    Value offset = arith::MulIOp::create(b, loc, k, tileStep);
    vector::StoreOp::create(b, loc, vector, packed, add(b, first, offset));
  };
  loop(b, index(b, 0), range.count, 1, [&](OpBuilder &b, Value k) {
    store(b, load(b, multiplyBy(b, add(b, range.begin, k), tileDepth), tileDepth), k);
  });
  if (int64_t rest = depth % tileDepth) {
    Value tail = load(b, index(b, wholeTiles() * tileDepth), rest);
    tail = vector::InsertStridedSliceOp::create(b, loc, tail, zeros(tileDepth), ArrayRef<int64_t>{0},
                                                ArrayRef<int64_t>{1});
    store(b, tail, lastTile(b));
  }
}

void AmxRecipe::packRows(OpBuilder &b, size_t plan, const RowBlock &rows, const DepthBlock *block) {
  if (usesVectors(plan)) {
    if (isInteger)
      return; // read where they lie
    loop(b, rows.begin, rows.end, 1,
         [&](OpBuilder &b, Value row) { gathered.gather(b, rows.source.row(b, row), subtract(b, row, rows.begin)); });
    return;
  }
  Depth range = depthOf(b, block);
  if (hasOneTile(plan)) {
    Value step = oneTile(b, rows).tileStep;
    loop(b, rows.begin, rows.end, 1, [&](OpBuilder &b, Value row) {
      Value first = multiplyBy(b, subtract(b, row, rows.begin), tileDepth);
      packRow(b, rows.source.row(b, row), first, step, range);
    });
    return;
  }
  Value whole = multiplyBy(b, groupsOf(b, rows).whole, together);
  loop(b, rows.begin, rows.end, 1, [&](OpBuilder &b, Value row) {
    Value position = subtract(b, row, rows.begin), tile = divide(b, position, tileRows);
    // The group begins at `tile - inGroup`; groups lie one after the other.
    Value isWhole = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, tile, whole);
    Value width = arith::SelectOp::create(b, loc, isWhole, index(b, together), index(b, 1));
    Value inGroup = arith::SelectOp::create(b, loc, isWhole, remainder(b, tile, together), index(b, 0));
    Value first = multiplyBy(b, subtract(b, tile, inGroup), blockTiles * tileSize);
    first = add(b, first, multiplyBy(b, inGroup, tileSize));
    first = add(b, first, multiplyBy(b, remainder(b, position, tileRows), tileDepth));
    packRow(b, rows.source.row(b, row), first, multiplyBy(b, width, tileSize), range);
  });
}

/// Copies the last tiles of the panels to `tails`, filled up with zeros.
void AmxRecipe::copyTails(OpBuilder &b, Value group, const PanelBlock &panels) {
  auto vectorType = VectorType::get({tileDepth}, element);
  Value zero = index(b, 0);
  int64_t lines = llvm::divideCeil(depth % tileDepth, tileDepth / tileRows);
  for (auto [w, weight] : llvm::enumerate(weights))
    for (int64_t p = 0; p < panels.count; ++p) {
      Value number = index(b, int64_t(w) * panels.count + p), panel = add(b, panels.first, p);
      for (int64_t line = 0; line < tileRows; ++line) {
        Value vector;
        if (line < lines)
          vector = vector::LoadOp::create(b, loc, vectorType, weight,
                                          ValueRange{group, panel, index(b, wholeTiles() * tileRows + line), zero});
        else
          vector = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
        vector::StoreOp::create(b, loc, vector, tails, ValueRange{number, index(b, line), zero});
      }
    }
}

void AmxRecipe::prefetchLines(OpBuilder &b, Value group, Value panel, int64_t count, Value line, int64_t locality) {
  for (Value weight : weights)
    for (int64_t p = 0; p < count; ++p)
      memref::PrefetchOp::create(b, loc, weight, ValueRange{group, add(b, panel, p), line, index(b, 0)},
                                 /*isWrite=*/false, locality, /*isDataCache=*/true);
}

/// One row tile: the lines of the panels' tiles some steps ahead, to the first-level cache, and the next panels to the
/// second, each from its begin and from its middle: memory serves eight streams faster than four. More: a share of the
/// panels of the next step, to the second-level cache, in eight streams, so that all rows together fetch them all.
void AmxRecipe::prefetchPanels(OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                               const Depth &range, Value k) {
  int64_t linesOfTile = this->linesOfTile();
  Value next = add(b, panels.first, panels.count); // panels lie one after the other
  if (tiles.lines) {
    // Position p of all that is fetched is line p / streams of part p % streams of each panel.
    int64_t streams = std::gcd(linesOfTile, std::max<int64_t>(memoryStreams / (weightCount() * panels.count), 1));
    Value part = divide(b, multiplyBy(b, range.count, linesOfTile), streams);
    Value begin = multiplyBy(b, range.begin, linesOfTile);
    Value first = add(b, multiplyBy(b, tiles.first, blockTiles), multiplyBy(b, k, tiles.count));
    first = arith::MulIOp::create(b, loc, first, tiles.lines);
    loop(b, first, add(b, first, multiplyBy(b, tiles.lines, tiles.count)), 1, [&](OpBuilder &b, Value position) {
      Value inPart = add(b, begin, divide(b, position, streams));
      Value line = arith::MulIOp::create(b, loc, remainder(b, position, streams), part);
      prefetchLines(b, rows.group, next, panels.count, add(b, inPart, line), /*locality=*/2);
    });
    return;
  }
  constexpr int64_t stepsAhead = 2, streams = 2;
  Value first = multiplyBy(b, add(b, k, stepsAhead), linesOfTile);
  loop(b, first, add(b, first, linesOfTile), 1, [&](OpBuilder &b, Value line) {
    prefetchLines(b, rows.group, panels.first, panels.count, line, /*locality=*/3);
  });
  // Behind the last panels are those of another product.
  Value end = b.createOrFold<memref::DimOp>(loc, weights.front(), 1);
  Value exists = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, next, end);
  next = arith::SelectOp::create(b, loc, exists, next, panels.first);
  first = multiplyBy(b, k, linesOfTile / streams);
  loop(b, first, add(b, first, linesOfTile / streams), 1, [&](OpBuilder &b, Value line) {
    for (int64_t stream = 0; stream < streams; ++stream)
      prefetchLines(b, rows.group, next, panels.count, add(b, line, stream * wholeTiles() * linesOfTile / streams),
                    /*locality=*/2);
  });
}

SmallVector<Value> AmxRecipe::buildByVectors(OpBuilder &b, ValueRange rows, Value group, ValueRange panels) {
  if (integers)
    return integers->build(b, rows, group, panels);
  if (codes)
    return codes->build(b, rows, group, panels);
  return vectors->build(b, rows, group, panels, /*prefetches=*/true);
}

void AmxRecipe::multiplyByVectors(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels) {
  SmallVector<Value> panelIndices, views;
  for (int64_t p = 0; p < panels.count; ++p)
    panelIndices.push_back(add(b, panels.first, p));
  // There is a plan for each number of rows.
  int64_t count = getPlans()[plan].maxRows;
  for (int64_t row = 0; row < count; ++row)
    views.push_back(isInteger ? rows.source.row(b, add(b, rows.begin, row)) : gathered.row(b, index(b, row)));
  for (auto [i, sum] : llvm::enumerate(buildByVectors(b, views, rows.group, panelIndices))) {
    int64_t at = int64_t(i) / count * sumsOfTile + int64_t(i) % count * panelWidth;
    vector::StoreOp::create(b, loc, sum, sums, ValueRange{index(b, at)});
  }
}

void AmxRecipe::multiplyTiles(OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                              const DepthBlock *block, Value sumStart) {
  if (codes)
    return multiplyCodes(b, tiles, rows, panels, block, sumStart);
  Type sumElement = getSumType(b.getContext());
  auto operandType = amx::TileType::get({tileRows, tileDepth}, element);
  auto sumType = amx::TileType::get({tileRows, panelWidth}, sumElement);
  int64_t panelCount = weightCount() * panels.count, sumCount = tiles.count * panelCount;
  Value zero = index(b, 0), sumStride = index(b, panelWidth);
  Depth range = depthOf(b, block);
  // Operands of the next step are loaded during the present one if there is a register for each.
  bool loadsAhead = tiles.lines && sumCount + tiles.count + panelCount <= registers;
  assert((loadsAhead || tiles.count == 1) && "expected registers for more than one tile of rows");

  // Many rows come from the second-level cache, and so do panels that all of them meet.
  auto fromSecondLevel = [&](amx::TileLoadOp load) -> Value {
    if (tiles.lines)
      load->setAttr(amxFromSecondLevelAttr, b.getUnitAttr());
    return load;
  };
  auto loadRows = [&](OpBuilder &b, Value k, int64_t tile) -> Value {
    Value offset = add(b, tiles.start, arith::MulIOp::create(b, loc, k, tiles.tileStep).getResult());
    auto load = amx::TileLoadOp::create(b, loc, operandType, packed, ValueRange{add(b, offset, tile * tileSize)},
                                        tiles.rowStep);
    return fromSecondLevel(load);
  };
  auto loadPanel = [&](OpBuilder &b, Value k, int64_t panel) -> Value {
    Value firstLine = multiplyBy(b, add(b, range.begin, k), tileRows);
    auto load =
        amx::TileLoadOp::create(b, loc, operandType, weights[panel / panels.count],
                                ValueRange{rows.group, add(b, panels.first, panel % panels.count), firstLine, zero});
    return fromSecondLevel(load);
  };
  auto multiplyAdd = [&](OpBuilder &b, Value row, Value panel, Value &sum) {
    if (isInteger)
      sum = amx::TileMulIOp::create(b, loc, sumType, row, panel, sum, /*isZextLhs=*/false, /*isZextRhs=*/false);
    else
      sum = amx::TileMulFOp::create(b, loc, sumType, row, panel, sum);
  };
  // Operands are in registers already, rows first; each is replaced by that of step `next`, if there is one, as soon
  // as its last product is under way.
  auto stepAhead = [&](OpBuilder &b, Value k, MutableArrayRef<Value> sums, MutableArrayRef<Value> operands,
                       Value next) {
    MutableArrayRef<Value> rowTiles = operands.take_front(tiles.count), panelTiles = operands.drop_front(tiles.count);
    for (int64_t t = 0; t < tiles.count; ++t) {
      for (int64_t p = 0; p < panelCount; ++p) {
        multiplyAdd(b, rowTiles[t], panelTiles[p], sums[t * panelCount + p]);
        if (t == 0 && p == 0)
          prefetchPanels(b, tiles, rows, panels, range, k);
        if (next && t == tiles.count - 1)
          panelTiles[p] = loadPanel(b, next, p);
      }
      if (next)
        rowTiles[t] = loadRows(b, next, t);
    }
  };

  SmallVector<Value> results;
  if (block) {
    Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, block->number, zero);
    Value stride = arith::SelectOp::create(b, loc, isFirst, zero, sumStride), none = index(b, zeroSums);
    for (int64_t i = 0; i < sumCount; ++i) {
      Value at = arith::SelectOp::create(b, loc, isFirst, none, add(b, sumStart, i * sumsOfTile));
      results.push_back(amx::TileLoadOp::create(b, loc, sumType, sums, ValueRange{at}, stride));
    }
  } else {
    for (int64_t i = 0; i < sumCount; ++i)
      results.push_back(amx::TileZeroOp::create(b, loc, sumType));
  }
  if (wholeTiles() > 0 && loadsAhead) {
    SmallVector<Value> carried(results);
    for (int64_t t = 0; t < tiles.count; ++t)
      carried.push_back(loadRows(b, zero, t));
    for (int64_t p = 0; p < panelCount; ++p)
      carried.push_back(loadPanel(b, zero, p));
    auto body = [&](OpBuilder &b, Location, Value k, ValueRange arguments) {
      SmallVector<Value> next(arguments);
      MutableArrayRef<Value> values(next);
      stepAhead(b, k, values.take_front(sumCount), values.drop_front(sumCount), add(b, k, 1));
      scf::YieldOp::create(b, loc, next);
    };
    Value last = subtract(b, range.count, index(b, 1));
    carried = scf::ForOp::create(b, loc, zero, last, index(b, 1), carried, body).getResults();
    MutableArrayRef<Value> values(carried);
    stepAhead(b, last, values.take_front(sumCount), values.drop_front(sumCount), nullptr);
    results.assign(carried.begin(), carried.begin() + sumCount);
  } else if (wholeTiles() > 0) {
    auto body = [&](OpBuilder &b, Location, Value k, ValueRange arguments) {
      SmallVector<Value> next(arguments);
      Value row = loadRows(b, k, 0);
      for (int64_t p = 0; p < panelCount; ++p) {
        multiplyAdd(b, row, loadPanel(b, k, p), next[p]);
        if (p == 0)
          prefetchPanels(b, tiles, rows, panels, range, k);
      }
      scf::YieldOp::create(b, loc, next);
    };
    results = scf::ForOp::create(b, loc, zero, range.count, index(b, 1), results, body).getResults();
  }
  if (tails) {
    for (int64_t t = 0; t < tiles.count; ++t) {
      Value row = loadRows(b, lastTile(b), t);
      for (int64_t p = 0; p < panelCount; ++p) {
        Value panel = amx::TileLoadOp::create(b, loc, operandType, tails, ValueRange{index(b, p), zero, zero});
        multiplyAdd(b, row, panel, results[t * panelCount + p]);
      }
    }
  }
  for (auto [number, result] : llvm::enumerate(results))
    amx::TileStoreOp::create(b, loc, sums, ValueRange{add(b, sumStart, int64_t(number) * sumsOfTile)}, result,
                             sumStride);
}

void AmxRecipe::multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels,
                         const DepthBlock *block, RowsDone done) {
  Value zero = index(b, 0), rowCount = subtract(b, rows.end, rows.begin);
  int64_t panelCount = weightCount() * panels.count;
  // The sums of a row: tiles from `start` on are those of tile row `firstTile` and the next.
  auto finish = [&](Value first, Value end, Value firstTile, Value start) {
    auto type = VectorType::get({panelWidth}, getSumType(b.getContext()));
    done(b, first, end, [&](OpBuilder &b, Value position, int64_t number) -> Value {
      Value tile = subtract(b, divide(b, position, tileRows), firstTile);
      Value at = add(b, start, multiplyBy(b, tile, panelCount * sumsOfTile));
      at = add(b, at, multiplyBy(b, remainder(b, position, tileRows), panelWidth));
      return vector::LoadOp::create(b, loc, type, sums, ValueRange{add(b, at, number * sumsOfTile)});
    });
  };
  if (usesVectors(plan)) {
    multiplyByVectors(b, plan, rows, panels);
    return finish(zero, rowCount, zero, zero);
  }
  if (tails)
    copyTails(b, rows.group, panels);
  if (hasOneTile(plan)) {
    Strides strides = oneTile(b, rows);
    multiplyTiles(b, {1, zero, zero, strides.tileStep, strides.rowStep}, rows, panels, block, zero);
    return finish(zero, rowCount, zero, zero);
  }

  if (codes) {
    Depth range = codeTilesOf(b, block);
    loop(b, zero, range.count, 1, [&](OpBuilder &b, Value k) {
      decodeTile(b, rows.group, panels, add(b, range.begin, k), multiplyBy(b, k, tileSize), blockTiles,
                 /*fetches=*/false);
    });
  }
  Groups groups = groupsOf(b, rows);
  Value line = index(b, tileDepth), sumBase = zero;
  Value lines =
      arith::CeilDivUIOp::create(b, loc, index(b, tileRows), divide(b, add(b, rowCount, tileRows - 1), tileRows));
  if (block)
    sumBase = multiplyBy(b, subtract(b, panels.first, block->firstPanel),
                         weightCount() * getPlans()[plan].maxRows / tileRows * sumsOfTile);
  loop(b, zero, groups.count, 1, [&](OpBuilder &b, Value group) {
    Value isWhole = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, group, groups.whole);
    Value first = multiplyBy(b, group, together), count = index(b, together), sumStart = sumBase;
    count = arith::SelectOp::create(b, loc, isWhole, count, index(b, 1));
    if (block)
      sumStart = add(b, sumStart, multiplyBy(b, first, panelCount * sumsOfTile));
    Value start = multiplyBy(b, first, blockTiles * tileSize);
    auto multiplyGroup = [&](OpBuilder &b, int64_t count) {
      multiplyTiles(b, {count, first, start, index(b, count * tileSize), line, lines}, rows, panels, block, sumStart);
    };
    if (together > 1) {
      auto choice = scf::IfOp::create(b, loc, isWhole, /*withElseRegion=*/true);
      OpBuilder whole = choice.getThenBodyBuilder(), rest = choice.getElseBodyBuilder();
      multiplyGroup(whole, together);
      multiplyGroup(rest, 1);
    } else {
      multiplyGroup(b, 1);
    }
    OpBuilder::InsertionGuard guard(b);
    if (block) {
      Value isLast = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, block->number,
                                           index(b, getPlans()[plan].depthBlocks - 1));
      b.setInsertionPoint(scf::IfOp::create(b, loc, isLast, /*withElseRegion=*/false).thenYield());
    }
    Value firstRow = multiplyBy(b, first, tileRows), end = multiplyBy(b, add(b, first, count), tileRows);
    finish(firstRow, arith::MinSIOp::create(b, loc, end, rowCount), first, sumStart);
  });
}

std::unique_ptr<KernelRecipe> moe::makeAmxRecipe(GroupedMatmulOp op, const IsaLevel *level) {
  if (!level || !level->hasAmx || op.getWeightRank() != 5 || int64_t(op.getWeights().size()) > AmxRecipe::maxPanels)
    return nullptr;
  auto elementOf = [](Value value) { return cast<ShapedType>(value.getType()).getElementType(); };
  auto isBf16 = [&](Value value) { return elementOf(value).isBF16(); };
  bool fits = op.isInteger()   ? elementOf(op.getX()).isInteger(8)
              : op.getFormat() ? isBf16(op.getX())
                               : isBf16(op.getX()) && llvm::all_of(op.getWeights(), isBf16);
  if (!fits)
    return nullptr;
  return std::make_unique<AmxRecipe>(op);
}

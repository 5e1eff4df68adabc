//===- TileGroupedMatmul.cpp - a grouped matmul as a loop over tiles ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TileGroupedMatmul.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"

#include <functional>
#include <numeric>

using namespace mlir;
using namespace moe;

/// A range of columns is a multiple of this: four panels are as many streams as one row of activations is multiplied
/// with at once.
static constexpr int64_t columnsPerUnit = 4 * GroupedMatmulOp::panelWidth;

/// With fewer rows in a tile the time goes to reading weights: more tasks cost nothing and even out the load. With
/// more rows it goes to arithmetic, and each further task gathers the rows once more.
static constexpr int64_t manyRows = 64;
static constexpr int64_t tasksPerWorkerOfFewRows = 4;

/// A result of that many bytes, with `manyRows` rows in each group, is larger than the cache that one core has for
/// itself.
static constexpr int64_t largeResultBytes = 4 << 20;

namespace {
/// Part of the rows and columns of a product.
struct Tile {
  Value group, row, rows;
  OpFoldResult column, columns;
};

/// The rows of all tiles.
struct CutRows {
  Value count;
  /// Sets group and rows of the tile with that number.
  std::function<void(Value number, Tile &tile)> at;
};

class Tiler {
public:
  Tiler(OpBuilder &builder, GroupedMatmulOp op) : op(op), b(op.getLoc(), builder) {}

  scf::ForallOp run(int64_t maxRows);
  RowTiles makeTable(int64_t maxRows);
  Value multiplyColumns(const RowTiles &tiles, int64_t mostRows, OpFoldResult column, int64_t columns, Value outs);

private:
  OpFoldResult attr(int64_t value) { return b.getIndexAttr(value); }
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
  Value toIndex(Value i32) { return arith::IndexCastOp::create(b, b.getIndexType(), i32); }
  OpFoldResult apply(AffineExpr expression, ArrayRef<OpFoldResult> operands) {
    return affine::makeComposedFoldedAffineApply(b, b.getLoc(), expression, operands);
  }
  /// `value` cut in some dimensions, each given with its first element and its size.
  Value slice(Value value, ArrayRef<std::tuple<unsigned, OpFoldResult, OpFoldResult>> cuts);

  CutRows cutOneGroup(Value end, int64_t maxRows);
  CutRows cutGroups(const RowTiles &tiles);
  Value unitsPerTask(Value count, Value rows, int64_t units);
  GroupedMatmulOp emit(const Tile &tile, Value outs);

  GroupedMatmulOp op;
  ImplicitLocOpBuilder b;
};
} // namespace

Value Tiler::slice(Value value, ArrayRef<std::tuple<unsigned, OpFoldResult, OpFoldResult>> cuts) {
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), value);
  SmallVector<OpFoldResult> offsets(sizes.size(), attr(0)), strides(sizes.size(), attr(1));
  for (auto [dim, offset, size] : cuts) {
    offsets[dim] = offset;
    sizes[dim] = size;
  }
  return tensor::ExtractSliceOp::create(b, value, offsets, sizes, strides);
}

/// Units of columns in a task, for `count` tiles of `rows` rows in all.
Value Tiler::unitsPerTask(Value count, Value rows, int64_t units) {
  Value workers = WorkersOp::create(b);
  Value many = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, rows,
                                     arith::MulIOp::create(b, count, index(manyRows)).getResult());
  Value more = arith::MulIOp::create(b, workers, index(tasksPerWorkerOfFewRows));
  Value tasks = arith::SelectOp::create(b, many, workers, more);
  Value atLeastOne = arith::MaxUIOp::create(b, count, index(1));
  Value ranges = arith::CeilDivUIOp::create(b, tasks, atLeastOne);
  return arith::CeilDivUIOp::create(b, index(units), arith::MinUIOp::create(b, ranges, index(units)));
}

GroupedMatmulOp Tiler::emit(const Tile &tile, Value outs) {
  constexpr int64_t width = GroupedMatmulOp::panelWidth;
  AffineExpr d0 = b.getAffineDimExpr(0);
  OpFoldResult panel = tile.column, panels = tile.columns;
  if (op.isPacked()) {
    panel = apply(d0.floorDiv(width), {tile.column});
    panels = apply(d0.ceilDiv(width), {tile.columns});
  }
  auto rowsOf = [&](Value value) { return slice(value, {{0, tile.row, tile.rows}}); };

  IRMapping mapping;
  if (!op.getChoices())
    mapping.map(op.getX(), rowsOf(op.getX()));
  else
    mapping.map(op.getChoices(), rowsOf(op.getChoices()));
  for (Value weight : op.getWeights())
    mapping.map(weight, slice(weight, {{0, tile.group, attr(1)}, {1, panel, panels}}));
  for (Value scales : op.getScales())
    mapping.map(scales, slice(scales, {{0, tile.group, attr(1)}, {1, panel, panels}}));
  for (Value scalars : op.getColumnScalars())
    mapping.map(scalars, slice(scalars, {{0, tile.group, attr(1)}, {1, tile.column, tile.columns}}));
  for (Value scalars : op.getRowScalars())
    mapping.map(scalars, rowsOf(scalars));
  Value begin = arith::ConstantOp::create(b, b.getI32IntegerAttr(0));
  Value end = arith::IndexCastOp::create(b, b.getI32Type(), tile.rows);
  mapping.map(op.getOffsets(), tensor::FromElementsOp::create(b, ValueRange{begin, end}));

  auto tiled = cast<GroupedMatmulOp>(b.clone(*op, mapping));
  tiled.getInitMutable().assign(outs);
  Value(tiled.getResult()).setType(outs.getType());
  // All ranges are whole units but the last.
  if (isa<Value>(tile.columns))
    tiled.setColumnMultiple(std::gcd(op.getNumColumns(), columnsPerUnit));
  return tiled;
}

/// The one group of a dense product begins at row 0: its tiles need no table.
CutRows Tiler::cutOneGroup(Value end, int64_t maxRows) {
  Value rows = toIndex(end);
  Value count = arith::CeilDivUIOp::create(b, rows, index(maxRows));
  return {count, [=](Value number, Tile &tile) {
            tile.group = index(0);
            tile.row = arith::MulIOp::create(b, number, index(maxRows));
            Value left = arith::SubIOp::create(b, rows, tile.row);
            tile.rows = arith::MinUIOp::create(b, left, index(maxRows));
          }};
}

RowTiles Tiler::makeTable(int64_t maxRows) {
  Value rows = tensor::DimOp::create(b, op.getInit(), 0);
  auto tileType = RankedTensorType::get({ShapedType::kDynamic, 3}, b.getI32Type());
  auto map = TileMapOp::create(b, TypeRange{tileType, RankedTensorType::get({}, b.getI32Type())}, op.getOffsets(), rows,
                               maxRows);
  return {toIndex(tensor::ExtractOp::create(b, map.getCount(), ValueRange())), map.getTiles()};
}

CutRows Tiler::cutGroups(const RowTiles &tiles) {
  Value table = tiles.table;
  return {tiles.count, [=](Value number, Tile &tile) {
            auto field = [&](int64_t at) {
              return toIndex(tensor::ExtractOp::create(b, table, ValueRange{number, index(at)}));
            };
            tile.group = field(0);
            tile.row = field(1);
            tile.rows = field(2);
          }};
}

scf::ForallOp Tiler::run(int64_t maxRows) {
  Value rows = tensor::DimOp::create(b, op.getInit(), 0);
  auto ends = op.getOffsets().getDefiningOp<tensor::FromElementsOp>();
  bool dense = ends && op.getNumExperts() == 1 && matchPattern(ends.getElements().front(), m_Zero());
  CutRows tiles = dense ? cutOneGroup(ends.getElements().back(), maxRows) : cutGroups(makeTable(maxRows));

  int64_t columns = op.getNumColumns(), units = llvm::divideCeil(columns, columnsPerUnit);
  SmallVector<OpFoldResult> bounds{tiles.count};
  Value perTask;
  if (units > 1) {
    perTask = unitsPerTask(tiles.count, rows, units);
    bounds.push_back(arith::CeilDivUIOp::create(b, index(units), perTask).getResult());
  }
  auto loop = scf::ForallOp::create(b, bounds, op.getInit(), /*mapping=*/std::nullopt);
  b.setInsertionPoint(loop.getTerminator());
  Value outs = loop.getRegionIterArgs().front();
  Tile tile{{}, {}, {}, attr(0), attr(columns)};
  tiles.at(loop.getInductionVar(0), tile);
  if (units > 1) {
    Value width = arith::MulIOp::create(b, perTask, index(columnsPerUnit));
    Value first = arith::MulIOp::create(b, loop.getInductionVar(1), width);
    tile.column = first;
    Value left = arith::SubIOp::create(b, index(columns), first);
    tile.columns = arith::MinUIOp::create(b, left, width).getResult();
  }
  Value room = slice(outs, {{0, tile.row, tile.rows}, {1, tile.column, tile.columns}});
  GroupedMatmulOp product = emit(tile, room);
  int64_t rowBytes = columns * (getElementTypeOrSelf(op.getInit()).getIntOrFloatBitWidth() / 8);
  if (op.getNumExperts() * manyRows * rowBytes >= largeResultBytes)
    product.setLargeResult(true);
  Value result = product.getResult();
  b.setInsertionPointToStart(loop.getTerminator().getBody());
  tensor::ParallelInsertSliceOp::create(b, result, outs, ArrayRef<OpFoldResult>{tile.row, tile.column},
                                        ArrayRef<OpFoldResult>{tile.rows, tile.columns},
                                        ArrayRef<OpFoldResult>{attr(1), attr(1)});
  return loop;
}

Value Tiler::multiplyColumns(const RowTiles &tiles, int64_t mostRows, OpFoldResult column, int64_t columns,
                             Value outs) {
  auto loop = scf::ForOp::create(b, index(0), tiles.count, index(1), outs);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(loop.getBody());
  Tile tile{{}, {}, {}, column, attr(columns)};
  cutGroups(tiles).at(loop.getInductionVar(), tile);
  AffineExpr rows = b.getAffineSymbolExpr(0);
  auto bound = AffineMap::get(0, 1, {rows, b.getAffineConstantExpr(mostRows)}, b.getContext());
  tile.rows = affine::AffineMinOp::create(b, bound, tile.rows);
  Value all = loop.getRegionIterArg(0);
  Value room = slice(all, {{0, tile.row, tile.rows}});
  Value result = emit(tile, room).getResult();
  OpFoldResult zero = attr(0), one = attr(1);
  scf::YieldOp::create(b, tensor::InsertSliceOp::create(b, result, all, ArrayRef<OpFoldResult>{tile.row, zero},
                                                        ArrayRef<OpFoldResult>{tile.rows, attr(columns)},
                                                        ArrayRef<OpFoldResult>{one, one})
                              .getResult());
  return loop.getResult(0);
}

RowTiles moe::makeRowTiles(OpBuilder &builder, GroupedMatmulOp op, int64_t maxRows) {
  return Tiler(builder, op).makeTable(maxRows);
}

Value moe::multiplyColumns(OpBuilder &builder, GroupedMatmulOp op, const RowTiles &tiles, int64_t mostRows,
                           OpFoldResult column, int64_t columns, Value outs) {
  return Tiler(builder, op).multiplyColumns(tiles, mostRows, column, columns, outs);
}

scf::ForallOp moe::tileGroupedMatmul(RewriterBase &rewriter, GroupedMatmulOp op, int64_t maxRows) {
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(op);
  scf::ForallOp loop = Tiler(rewriter, op).run(maxRows);
  rewriter.replaceOp(op, loop.getResults());
  return loop;
}

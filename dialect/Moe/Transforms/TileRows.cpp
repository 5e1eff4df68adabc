//===- TileRows.cpp - several ops as one loop over rows -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Upstream's tile-and-fuse starts from one consumer. What routes has several ends (logits, experts, weights), none of
// which depends on all the others; so the ops are tiled one after the other, and a slice of a value that was tiled
// before is the tile.
//
//===----------------------------------------------------------------------===//

#include "TileRows.h"
#include "RowwiseOps.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/TilingInterface.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace moe;

/// A product with more columns is cut into ranges of columns as well.
static constexpr int64_t fewColumns = 1024;

/// Dimension 0 is loop 0, and loop 0 is nothing else.
static bool isIndexedByRows(AffineMap map) {
  for (auto [dim, expression] : llvm::enumerate(map.getResults()))
    if (dim == 0 ? expression != getAffineDimExpr(0, map.getContext()) : expression.isFunctionOfDim(0))
      return false;
  return map.getNumResults() > 0;
}

bool moe::isTiledByRows(Operation *op, std::string &why) {
  auto no = [&](const char *reason) {
    why = reason;
    return false;
  };
  for (Type result : op->getResultTypes()) {
    auto type = dyn_cast<RankedTensorType>(result);
    if (!type || type.getRank() == 0)
      return no("results are not tensors with rows");
    if (llvm::any_of(type.getShape().drop_front(), ShapedType::isDynamic))
      return no("more of a result than the number of rows is dynamic");
  }
  if (auto product = dyn_cast<GroupedMatmulOp>(op)) {
    if (!coversAllRows(product))
      return no("a product of other rows than all");
    return product.getNumColumns() <= fewColumns || no("a product of many columns");
  }
  if (isa<TopKOp>(op))
    return true;
  if (auto softmax = dyn_cast<linalg::SoftmaxOp>(op))
    return softmax.getDimension() > 0 || no("a softmax over rows");
  auto structured = dyn_cast<linalg::LinalgOp>(op);
  if (!structured || !structured.hasPureTensorSemantics() || structured.getNumLoops() == 0)
    return no("not a linalg op on tensors");
  if (!linalg::isParallelIterator(structured.getIteratorTypesArray().front()))
    return no("its first loop is a reduction");
  for (OpOperand &init : structured.getDpsInitsMutable())
    if (!isIndexedByRows(structured.getMatchingIndexingMap(&init)))
      return no("its first loop does not go over the rows of its results");
  return true;
}

bool moe::isReadByRows(OpOperand &operand) {
  Operation *op = operand.getOwner();
  if (auto structured = dyn_cast<linalg::LinalgOp>(op))
    return isIndexedByRows(structured.getMatchingIndexingMap(&operand));
  if (auto product = dyn_cast<GroupedMatmulOp>(op))
    return operand.get() == product.getX() || operand.get() == product.getInit() ||
           llvm::is_contained(product.getRowScalars(), operand.get());
  return isa<TopKOp, linalg::SoftmaxOp>(op) && isa<RankedTensorType>(operand.get().getType());
}

/// Whether `operand` says where a result goes, and its old value is not read.
static bool isOnlyWritten(OpOperand &operand) {
  auto destination = dyn_cast<DestinationStyleOpInterface>(operand.getOwner());
  if (!destination || !destination.isDpsInit(&operand))
    return false;
  auto structured = dyn_cast<linalg::LinalgOp>(operand.getOwner());
  return !structured || !structured.payloadUsesValueFromOperand(&operand);
}

namespace {
class RowTiler {
public:
  RowTiler(RewriterBase &rewriter, ArrayRef<Operation *> ops)
      : rewriter(rewriter), ops(ops), loc(ops.back()->getLoc()) {}

  FailureOr<RowLoop> run(OpFoldResult rows, int64_t block);

private:
  Value makeRoom(OpResult result, OpFoldResult allRows);
  Value makeTileRoom(OpResult whole, RankedTensorType type);
  Value slice(Value value);
  Operation *tileProduct(GroupedMatmulOp op);
  FailureOr<Operation *> tileByInterface(TilingInterface op);

  RewriterBase &rewriter;
  ArrayRef<Operation *> ops;
  Location loc;
  OpFoldResult first, rows;            ///< of an iteration
  llvm::MapVector<Value, Value> tiles; ///< of the values computed so far
  DenseMap<Value, Value> destinations; ///< where tiles of results of the loop go
};
} // namespace

/// A tensor for all rows of `result`: where they go in the end, if an enclosing loop says so.
Value RowTiler::makeRoom(OpResult result, OpFoldResult allRows) {
  for (Operation *user : result.getUsers())
    if (auto insert = dyn_cast<tensor::ParallelInsertSliceOp>(user))
      return tensor::ExtractSliceOp::create(rewriter, loc, cast<RankedTensorType>(result.getType()), insert.getDest(),
                                            insert.getMixedOffsets(), insert.getMixedSizes(), insert.getMixedStrides());
  auto type = cast<RankedTensorType>(result.getType());
  SmallVector<OpFoldResult> sizes{allRows};
  for (int64_t size : type.getShape().drop_front())
    sizes.push_back(rewriter.getIndexAttr(size));
  return tensor::EmptyOp::create(rewriter, loc, sizes, type.getElementType());
}

/// The rows of an iteration; where they are computed in the loop, what was computed.
Value RowTiler::slice(Value value) {
  if (auto known = tiles.find(value); known != tiles.end())
    return known->second;
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(rewriter, loc, value);
  SmallVector<OpFoldResult> offsets(sizes.size(), rewriter.getIndexAttr(0)),
      strides(sizes.size(), rewriter.getIndexAttr(1));
  offsets[0] = first;
  sizes[0] = rows;
  return tensor::ExtractSliceOp::create(rewriter, loc, value, offsets, sizes, strides);
}

/// Where the tile of `whole` goes: results have their place, anything else gets its own.
Value RowTiler::makeTileRoom(OpResult whole, RankedTensorType type) {
  if (Value place = destinations.lookup(whole))
    return place;
  SmallVector<OpFoldResult> sizes{rows};
  for (int64_t size : type.getShape().drop_front())
    sizes.push_back(rewriter.getIndexAttr(size));
  return tensor::EmptyOp::create(rewriter, loc, sizes, type.getElementType());
}

Operation *RowTiler::tileProduct(GroupedMatmulOp op) {
  IRMapping mapping;
  mapping.map(op.getX(), slice(op.getX()));
  for (Value scalars : op.getRowScalars())
    mapping.map(scalars, slice(scalars));
  Value begin = arith::ConstantOp::create(rewriter, loc, rewriter.getI32IntegerAttr(0));
  Value end = arith::IndexCastOp::create(rewriter, loc, rewriter.getI32Type(),
                                         getValueOrCreateConstantIndexOp(rewriter, loc, rows));
  mapping.map(op.getOffsets(), tensor::FromElementsOp::create(rewriter, loc, ValueRange{begin, end}));
  Value room = makeTileRoom(cast<OpResult>(op.getResult()), op.getResult().getType());
  auto tiled = cast<GroupedMatmulOp>(rewriter.clone(*op, mapping));
  tiled.getInitMutable().assign(room);
  Value(tiled.getResult()).setType(room.getType());
  return tiled;
}

FailureOr<Operation *> RowTiler::tileByInterface(TilingInterface op) {
  SmallVector<OpFoldResult> offsets, sizes;
  for (Range range : op.getIterationDomain(rewriter)) {
    offsets.push_back(range.offset);
    sizes.push_back(range.size);
  }
  offsets[0] = first;
  sizes[0] = rows;
  FailureOr<TilingResult> tiled = op.getTiledImplementation(rewriter, offsets, sizes);
  if (failed(tiled) || tiled->tiledOps.size() != 1)
    return rewriter.notifyMatchFailure(op, "cannot be tiled");
  Operation *tile = tiled->tiledOps.front();
  rewriter.setInsertionPoint(tile);
  for (OpOperand &operand : tile->getOpOperands()) {
    auto cut = operand.get().getDefiningOp<tensor::ExtractSliceOp>();
    if (!cut || !llvm::is_contained(tiled->generatedSlices, cut))
      continue;
    Value known = tiles.lookup(cut.getSource());
    if (!known && isOnlyWritten(operand)) {
      auto result = cast<DestinationStyleOpInterface>(tile).getTiedOpResult(&operand);
      known = makeTileRoom(op->getResult(result.getResultNumber()), cut.getType());
    }
    if (!known)
      continue;
    if (known.getType() != cut.getType())
      known = tensor::CastOp::create(rewriter, loc, cut.getType(), known);
    rewriter.modifyOpInPlace(tile, [&] { operand.set(known); });
  }
  rewriter.setInsertionPointAfter(tile);
  return tile;
}

FailureOr<RowLoop> RowTiler::run(OpFoldResult allRows, int64_t block) {
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(ops.back());
  SmallPtrSet<Operation *, 16> inside(ops.begin(), ops.end());
  SmallVector<OpResult> results;
  SmallVector<Value> room;
  for (Operation *op : ops)
    for (OpResult result : op->getResults())
      if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !inside.contains(user); })) {
        results.push_back(result);
        room.push_back(makeRoom(result, allRows));
      }

  OpFoldResult zero = rewriter.getIndexAttr(0), step = rewriter.getIndexAttr(block);
  auto loop = scf::ForallOp::create(rewriter, loc, ArrayRef{zero}, ArrayRef{allRows}, ArrayRef{step}, room,
                                    /*mapping=*/std::nullopt);
  rewriter.setInsertionPoint(loop.getTerminator());
  first = loop.getInductionVar(0);
  rows = rewriter.getIndexAttr(1);
  if (block > 1) {
    AffineExpr position = rewriter.getAffineDimExpr(0), end = rewriter.getAffineSymbolExpr(0);
    auto map = AffineMap::get(1, 1, {rewriter.getAffineConstantExpr(block), end - position}, rewriter.getContext());
    rows = affine::makeComposedFoldedAffineMin(rewriter, loc, map, {first, allRows});
  }
  for (auto [result, argument] : llvm::zip_equal(results, loop.getRegionIterArgs()))
    destinations[result] = slice(argument);

  RowLoop made{loop, {}, first, rows};
  for (Operation *op : ops) {
    FailureOr<Operation *> tiled;
    if (auto product = dyn_cast<GroupedMatmulOp>(op))
      tiled = tileProduct(product);
    else
      tiled = tileByInterface(cast<TilingInterface>(op));
    if (failed(tiled))
      return failure();
    made.tiled.push_back(*tiled);
    for (auto [whole, tile] : llvm::zip_equal(op->getResults(), (*tiled)->getResults()))
      tiles[whole] = tile;
  }
  rewriter.setInsertionPointToStart(loop.getTerminator().getBody());
  for (auto [result, argument] : llvm::zip_equal(results, loop.getRegionIterArgs())) {
    auto place = destinations[result].getDefiningOp<tensor::ExtractSliceOp>();
    tensor::ParallelInsertSliceOp::create(rewriter, loc, tiles[result], argument, place.getMixedOffsets(),
                                          place.getMixedSizes(), place.getMixedStrides());
  }
  // Slices that tiles took the place of, and sizes of values that are no more.
  SmallPtrSet<Operation *, 16> kept(made.tiled.begin(), made.tiled.end());
  auto body = llvm::map_to_vector(loop.getBody()->without_terminator(), [](Operation &op) { return &op; });
  for (Operation *op : llvm::reverse(body))
    if (!kept.contains(op) && isOpTriviallyDead(op))
      rewriter.eraseOp(op);
  for (Operation *op : ops)
    for (Operation *user : llvm::make_early_inc_range(op->getUsers()))
      if (isOpTriviallyDead(user) && !inside.contains(user))
        rewriter.eraseOp(user);
  for (auto [result, whole] : llvm::zip_equal(results, loop.getResults()))
    rewriter.replaceAllUsesWith(result, whole);
  for (Operation *op : llvm::reverse(ops))
    rewriter.eraseOp(op);
  return made;
}

FailureOr<RowLoop> moe::tileRows(RewriterBase &rewriter, ArrayRef<Operation *> ops, OpFoldResult rows, int64_t block) {
  return RowTiler(rewriter, ops).run(rows, block);
}

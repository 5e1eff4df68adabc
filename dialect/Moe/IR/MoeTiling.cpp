//===- MoeTiling.cpp - TilingInterface of the moe ops ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// top_k is tiled over tokens, attention over sequences, queries and heads. The tiles of a grouped_matmul depend on data
// (the rows of each group), which this interface has no words for; see Transforms/TileGroupedMatmul.cpp.
//
//===----------------------------------------------------------------------===//

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace moe;

/// A slice of `source` with unit strides.
static tensor::ExtractSliceOp slice(OpBuilder &b, Location loc, Value source, ArrayRef<OpFoldResult> offsets,
                                    ArrayRef<OpFoldResult> sizes) {
  SmallVector<OpFoldResult> strides(offsets.size(), b.getIndexAttr(1));
  return tensor::ExtractSliceOp::create(b, loc, source, offsets, sizes, strides);
}

static SmallVector<Range> rangesOf(OpBuilder &b, ArrayRef<OpFoldResult> sizes) {
  SmallVector<Range> ranges;
  for (OpFoldResult size : sizes)
    ranges.push_back(Range{b.getIndexAttr(0), size, b.getIndexAttr(1)});
  return ranges;
}

//===----------------------------------------------------------------------===//
// TopKOp: one loop, over tokens
//===----------------------------------------------------------------------===//

SmallVector<utils::IteratorType> TopKOp::getLoopIteratorTypes() { return {utils::IteratorType::parallel}; }

SmallVector<Range> TopKOp::getIterationDomain(OpBuilder &b) {
  return rangesOf(b, {tensor::getMixedSize(b, getLoc(), getValues(), 0)});
}

FailureOr<TilingResult> TopKOp::getTiledImplementation(OpBuilder &b, ArrayRef<OpFoldResult> offsets,
                                                       ArrayRef<OpFoldResult> sizes) {
  Location loc = getLoc();
  SmallVector<Operation *> slices;
  auto rows = [&](Value value) -> Value {
    if (!value)
      return {};
    SmallVector<OpFoldResult> extent = tensor::getMixedSizes(b, loc, value);
    extent[0] = sizes[0];
    slices.push_back(slice(b, loc, value, {offsets[0], b.getIndexAttr(0)}, extent));
    return slices.back()->getResult(0);
  };
  Value values = rows(getValues()), keys = rows(getKeys());
  int64_t tokens = cast<ShapedType>(values.getType()).getDimSize(0);
  auto withTokens = [&](Value result) {
    auto type = cast<RankedTensorType>(result.getType());
    return type.clone({tokens, type.getDimSize(1)});
  };
  auto tiled = TopKOp::create(b, loc, withTokens(getSelected()), withTokens(getIndex()), values, keys, getDynamicK(),
                              getKAttr(), getGroupsAttr());
  return TilingResult{{tiled}, SmallVector<Value>(tiled->getResults()), slices};
}

LogicalResult TopKOp::getResultTilePosition(OpBuilder &b, unsigned resultNumber, ArrayRef<OpFoldResult> offsets,
                                            ArrayRef<OpFoldResult> sizes, SmallVector<OpFoldResult> &resultOffsets,
                                            SmallVector<OpFoldResult> &resultSizes) {
  OpFoldResult k = getDynamicK() ? OpFoldResult(getDynamicK()) : OpFoldResult(b.getIndexAttr(*getK()));
  resultOffsets = {offsets[0], b.getIndexAttr(0)};
  resultSizes = {sizes[0], k};
  return success();
}

//===----------------------------------------------------------------------===//
// AttentionOp: loops over sequences, queries, key-value heads
//===----------------------------------------------------------------------===//

SmallVector<utils::IteratorType> AttentionOp::getLoopIteratorTypes() {
  return SmallVector<utils::IteratorType>(3, utils::IteratorType::parallel);
}

SmallVector<Range> AttentionOp::getIterationDomain(OpBuilder &b) {
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, getLoc(), getQuery());
  // A key-value head and the query heads that share it stay together.
  return rangesOf(b, {sizes[0], sizes[1], tensor::getMixedSize(b, getLoc(), getKeys(), 2)});
}

/// Position of a tile in query and result: key-value head g serves the query heads g * group .. (g + 1) * group.
static void queryTile(AttentionOp op, OpBuilder &b, ArrayRef<OpFoldResult> offsets, ArrayRef<OpFoldResult> sizes,
                      SmallVector<OpFoldResult> &queryOffsets, SmallVector<OpFoldResult> &querySizes) {
  Location loc = op.getLoc();
  auto query = cast<ShapedType>(op.getQuery().getType()), keys = cast<ShapedType>(op.getKeys().getType());
  int64_t group = query.getDimSize(2) / keys.getDimSize(2);
  AffineExpr d0 = b.getAffineDimExpr(0);
  queryOffsets = {offsets[0], offsets[1], affine::makeComposedFoldedAffineApply(b, loc, d0 * group, {offsets[2]}),
                  b.getIndexAttr(0)};
  querySizes = {sizes[0], sizes[1], affine::makeComposedFoldedAffineApply(b, loc, d0 * group, {sizes[2]}),
                b.getIndexAttr(query.getDimSize(3))};
}

FailureOr<TilingResult> AttentionOp::getTiledImplementation(OpBuilder &b, ArrayRef<OpFoldResult> offsets,
                                                            ArrayRef<OpFoldResult> sizes) {
  Location loc = getLoc();
  SmallVector<OpFoldResult> queryOffsets, querySizes;
  queryTile(*this, b, offsets, sizes, queryOffsets, querySizes);
  auto query = slice(b, loc, getQuery(), queryOffsets, querySizes);

  SmallVector<OpFoldResult> cacheSizes = tensor::getMixedSizes(b, loc, getKeys());
  SmallVector<OpFoldResult> cacheOffsets{offsets[0], b.getIndexAttr(0), offsets[2], b.getIndexAttr(0)};
  cacheSizes[0] = sizes[0];
  cacheSizes[2] = sizes[2];
  auto keys = slice(b, loc, getKeys(), cacheOffsets, cacheSizes);
  auto values = slice(b, loc, getCachedValues(), cacheOffsets, cacheSizes);

  // The tile's first query sits that much later.
  AffineExpr d0, d1;
  bindDims(b.getContext(), d0, d1);
  OpFoldResult past = affine::makeComposedFoldedAffineApply(b, loc, d0 + d1, {OpFoldResult(getPast()), offsets[1]});
  Value init = tensor::EmptyOp::create(b, loc, querySizes, getElementTypeOrSelf(getResult().getType()));
  auto tiled =
      AttentionOp::create(b, loc, init.getType(), query, keys, values, getValueOrCreateConstantIndexOp(b, loc, past),
                          init, getScaleAttr(), getWindowAttr());
  return TilingResult{{tiled}, {tiled.getResult()}, {query, keys, values}};
}

LogicalResult AttentionOp::getResultTilePosition(OpBuilder &b, unsigned resultNumber, ArrayRef<OpFoldResult> offsets,
                                                 ArrayRef<OpFoldResult> sizes, SmallVector<OpFoldResult> &resultOffsets,
                                                 SmallVector<OpFoldResult> &resultSizes) {
  queryTile(*this, b, offsets, sizes, resultOffsets, resultSizes);
  return success();
}

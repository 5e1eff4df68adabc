//===- TileMap.cpp - tile_map as loops ------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace moe;
using namespace moe::lowering;

namespace {
/// for each group, for each block of its rows: one more line of the map.
struct LowerTileMap : OpRewritePattern<TileMapOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TileMapOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    ReifiedRankedShapedTypeDims shapes;
    if (failed(op.reifyResultShapes(b, shapes)))
      return rewriter.notifyMatchFailure(op, "the size of the map cannot be computed");
    int64_t groups = cast<ShapedType>(op.getOffsets().getType()).getDimSize(0) - 1;
    Value block = indexConstant(b, op.getBlock());
    auto offset = [&](ImplicitLocOpBuilder &b, Value group) {
      return toIndex(b, tensor::ExtractOp::create(b, op.getOffsets(), group));
    };
    SmallVector<Value> filledMap =
        forLoop(b, indexConstant(b, groups), {filled(b, shapes[0], i32Constant(b, 0)), indexConstant(b, 0)},
                [&](ImplicitLocOpBuilder &b, Value group, ValueRange outer) -> SmallVector<Value> {
                  Value begin = offset(b, group);
                  Value rows =
                      arith::SubIOp::create(b, offset(b, arith::AddIOp::create(b, group, indexConstant(b, 1))), begin);
                  return forLoop(b, arith::CeilDivUIOp::create(b, rows, block), outer,
                                 [&](ImplicitLocOpBuilder &b, Value number, ValueRange state) -> SmallVector<Value> {
                                   Value first = arith::MulIOp::create(b, number, block);
                                   Value left = arith::SubIOp::create(b, rows, first);
                                   Value fields[] = {group, arith::AddIOp::create(b, begin, first),
                                                     arith::MinUIOp::create(b, left, block)};
                                   Value tiles = state[0], next = state[1];
                                   for (auto [at, field] : llvm::enumerate(fields))
                                     tiles = tensor::InsertOp::create(b, toI32(b, field), tiles,
                                                                      ValueRange{next, indexConstant(b, at)});
                                   return {tiles, arith::AddIOp::create(b, next, indexConstant(b, 1))};
                                 });
                });
    Value count = tensor::FromElementsOp::create(b, RankedTensorType::get({}, b.getI32Type()),
                                                 ValueRange{toI32(b, filledMap[1])});
    replaceWithCasts(rewriter, op, {filledMap[0], count});
    return success();
  }
};
} // namespace

void moe::populateTileMapToLinalg(RewritePatternSet &patterns) { patterns.add<LowerTileMap>(patterns.getContext()); }

//===- Attention.cpp - attention over a key-value cache as linalg ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace moe;
using namespace moe::lowering;

namespace {
/// Scores, softmax and weighted sum over the first past + S cache positions. Loops: b, g (key-value head), r (query
/// heads that share it), s (query), q (cache position), d.
struct LowerAttention : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Type f32 = b.getF32Type();
    SmallVector<OpFoldResult> querySizes = tensor::getMixedSizes(b, b.getLoc(), op.getQuery());
    auto queryType = cast<RankedTensorType>(op.getQuery().getType());
    int64_t cachedHeads = cast<ShapedType>(op.getKeys().getType()).getDimSize(2);
    int64_t shared = queryType.getDimSize(2) / cachedHeads, depth = queryType.getDimSize(3);

    // [B, S, Hq, D] as [B, S, g, r, D].
    SmallVector<ReassociationIndices> splitHeads{{0}, {1}, {2, 3}, {4}};
    SmallVector<OpFoldResult> splitSizes{querySizes[0], querySizes[1], b.getIndexAttr(cachedHeads),
                                         b.getIndexAttr(shared), b.getIndexAttr(depth)};
    auto splitType = queryType.clone({queryType.getDimSize(0), queryType.getDimSize(1), cachedHeads, shared, depth});
    Value query = tensor::ExpandShapeOp::create(b, splitType, op.getQuery(), splitHeads, splitSizes);

    // Positions after the last query are not touched.
    Value past = op.getPast(), positions = arith::AddIOp::create(b, past, sizeOf(b, op.getQuery(), 1));
    auto firstPositions = [&](Value cache) -> Value {
      SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), cache);
      sizes[1] = positions;
      SmallVector<OpFoldResult> offsets(4, b.getIndexAttr(0)), strides(4, b.getIndexAttr(1));
      return tensor::ExtractSliceOp::create(b, cache, offsets, sizes, strides);
    };
    Value keys = firstPositions(op.getKeys()), values = firstPositions(op.getCachedValues());

    /// Whether the query of loop `s` sees the position of loop `q`.
    auto visible = [&](ImplicitLocOpBuilder &b, unsigned s, unsigned q) -> Value {
      Value own = arith::AddIOp::create(b, past, linalg::IndexOp::create(b, s));
      Value position = linalg::IndexOp::create(b, q);
      Value seen = arith::CmpIOp::create(b, arith::CmpIPredicate::ule, position, own);
      if (!op.getWindow())
        return seen;
      Value end = arith::AddIOp::create(b, position, indexConstant(b, *op.getWindow()));
      return arith::AndIOp::create(b, seen, arith::CmpIOp::create(b, arith::CmpIPredicate::ugt, end, own));
    };

    Value zero = floatConstant(b, f32, 0.0);
    SmallVector<OpFoldResult> scoreSizes{querySizes[0], splitSizes[2], splitSizes[3], querySizes[1], positions};
    ArrayRef<OpFoldResult> rowSizes = ArrayRef(scoreSizes).drop_back();
    // scores[b, g, r, s, q] += query[b, s, g, r, d] * keys[b, q, g, d]
    Value scores = generic(b, {query, keys}, {filled(b, scoreSizes, zero)}, 6,
                           {{0, 3, 1, 2, 5}, {0, 4, 1, 5}, {0, 1, 2, 3, 4}}, {5},
                           [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                             return {math::FmaOp::create(b, toF32(b, s[0]), toF32(b, s[1]), s[2])};
                           })
                       .front();
    scores = generic(b, {}, {scores}, 5, {{0, 1, 2, 3, 4}}, {},
                     [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                       Value scale = arith::ConstantOp::create(b, op.getScaleAttr());
                       Value scaled = arith::MulFOp::create(b, s[0], scale);
                       return {arith::SelectOp::create(b, visible(b, 3, 4), scaled,
                                                       negativeInfinity(b, cast<FloatType>(f32)))};
                     })
                 .front();

    // Softmax; a query sees itself, so no row is empty. Hidden positions add exp(-inf) = 0.
    Value largest = generic(b, {scores}, {filled(b, rowSizes, negativeInfinity(b, cast<FloatType>(f32)))}, 5,
                            {{0, 1, 2, 3, 4}, {0, 1, 2, 3}}, {4},
                            [](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                              return {arith::MaximumFOp::create(b, s[0], s[1])};
                            })
                        .front();
    Value exponentials = generic(b, {largest}, {scores}, 5, {{0, 1, 2, 3}, {0, 1, 2, 3, 4}}, {},
                                 [](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                                   return {math::ExpOp::create(b, arith::SubFOp::create(b, s[1], s[0]))};
                                 })
                             .front();
    Value sums = generic(b, {exponentials}, {filled(b, rowSizes, zero)}, 5, {{0, 1, 2, 3, 4}, {0, 1, 2, 3}}, {4},
                         [](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                           return {arith::AddFOp::create(b, s[1], s[0])};
                         })
                     .front();
    Value weights = generic(b, {sums}, {exponentials}, 5, {{0, 1, 2, 3}, {0, 1, 2, 3, 4}}, {},
                            [](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                              return {arith::DivFOp::create(b, s[1], s[0])};
                            })
                        .front();

    // out[b, s, g, r, d] += weights[b, g, r, s, q] * values[b, q, g, d]; hidden positions are skipped, not multiplied
    // by 0, so that nothing a later token holds (infinities, NaN) can reach an earlier one.
    Value out = generic(b, {weights, values}, {filled(b, splitSizes, zero)}, 6,
                        {{0, 1, 2, 3, 4}, {0, 4, 1, 5}, {0, 3, 1, 2, 5}}, {4},
                        [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                          Value sum = math::FmaOp::create(b, s[0], toF32(b, s[1]), s[2]);
                          return {arith::SelectOp::create(b, visible(b, 3, 4), sum, s[2])};
                        })
                    .front();
    Value result = tensor::CollapseShapeOp::create(b, queryType.clone(f32), out, splitHeads);
    if (Type element = getElementTypeOrSelf(op.getResult().getType()); !element.isF32())
      result = generic(b, {result}, {uninitialized(b, querySizes, element)}, 4, {{0, 1, 2, 3}, {0, 1, 2, 3}}, {},
                       [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                         return {arith::TruncFOp::create(b, element, s[0])};
                       })
                   .front();
    replaceWithCasts(rewriter, op, result);
    return success();
  }
};
} // namespace

void moe::populateAttentionToLinalg(RewritePatternSet &patterns) {
  patterns.add<LowerAttention>(patterns.getContext());
}

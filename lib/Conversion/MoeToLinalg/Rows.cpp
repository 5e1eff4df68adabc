//===- Rows.cpp - dispatch and combine as linalg --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace moe;
using namespace moe::lowering;

namespace {
/// rows[r, ...] = x[choices[r] / fanout, ...], 0 for a choice of -1.
struct LowerDispatch : OpRewritePattern<DispatchOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(DispatchOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value x = op.getX();
    auto type = cast<RankedTensorType>(op.getRows().getType());
    unsigned rank = type.getRank();
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(type.getElementType()));
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), x);
    sizes[0] = tensor::getMixedSize(b, b.getLoc(), op.getChoices(), 0);
    SmallVector<unsigned> loops = llvm::to_vector(llvm::seq(rank));
    Value rows = generic(b, {op.getChoices()}, {uninitialized(b, sizes, type.getElementType())}, rank, {{0}, loops}, {},
                         [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                           Value used = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, s[0], i32Constant(b, 0));
                           SmallVector<Value> at{Value()}; // linalg.index has to be right in the body
                           for (unsigned dim = 1; dim < rank; ++dim)
                             at.push_back(linalg::IndexOp::create(b, dim));
                           return ifThen(b, used, zero, [&](ImplicitLocOpBuilder &b) -> SmallVector<Value> {
                             at[0] = arith::DivUIOp::create(b, toIndex(b, s[0]), indexConstant(b, op.getFanout()));
                             return {tensor::ExtractOp::create(b, x, at)};
                           });
                         })
                     .front();
    replaceWithCasts(rewriter, op, rows);
    return success();
  }
};

/// result[t, h] = sum over j ascending of weights[t, j] * ys[slots[t, j], h]; loops t, j, h.
struct LowerCombine : OpRewritePattern<CombineOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(CombineOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value ys = op.getYs();
    SmallVector<Value> inputs{op.getSlots()};
    SmallVector<SmallVector<unsigned>> maps{{0, 1}};
    if (op.getWeights()) {
      inputs.push_back(op.getWeights());
      maps.push_back({0, 1});
    }
    maps.push_back({0, 2});
    SmallVector<OpFoldResult> sizes{tensor::getMixedSize(b, b.getLoc(), op.getSlots(), 0),
                                    tensor::getMixedSize(b, b.getLoc(), ys, 1)};
    Value sum = generic(b, inputs, {filled(b, sizes, floatConstant(b, b.getF32Type(), 0.0))}, 3, maps, {1},
                        [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                          Value slot = s.front(), acc = s.back();
                          Value used = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, slot, i32Constant(b, 0));
                          Value column = linalg::IndexOp::create(b, 2); // has to be right in the body
                          return ifThen(b, used, acc, [&](ImplicitLocOpBuilder &b) -> SmallVector<Value> {
                            SmallVector<Value> at{toIndex(b, slot), column};
                            Value term = toF32(b, tensor::ExtractOp::create(b, ys, at));
                            if (op.getWeights())
                              term = arith::MulFOp::create(b, toF32(b, s[1]), term);
                            return {arith::AddFOp::create(b, acc, term)};
                          });
                        })
                    .front();
    replaceWithCasts(rewriter, op, sum);
    return success();
  }
};
} // namespace

void moe::populateRowsToLinalg(RewritePatternSet &patterns) {
  patterns.add<LowerDispatch, LowerCombine>(patterns.getContext());
}

//===- Gaussian.cpp - counter-based normal noise as linalg ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <array>

using namespace mlir;
using namespace moe;
using namespace moe::lowering;

/// Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
static std::array<Value, 4> philox(ImplicitLocOpBuilder &b, std::array<Value, 4> counter, std::array<Value, 2> key) {
  Value multiplier0 = i32Constant(b, int32_t(0xD2511F53)), multiplier1 = i32Constant(b, int32_t(0xCD9E8D57));
  Value bump0 = i32Constant(b, int32_t(0x9E3779B9)), bump1 = i32Constant(b, int32_t(0xBB67AE85));
  for (int round = 0; round < 10; ++round) {
    if (round > 0)
      key = {arith::AddIOp::create(b, key[0], bump0), arith::AddIOp::create(b, key[1], bump1)};
    auto product0 = arith::MulUIExtendedOp::create(b, multiplier0, counter[0]);
    auto product1 = arith::MulUIExtendedOp::create(b, multiplier1, counter[2]);
    Value mixed0 = arith::XOrIOp::create(b, arith::XOrIOp::create(b, product1.getHigh(), counter[1]), key[0]);
    Value mixed2 = arith::XOrIOp::create(b, arith::XOrIOp::create(b, product0.getHigh(), counter[3]), key[1]);
    counter = {mixed0, product1.getLow(), mixed2, product0.getLow()};
  }
  return counter;
}

/// (word + add) * 2^-32 in f32.
static Value toUnit(ImplicitLocOpBuilder &b, Value word, int64_t add) {
  Value wide = arith::ExtUIOp::create(b, b.getI64Type(), word);
  if (add)
    wide = arith::AddIOp::create(b, wide, arith::ConstantOp::create(b, b.getI64IntegerAttr(add)));
  Value real = arith::UIToFPOp::create(b, b.getF32Type(), wide);
  return arith::MulFOp::create(b, real, floatConstant(b, b.getF32Type(), 0x1p-32));
}

namespace {
struct LowerGaussian : OpRewritePattern<GaussianOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GaussianOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto word = [&](uint64_t bits) { return i32Constant(b, static_cast<int32_t>(bits)); };
    std::array<Value, 2> key{word(op.getSeed()), word(op.getSeed() >> 32)};
    Value stream = word(op.getStream());
    SmallVector<OpFoldResult> sizes{tensor::getMixedSize(b, b.getLoc(), op.getIds(), 0),
                                    b.getIndexAttr(cast<ShapedType>(op.getNoise().getType()).getDimSize(1))};
    Value noise =
        generic(b, {op.getIds()}, {uninitialized(b, sizes, b.getF32Type())}, 2, {{0}, {0, 1}}, {},
                [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                  Value id = s[0];
                  if (id.getType().isInteger(32))
                    id = arith::ExtSIOp::create(b, b.getI64Type(), id);
                  Value shift = arith::ConstantOp::create(b, b.getI64IntegerAttr(32));
                  Value low = arith::TruncIOp::create(b, b.getI32Type(), id);
                  Value high = arith::TruncIOp::create(b, b.getI32Type(), arith::ShRUIOp::create(b, id, shift));
                  Value column = linalg::IndexOp::create(b, 1), four = indexConstant(b, 4), two = indexConstant(b, 2);
                  Value quad = toI32(b, arith::DivUIOp::create(b, column, four));
                  Value lane = arith::RemUIOp::create(b, column, four);
                  std::array<Value, 4> words = philox(b, {low, high, quad, stream}, key);

                  // Columns 0 and 1 of a quad come from the first two words, 2 and 3 from the others.
                  Value second = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, lane, two);
                  Value radiusWord = arith::SelectOp::create(b, second, words[2], words[0]);
                  Value angleWord = arith::SelectOp::create(b, second, words[3], words[1]);
                  Value logU = math::LogOp::create(b, toUnit(b, radiusWord, 1));
                  Value squared = arith::MulFOp::create(b, logU, floatConstant(b, b.getF32Type(), -2.0));
                  Value radius = math::SqrtOp::create(b, squared);
                  Value angle = arith::MulFOp::create(b, toUnit(b, angleWord, 0),
                                                      floatConstant(b, b.getF32Type(), 6.283185307179586));
                  Value isSine = arith::CmpIOp::create(b, arith::CmpIPredicate::ne,
                                                       arith::RemUIOp::create(b, lane, two), indexConstant(b, 0));
                  Value wave =
                      arith::SelectOp::create(b, isSine, math::SinOp::create(b, angle), math::CosOp::create(b, angle));
                  return {arith::MulFOp::create(b, radius, wave)};
                })
            .front();
    replaceWithCasts(rewriter, op, noise);
    return success();
  }
};
} // namespace

void moe::populateGaussianToLinalg(RewritePatternSet &patterns) { patterns.add<LowerGaussian>(patterns.getContext()); }

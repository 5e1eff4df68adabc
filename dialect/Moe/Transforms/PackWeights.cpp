//===- PackWeights.cpp - weights in panels --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEPACKWEIGHTS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// [E, N, K] as [E, N/16, K/perStep, 16, perStep], or [E, N/16, K, 16] for a step of 1; padded with zeros.
static Value packPanels(OpBuilder &b, Location loc, Value weight, int64_t perStep) {
  SmallVector<int64_t> dims{1};
  SmallVector<OpFoldResult> tiles{b.getIndexAttr(GroupedMatmulOp::panelWidth)};
  if (perStep > 1) {
    dims.push_back(2);
    tiles.push_back(b.getIndexAttr(perStep));
  }
  Type element = cast<ShapedType>(weight.getType()).getElementType();
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(element));
  Value dest = linalg::PackOp::createDestinationTensor(b, loc, weight, tiles, dims, /*outerDimsPerm=*/{});
  return linalg::PackOp::create(b, loc, weight, dest, dims, tiles, zero).getResult();
}

/// Bytes [E, N, K/2] of 4-bit codes in k's order as kernels want them: of each 8 codes those of even k first, then the
/// odd.
static Value separateNibbles(OpBuilder &b, Location loc, Value bytes) {
  auto type = cast<RankedTensorType>(bytes.getType());
  ArrayRef<int64_t> shape = type.getShape();
  // 8 codes are 4 bytes (2 x 2). Byte q of half h takes nibble h of bytes (q, 0) and (q, 1).
  SmallVector<ReassociationIndices> groups{{0}, {1}, {2, 3, 4}};
  auto split = type.clone({shape[0], shape[1], shape[2] / 4, 2, 2});
  Value source = tensor::ExpandShapeOp::create(b, loc, split, bytes, groups);
  auto at = [&](int64_t which) {
    SmallVector<AffineExpr> index{b.getAffineDimExpr(0), b.getAffineDimExpr(1), b.getAffineDimExpr(2),
                                  b.getAffineDimExpr(4), b.getAffineConstantExpr(which)};
    return AffineMap::get(5, 0, index, b.getContext());
  };
  SmallVector<utils::IteratorType> iterators(5, utils::IteratorType::parallel);
  Value init = tensor::EmptyOp::create(b, loc, split.getShape(), split.getElementType());
  auto emit = [](OpBuilder &b, Location loc, ValueRange s) {
    auto constant = [&](int64_t value) { return arith::ConstantOp::create(b, loc, b.getI8IntegerAttr(value)); };
    Value half = arith::IndexCastOp::create(b, loc, b.getI8Type(), linalg::IndexOp::create(b, loc, 3));
    Value four = constant(4), shift = arith::MulIOp::create(b, loc, half, four);
    auto nibble = [&](Value byte) -> Value {
      return arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, byte, shift), constant(15));
    };
    Value high = arith::ShLIOp::create(b, loc, nibble(s[1]), four);
    linalg::YieldOp::create(b, loc, arith::OrIOp::create(b, loc, nibble(s[0]), high).getResult());
  };
  Value result = linalg::GenericOp::create(b, loc, split, ValueRange{source, source}, init,
                                           ArrayRef{at(0), at(1), b.getMultiDimIdentityMap(5)}, iterators, emit)
                     .getResult(0);
  return tensor::CollapseShapeOp::create(b, loc, type, result, groups);
}

/// Packed 8-bit codes [.., 4] in k's order likewise: k = 0, 2, 1, 3.
static Value separateBytes(OpBuilder &b, Location loc, Value packed) {
  auto type = cast<RankedTensorType>(packed.getType());
  SmallVector<ReassociationIndices> groups{{0}, {1}, {2}, {3}, {4, 5}};
  auto split = type.clone({type.getDimSize(0), type.getDimSize(1), type.getDimSize(2), type.getDimSize(3), 2, 2});
  Value source = tensor::ExpandShapeOp::create(b, loc, split, packed, groups);
  Value init = tensor::EmptyOp::create(b, loc, split.getShape(), split.getElementType());
  Value result = linalg::TransposeOp::create(b, loc, source, init, ArrayRef<int64_t>{0, 1, 2, 3, 5, 4})->getResult(0);
  return tensor::CollapseShapeOp::create(b, loc, type, result, groups);
}

namespace {
struct PackWeights : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    if (op.isPacked())
      return rewriter.notifyMatchFailure(op, "packed already");
    for (Value weight : op.getWeights()) {
      if (!isParameterOnly(weight))
        return rewriter.notifyMatchFailure(op, "a weight is only known at run time");
      Type element = cast<ShapedType>(weight.getType()).getElementType();
      if (!element.isF32() && !element.isBF16() && !element.isF16() && !element.isInteger(8))
        return rewriter.notifyMatchFailure(op, "no panel layout for this element type");
    }
    for (Value scales : op.getScales())
      if (!isParameterOnly(scales))
        return rewriter.notifyMatchFailure(op, "a scale is only known at run time");

    SmallVector<Value> packed, packedScales;
    for (Value weight : op.getWeights()) {
      int64_t codeBits = op.getFormat() ? op.getCodeBits() : 0;
      if (codeBits == 4)
        weight = separateNibbles(rewriter, op.getLoc(), weight);
      // A step fills the 32 bits that a kernel broadcasts or multiplies by at once.
      int64_t perStep = 32 / cast<ShapedType>(weight.getType()).getElementTypeBitWidth();
      Value panels = packPanels(rewriter, op.getLoc(), weight, perStep);
      packed.push_back(codeBits == 8 ? separateBytes(rewriter, op.getLoc(), panels) : panels);
    }
    for (Value scales : op.getScales()) {
      // [E, N, K/G] as [E, N/16, K/G, 16].
      packedScales.push_back(packPanels(rewriter, op.getLoc(), scales, /*perStep=*/1));
    }
    rewriter.modifyOpInPlace(op, [&] {
      op.getWeightsMutable().assign(packed);
      op.getScalesMutable().assign(packedScales);
    });
    return success();
  }
};

struct MoePackWeightsPass : moe::impl::MoePackWeightsBase<MoePackWeightsPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<PackWeights>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

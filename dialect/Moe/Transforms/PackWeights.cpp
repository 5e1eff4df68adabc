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

/// weight [E, N, K] as [E, N/16, K, 16], or with pairs along k for 16-bit types; padded with zeros.
static Value packPanels(OpBuilder &b, Location loc, Value weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  bool pairs = type.getElementTypeBitWidth() == 16;
  SmallVector<int64_t> dims{1};
  SmallVector<OpFoldResult> tiles{b.getIndexAttr(GroupedMatmulOp::panelWidth)};
  if (pairs) {
    dims.push_back(2);
    tiles.push_back(b.getIndexAttr(2));
  }
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type.getElementType()));
  Value dest = linalg::PackOp::createDestinationTensor(b, loc, weight, tiles, dims, /*outerDimsPerm=*/{});
  return linalg::PackOp::create(b, loc, weight, dest, dims, tiles, zero).getResult();
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
      if (!element.isF32() && !element.isBF16() && !element.isF16())
        return rewriter.notifyMatchFailure(op, "no panel layout for this element type");
    }
    SmallVector<Value> packed;
    for (Value weight : op.getWeights())
      packed.push_back(packPanels(rewriter, op.getLoc(), weight));
    rewriter.modifyOpInPlace(op, [&] { op.getWeightsMutable().assign(packed); });
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

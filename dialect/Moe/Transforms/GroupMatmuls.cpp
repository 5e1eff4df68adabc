//===- GroupMatmuls.cpp - dense products as grouped matmuls ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "RowwiseOps.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEGROUPMATMULS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

namespace {
struct GroupMatmul : OpInterfaceRewritePattern<linalg::LinalgOp> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;
  LogicalResult matchAndRewrite(linalg::LinalgOp op, PatternRewriter &rewriter) const override {
    std::string why;
    FailureOr<TransposedProduct> product = matchTransposedProduct(op, why);
    if (failed(product))
      return rewriter.notifyMatchFailure(op, why);
    auto weightType = cast<RankedTensorType>(product->weight.getType());
    if (!weightType.hasStaticShape())
      return rewriter.notifyMatchFailure(op, "a weight of unknown size");
    Location loc = op.getLoc();

    // One group: offsets [0, rows].
    Value rows = tensor::DimOp::create(rewriter, loc, product->x, 0);
    Value end = arith::IndexCastOp::create(rewriter, loc, rewriter.getI32Type(), rows);
    Value zero = arith::ConstantOp::create(rewriter, loc, rewriter.getI32IntegerAttr(0));
    Value offsets = tensor::FromElementsOp::create(rewriter, loc, ValueRange{zero, end});
    auto oneExpert = weightType.clone({1, weightType.getDimSize(0), weightType.getDimSize(1)});
    Value weight = tensor::ExpandShapeOp::create(rewriter, loc, oneExpert, product->weight,
                                                 SmallVector<ReassociationIndices>{{0, 1}, {2}});
    // Every row is in the group, so nothing of the zeros is kept.
    Value init = op.getDpsInits().front();
    if (auto fill = init.getDefiningOp<linalg::FillOp>())
      init = fill.getOutputs().front();
    auto grouped = buildGroupedMatmul(rewriter, loc, product->x, weight, offsets, init);
    rewriter.replaceOp(op, grouped.getResult());
    return success();
  }
};

struct MoeGroupMatmulsPass : moe::impl::MoeGroupMatmulsBase<MoeGroupMatmulsPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<GroupMatmul>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

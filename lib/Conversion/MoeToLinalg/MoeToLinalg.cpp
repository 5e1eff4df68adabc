//===- MoeToLinalg.cpp - reference semantics of the moe dialect -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "moe/Conversion/MoeToLinalg.h"
#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;

namespace moe {
#define GEN_PASS_DEF_MOETOLINALG
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace moe;

namespace {
/// linalg.softmax bufferizes, but no upstream pass lowers it.
struct DecomposeSoftmax : OpRewritePattern<linalg::SoftmaxOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(linalg::SoftmaxOp op, PatternRewriter &rewriter) const override {
    FailureOr<SmallVector<Value>> parts = op.decomposeOperation(rewriter);
    if (failed(parts))
      return rewriter.notifyMatchFailure(op, "does not decompose");
    rewriter.replaceOp(op, *parts);
    return success();
  }
};

struct MoeToLinalgPass : moe::impl::MoeToLinalgBase<MoeToLinalgPass> {
  using MoeToLinalgBase::MoeToLinalgBase;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMoeToLinalgPatterns(patterns, /*withTargetOps=*/!keepGroupedMatmul);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
  }
};
} // namespace

void moe::populateMoeToLinalgPatterns(RewritePatternSet &patterns, bool withTargetOps) {
  populateRoutingToLinalg(patterns);
  populateRowsToLinalg(patterns);
  populateExpertsToLinalg(patterns);
  populateTileMapToLinalg(patterns);
  populateGaussianToLinalg(patterns);
  if (withTargetOps) {
    populateGroupedMatmulToLinalg(patterns);
    populateAttentionToLinalg(patterns);
  }
  patterns.add<DecomposeSoftmax>(patterns.getContext());
}

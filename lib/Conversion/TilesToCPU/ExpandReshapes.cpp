//===- ExpandReshapes.cpp - expand_shape with several dynamic sizes -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace moe {
#define GEN_PASS_DEF_EXPANDRESHAPES
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

namespace {
struct ExpandReshape : OpRewritePattern<memref::ExpandShapeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(memref::ExpandShapeOp op, PatternRewriter &rewriter) const override {
    MemRefType type = op.getResultType();
    bool manyDynamic = llvm::any_of(op.getReassociationIndices(), [&](ArrayRef<int64_t> group) {
      return llvm::count_if(group, [&](int64_t dim) { return type.isDynamicDim(dim); }) > 1;
    });
    if (!manyDynamic)
      return rewriter.notifyMatchFailure(op, "upstream's lowering takes it");

    Location loc = op.getLoc();
    auto metadata = memref::ExtractStridedMetadataOp::create(rewriter, loc, op.getSrc());
    SmallVector<OpFoldResult> sizes = op.getMixedOutputShape(), strides(sizes.size());
    SmallVector<int64_t> staticStrides, sourceStrides;
    int64_t offset, sourceOffset;
    if (failed(type.getStridesAndOffset(staticStrides, offset)) ||
        failed(op.getSrcType().getStridesAndOffset(sourceStrides, sourceOffset)))
      return rewriter.notifyMatchFailure(op, "not strided");
    AffineExpr d0, d1;
    bindDims(getContext(), d0, d1);
    for (auto [source, group] : llvm::enumerate(op.getReassociationIndices())) {
      // The last dimension of a group has the source's stride, each one before it spans those after it.
      OpFoldResult stride = ShapedType::isDynamic(sourceStrides[source])
                                ? OpFoldResult(metadata.getStrides()[source])
                                : OpFoldResult(rewriter.getIndexAttr(sourceStrides[source]));
      for (int64_t dim : llvm::reverse(group)) {
        strides[dim] = ShapedType::isDynamic(staticStrides[dim])
                           ? stride
                           : OpFoldResult(rewriter.getIndexAttr(staticStrides[dim]));
        stride = affine::makeComposedFoldedAffineApply(rewriter, loc, d0 * d1, {stride, sizes[dim]});
      }
    }
    OpFoldResult start = ShapedType::isDynamic(offset) ? OpFoldResult(metadata.getOffset())
                                                       : OpFoldResult(rewriter.getIndexAttr(offset));
    rewriter.replaceOpWithNewOp<memref::ReinterpretCastOp>(op, type, metadata.getBaseBuffer(), start, sizes, strides);
    return success();
  }
};

struct ExpandReshapesPass : moe::impl::ExpandReshapesBase<ExpandReshapesPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpandReshape>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

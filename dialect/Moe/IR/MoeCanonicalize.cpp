//===- MoeCanonicalize.cpp - folds and canonical forms of the moe ops -----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace moe;

//===----------------------------------------------------------------------===//
// DropOp
//===----------------------------------------------------------------------===//

/// An expert can be named by every choice at most, so a capacity of that size drops nothing.
OpFoldResult DropOp::fold(FoldAdaptor adaptor) {
  auto capacity = dyn_cast_if_present<IntegerAttr>(adaptor.getCapacity());
  auto type = cast<RankedTensorType>(getIndices().getType());
  if (capacity && type.hasStaticShape() && capacity.getInt() >= type.getNumElements())
    return getIndices();
  return {};
}

//===----------------------------------------------------------------------===//
// TopKOp
//===----------------------------------------------------------------------===//

namespace {
/// keys(values) says nothing.
struct DropRedundantKeys : OpRewritePattern<TopKOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TopKOp op, PatternRewriter &rewriter) const override {
    if (!op.getKeys() || op.getKeys() != op.getValues())
      return rewriter.notifyMatchFailure(op, "no keys, or keys of their own");
    rewriter.modifyOpInPlace(op, [&] { op.getKeysMutable().clear(); });
    return success();
  }
};

/// k(%constant) becomes the attribute; the static type is cast back for the users.
struct StaticK : OpRewritePattern<TopKOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TopKOp op, PatternRewriter &rewriter) const override {
    APInt k;
    if (!op.getDynamicK() || !matchPattern(op.getDynamicK(), m_ConstantInt(&k)))
      return rewriter.notifyMatchFailure(op, "k is static already, or not a constant");
    int64_t experts = op.getNumExperts();
    if (k.getSExtValue() < 1 || (!ShapedType::isDynamic(experts) && k.getSExtValue() > experts))
      return rewriter.notifyMatchFailure(op, "k is out of range: left to fail where it runs");
    auto withColumns = [&](Value value) {
      auto type = cast<RankedTensorType>(value.getType());
      return type.clone({type.getDimSize(0), k.getSExtValue()});
    };
    auto fixed =
        TopKOp::create(rewriter, op.getLoc(), withColumns(op.getSelected()), withColumns(op.getIndex()), op.getValues(),
                       op.getKeys(), Value(), rewriter.getI64IntegerAttr(k.getSExtValue()), op.getGroupsAttr());
    rewriter.replaceOp(
        op, {tensor::CastOp::create(rewriter, op.getLoc(), op.getSelected().getType(), fixed.getSelected()).getResult(),
             tensor::CastOp::create(rewriter, op.getLoc(), op.getIndex().getType(), fixed.getIndex()).getResult()});
    return success();
  }
};

/// Keeping every group masks nothing.
struct DropIdleGroups : OpRewritePattern<TopKOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TopKOp op, PatternRewriter &rewriter) const override {
    if (!op.getGroups() || op.getGroups()->getKeep() != op.getGroups()->getCount())
      return rewriter.notifyMatchFailure(op, "no groups, or some are masked");
    rewriter.modifyOpInPlace(op, [&] { op.removeGroupsAttr(); });
    return success();
  }
};
} // namespace

void TopKOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<DropRedundantKeys, StaticK, DropIdleGroups>(context);
}

//===----------------------------------------------------------------------===//
// CombineOp
//===----------------------------------------------------------------------===//

namespace {
/// Weights that are all 1 are no weights: 1 * y is y, to the bit.
struct DropUnitWeights : OpRewritePattern<CombineOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(CombineOp op, PatternRewriter &rewriter) const override {
    DenseFPElementsAttr weights;
    if (!op.getWeights() || !matchPattern(op.getWeights(), m_Constant(&weights)) || !weights.isSplat() ||
        !weights.getSplatValue<APFloat>().isExactlyValue(1.0))
      return rewriter.notifyMatchFailure(op, "weights are not a constant of ones");
    rewriter.modifyOpInPlace(op, [&] { op.getWeightsMutable().clear(); });
    return success();
  }
};
} // namespace

void CombineOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<DropUnitWeights>(context);
}

//===----------------------------------------------------------------------===//
// ExpertsOp and GroupedMatmulOp: operands whose block argument is unused or doubled
//===----------------------------------------------------------------------===//

/// Erases operand `number` of `operands` together with its block argument, after redirecting uses to `replacement`.
static void eraseOperandAndArgument(PatternRewriter &rewriter, Operation *op, MutableOperandRange operands,
                                    unsigned number, Block &body, unsigned argument, Value replacement) {
  rewriter.modifyOpInPlace(op, [&] {
    if (replacement)
      rewriter.replaceAllUsesWith(body.getArgument(argument), replacement);
    body.eraseArgument(argument);
    operands.erase(number);
  });
}

/// Finds an operand at or after `first` that can go: its argument is unused, or the same operand came before.
static bool simplifyOperands(PatternRewriter &rewriter, Operation *op, MutableOperandRange operands, Block &body,
                             unsigned firstArgument, unsigned keepAtLeast) {
  for (unsigned number = 0; number < operands.size() && operands.size() > keepAtLeast; ++number) {
    unsigned argument = firstArgument + number;
    if (body.getArgument(argument).use_empty()) {
      eraseOperandAndArgument(rewriter, op, operands, number, body, argument, Value());
      return true;
    }
    for (unsigned before = 0; before < number; ++before) {
      if (operands[before].get() == operands[number].get()) {
        eraseOperandAndArgument(rewriter, op, operands, number, body, argument,
                                body.getArgument(firstArgument + before));
        return true;
      }
    }
  }
  return false;
}

namespace {
struct SimplifyExpertOperands : OpRewritePattern<ExpertsOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ExpertsOp op, PatternRewriter &rewriter) const override {
    Block &body = op.getBody().front();
    // The first row operand gives the number of rows: one has to stay.
    if (simplifyOperands(rewriter, op, op.getParamsMutable(), body, op.getRows().size(), 0) ||
        simplifyOperands(rewriter, op, op.getRowsMutable(), body, 0, 1))
      return success();
    return rewriter.notifyMatchFailure(op, "every operand is used, none twice");
  }
};
} // namespace

/// The same for weights, which go together with their scales where there are any.
static bool simplifyWeights(PatternRewriter &rewriter, GroupedMatmulOp op) {
  Block &body = op.getEpilogue().front();
  MutableOperandRange weights = op.getWeightsMutable(), scales = op.getScalesMutable();
  if (scales.empty())
    return simplifyOperands(rewriter, op, weights, body, 0, 1);
  for (unsigned number = 0; number < weights.size() && weights.size() > 1; ++number) {
    Value replacement;
    for (unsigned before = 0; before < number && !replacement; ++before)
      if (weights[before].get() == weights[number].get() && scales[before].get() == scales[number].get())
        replacement = body.getArgument(before);
    if (!replacement && !body.getArgument(number).use_empty())
      continue;
    rewriter.modifyOpInPlace(op, [&] { op.getScalesMutable().erase(number); });
    eraseOperandAndArgument(rewriter, op, op.getWeightsMutable(), number, body, number, replacement);
    return true;
  }
  return false;
}

namespace {
struct SimplifyMatmulOperands : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    Block &body = op.getEpilogue().front();
    unsigned weights = op.getWeights().size(), rows = op.getRowScalars().size();
    if (simplifyOperands(rewriter, op, op.getColumnScalarsMutable(), body, weights + rows, 0) ||
        simplifyOperands(rewriter, op, op.getRowScalarsMutable(), body, weights, 0) || simplifyWeights(rewriter, op))
      return success();
    return rewriter.notifyMatchFailure(op, "every operand is used, none twice");
  }
};
} // namespace

void ExpertsOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<SimplifyExpertOperands>(context);
}

void GroupedMatmulOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<SimplifyMatmulOperands>(context);
}

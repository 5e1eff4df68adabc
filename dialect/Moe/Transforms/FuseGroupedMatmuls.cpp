//===- FuseGroupedMatmuls.cpp - prologue, siblings and epilogue -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "RowwiseOps.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEFUSEGROUPEDMATMULS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// The value a block of scalar ops yields for constant arguments, or null if it does not fold.
static TypedAttr evaluate(Block &block, ArrayRef<Attribute> arguments) {
  DenseMap<Value, Attribute> known;
  for (auto [argument, value] : llvm::zip(block.getArguments(), arguments))
    known[argument] = value;
  auto lookup = [&](Value value) -> Attribute {
    Attribute constant;
    if (Attribute attribute = known.lookup(value))
      return attribute;
    return matchPattern(value, m_Constant(&constant)) ? constant : Attribute();
  };
  for (Operation &op : block.without_terminator()) {
    SmallVector<Attribute> operands = llvm::map_to_vector(op.getOperands(), lookup);
    SmallVector<OpFoldResult> results;
    if (failed(op.fold(operands, results)) || results.size() != op.getNumResults())
      continue; // unknown, which matters only if the result is used
    for (auto [result, folded] : llvm::zip(op.getResults(), results))
      known[result] = isa<Attribute>(folded) ? cast<Attribute>(folded) : lookup(cast<Value>(folded));
  }
  return dyn_cast_if_present<TypedAttr>(lookup(block.getTerminator()->getOperand(0)));
}

namespace {
/// x = moe.dispatch: rows are gathered while they are read.
struct FuseGather : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    auto dispatch = op.getX().getDefiningOp<DispatchOp>();
    if (!dispatch || op.getChoices())
      return rewriter.notifyMatchFailure(op, "rows do not come from a dispatch, or are gathered already");
    rewriter.modifyOpInPlace(op, [&] {
      op.getXMutable().assign(dispatch.getX());
      op.getChoicesMutable().assign(dispatch.getChoices());
      op.setFanout(dispatch.getFanout());
    });
    return success();
  }
};

/// linalg.generic over products of the same rows: one grouped_matmul with all weights, the body as its epilogue.
struct FuseEpilogue : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp op, PatternRewriter &rewriter) const override {
    if (!isRowwise(op) || op.getNumLoops() != 2 || op.getNumResults() != 1)
      return rewriter.notifyMatchFailure(op, "not elementwise on a matrix");
    SmallVector<GroupedMatmulOp> products;
    for (OpOperand *input : op.getDpsInputOperands()) {
      auto product = input->get().getDefiningOp<GroupedMatmulOp>();
      if (!product || !op.getMatchingIndexingMap(input).isIdentity())
        return rewriter.notifyMatchFailure(op, "an input is not the result of a grouped matmul");
      if (!product->hasOneUse())
        return rewriter.notifyMatchFailure(op, "a product has other uses");
      if (product.isInteger() || product.getFormat())
        return rewriter.notifyMatchFailure(op, "a product is quantised: fusion comes before that");
      products.push_back(product);
    }
    if (products.empty())
      return rewriter.notifyMatchFailure(op, "no inputs");
    GroupedMatmulOp first = products.front();
    for (GroupedMatmulOp product : products) {
      if (product.getX() != first.getX() || product.getOffsets() != first.getOffsets() ||
          product.getChoices() != first.getChoices() || product.getFanout() != first.getFanout())
        return rewriter.notifyMatchFailure(op, "products of different rows");
      // Scalars would have to be interleaved with the others'; nothing makes such a chain yet.
      if (!product.getRowScalars().empty() || !product.getColumnScalars().empty())
        return rewriter.notifyMatchFailure(op, "a product has an epilogue with scalars");
      if (!isZeroFilled(product.getInit()) && !coversAllRows(product))
        return rewriter.notifyMatchFailure(op, "rows in no group keep values that the epilogue would see");
    }
    Value init = op.getDpsInits().front();
    if (!op.getBody()->getArguments().back().use_empty())
      return rewriter.notifyMatchFailure(op, "the body reads its output");

    // Rows in no group were zero, and are what the epilogue makes of zero afterwards.
    if (!coversAllRows(first)) {
      SmallVector<Attribute> zeros;
      for (GroupedMatmulOp product : products)
        zeros.push_back(evaluate(product.getEpilogue().front(),
                                 SmallVector<Attribute>(product.getWeights().size(), rewriter.getF32FloatAttr(0.0))));
      TypedAttr fill = llvm::is_contained(zeros, Attribute()) ? TypedAttr() : evaluate(*op.getBody(), zeros);
      if (!fill)
        return rewriter.notifyMatchFailure(op, "the value in rows of no group does not fold to a constant");
      auto constant = arith::ConstantOp::create(rewriter, op.getLoc(), fill);
      init = linalg::FillOp::create(rewriter, op.getLoc(), constant.getResult(), init).getResult(0);
    }

    SmallVector<Value> weights;
    for (GroupedMatmulOp product : products)
      llvm::append_range(weights, product.getWeights());
    auto fused =
        GroupedMatmulOp::create(rewriter, op.getLoc(), init.getType(), first.getX(), weights, first.getOffsets(),
                                first.getChoices(), ValueRange(), ValueRange(), init, first.getFanout());
    OpBuilder::InsertionGuard guard(rewriter);
    SmallVector<Location> locations(weights.size(), op.getLoc());
    SmallVector<Type> types(weights.size(), rewriter.getF32Type());
    Block *epilogue = rewriter.createBlock(&fused.getEpilogue(), {}, types, locations);
    IRMapping mapping;
    unsigned accumulator = 0;
    for (auto [input, product] : llvm::zip(op.getBody()->getArguments(), products)) {
      IRMapping inner;
      Block &before = product.getEpilogue().front();
      for (Value argument : before.getArguments())
        inner.map(argument, epilogue->getArgument(accumulator++));
      for (Operation &scalar : before.without_terminator())
        rewriter.clone(scalar, inner);
      mapping.map(input, inner.lookupOrDefault(before.getTerminator()->getOperand(0)));
    }
    for (Operation &scalar : op.getBody()->without_terminator())
      rewriter.clone(scalar, mapping);
    YieldOp::create(rewriter, op.getLoc(), mapping.lookupOrDefault(op.getBody()->getTerminator()->getOperand(0)));
    rewriter.replaceOp(op, fused.getResult());
    return success();
  }
};

/// Rows in no group are filled, and nobody reads them: the memory need not be cleared.
struct DropFill : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    auto fill = op.getInit().getDefiningOp<linalg::FillOp>();
    if (!fill)
      return rewriter.notifyMatchFailure(op, "rows in no group are not filled");
    auto readsGroupsOnly = [&](OpOperand &use) {
      if (auto combine = dyn_cast<CombineOp>(use.getOwner())) {
        auto plan = combine.getSlots().getDefiningOp<PlanOp>();
        return plan && plan.getOffsets() == op.getOffsets();
      }
      auto product = dyn_cast<GroupedMatmulOp>(use.getOwner());
      return product && &use == &product.getXMutable() && !product.getChoices() &&
             product.getOffsets() == op.getOffsets();
    };
    if (!coversAllRows(op) && !llvm::all_of(op->getUses(), readsGroupsOnly))
      return rewriter.notifyMatchFailure(op, "something may read rows in no group");
    rewriter.modifyOpInPlace(op, [&] { op.getInitMutable().assign(fill.getOutputs().front()); });
    return success();
  }
};

/// What only rounds the result of an attention: the attention does it.
struct FuseRounding : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(linalg::GenericOp op, PatternRewriter &rewriter) const override {
    if (op.getNumDpsInputs() != 1 || op.getNumResults() != 1 || op.getNumReductionLoops() != 0)
      return rewriter.notifyMatchFailure(op, "not elementwise on one tensor");
    auto attention = op.getDpsInputs().front().getDefiningOp<AttentionOp>();
    auto isSizeOrRounding = [&](Operation *user) { return user == op || isa<tensor::DimOp>(user); };
    if (!attention || attention.getInit() || !llvm::all_of(attention->getUsers(), isSizeOrRounding))
      return rewriter.notifyMatchFailure(op, "not the only user of an attention");
    auto rounded = op.getBody()->getTerminator()->getOperand(0).getDefiningOp<arith::TruncFOp>();
    if (!rounded || rounded.getIn() != op.getBody()->getArgument(0) || rounded.getRoundingmode() ||
        !llvm::all_of(op.getIndexingMapsArray(), [](AffineMap map) { return map.isIdentity(); }))
      return rewriter.notifyMatchFailure(op, "does more than rounding");
    auto type = cast<RankedTensorType>(attention.getResult().getType()).clone(rounded.getType());
    rewriter.modifyOpInPlace(attention, [&] { attention.getResult().setType(type); });
    if (type != op.getResult(0).getType()) {
      OpBuilder::InsertionGuard guard(rewriter);
      rewriter.setInsertionPoint(op);
      rewriter.replaceOpWithNewOp<tensor::CastOp>(op, op.getResult(0).getType(), attention.getResult());
    } else {
      rewriter.replaceOp(op, attention.getResult());
    }
    return success();
  }
};

struct MoeFuseGroupedMatmulsPass : moe::impl::MoeFuseGroupedMatmulsBase<MoeFuseGroupedMatmulsPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseGather, FuseEpilogue, DropFill, FuseRounding>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

//===- CutExperts.cpp - moe.experts to grouped matmuls --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "RowwiseOps.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOECUTEXPERTS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// Cuts one moe.experts: the region's ops are rebuilt on all rows, products become grouped matmuls.
namespace {
class ExpertsCutter {
public:
  ExpertsCutter(ExpertsOp op) : op(op), body(op.getBody().front()) {}

  /// Checks every op of the region; the reason of a refusal is in `why`, its op in `culprit`.
  LogicalResult check();
  void rewrite(PatternRewriter &rewriter);

  std::string why;
  Operation *culprit = nullptr;

private:
  bool isParameter(Value value) {
    auto argument = dyn_cast<BlockArgument>(value);
    return argument && argument.getOwner() == &body && argument.getArgNumber() >= op.getRows().size();
  }
  bool isLocal(Value value) { return value.getParentRegion() == &op.getBody(); }
  LogicalResult refuse(Operation *at, StringRef reason) {
    why = reason.str();
    culprit = at;
    return failure();
  }
  LogicalResult checkOp(Operation &inner);

  ExpertsOp op;
  Block &body;
};
} // namespace

LogicalResult ExpertsCutter::checkOp(Operation &inner) {
  if (isa<arith::ConstantOp, tensor::EmptyOp, linalg::FillOp>(inner))
    return success();
  if (auto dim = dyn_cast<tensor::DimOp>(inner)) {
    if (isLocal(dim.getSource()) && !isParameter(dim.getSource()) && dim.getConstantIndex() == 0)
      return success();
    return refuse(&inner, "a size other than the number of rows");
  }
  auto linalgOp = dyn_cast<linalg::LinalgOp>(inner);
  if (!linalgOp)
    return refuse(&inner, "an op that is neither a product nor row-wise");
  std::string reason;
  FailureOr<TransposedProduct> matched = matchTransposedProduct(linalgOp, reason);
  if (succeeded(matched)) {
    if (!isParameter(matched->weight) || isParameter(matched->x) || !isLocal(matched->x))
      return refuse(&inner, "a product that is not of rows with a parameter");
    return success();
  }
  auto generic = dyn_cast<linalg::GenericOp>(inner);
  if (!generic || !isRowwise(generic))
    return refuse(&inner, "a linalg op that is neither a product with a parameter nor row-wise");
  for (Value operand : inner.getOperands())
    if (isParameter(operand))
      return refuse(&inner, "a parameter that is not the weight of a product");
  return success();
}

LogicalResult ExpertsCutter::check() {
  for (Operation &inner : body.without_terminator())
    if (failed(checkOp(inner)))
      return failure();
  // The result has to be zero in rows of no group: only a product, which does not touch them, can say so.
  for (Value value : body.getTerminator()->getOperands()) {
    auto linalgOp = value.getDefiningOp<linalg::LinalgOp>();
    std::string reason;
    if (!linalgOp || !isLocal(value) || failed(matchTransposedProduct(linalgOp, reason)))
      return refuse(body.getTerminator(), "a result that is not a product with a parameter");
  }
  return success();
}

void ExpertsCutter::rewrite(PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  rewriter.setInsertionPoint(op);
  IRMapping mapping;
  // Inside, the number of rows is dynamic; outside it may be known.
  for (auto [number, rows] : llvm::enumerate(op.getRows())) {
    Type type = body.getArgument(number).getType();
    Value all = rows.getType() == type ? rows : tensor::CastOp::create(rewriter, loc, type, rows).getResult();
    mapping.map(body.getArgument(number), all);
  }
  for (auto [number, parameter] : llvm::enumerate(op.getParams()))
    mapping.map(body.getArgument(op.getRows().size() + number), parameter);

  for (Operation &inner : body.without_terminator()) {
    auto linalgOp = dyn_cast<linalg::LinalgOp>(inner);
    std::string reason;
    FailureOr<TransposedProduct> matched = failure();
    if (linalgOp)
      matched = matchTransposedProduct(linalgOp, reason);
    if (failed(matched)) {
      rewriter.clone(inner, mapping);
      continue;
    }
    Value init = mapping.lookupOrDefault(linalgOp.getDpsInits().front());
    auto product = buildGroupedMatmul(rewriter, inner.getLoc(), mapping.lookup(matched->x),
                                      mapping.lookup(matched->weight), op.getOffsets(), init);
    mapping.map(inner.getResult(0), product.getResult());
  }
  SmallVector<Value> results;
  for (auto [value, result] : llvm::zip(body.getTerminator()->getOperands(), op.getResults())) {
    Value all = mapping.lookup(value);
    results.push_back(all.getType() == result.getType()
                          ? all
                          : tensor::CastOp::create(rewriter, loc, result.getType(), all).getResult());
  }
  rewriter.replaceOp(op, results);
}

namespace {
struct CutExperts : OpRewritePattern<ExpertsOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ExpertsOp op, PatternRewriter &rewriter) const override {
    ExpertsCutter cutter(op);
    if (failed(cutter.check()))
      return rewriter.notifyMatchFailure(cutter.culprit, cutter.why);
    cutter.rewrite(rewriter);
    return success();
  }
};

struct MoeCutExpertsPass : moe::impl::MoeCutExpertsBase<MoeCutExpertsPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<CutExperts>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation()->walk([](ExpertsOp op) {
      ExpertsCutter cutter(op);
      if (failed(cutter.check()))
        op.emitRemark("stays a loop over experts").attachNote(cutter.culprit->getLoc()) << "because of " << cutter.why;
    });
  }
};
} // namespace

//===- FuseCombine.cpp - products and their combination for one token -----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A combine needs the rows of all experts of its token, so it has to wait for all blocks of the product. Unless each
// block has a range of columns for itself and multiplies with one expert after the other. That gives up blocks for
// experts, and saves a launch; with more than one token there is enough to do for a loop over tiles, and the experts'
// weights would be read by too few blocks at a time.
//
//===----------------------------------------------------------------------===//

#include "TileGroupedMatmul.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/TilingInterface.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEFUSECOMBINE
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// Columns of a block: few, so that there are many blocks.
static constexpr int64_t columnsPerBlock = GroupedMatmulOp::panelWidth;
/// Rows that a tensor core multiplies at least: a token has no more experts in a tile.
static constexpr int64_t mostExpertsOfToken = 16;

namespace {
/// A product, the combination of its rows, and what is done to the result by elements.
struct Chain {
  GroupedMatmulOp product;
  CombineOp combine;
  SmallVector<linalg::GenericOp> elementwise;

  Operation *last() { return elementwise.empty() ? combine.getOperation() : elementwise.back().getOperation(); }
};
} // namespace

/// Elementwise on matrices, with `value` as it is, and without knowing where.
static bool isElementwiseOn(linalg::GenericOp op, Value value) {
  if (op.getNumLoops() != 2 || op.getNumParallelLoops() != 2 || op.getNumResults() != 1 ||
      !op.hasPureTensorSemantics() || !op.getMatchingIndexingMap(op.getDpsInitOperand(0)).isIdentity() ||
      !op.getBody()->getArguments().back().use_empty())
    return false;
  SetVector<Value> captured;
  getUsedValuesDefinedAbove(op->getRegions(), captured);
  return llvm::none_of(captured, [](Value used) { return isa<ShapedType>(used.getType()); }) &&
         llvm::all_of(op.getDpsInputOperands(), [&](OpOperand *input) {
           return input->get() != value || op.getMatchingIndexingMap(input).isIdentity();
         });
}

static FailureOr<Chain> matchChain(CombineOp combine, std::string &why) {
  auto no = [&](const char *reason) {
    why = reason;
    return failure();
  };
  auto product = combine.getYs().getDefiningOp<GroupedMatmulOp>();
  auto plan = combine.getSlots().getDefiningOp<PlanOp>();
  if (!product || !product->hasOneUse())
    return no("rows are not those of a product that nothing else reads");
  if (!plan || plan.getOffsets() != product.getOffsets())
    return no("slots are not those of the product's plan");
  if (product.isPacked() && !product.isPackedForTensorCores())
    return no("the weights are packed for vectors");
  if (ShapedType::isDynamic(product.getNumColumns()) || product.getNumColumns() % columnsPerBlock)
    return no("columns do not come in whole ranges");
  int64_t each = cast<ShapedType>(combine.getSlots().getType()).getDimSize(1);
  if (ShapedType::isDynamic(each) || each > mostExpertsOfToken)
    return no("a token has too many experts");
  Chain chain{product, combine, {}};
  for (Value value = combine.getResult(); value.hasOneUse();) {
    auto next = dyn_cast<linalg::GenericOp>(*value.getUsers().begin());
    if (!next || next->getBlock() != combine->getBlock() || !isElementwiseOn(next, value))
      break;
    chain.elementwise.push_back(next);
    value = next.getResult(0);
  }
  return chain;
}

/// A range of columns from `column` on of the end of `chain`, for all tokens; `place` is where it goes in the end.
static FailureOr<Value> emitColumns(RewriterBase &rewriter, Chain &chain, const RowTiles &tiles, Value column,
                                    Value place) {
  Location loc = chain.combine.getLoc();
  OpFoldResult width = rewriter.getIndexAttr(columnsPerBlock), zero = rewriter.getIndexAttr(0);
  OpFoldResult rows = tensor::getMixedSize(rewriter, loc, chain.product.getInit(), 0);
  OpFoldResult tokens = tensor::getMixedSize(rewriter, loc, chain.combine.getSlots(), 0);
  Type element = getElementTypeOrSelf(chain.product.getInit());
  Value room = tensor::EmptyOp::create(rewriter, loc, ArrayRef{rows, width}, element);
  Value ys = multiplyColumns(rewriter, chain.product, tiles, mostExpertsOfToken, column, columnsPerBlock, room);
  auto type = RankedTensorType::get({ShapedType::kDynamic, columnsPerBlock}, rewriter.getF32Type());
  Value value = CombineOp::create(rewriter, loc, type, ys, chain.combine.getSlots(), chain.combine.getWeights());
  Value whole = chain.combine.getResult();
  for (linalg::GenericOp op : chain.elementwise) {
    auto tileable = cast<TilingInterface>(op.getOperation());
    FailureOr<TilingResult> tiled = tileable.getTiledImplementation(rewriter, {zero, column}, {tokens, width});
    if (failed(tiled))
      return failure();
    Operation *tile = tiled->tiledOps.front();
    for (OpOperand &operand : tile->getOpOperands())
      if (auto cut = operand.get().getDefiningOp<tensor::ExtractSliceOp>(); cut && cut.getSource() == whole) {
        operand.set(value);
        if (cut->use_empty())
          rewriter.eraseOp(cut);
      }
    if (op == chain.elementwise.back() && place.getType() == tile->getResult(0).getType())
      cast<linalg::GenericOp>(tile).getDpsInitsMutable()[0].set(place);
    value = tile->getResult(0);
    whole = op.getResult(0);
  }
  return value;
}

static LogicalResult fuse(IRRewriter &rewriter, Chain &chain, int64_t maxRows) {
  Operation *last = chain.last();
  Location loc = last->getLoc();
  rewriter.setInsertionPoint(last);
  OpFoldResult tokens = tensor::getMixedSize(rewriter, loc, chain.combine.getSlots(), 0);
  OpFoldResult columns = rewriter.getIndexAttr(chain.product.getNumColumns());
  auto type = cast<RankedTensorType>(last->getResult(0).getType());
  Value out = tensor::EmptyOp::create(rewriter, loc, ArrayRef{tokens, columns}, type.getElementType());
  if (out.getType() != type)
    return success(); // a type that knows more: nothing to gain
  RowTiles tiles = makeRowTiles(rewriter, chain.product, maxRows);
  Value count = getValueOrCreateConstantIndexOp(rewriter, loc, tokens);
  Value single = arith::CmpIOp::create(rewriter, loc, arith::CmpIPredicate::ule, count,
                                       arith::ConstantIndexOp::create(rewriter, loc, 1));
  auto choice = scf::IfOp::create(rewriter, loc, type, single, /*withElseRegion=*/true);

  rewriter.setInsertionPointToEnd(choice.thenBlock());
  OpFoldResult zero = rewriter.getIndexAttr(0), step = rewriter.getIndexAttr(columnsPerBlock);
  auto loop = scf::ForallOp::create(rewriter, loc, ArrayRef{zero}, ArrayRef{columns}, ArrayRef{step}, out,
                                    /*mapping=*/std::nullopt);
  scf::YieldOp::create(rewriter, loc, loop.getResults());
  rewriter.setInsertionPoint(loop.getTerminator());
  Value column = loop.getInductionVar(0);
  Value all = loop.getRegionIterArgs().front();
  OpFoldResult one = rewriter.getIndexAttr(1);
  SmallVector<OpFoldResult> offsets{zero, column}, sizes{tokens, step}, strides{one, one};
  Value place = tensor::ExtractSliceOp::create(rewriter, loc, all, offsets, sizes, strides);
  FailureOr<Value> result = emitColumns(rewriter, chain, tiles, column, place);
  if (failed(result))
    return last->emitOpError("expected an op that can be tiled by columns");
  rewriter.setInsertionPointToStart(loop.getTerminator().getBody());
  tensor::ParallelInsertSliceOp::create(rewriter, loc, *result, all, offsets, sizes, strides);

  // More tokens: as before, and into the same memory.
  rewriter.setInsertionPointToEnd(choice.elseBlock());
  auto placed = bufferization::MaterializeInDestinationOp::create(rewriter, loc, last->getResult(0), out);
  scf::YieldOp::create(rewriter, loc, placed->getResults());
  rewriter.replaceAllUsesExcept(last->getResult(0), choice.getResult(0), placed);
  SmallVector<Operation *> moved{chain.product, chain.combine};
  llvm::append_range(moved, chain.elementwise);
  for (Operation *op : moved)
    rewriter.moveOpBefore(op, placed);
  return success();
}

namespace {
struct MoeFuseCombinePass : moe::impl::MoeFuseCombineBase<MoeFuseCombinePass> {
  using MoeFuseCombineBase::MoeFuseCombineBase;

  void runOnOperation() override {
    SmallVector<CombineOp> combines(getOperation().getOps<CombineOp>());
    IRRewriter rewriter(&getContext());
    for (CombineOp combine : combines) {
      std::string why;
      FailureOr<Chain> chain = matchChain(combine, why);
      if (failed(chain)) {
        if (remarks)
          combine.emitRemark("stays behind the product: ") << why;
        continue;
      }
      if (failed(fuse(rewriter, *chain, matmulRows)))
        return signalPassFailure();
    }
  }
};
} // namespace

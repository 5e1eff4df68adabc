//===- FuseRows.cpp - rows of a product made where they are multiplied ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Codes of activations and their scales need a whole row, so the product before cannot make them: its blocks have some
// columns each. The product behind reads whole rows. With many rows a tile has one block, or few, so little is done
// twice; with few rows a launch takes longer than the work.
//
//===----------------------------------------------------------------------===//

#include "TileRows.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEFUSEROWS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// Bytes of rows that a tile may make: every block has room for them in global memory.
static constexpr int64_t mostBytes = 1 << 20;

/// The rows that `cut` takes of a tensor; none unless it takes whole rows.
static std::optional<std::pair<OpFoldResult, OpFoldResult>> cutRows(tensor::ExtractSliceOp cut) {
  RankedTensorType source = cut.getSourceType();
  if (!cut.hasUnitStride() || source.getRank() != cut.getType().getRank())
    return std::nullopt;
  for (int64_t dim = 1; dim < source.getRank(); ++dim)
    if (!isZeroInteger(cut.getMixedOffsets()[dim]) || cut.getStaticSizes()[dim] != source.getDimSize(dim))
      return std::nullopt;
  return std::pair(cut.getMixedOffsets()[0], cut.getMixedSizes()[0]);
}

namespace {
/// One tile of a product in a parallel loop.
class Fuser {
public:
  Fuser(RewriterBase &rewriter, GroupedMatmulOp product, scf::ForallOp loop, int64_t mostRows)
      : rewriter(rewriter), product(product), loop(loop), mostRows(mostRows) {}

  /// `why` says why nothing was done.
  LogicalResult run(std::string &why);

private:
  bool collect(Value value);
  LogicalResult findCuts(std::string &why);
  OpFoldResult boundRows(OpFoldResult rows);
  void fuseScales(OpFoldResult rows);
  SmallVector<Operation *> clonePart(OpFoldResult first, OpFoldResult rows, IRMapping &mapping);

  RewriterBase &rewriter;
  GroupedMatmulOp product;
  scf::ForallOp loop;
  int64_t mostRows;
  llvm::SetVector<Operation *> ops;           ///< that make rows, outside of the loop
  SmallVector<tensor::ExtractSliceOp> cuts;   ///< of what they make
  SmallVector<tensor::ExtractSliceOp> scales; ///< of row scalars that are gathered by choices
};
} // namespace

/// Adds what makes the rows of `value`, as far as that is linalg ops of one block outside of the loop. Whether there is
/// any.
bool Fuser::collect(Value value) {
  Operation *op = value.getDefiningOp();
  std::string why;
  if (!isa_and_nonnull<linalg::LinalgOp>(op) || loop->isAncestor(op) || !isTiledByRows(op, why) ||
      (!ops.empty() && op->getBlock() != ops.front()->getBlock()))
    return false;
  if (!ops.insert(op))
    return true;
  for (OpOperand &operand : op->getOpOperands())
    if (isReadByRows(operand))
      collect(operand.get());
  return true;
}

LogicalResult Fuser::findCuts(std::string &why) {
  auto no = [&](const char *reason) {
    why = reason;
    return failure();
  };
  auto isCut = [](Value value) {
    auto cut = value.getDefiningOp<tensor::ExtractSliceOp>();
    return cut && cutRows(cut) ? cut : tensor::ExtractSliceOp();
  };
  for (Value scalars : product.getRowScalars())
    if (auto cut = isCut(scalars); cut && cut.getSource().getDefiningOp<DispatchOp>())
      scales.push_back(cut);
  auto rows = isCut(product.getX());
  if (product.getChoices() || !rows)
    return scales.empty() ? no("its rows are not a part of others") : success();
  if (mostRows * product.getDepth() > mostBytes)
    return no("a tile has too many bytes of rows");
  if (collect(rows.getSource()))
    cuts.push_back(rows);
  for (Value scalars : product.getRowScalars())
    if (auto cut = isCut(scalars); cut && !cuts.empty() && cutRows(cut) == cutRows(rows) && collect(cut.getSource()))
      cuts.push_back(cut);
  return cuts.empty() && scales.empty() ? no("its rows are not made by ops on rows") : success();
}

/// `rows` as a number with a bound that can be seen: the room for a tile is made before the loop.
OpFoldResult Fuser::boundRows(OpFoldResult rows) {
  AffineExpr symbol = rewriter.getAffineSymbolExpr(0);
  auto bound = AffineMap::get(0, 1, {symbol, rewriter.getAffineConstantExpr(mostRows)}, rewriter.getContext());
  return affine::makeComposedFoldedAffineMin(rewriter, product.getLoc(), bound, rows);
}

/// Gathers row scalars for the rows of the tile alone.
void Fuser::fuseScales(OpFoldResult rows) {
  Location loc = product.getLoc();
  for (tensor::ExtractSliceOp cut : scales) {
    auto dispatch = cut.getSource().getDefiningOp<DispatchOp>();
    OpFoldResult first = cut.getMixedOffsets()[0], one = rewriter.getIndexAttr(1);
    Value choices = tensor::ExtractSliceOp::create(rewriter, loc, dispatch.getChoices(), first, rows, one);
    auto type = RankedTensorType::get({ShapedType::kDynamic}, getElementTypeOrSelf(dispatch.getRows()));
    Value gathered = DispatchOp::create(rewriter, loc, type, dispatch.getX(), choices, dispatch.getFanout());
    rewriter.modifyOpInPlace(product, [&] {
      for (OpOperand &scalars : product.getRowScalarsMutable())
        if (scalars.get() == cut.getResult())
          scalars.set(gathered);
    });
  }
}

/// Clones `ops` for the rows from `first` on; `mapping` says what stands for whole tensors.
SmallVector<Operation *> Fuser::clonePart(OpFoldResult first, OpFoldResult rows, IRMapping &mapping) {
  Location loc = product.getLoc();
  SmallVector<Operation *> sorted(ops.begin(), ops.end());
  llvm::sort(sorted, [](Operation *one, Operation *other) { return one->isBeforeInBlock(other); });
  auto partOf = [&](OpOperand &operand) -> Value {
    Value whole = operand.get();
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(rewriter, loc, whole);
    sizes[0] = rows;
    if (whole.getDefiningOp<tensor::EmptyOp>())
      return tensor::EmptyOp::create(rewriter, loc, sizes, getElementTypeOrSelf(whole));
    SmallVector<OpFoldResult> offsets(sizes.size(), rewriter.getIndexAttr(0)),
        strides(sizes.size(), rewriter.getIndexAttr(1));
    offsets[0] = first;
    return tensor::ExtractSliceOp::create(rewriter, loc, whole, offsets, sizes, strides);
  };
  SmallVector<Operation *> parts;
  for (Operation *op : sorted) {
    IRMapping ofOp = mapping;
    for (OpOperand &operand : op->getOpOperands())
      if (isa<RankedTensorType>(operand.get().getType()) && isReadByRows(operand) && !mapping.contains(operand.get()))
        ofOp.map(operand.get(), partOf(operand));
    parts.push_back(rewriter.clone(*op, ofOp));
    mapping.map(op->getResults(), parts.back()->getResults());
  }
  return parts;
}

LogicalResult Fuser::run(std::string &why) {
  if (failed(findCuts(why)))
    return failure();
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(product);
  auto [first, rows] = *cutRows(scales.empty() ? cuts.front() : scales.front());
  bool oneTile = product->getParentOp() == loop;
  if (oneTile) {
    rows = boundRows(rows);
    fuseScales(rows);
    if (cuts.empty())
      return success();
  } else if (cuts.empty()) {
    why = "gathered scalars of a product in an inner loop";
    return failure();
  } else {
    // A block that does one tile after the other makes the rows of all before.
    rewriter.setInsertionPoint(loop);
    first = rewriter.getIndexAttr(0);
    rows = tensor::getMixedSize(rewriter, product.getLoc(), cuts.front().getSource(), 0);
    rewriter.setInsertionPointToStart(loop.getBody());
  }
  // What is made stands in for the tiles, or for what they are cut from.
  SmallVector<std::pair<OpOperand *, Value>> uses;
  for (tensor::ExtractSliceOp cut : cuts) {
    if (!oneTile)
      uses.push_back({&cut.getSourceMutable(), cut.getSource()});
    for (OpOperand &operand : product->getOpOperands())
      if (oneTile && operand.get() == cut.getResult())
        uses.push_back({&operand, cut.getSource()});
  }
  // Cloned ops have uses, so what they become is what the uses have in the end.
  IRMapping mapping;
  SmallVector<Operation *> parts = clonePart(first, rows, mapping);
  for (auto [use, whole] : uses)
    use->set(mapping.lookup(whole));
  return tileRows(rewriter, parts, rows, 1);
}

namespace {
struct MoeFuseRowsPass : moe::impl::MoeFuseRowsBase<MoeFuseRowsPass> {
  using MoeFuseRowsBase::MoeFuseRowsBase;

  void runOnOperation() override {
    SmallVector<GroupedMatmulOp> products;
    getOperation().walk([&](GroupedMatmulOp op) {
      if (op.isInteger() && op.hasPureTensorSemantics())
        products.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    for (GroupedMatmulOp product : products) {
      auto loop = product->getParentOfType<scf::ForallOp>();
      if (!loop)
        continue;
      std::string why;
      if (failed(Fuser(rewriter, product, loop, matmulRows).run(why)) && remarks)
        product.emitRemark("its rows are made before it: ") << why;
    }
  }
};
} // namespace

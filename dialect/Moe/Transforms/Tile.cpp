//===- Tile.cpp - ops as parallel loops over tiles ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "TileGroupedMatmul.h"

#include "moe/Runtime/CostModel.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/TilingInterface.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEERASEPREPARE
#define GEN_PASS_DEF_MOETILE
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// How many loops of `op` go over rows: those of the leading dynamic dimensions of its result, at most 2 (sequences and
/// the tokens of each).
static unsigned numRowLoops(TilingInterface op) {
  SmallVector<utils::IteratorType> loops = op.getLoopIteratorTypes();
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  unsigned count = 0;
  unsigned most = type ? std::min<int64_t>(type.getRank() < 3 ? 1 : 2, loops.size()) : 0;
  while (count < most && count < type.getRank() && type.isDynamicDim(count) &&
         loops[count] == utils::IteratorType::parallel)
    ++count;
  return count;
}

/// Tile sizes of `op`, 0 for a loop that is not tiled; empty if it is not tiled at all.
static SmallVector<int64_t> tileSizes(TilingInterface op, int64_t rowBlock) {
  if (auto attention = dyn_cast<AttentionOp>(*op))
    return {1, attention.getQueriesPerTile(), 1};
  if (isa<linalg::FillOp>(*op))
    return {}; // goes with its consumer, or is a memset
  // Rows, if they are worth it. Fills and copies of a few elements are not.
  unsigned rowLoops = numRowLoops(op);
  if (rowLoops == 0)
    return {};
  SmallVector<int64_t> sizes(op.getLoopIteratorTypes().size(), 0);
  sizes[0] = 1;
  sizes[rowLoops - 1] = rowBlock;
  return sizes;
}

/// The rows of `operand` are the iterations of the first `rowLoops` loops of `op`, and only those.
static bool isIndexedByRows(linalg::LinalgOp op, OpOperand &operand, unsigned rowLoops) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  if (map.getNumResults() < rowLoops)
    return false;
  for (unsigned loop = 0; loop < rowLoops; ++loop)
    if (map.getResult(loop) != getAffineDimExpr(loop, op.getContext()))
      return false;
  return true;
}

/// The producers whose rows are only needed by the same rows of `root`: fills, reductions and elementwise ops of a
/// softmax or a norm. They go into the tile; nothing but a fill is done twice.
static SetVector<Operation *> rowProducers(Operation *root) {
  SetVector<Operation *> chain;
  if (!isa<linalg::LinalgOp>(root))
    return chain;
  unsigned rowLoops = numRowLoops(cast<TilingInterface>(root));
  chain.insert(root);
  for (bool changed = true; changed;) {
    changed = false;
    for (Operation *consumer : llvm::to_vector(chain)) {
      auto linalgConsumer = cast<linalg::LinalgOp>(consumer);
      for (OpOperand &operand : consumer->getOpOperands()) {
        auto producer = operand.get().getDefiningOp<linalg::LinalgOp>();
        if (!producer || chain.contains(producer) || producer->getBlock() != root->getBlock() ||
            producer->getNumResults() != 1 || !isIndexedByRows(linalgConsumer, operand, rowLoops) ||
            !isIndexedByRows(producer, *producer.getDpsInitsMutable().begin(), rowLoops) ||
            !llvm::all_of(ArrayRef(producer.getIteratorTypesArray()).take_front(rowLoops), linalg::isParallelIterator))
          continue;
        bool onlyHere = llvm::all_of(producer->getUses(), [&](OpOperand &use) {
          return chain.contains(use.getOwner()) &&
                 isIndexedByRows(cast<linalg::LinalgOp>(use.getOwner()), use, rowLoops);
        });
        // Filling twice is less than filling before the loop.
        if (onlyHere || isa<linalg::FillOp>(producer))
          changed |= chain.insert(producer);
      }
    }
  }
  chain.remove(root);
  return chain;
}

namespace {
struct MoeTilePass : moe::impl::MoeTileBase<MoeTilePass> {
  using MoeTileBase::MoeTileBase;

  LogicalResult initialize(MLIRContext *context) override {
    if (tuneFor.empty())
      return success();
    std::string error;
    std::optional<rt::Machine> found = rt::readMachine(tuneFor, error);
    if (!found)
      return emitError(UnknownLoc::get(context)) << "tune-for: " << error;
    machine = std::move(*found);
    return success();
  }

  void runOnOperation() override {
    SmallVector<Operation *> ops;
    getOperation().walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (isa<scf::ForallOp>(op))
        return WalkResult::skip();
      if (isa<linalg::LinalgOp, GroupedMatmulOp, AttentionOp, TopKOp>(op)) {
        if (linalg || !isa<linalg::LinalgOp>(op))
          ops.push_back(op);
        return WalkResult::skip();
      }
      return WalkResult::advance();
    });
    // Consumers first: they take their producers along.
    IRRewriter rewriter(&getContext());
    DenseSet<Operation *> fused;
    for (Operation *op : llvm::reverse(ops)) {
      if (fused.contains(op))
        continue;
      if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
        tileGroupedMatmul(rewriter, matmul, matmulRows > 0 ? matmulRows : chooseRows(matmul));
        continue;
      }
      auto tileable = cast<TilingInterface>(op);
      SmallVector<int64_t> sizes = tileSizes(tileable, rowBlock);
      if (sizes.empty())
        continue;
      SetVector<Operation *> chain = rowProducers(op);
      fused.insert_range(chain);
      if (failed(tile(rewriter, tileable, sizes, chain))) {
        op->emitOpError("expected an op that can be tiled by rows or columns");
        return signalPassFailure();
      }
    }
  }

private:
  /// The same on every machine, unless one to tune for is given.
  int64_t chooseRows(GroupedMatmulOp op) {
    rt::TileStage stage;
    stage.columns = op.getNumColumns();
    stage.depth = op.getDepth();
    stage.weights = static_cast<int64_t>(op.getWeights().size());
    auto bytes = [](Value value) { return getElementTypeOrSelf(value).getIntOrFloatBitWidth() / 8.0; };
    stage.rowBytes = bytes(op.getX());
    stage.weightBytes = op.getFormat() ? op.getCodeBits() / 8.0 : bytes(op.getWeights().front());
    return rt::chooseTileRows(stage, machine);
  }

  rt::Machine machine = rt::defaultMachine();

  LogicalResult tile(IRRewriter &rewriter, TilingInterface op, ArrayRef<int64_t> sizes,
                     const SetVector<Operation *> &chain) {
    rewriter.setInsertionPoint(op);
    scf::SCFTileAndFuseOptions options;
    options.tilingOptions.setLoopType(scf::SCFTilingOptions::LoopType::ForallOp);
    options.tilingOptions.setTileSizes(getAsIndexOpFoldResult(&getContext(), sizes));
    options.fusionControlFn = [&](tensor::ExtractSliceOp, OpResult producer,
                                  bool) -> std::optional<scf::SCFTileAndFuseOptions::ControlFnResult> {
      if (!chain.contains(producer.getOwner()))
        return std::nullopt;
      return scf::SCFTileAndFuseOptions::ControlFnResult();
    };
    FailureOr<scf::SCFTileAndFuseResult> tiled = scf::tileConsumerAndFuseProducersUsingSCF(rewriter, op, options);
    if (failed(tiled))
      return failure();
    for (OpResult result : op->getResults())
      rewriter.replaceAllUsesWith(result, tiled->replacements.lookup(result));
    rewriter.eraseOp(op);
    for (Operation *producer : chain) // consumers come before their producers
      if (producer->use_empty())
        rewriter.eraseOp(producer);
    return success();
  }
};

struct MoeErasePreparePass : moe::impl::MoeErasePrepareBase<MoeErasePreparePass> {
  void runOnOperation() override {
    if (auto prepare = getOperation().lookupSymbol<ModuleOp>(prepareModuleName))
      prepare.erase();
    for (auto function : getOperation().getOps<func::FuncOp>())
      for (unsigned argument = 0; argument < function.getNumArguments(); ++argument)
        function.removeArgAttr(argument, parameterAttr);
    for (auto global : llvm::make_early_inc_range(getOperation().getOps<ml_program::GlobalOp>()))
      global.erase();
  }
};
} // namespace

//===- FuseRouting.cpp - a gate as one loop over rows ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A gate is whatever lies around a moe.top_k and treats rows one by one: what came before the router's product (a norm,
// a cast), the product, scores, and what is done to the weights of the chosen experts. What else is made of the rows
// that the product takes comes along: who has read them once need not read them again.
//
//===----------------------------------------------------------------------===//

#include "TileRows.h"

#include "dialect/Moe/IR/MoeMarks.h"
#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/TilingInterface.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEFUSEROUTING
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

namespace {
/// The ops of one gate, all in one block.
class Gate {
public:
  explicit Gate(TopKOp topK) : block(topK->getBlock()) {
    add(topK);
    addConsumers(topK);
    addNeighbours();
    leaveOutDetours(topK);
  }

  /// In the order of the block; empty where there is nothing to fuse.
  SmallVector<Operation *> getOps() const {
    SmallVector<Operation *> ops(members.begin(), members.end());
    llvm::sort(ops, [](Operation *one, Operation *other) { return one->isBeforeInBlock(other); });
    return ops;
  }

private:
  void add(Operation *op);
  void addConsumers(Operation *op);
  void addNeighbours();
  void leaveOutDetours(Operation *topK);

  /// Operands and what regions read from outside.
  static SmallVector<Value> readBy(Operation *op) {
    SetVector<Value> values(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), values);
    return values.takeVector();
  }
  /// Whether all that `op` reads of members it reads by rows.
  bool readsMembersByRows(Operation *op) const {
    SetVector<Value> captured;
    getUsedValuesDefinedAbove(op->getRegions(), captured);
    return llvm::none_of(captured, [&](Value value) { return members.contains(value.getDefiningOp()); }) &&
           llvm::all_of(op->getOpOperands(), [&](OpOperand &operand) {
             return !members.contains(operand.get().getDefiningOp()) || isReadByRows(operand);
           });
  }

  Block *block;
  llvm::SetVector<Operation *> members;
};
} // namespace

/// Adds `op` and what makes its rows. Behind a product another one is out of reach: it may have many columns, and work
/// for many blocks.
void Gate::add(Operation *op) {
  if (!members.insert(op))
    return;
  for (OpOperand &operand : op->getOpOperands()) {
    Operation *producer = operand.get().getDefiningOp();
    std::string why;
    if (!producer || producer->getBlock() != block || !isReadByRows(operand) || !isTiledByRows(producer, why))
      continue;
    if (isa<GroupedMatmulOp>(producer) && isa<GroupedMatmulOp>(op))
      continue;
    add(producer);
  }
}

/// Adds what is done by rows to what `op` made.
void Gate::addConsumers(Operation *op) {
  for (Operation *user : llvm::to_vector(op->getUsers())) {
    std::string why;
    if (user->getBlock() != block || members.contains(user) || isa<GroupedMatmulOp>(user) || !isTiledByRows(user, why))
      continue;
    add(user);
    addConsumers(user);
  }
}

/// Adds what is made by rows of the rows that are multiplied.
void Gate::addNeighbours() {
  for (Operation *member : llvm::to_vector(members)) {
    auto product = dyn_cast<GroupedMatmulOp>(member);
    if (!product)
      continue;
    for (OpOperand &use : llvm::make_early_inc_range(product.getX().getUses())) {
      Operation *user = use.getOwner();
      std::string why;
      if (user->getBlock() != block || isa<GroupedMatmulOp>(user) || !isTiledByRows(user, why) || !isReadByRows(use))
        continue;
      add(user);
      addConsumers(user);
    }
  }
}

/// Leaves out what depends on members by way of an op that is none, and what reads members in other rows: the rest can
/// be one loop. Never `topK`: without it nothing is left.
void Gate::leaveOutDetours(Operation *topK) {
  for (bool changed = true; changed;) {
    changed = false;
    SmallPtrSet<Operation *, 16> dependent; // on members, without being one
    for (Operation &op : *block) {
      bool viaOthers = false, onMembers = false;
      for (Value value : readBy(&op))
        if (Operation *producer = value.getDefiningOp()) {
          viaOthers |= dependent.contains(producer);
          onMembers |= members.contains(producer);
        }
      if (!members.contains(&op)) {
        if (viaOthers || onMembers)
          dependent.insert(&op);
        continue;
      }
      if (!viaOthers && readsMembersByRows(&op))
        continue;
      if (&op == topK)
        return members.clear();
      members.remove(&op);
      changed = true;
      break;
    }
  }
}

/// The rows of the blocks' tiles again, one by one: those of everything but products, which a block does together.
static LogicalResult tileInner(RewriterBase &rewriter, const RowLoop &outer) {
  SmallVector<Operation *> run;
  auto flush = [&]() -> LogicalResult {
    if (!run.empty() && failed(tileRows(rewriter, run, outer.rows, 1)))
      return failure();
    run.clear();
    return success();
  };
  for (Operation *op : outer.tiled) {
    if (!isa<GroupedMatmulOp>(op)) {
      run.push_back(op);
      continue;
    }
    if (failed(flush()))
      return failure();
  }
  return flush();
}

/// Gives each user of a fill its own, right before it: a shared one would be memory that lives from one loop to the
/// next.
static void separateFills(RewriterBase &rewriter, SmallVector<Operation *> &ops) {
  SmallVector<Operation *> separated;
  for (Operation *op : ops) {
    if (isa<linalg::FillOp>(op))
      continue;
    for (OpOperand &operand : op->getOpOperands())
      if (auto fill = operand.get().getDefiningOp<linalg::FillOp>(); fill && llvm::is_contained(ops, fill)) {
        rewriter.setInsertionPoint(op);
        separated.push_back(rewriter.clone(*fill));
        rewriter.modifyOpInPlace(op, [&] { operand.set(separated.back()->getResult(0)); });
      }
    separated.push_back(op);
  }
  for (Operation *op : ops)
    if (isa<linalg::FillOp>(op) && op->use_empty())
      rewriter.eraseOp(op);
  ops = std::move(separated);
}

/// How many rows there are, as what comes from outside says.
static OpFoldResult countRows(OpBuilder &b, ArrayRef<Operation *> ops) {
  for (Operation *op : ops)
    for (OpOperand &operand : op->getOpOperands())
      if (isReadByRows(operand) && !llvm::is_contained(ops, operand.get().getDefiningOp()))
        return tensor::getMixedSize(b, op->getLoc(), operand.get(), 0);
  llvm_unreachable("the first op reads something from outside");
}

namespace {
struct MoeFuseRoutingPass : moe::impl::MoeFuseRoutingBase<MoeFuseRoutingPass> {
  using MoeFuseRoutingBase::MoeFuseRoutingBase;

  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallPtrSet<Operation *, 4> seen;
    auto next = [&]() -> TopKOp {
      for (TopKOp op : getOperation().getOps<TopKOp>())
        if (seen.insert(op).second)
          return op;
      return {};
    };
    while (TopKOp topK = next()) {
      Block *block = topK->getBlock();
      SmallVector<Operation *> ops = Gate(topK).getOps();
      if (ops.size() < 2)
        continue;
      for (Operation *op : ops)
        if (isa<GroupedMatmulOp>(op))
          op->setAttr(scoresAttr, UnitAttr::get(op->getContext()));
      separateFills(rewriter, ops);
      rewriter.setInsertionPoint(ops.back());
      FailureOr<RowLoop> loop = tileRows(rewriter, ops, countRows(rewriter, ops), rowBlock);
      if (failed(loop) || failed(tileInner(rewriter, *loop))) {
        emitError(getOperation().getLoc(), "expected gates that can be tiled by rows");
        return signalPassFailure();
      }
      sortTopologically(block);
    }
  }
};
} // namespace

//===- ElementwiseToVectors.cpp - rows of elementwise ops as vectors ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// LLVM's loop vectoriser would do most of these, with checks at run time whether buffers overlap, and a scalar copy of
// the loop for when they do. It gives up where what is the same along the row is loaded again for every element: it
// cannot know that storing an element does not change it. The op knows.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "RowLoops.h"
#include "lib/Conversion/Common/Epilogue.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace moe {
#define GEN_PASS_DEF_ELEMENTWISETOVECTORS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// Element types that lie in memory as they lie in a vector.
static bool isPlain(Type type) { return type.isIntOrFloat() && type.getIntOrFloatBitWidth() >= 8; }

namespace {
/// A linalg op whose innermost dimension is parallel; what is done along it is done to 16 elements at a time.
class ElementwiseRows : RowLoops {
public:
  /// None for other ops.
  static std::optional<ElementwiseRows> from(linalg::LinalgOp op);

  /// Replaces the op. All values are created in front of it.
  void lower();

private:
  explicit ElementwiseRows(linalg::LinalgOp op) : RowLoops(op) {}

  /// Whether the block can be done in vectors; adds to `varying` what differs along the row.
  bool isVectorizable(Block &block, DenseSet<Value> &varying);
};
} // namespace

std::optional<ElementwiseRows> ElementwiseRows::from(linalg::LinalgOp op) {
  if (!op.hasPureBufferSemantics() || op.getNumLoops() == 0 || op.getNumDpsInits() != 1 ||
      !linalg::isParallelIterator(op.getIteratorTypesArray().back()))
    return std::nullopt;
  ElementwiseRows rows(op);
  int64_t length = op.getStaticLoopRanges().back();
  if (ShapedType::isDynamic(length) || length == 0 || length % lanes != 0)
    return std::nullopt;
  if (rows.accessOf(*op.getDpsInitOperand(0)) != Access::Contiguous)
    return std::nullopt;
  DenseSet<Value> varying;
  for (OpOperand &operand : op->getOpOperands()) {
    if (!rows.isMemRef(operand))
      continue;
    Access access = rows.accessOf(operand);
    if (access == Access::Other || !isPlain(getElementTypeOrSelf(operand.get())))
      return std::nullopt;
    if (access == Access::Contiguous)
      varying.insert(op.getMatchingBlockArgument(&operand));
  }
  if (!rows.isVectorizable(*op.getBlock(), varying))
    return std::nullopt;
  return rows;
}

bool ElementwiseRows::isVectorizable(Block &block, DenseSet<Value> &varying) {
  auto varies = [&](Value value) { return varying.contains(value); };
  for (Operation &inner : block.without_terminator()) {
    if (auto position = dyn_cast<linalg::IndexOp>(inner)) {
      if (position.getDim() == rowDim)
        varying.insert(position);
      continue;
    }
    if (auto branch = dyn_cast<scf::IfOp>(inner)) {
      if (varies(branch.getCondition()))
        return false;
      for (Region &region : branch->getRegions())
        if (!region.empty() && !isVectorizable(region.front(), varying))
          return false;
      varying.insert_range(branch.getResults());
      continue;
    }
    if (auto load = dyn_cast<memref::LoadOp>(inner)) {
      if (llvm::none_of(load.getIndices(), varies))
        continue;
      auto last = load.getIndices().back().getDefiningOp<linalg::IndexOp>();
      if (!last || last.getDim() != rowDim || llvm::any_of(load.getIndices().drop_back(), varies) ||
          !load.getMemRefType().isLastDimUnitStride() || !isPlain(load.getType()))
        return false;
      varying.insert(load.getResult());
      continue;
    }
    if (!isPure(&inner))
      return false;
    if (llvm::none_of(inner.getOperands(), varies))
      continue;
    auto isElement = [](Type type) { return VectorType::isValidElementType(type); };
    if (!OpTrait::hasElementwiseMappableTraits(&inner) || !llvm::all_of(inner.getOperandTypes(), isElement) ||
        !llvm::all_of(inner.getResultTypes(), isElement))
      return false;
    varying.insert_range(inner.getResults());
  }
  return true;
}

void ElementwiseRows::lower() {
  SmallVector<Range> ranges = op.createLoopRanges(b, loc);
  for (const Range &range : ArrayRef(ranges).drop_back())
    openLoop(index(0), getValueOrCreateConstantIndexOp(b, loc, range.size), 1);
  SmallVector<Value> same = loadSame();
  Value k = index(0);
  if (int64_t length = op.getStaticLoopRanges().back(); length > lanes) {
    auto loop = scf::ForOp::create(b, loc, k, index(length), index(lanes));
    b.setInsertionPoint(loop.getBody()->getTerminator());
    k = loop.getInductionVar();
  }

  auto loadRow = [&](OpOperand &operand) -> Value {
    auto type = VectorType::get({lanes}, getElementTypeOrSelf(operand.get()));
    return vector::LoadOp::create(b, loc, type, operand.get(), indicesOf(operand, k));
  };
  SmallVector<Value> arguments;
  for (auto [input, scalar] : llvm::zip(op.getDpsInputOperands(), same))
    arguments.push_back(scalar ? scalar : loadRow(*input));
  OpOperand &init = *op.getDpsInitOperand(0);
  arguments.push_back(loadRow(init)); // dead where the body does not read it
  Value result = cloneVectorEpilogue(b, *op.getBlock(), arguments, lanes, positions(k, /*vector=*/true));
  vector::StoreOp::create(b, loc, result, init.get(), indicesOf(init, k));
  op.erase();
}

namespace {
struct ElementwiseToVectorsPass : moe::impl::ElementwiseToVectorsBase<ElementwiseToVectorsPass> {
  void runOnOperation() override {
    SmallVector<ElementwiseRows> rows;
    // What is outside of parallel loops is small, and functions without vectors are the same for all levels.
    getOperation()->walk<WalkOrder::PreOrder>([&](scf::ForallOp loop) {
      loop.walk([&](linalg::LinalgOp op) {
        if (auto found = ElementwiseRows::from(op))
          rows.push_back(std::move(*found));
      });
      return WalkResult::skip();
    });
    for (ElementwiseRows &op : rows)
      op.lower();
  }
};
} // namespace

//===- RowReductions.cpp - reductions over rows to 16 lanes ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "RowLoops.h"
#include "lib/Conversion/Common/Epilogue.h"
#include "lib/Conversion/Common/ReductionIdentity.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <limits>

namespace moe {
#define GEN_PASS_DEF_ROWREDUCTIONSTOVECTORS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// Rows that are reduced in order at a time: an addition takes four cycles, and each waits for the one before.
static constexpr int64_t neighbours = 4;

namespace {
/// A linalg op whose only reduction is over the innermost dimension.
class RowReduction : RowLoops {
public:
  /// None for other ops.
  static std::optional<RowReduction> from(linalg::LinalgOp op);

  /// Replaces the op. All values are created in front of it.
  void lower();

private:
  explicit RowReduction(linalg::LinalgOp op) : RowLoops(op) {}

  /// The operation that combines the old value with one element, where lanes may do that.
  Operation *matchLanes();

  /// Reduces `rows` rows, neighbours in the last of the other dimensions, side by side, from index `outer` on.
  void reduceInOrder(int64_t rows);
  SmallVector<Value> stepInOrder(Value k, ValueRange old);
  void reduceInLanes(Operation *combine);
  /// One step of all lanes from element `k` on; `count` of them exist, or those in `mask`.
  Value stepLanes(ArrayRef<Value> same, Value k, Value sums, int64_t count, Value mask);
  Value combineTwo(Operation *combine, Value left, Value right);

  OpFoldResult length;
};
} // namespace

std::optional<RowReduction> RowReduction::from(linalg::LinalgOp op) {
  if (!op.hasPureBufferSemantics() || op.getNumReductionLoops() != 1 ||
      !linalg::isReductionIterator(op.getIteratorTypesArray().back()))
    return std::nullopt;
  RowReduction reduction(op);
  for (OpOperand &init : op.getDpsInitsMutable())
    if (reduction.accessOf(init) != Access::Same)
      return std::nullopt;
  for (Operation &inner : op.getBlock()->without_terminator())
    if (!isa<linalg::IndexOp>(inner) && !isPure(&inner))
      return std::nullopt;
  return reduction;
}

Operation *RowReduction::matchLanes() {
  if (op.getNumDpsInits() != 1)
    return nullptr;
  BlockArgument old = op.getRegionOutputArgs().front();
  Operation *combine = op.getBlock()->getTerminator()->getOperand(0).getDefiningOp();
  if (!old.getType().isF32() || !old.hasOneUse() || !combine || *old.user_begin() != combine ||
      !getReductionIdentity(combine))
    return nullptr;
  for (OpOperand *input : op.getDpsInputOperands())
    if (isa<MemRefType>(input->get().getType()) && accessOf(*input) == Access::Other)
      return nullptr;
  for (Operation &inner : op.getBlock()->without_terminator()) {
    if (isa<linalg::IndexOp>(inner))
      continue;
    auto isElement = [](Type type) { return VectorType::isValidElementType(type); };
    bool elementwise = OpTrait::hasElementwiseMappableTraits(&inner) || inner.hasTrait<OpTrait::ConstantLike>();
    if (!elementwise || !llvm::all_of(inner.getOperandTypes(), isElement) ||
        !llvm::all_of(inner.getResultTypes(), isElement))
      return nullptr;
  }
  return combine;
}

void RowReduction::reduceInOrder(int64_t rows) {
  SmallVector<SmallVector<Value>> indices(rows, outer);
  for (int64_t row = 1; row < rows; ++row)
    indices[row].back() = arith::AddIOp::create(b, loc, outer.back(), index(row));
  SmallVector<Value> initial;
  for (const SmallVector<Value> &rowIndices : indices) {
    outer = rowIndices;
    for (OpOperand &init : op.getDpsInitsMutable())
      initial.push_back(load(init, nullptr));
  }

  Value end = getValueOrCreateConstantIndexOp(b, loc, length);
  auto loop = scf::ForOp::create(b, loc, index(0), end, index(1), initial);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(loop.getBody());
    SmallVector<Value> next;
    for (auto [row, rowIndices] : llvm::enumerate(indices)) {
      outer = rowIndices;
      llvm::append_range(next,
                         stepInOrder(loop.getInductionVar(),
                                     loop.getRegionIterArgs().slice(row * op.getNumDpsInits(), op.getNumDpsInits())));
    }
    scf::YieldOp::create(b, loc, next);
  }
  auto result = loop.result_begin();
  for (const SmallVector<Value> &rowIndices : indices) {
    outer = rowIndices;
    for (OpOperand &init : op.getDpsInitsMutable())
      memref::StoreOp::create(b, loc, *result++, init.get(), indicesOf(init, nullptr));
  }
}

SmallVector<Value> RowReduction::stepInOrder(Value k, ValueRange old) {
  IRMapping mapping;
  for (OpOperand *input : op.getDpsInputOperands())
    mapping.map(op.getMatchingBlockArgument(input),
                isa<MemRefType>(input->get().getType()) ? load(*input, k) : input->get());
  mapping.map(op.getRegionOutputArgs(), old);
  for (auto [from, to] : positions(k, /*vector=*/false))
    mapping.map(from, to);
  for (Operation &inner : op.getBlock()->without_terminator())
    if (!isa<linalg::IndexOp>(inner))
      b.clone(inner, mapping);
  SmallVector<Value> next;
  for (Value value : op.getBlock()->getTerminator()->getOperands())
    next.push_back(mapping.lookupOrDefault(value));
  return next;
}

Value RowReduction::stepLanes(ArrayRef<Value> same, Value k, Value sums, int64_t count, Value mask) {
  SmallVector<Value> arguments;
  for (auto [input, scalar] : llvm::zip(op.getDpsInputOperands(), same)) {
    if (scalar) {
      arguments.push_back(scalar);
      continue;
    }
    SmallVector<Value> at = indicesOf(*input, k);
    auto type = VectorType::get({lanes}, getElementTypeOrSelf(input->get().getType()));
    if (count == lanes) {
      arguments.push_back(vector::LoadOp::create(b, loc, type, input->get(), at));
      continue;
    }
    Value zeros = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
    if (count) {
      Value some = vector::LoadOp::create(b, loc, VectorType::get({count}, type.getElementType()), input->get(), at);
      arguments.push_back(
          vector::InsertStridedSliceOp::create(b, loc, some, zeros, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{1}));
    } else {
      arguments.push_back(vector::MaskedLoadOp::create(b, loc, type, input->get(), at, mask, zeros));
    }
  }
  arguments.push_back(sums);
  Value next = cloneVectorEpilogue(b, *op.getBlock(), arguments, lanes, positions(k, /*vector=*/true));
  // Lanes without an element keep what they have: the zero read for one might not be neutral.
  return mask ? Value(arith::SelectOp::create(b, loc, mask, next, sums)) : next;
}

Value RowReduction::combineTwo(Operation *combine, Value left, Value right) {
  OperationState state(loc, combine->getName(), {left, right}, {left.getType()}, combine->getAttrs());
  return b.create(state)->getResult(0);
}

void RowReduction::reduceInLanes(Operation *combine) {
  OpOperand &init = *op.getDpsInitOperand(0);
  Value initial = load(init, nullptr);
  SmallVector<Value> same = loadSame();
  auto type = VectorType::get({lanes}, b.getF32Type());
  Value sums = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, *getReductionIdentity(combine)));

  AffineExpr size = b.getAffineSymbolExpr(0);
  OpFoldResult whole = affine::makeComposedFoldedAffineApply(b, loc, size.floorDiv(lanes) * lanes, {length});
  Value end = getValueOrCreateConstantIndexOp(b, loc, whole);
  auto loop = scf::ForOp::create(b, loc, index(0), end, index(lanes), sums,
                                 [&](OpBuilder &inner, Location, Value k, ValueRange sums) {
                                   OpBuilder::InsertionGuard guard(b);
                                   b.restoreInsertionPoint(inner.saveInsertionPoint());
                                   scf::YieldOp::create(b, loc, stepLanes(same, k, sums[0], lanes, nullptr));
                                 });
  sums = loop.getResult(0);

  auto maskType = VectorType::get({lanes}, b.getI1Type());
  if (std::optional<int64_t> known = getConstantIntValue(length)) {
    if (int64_t left = *known % lanes) {
      SmallVector<bool> exists(lanes, false);
      std::fill_n(exists.begin(), left, true);
      Value mask = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(maskType, exists));
      sums = stepLanes(same, end, sums, left, mask);
    }
  } else {
    Value left = arith::SubIOp::create(b, loc, getValueOrCreateConstantIndexOp(b, loc, length), end);
    Value some = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sgt, left, index(0));
    auto tail = scf::IfOp::create(b, loc, type, some, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(tail.thenBlock());
    Value mask = vector::CreateMaskOp::create(b, loc, maskType, left);
    scf::YieldOp::create(b, loc, stepLanes(same, end, sums, /*count=*/0, mask));
    b.setInsertionPointToEnd(tail.elseBlock());
    scf::YieldOp::create(b, loc, sums);
    sums = tail.getResult(0);
  }

  for (int64_t half = lanes / 2; half > 0; half /= 2) {
    auto part = [&](int64_t first) -> Value {
      if (half == 1)
        return vector::ExtractOp::create(b, loc, sums, first);
      return vector::ExtractStridedSliceOp::create(b, loc, sums, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{half},
                                                   ArrayRef<int64_t>{1});
    };
    Value low = part(0), high = part(half);
    sums = combineTwo(combine, low, high);
  }
  memref::StoreOp::create(b, loc, combineTwo(combine, initial, sums), init.get(), indicesOf(init, nullptr));
}

void RowReduction::lower() {
  SmallVector<Range> ranges = op.createLoopRanges(b, loc);
  length = ranges[rowDim].size;
  Operation *combine = matchLanes();
  ArrayRef<Range> others = ArrayRef(ranges).drop_back();
  bool sideBySide = !combine && !others.empty();
  for (const Range &range : sideBySide ? others.drop_back() : others)
    openLoop(index(0), getValueOrCreateConstantIndexOp(b, loc, range.size), 1);
  if (combine) {
    reduceInLanes(combine);
  } else if (!sideBySide) {
    reduceInOrder(1);
  } else {
    AffineExpr size = b.getAffineSymbolExpr(0);
    OpFoldResult blocks =
        affine::makeComposedFoldedAffineApply(b, loc, size.floorDiv(neighbours) * neighbours, {others.back().size});
    Value middle = getValueOrCreateConstantIndexOp(b, loc, blocks);
    Value end = getValueOrCreateConstantIndexOp(b, loc, others.back().size);
    SmallVector<Value> before = outer;
    for (auto [from, to, step] : {std::tuple(index(0), middle, neighbours), std::tuple(middle, end, int64_t(1))}) {
      OpBuilder::InsertionGuard guard(b);
      openLoop(from, to, step);
      reduceInOrder(step);
      outer = before;
    }
  }
  op.erase();
}

namespace {
struct RowReductionsToVectorsPass : moe::impl::RowReductionsToVectorsBase<RowReductionsToVectorsPass> {
  void runOnOperation() override {
    SmallVector<RowReduction> reductions;
    getOperation()->walk([&](linalg::LinalgOp op) {
      if (auto reduction = RowReduction::from(op))
        reductions.push_back(std::move(*reduction));
    });
    for (RowReduction &reduction : reductions)
      reduction.lower();
  }
};
} // namespace

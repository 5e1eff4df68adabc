//===- LoopWork.cpp - how much work a parallel loop is --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/Conversion/Common/WorkerScratch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;

namespace {

/// Builds the estimate before the loop, from constants where it can.
class Estimator {
public:
  Estimator(OpBuilder &b, Operation *loop) : b(b), loop(loop), loc(loop->getLoc()) {}

  FailureOr<OpFoldResult> block(Block &body) {
    OpFoldResult sum = b.getIndexAttr(0);
    for (Operation &op : body.without_terminator()) {
      auto work = operation(op);
      if (failed(work))
        return failure();
      sum = add(sum, *work);
    }
    return sum;
  }

private:
  FailureOr<OpFoldResult> operation(Operation &op) {
    if (auto inner = dyn_cast<scf::ForOp>(op))
      return repeated(*inner.getBody(), {trips(inner.getLowerBound(), inner.getUpperBound(), inner.getStep())});
    if (auto inner = dyn_cast<scf::ForallOp>(op))
      return repeated(*inner.getBody(),
                      trips(inner.getMixedLowerBound(), inner.getMixedUpperBound(), inner.getMixedStep()));
    if (auto inner = dyn_cast<scf::ParallelOp>(op))
      return repeated(*inner.getBody(),
                      trips(getAsOpFoldResult(inner.getLowerBound()), getAsOpFoldResult(inner.getUpperBound()),
                            getAsOpFoldResult(inner.getStep())));
    if (auto branch = dyn_cast<scf::IfOp>(op)) {
      OpFoldResult sum = b.getIndexAttr(1);
      for (Region &region : branch->getRegions()) {
        if (region.empty())
          continue;
        auto work = block(region.front());
        if (failed(work))
          return failure();
        sum = add(sum, *work);
      }
      return sum;
    }
    if (auto copy = dyn_cast<memref::CopyOp>(op)) {
      auto type = cast<MemRefType>(copy.getSource().getType());
      if (!type.hasStaticShape())
        return failure();
      return OpFoldResult(b.getIndexAttr(1 + type.getNumElements() / lanes));
    }
    // Anything else with a body, a call: it may do anything.
    if (op.getNumRegions() > 0 || isa<CallOpInterface>(op) || op.getName().getDialectNamespace() == "linalg")
      return failure();
    return OpFoldResult(b.getIndexAttr(cost(op)));
  }

  /// Of one operation without a body.
  static int64_t cost(Operation &op) {
    if (op.hasTrait<OpTrait::ConstantLike>() || isa<ViewLikeOpInterface>(op))
      return 0;
    // Addresses and bounds.
    if (op.getNumResults() > 0 && llvm::all_of(op.getResultTypes(), llvm::IsaPred<IndexType>))
      return 0;
    int64_t elements = 1;
    auto count = [&](Type type) {
      if (auto vector = dyn_cast<VectorType>(type))
        elements = std::max(elements, vector.getNumElements());
    };
    llvm::for_each(op.getResultTypes(), count);
    llvm::for_each(op.getOperandTypes(), count);
    int64_t each = 1;
    if (isa<math::FmaOp>(op))
      each = 1;
    else if (isa<math::MathDialect>(op.getDialect()) || op.getName().getDialectNamespace() == "amx")
      each = 16;
    return each * llvm::divideCeil(elements, lanes);
  }

  FailureOr<OpFoldResult> bound(OpFoldResult value) {
    if (auto constant = getConstantIntValue(value))
      return OpFoldResult(b.getIndexAttr(*constant));
    return moe::boundOutside(b, cast<Value>(value), loop);
  }

  /// Iterations of an inner loop, at most.
  FailureOr<OpFoldResult> trips(OpFoldResult lower, OpFoldResult upper, OpFoldResult step) {
    auto end = bound(upper), stride = bound(step);
    if (failed(end) || failed(stride))
      return failure();
    // A loop that begins at a position only the body knows is taken to begin at 0.
    OpFoldResult begin = b.getIndexAttr(0);
    if (getConstantIntValue(lower) || moe::isDefinedOutside(cast<Value>(lower), loop))
      begin = lower;
    auto constantBegin = getConstantIntValue(begin), constantEnd = getConstantIntValue(*end),
         constantStride = getConstantIntValue(*stride);
    if (constantStride && *constantStride <= 0)
      return failure();
    if (constantBegin && constantEnd && constantStride)
      return OpFoldResult(b.getIndexAttr(
          *constantEnd <= *constantBegin ? 0 : llvm::divideCeil(*constantEnd - *constantBegin, *constantStride)));
    Value zero = arith::ConstantIndexOp::create(b, loc, 0);
    Value extent = b.createOrFold<arith::SubIOp>(loc, value(*end), value(begin));
    extent = b.createOrFold<arith::MaxSIOp>(loc, extent, zero);
    return OpFoldResult(b.createOrFold<arith::CeilDivUIOp>(loc, extent, value(*stride)));
  }

  SmallVector<FailureOr<OpFoldResult>> trips(ArrayRef<OpFoldResult> lowers, ArrayRef<OpFoldResult> uppers,
                                             ArrayRef<OpFoldResult> steps) {
    SmallVector<FailureOr<OpFoldResult>> all;
    for (auto [lower, upper, step] : llvm::zip_equal(lowers, uppers, steps))
      all.push_back(trips(lower, upper, step));
    return all;
  }

  FailureOr<OpFoldResult> repeated(Block &body, ArrayRef<FailureOr<OpFoldResult>> counts) {
    auto work = block(body);
    if (failed(work))
      return failure();
    OpFoldResult product = add(*work, b.getIndexAttr(1)); // the loop's own
    for (const FailureOr<OpFoldResult> &count : counts) {
      if (failed(count))
        return failure();
      product = combine<arith::MulIOp>(product, *count,
                                       [](int64_t x, int64_t y) { return llvm::MulOverflow(x, y, x) ? most : x; });
    }
    return product;
  }

  OpFoldResult add(OpFoldResult x, OpFoldResult y) {
    return combine<arith::AddIOp>(x, y, [](int64_t x, int64_t y) { return std::min(x, most) + std::min(y, most); });
  }

  template <typename Op, typename Fold> OpFoldResult combine(OpFoldResult x, OpFoldResult y, Fold fold) {
    auto constantX = getConstantIntValue(x), constantY = getConstantIntValue(y);
    if (constantX && constantY)
      return b.getIndexAttr(fold(*constantX, *constantY));
    return b.createOrFold<Op>(loc, value(x), value(y));
  }

  Value value(OpFoldResult result) { return getValueOrCreateConstantIndexOp(b, loc, result); }

  static constexpr int64_t lanes = 16;
  static constexpr int64_t most = int64_t(1) << 60;
  OpBuilder &b;
  Operation *loop;
  Location loc;
};

} // namespace

FailureOr<OpFoldResult> moe::estimateWork(OpBuilder &b, Operation *loop) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop);
  return Estimator(b, loop).block(loop->getRegion(0).front());
}

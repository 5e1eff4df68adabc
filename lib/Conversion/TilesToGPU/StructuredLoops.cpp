//===- StructuredLoops.cpp - a linalg op as loops of a team of threads ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "StructuredLoops.h"
#include "lib/Conversion/Common/ReductionIdentity.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace moe;

/// Shorter reductions are done by one thread.
static constexpr int64_t shortReduction = 8;

/// `value` of the lane whose number differs by `distance`; 64 bits are two words.
static Value fromOtherLane(OpBuilder &b, Location loc, Value value, int32_t distance) {
  auto exchange = [&](Value word) -> Value {
    return gpu::ShuffleOp::create(b, loc, word, distance, warpSize, gpu::ShuffleMode::XOR).getShuffleResult();
  };
  if (!value.getType().isInteger(64))
    return exchange(value);
  Value shift = arith::ConstantIntOp::create(b, loc, 32, 64);
  Value low = exchange(arith::TruncIOp::create(b, loc, b.getI32Type(), value));
  Value high = arith::ShRUIOp::create(b, loc, value, shift);
  high = exchange(arith::TruncIOp::create(b, loc, b.getI32Type(), high));
  high = arith::ShLIOp::create(b, loc, arith::ExtUIOp::create(b, loc, value.getType(), high), shift);
  return arith::OrIOp::create(b, loc, high, arith::ExtUIOp::create(b, loc, value.getType(), low));
}

namespace {
class TeamLoops {
public:
  TeamLoops(linalg::LinalgOp op, Team team, const ThreadNumbers &numbers)
      : b(op), op(op), loc(op.getLoc()), team(team), numbers(numbers), position(op.getNumLoops()) {
    for (Range range : op.createLoopRanges(b, loc))
      sizes.push_back(range.size);
    for (auto [loop, type] : llvm::enumerate(op.getIteratorTypesArray()))
      (linalg::isParallelIterator(type) ? parallel : reductions).push_back(loop);
  }

  void run() {
    if (Operation *combine = matchLanes())
      reduceInLanes(combine);
    else
      distribute();
    op.erase();
  }

private:
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
  Value sizeOf(unsigned loop) { return getValueOrCreateConstantIndexOp(b, loc, sizes[loop]); }

  Operation *matchLanes();
  void distribute();
  void reduceInLanes(Operation *combine);

  SmallVector<Value> addressOf(OpOperand &operand) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    SmallVector<Value> indices;
    for (unsigned result = 0; result < map.getNumResults(); ++result) {
      OpFoldResult at =
          affine::makeComposedFoldedAffineApply(b, loc, map.getSubMap(result), getAsOpFoldResult(ValueRange(position)));
      indices.push_back(getValueOrCreateConstantIndexOp(b, loc, at));
    }
    return indices;
  }
  Value load(OpOperand &operand) { return memref::LoadOp::create(b, loc, operand.get(), addressOf(operand)); }
  /// The values of the outputs before the reduction; null for those that are not read.
  SmallVector<Value> loadOutputs();
  void storeOutputs(ValueRange values);
  /// One execution of the body at `position`, with `outputs` as old values.
  SmallVector<Value> emitBody(ValueRange outputs);
  /// Calls `inside` in a nest of sequential loops.
  SmallVector<Value> nest(ArrayRef<unsigned> loops, ValueRange carried,
                          function_ref<SmallVector<Value>(ValueRange)> inside);

  OpBuilder b;
  linalg::LinalgOp op;
  Location loc;
  Team team;
  const ThreadNumbers &numbers;
  SmallVector<OpFoldResult> sizes;
  SmallVector<unsigned> parallel, reductions;
  SmallVector<Value> position; ///< of each loop
};
} // namespace

/// The operation that combines the old value with one element, where lanes may do that.
Operation *TeamLoops::matchLanes() {
  if (team != Team::Warp || reductions.size() != 1 || op.getNumDpsInits() != 1)
    return nullptr;
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  int64_t points = 1;
  for (unsigned loop : parallel) {
    if (ShapedType::isDynamic(ranges[loop]))
      return nullptr;
    points *= ranges[loop];
  }
  int64_t length = ranges[reductions.front()];
  if (points >= warpSize || (!ShapedType::isDynamic(length) && length < shortReduction))
    return nullptr;
  Block &body = *op.getBlock();
  Value old = body.getArguments().back();
  Operation *combine = body.getTerminator()->getOperand(0).getDefiningOp();
  if (!combine || !old.hasOneUse() || *old.getUsers().begin() != combine || !getReductionIdentity(combine))
    return nullptr;
  return combine;
}

SmallVector<Value> TeamLoops::loadOutputs() {
  SmallVector<Value> values;
  for (OpOperand &output : op.getDpsInitsMutable())
    values.push_back(op.payloadUsesValueFromOperand(&output) ? load(output) : Value());
  return values;
}

void TeamLoops::storeOutputs(ValueRange values) {
  for (auto [output, value] : llvm::zip_equal(op.getDpsInitsMutable(), values))
    memref::StoreOp::create(b, loc, value, output.get(), addressOf(output));
}

SmallVector<Value> TeamLoops::emitBody(ValueRange outputs) {
  Block &body = *op.getBlock();
  IRMapping mapping;
  for (OpOperand *input : op.getDpsInputOperands()) {
    BlockArgument argument = op.getMatchingBlockArgument(input);
    if (!isa<MemRefType>(input->get().getType()))
      mapping.map(argument, input->get());
    else if (!argument.use_empty())
      mapping.map(argument, load(*input));
  }
  for (auto [output, value] : llvm::zip_equal(op.getDpsInitsMutable(), outputs))
    if (value)
      mapping.map(op.getMatchingBlockArgument(&output), value);
  for (Operation &inner : body.without_terminator()) {
    if (auto number = dyn_cast<linalg::IndexOp>(inner)) {
      mapping.map(number.getResult(), position[number.getDim()]);
      continue;
    }
    Operation *clone = b.clone(inner, mapping);
    clone->walk([&](linalg::IndexOp number) {
      number.replaceAllUsesWith(position[number.getDim()]);
      number.erase();
    });
  }
  return llvm::map_to_vector(body.getTerminator()->getOperands(),
                             [&](Value value) { return mapping.lookupOrDefault(value); });
}

SmallVector<Value> TeamLoops::nest(ArrayRef<unsigned> loops, ValueRange carried,
                                   function_ref<SmallVector<Value>(ValueRange)> inside) {
  if (loops.empty())
    return inside(carried);
  auto loop = scf::ForOp::create(b, loc, index(0), sizeOf(loops.front()), index(1), carried);
  position[loops.front()] = loop.getInductionVar();
  OpBuilder::InsertionGuard guard(b);
  if (!carried.empty()) {
    b.setInsertionPointToEnd(loop.getBody());
    scf::YieldOp::create(b, loc, nest(loops.drop_front(), loop.getRegionIterArgs(), inside));
  } else {
    b.setInsertionPoint(loop.getBody()->getTerminator());
    nest(loops.drop_front(), {}, inside);
  }
  return SmallVector<Value>(loop.getResults());
}

void TeamLoops::distribute() {
  Value total = index(1);
  SmallVector<Value> extents;
  for (unsigned loop : parallel) {
    extents.push_back(sizeOf(loop));
    total = b.createOrFold<arith::MulIOp>(loc, total, extents.back());
  }
  auto points = scf::ForOp::create(b, loc, numbers.thread, total, numbers.count);
  b.setInsertionPoint(points.getBody()->getTerminator());
  Value rest = points.getInductionVar();
  for (size_t at = parallel.size(); at-- > 0;) {
    bool isLast = at == 0;
    position[parallel[at]] = isLast ? rest : b.createOrFold<arith::RemUIOp>(loc, rest, extents[at]);
    if (!isLast)
      rest = b.createOrFold<arith::DivUIOp>(loc, rest, extents[at]);
  }
  if (reductions.empty()) {
    storeOutputs(emitBody(loadOutputs()));
    return;
  }
  SmallVector<Value> old;
  for (OpOperand &output : op.getDpsInitsMutable())
    old.push_back(load(output));
  storeOutputs(nest(reductions, old, [&](ValueRange values) { return emitBody(values); }));
}

void TeamLoops::reduceInLanes(Operation *combine) {
  unsigned loop = reductions.front();
  nest(parallel, {}, [&](ValueRange) -> SmallVector<Value> {
    Value identity = arith::ConstantOp::create(b, loc, *getReductionIdentity(combine));
    auto lanes = scf::ForOp::create(b, loc, numbers.thread, sizeOf(loop), numbers.count, ValueRange{identity});
    position[loop] = lanes.getInductionVar();
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(lanes.getBody());
      scf::YieldOp::create(b, loc, emitBody(lanes.getRegionIterArgs()));
    }
    auto both = [&](Value left, Value right) -> Value {
      OperationState state(loc, combine->getName(), ValueRange{left, right}, TypeRange{left.getType()});
      return b.create(state)->getResult(0);
    };
    Value sum = lanes.getResult(0);
    for (int32_t distance = warpSize / 2; distance > 0; distance /= 2)
      sum = both(sum, fromOtherLane(b, loc, sum, distance));
    Value leader = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, numbers.thread, index(0));
    auto only = scf::IfOp::create(b, loc, leader, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(only.thenYield());
    OpOperand &output = op.getDpsInitsMutable()[0];
    Value old = load(output);
    storeOutputs(both(old, sum));
    return {};
  });
}

LogicalResult moe::lowerToTeamLoops(linalg::LinalgOp op, Team team, const ThreadNumbers &numbers) {
  if (!op.hasPureBufferSemantics())
    return op->emitOpError("expected buffers");
  // The order of other loops is not a team's to choose.
  for (utils::IteratorType type : op.getIteratorTypesArray())
    if (!linalg::isParallelIterator(type) && !linalg::isReductionIterator(type))
      return op->emitOpError("expected parallel and reduction loops only");
  for (OpOperand &output : op.getDpsInitsMutable()) {
    AffineMap map = op.getMatchingIndexingMap(&output);
    for (auto [loop, type] : llvm::enumerate(op.getIteratorTypesArray()))
      if (linalg::isReductionIterator(type) && map.isFunctionOfDim(loop))
        return op->emitOpError("expected results that do not depend on the reduction loops");
  }
  TeamLoops(op, team, numbers).run();
  return success();
}

//===- Epilogue.cpp - the epilogue of a grouped matmul on vectors ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Epilogue.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace moe;

Value moe::cloneScalarEpilogue(OpBuilder &b, Block &epilogue, ValueRange arguments) {
  IRMapping mapping;
  mapping.map(epilogue.getArguments(), arguments);
  for (Operation &op : epilogue.without_terminator())
    b.clone(op, mapping);
  return mapping.lookupOrDefault(epilogue.getTerminator()->getOperand(0));
}

void moe::storeElement(OpBuilder &b, GroupedMatmulOp op, ValueRange sums, Value group, Value row, Value column) {
  Location loc = op.getLoc();
  SmallVector<Value> arguments(sums);
  for (Value scalars : op.getRowScalars())
    arguments.push_back(memref::LoadOp::create(b, loc, scalars, row));
  for (Value scalars : op.getColumnScalars())
    arguments.push_back(memref::LoadOp::create(b, loc, scalars, ValueRange{group, column}));
  Value result = cloneScalarEpilogue(b, op.getEpilogue().front(), arguments);
  memref::StoreOp::create(b, loc, result, op.getInit(), ValueRange{row, column});
}

namespace {
/// A value of the scalar block is either in `scalars` (or defined outside the block), the same for all columns, or in
/// `vectors`, one element per column.
class Vectorizer {
public:
  Vectorizer(OpBuilder &b, int64_t width) : b(b), width(width) {}

  void map(Value from, Value to) { (isa<VectorType>(to.getType()) ? vectors : scalars).map(from, to); }
  /// `to` stands for what would be cloned, the result `from`.
  void replace(Value from, Value to) {
    map(from, to);
    replaced.insert(from.getDefiningOp());
  }
  void clone(Block &block) {
    for (Operation &op : block.without_terminator())
      if (!replaced.contains(&op))
        clone(op);
  }

  /// `value` as a vector.
  Value vectorOf(Value value) {
    if (Value vector = vectors.lookupOrNull(value))
      return vector;
    Value scalar = scalars.lookupOrDefault(value);
    return vector::BroadcastOp::create(b, value.getLoc(), vectorType(value.getType()), scalar);
  }

private:
  VectorType vectorType(Type element) { return VectorType::get({width}, element); }
  void clone(Operation &op);
  bool isSameForAllColumns(Operation &op, ArrayRef<Value> used);
  void cloneElementwise(Operation &op);
  void cloneIf(scf::IfOp op);
  bool cloneLoad(memref::LoadOp op);
  void clonePerColumn(Operation &op, ArrayRef<Value> used);

  OpBuilder &b;
  int64_t width;
  IRMapping scalars, vectors;
  llvm::SmallPtrSet<Operation *, 4> replaced;
};
} // namespace

/// Values `op` and its regions take from outside of `op`.
static SmallVector<Value> valuesUsedBy(Operation &op) {
  llvm::SetVector<Value> used(op.operand_begin(), op.operand_end());
  getUsedValuesDefinedAbove(op.getRegions(), used);
  return used.takeVector();
}

bool Vectorizer::isSameForAllColumns(Operation &op, ArrayRef<Value> used) {
  if (llvm::any_of(used, [&](Value value) { return vectors.contains(value); }))
    return false;
  return op.getNumRegions() == 0 || !op.walk([&](Operation *inner) {
                                         return replaced.contains(inner) ? WalkResult::interrupt()
                                                                         : WalkResult::advance();
                                       }).wasInterrupted();
}

void Vectorizer::clone(Operation &op) {
  SmallVector<Value> used = valuesUsedBy(op);
  if (isSameForAllColumns(op, used)) {
    b.clone(op, scalars);
    return;
  }
  if (auto branch = dyn_cast<scf::IfOp>(op); branch && !vectors.contains(branch.getCondition()))
    return cloneIf(branch);
  if (auto load = dyn_cast<memref::LoadOp>(op); load && cloneLoad(load))
    return;
  auto isElement = [](Type type) { return VectorType::isValidElementType(type); };
  if (OpTrait::hasElementwiseMappableTraits(&op) && llvm::all_of(op.getOperandTypes(), isElement) &&
      llvm::all_of(op.getResultTypes(), isElement))
    cloneElementwise(op);
  else
    clonePerColumn(op, used);
}

void Vectorizer::cloneElementwise(Operation &op) {
  OperationState state(op.getLoc(), op.getName());
  for (Value operand : op.getOperands())
    state.operands.push_back(vectorOf(operand));
  for (Type type : op.getResultTypes())
    state.types.push_back(vectorType(type));
  state.attributes = op.getAttrs();
  Operation *vectorOp = b.create(state);
  for (auto [from, to] : llvm::zip(op.getResults(), vectorOp->getResults()))
    vectors.map(from, to);
}

/// All columns take the same branch.
void Vectorizer::cloneIf(scf::IfOp op) {
  SmallVector<Type> types =
      llvm::map_to_vector(op.getResultTypes(), [&](Type type) -> Type { return vectorType(type); });
  auto branch = scf::IfOp::create(b, op.getLoc(), types, scalars.lookupOrDefault(op.getCondition()),
                                  /*addThenBlock=*/true, /*addElseBlock=*/!op.getElseRegion().empty());
  for (auto [from, to] : llvm::zip_equal(op->getRegions(), branch->getRegions())) {
    if (from.empty())
      continue;
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&to.front());
    clone(from.front());
    SmallVector<Value> yielded =
        llvm::map_to_vector(from.front().getTerminator()->getOperands(), [&](Value value) { return vectorOf(value); });
    if (!yielded.empty())
      scf::YieldOp::create(b, op.getLoc(), yielded);
  }
  for (auto [from, to] : llvm::zip(op.getResults(), branch.getResults()))
    vectors.map(from, to);
}

/// The first of numbers that rise by one from lane to lane, or null.
static Value firstOfConsecutive(Value vector) {
  auto sum = vector.getDefiningOp<arith::AddIOp>();
  auto first = sum ? sum.getLhs().getDefiningOp<vector::BroadcastOp>() : nullptr;
  return first && sum.getRhs().getDefiningOp<vector::StepOp>() ? first.getSource() : Value();
}

/// Neighbours in memory are loaded together.
bool Vectorizer::cloneLoad(memref::LoadOp op) {
  SmallVector<Value> indices;
  for (Value index : op.getIndices().drop_back()) {
    if (vectors.contains(index))
      return false;
    indices.push_back(scalars.lookupOrDefault(index));
  }
  Value last = op.getIndices().empty() ? Value() : vectors.lookupOrNull(op.getIndices().back());
  Value first = last ? firstOfConsecutive(last) : Value();
  if (!first || !op.getMemRefType().isLastDimUnitStride())
    return false;
  indices.push_back(first);
  Value memref = scalars.lookupOrDefault(op.getMemRef());
  vectors.map(op.getResult(), vector::LoadOp::create(b, op.getLoc(), vectorType(op.getType()), memref, indices));
  return true;
}

void Vectorizer::clonePerColumn(Operation &op, ArrayRef<Value> used) {
  SmallVector<SmallVector<Value>> columns(op.getNumResults());
  for (int64_t column = 0; column < width; ++column) {
    IRMapping mapping(scalars);
    for (Value value : used)
      if (Value vector = vectors.lookupOrNull(value))
        mapping.map(value, vector::ExtractOp::create(b, op.getLoc(), vector, column));
    Operation *copy = b.clone(op, mapping);
    for (auto [list, result] : llvm::zip(columns, copy->getResults()))
      list.push_back(result);
  }
  for (auto [list, result] : llvm::zip(columns, op.getResults()))
    vectors.map(result, vector::FromElementsOp::create(b, op.getLoc(), vectorType(result.getType()), list));
}

Value moe::cloneVectorEpilogue(OpBuilder &b, Block &epilogue, ValueRange arguments, int64_t width,
                               ArrayRef<std::pair<Value, Value>> known) {
  Vectorizer vectorizer(b, width);
  for (auto [from, to] : llvm::zip_equal(epilogue.getArguments(), arguments))
    vectorizer.map(from, to);
  for (auto [from, to] : known)
    vectorizer.replace(from, to);
  vectorizer.clone(epilogue);
  return vectorizer.vectorOf(epilogue.getTerminator()->getOperand(0));
}

//===- Epilogue.cpp - the epilogue of a grouped matmul on vectors ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Epilogue.h"

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

namespace {
/// A value of the scalar block is either in `scalars` (or defined outside the block), the same for all columns, or in
/// `vectors`, one element per column.
class Vectorizer {
public:
  Vectorizer(OpBuilder &b, int64_t width) : b(b), width(width) {}

  void map(Value from, Value to) { (isa<VectorType>(to.getType()) ? vectors : scalars).map(from, to); }
  void clone(Operation &op);

  /// `value` as a vector.
  Value vectorOf(Value value) {
    if (Value vector = vectors.lookupOrNull(value))
      return vector;
    Value scalar = scalars.lookupOrDefault(value);
    return vector::BroadcastOp::create(b, value.getLoc(), vectorType(value.getType()), scalar);
  }

private:
  VectorType vectorType(Type element) { return VectorType::get({width}, element); }
  void cloneElementwise(Operation &op);
  void clonePerColumn(Operation &op, ArrayRef<Value> used);

  OpBuilder &b;
  int64_t width;
  IRMapping scalars, vectors;
};
} // namespace

/// Values `op` and its regions take from outside of `op`.
static SmallVector<Value> valuesUsedBy(Operation &op) {
  llvm::SetVector<Value> used(op.operand_begin(), op.operand_end());
  getUsedValuesDefinedAbove(op.getRegions(), used);
  return used.takeVector();
}

void Vectorizer::clone(Operation &op) {
  SmallVector<Value> used = valuesUsedBy(op);
  if (llvm::none_of(used, [&](Value value) { return vectors.contains(value); })) {
    b.clone(op, scalars);
    return;
  }
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
  llvm::SmallPtrSet<Operation *, 4> done;
  for (auto [from, to] : known) {
    vectorizer.map(from, to);
    done.insert(from.getDefiningOp());
  }
  for (Operation &op : epilogue.without_terminator())
    if (!done.contains(&op))
      vectorizer.clone(op);
  return vectorizer.vectorOf(epilogue.getTerminator()->getOperand(0));
}

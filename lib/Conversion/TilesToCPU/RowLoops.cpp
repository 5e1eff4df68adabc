//===- RowLoops.cpp - loops over the rows of a linalg op ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "RowLoops.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

Value RowLoops::index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }

RowLoops::Access RowLoops::accessOf(OpOperand &operand) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  if (!map.isFunctionOfDim(rowDim))
    return Access::Same;
  auto type = dyn_cast<MemRefType>(operand.get().getType());
  if (!type || !type.isLastDimUnitStride() || map.getResults().back() != getAffineDimExpr(rowDim, map.getContext()))
    return Access::Other;
  bool elsewhere =
      llvm::any_of(map.getResults().drop_back(), [&](AffineExpr expr) { return expr.isFunctionOfDim(rowDim); });
  return elsewhere ? Access::Other : Access::Contiguous;
}

SmallVector<Value> RowLoops::indicesOf(OpOperand &operand, Value k) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  SmallVector<OpFoldResult> dims = getAsOpFoldResult(ValueRange(outer));
  dims.push_back(k ? OpFoldResult(k) : OpFoldResult(b.getIndexAttr(0))); // unused where the row does not matter
  SmallVector<Value> indices;
  for (OpFoldResult result : affine::makeComposedFoldedMultiResultAffineApply(b, loc, map, dims))
    indices.push_back(getValueOrCreateConstantIndexOp(b, loc, result));
  return indices;
}

Value RowLoops::load(OpOperand &operand, Value k) {
  return memref::LoadOp::create(b, loc, operand.get(), indicesOf(operand, k));
}

SmallVector<Value> RowLoops::loadSame() {
  SmallVector<Value> same;
  for (OpOperand *input : op.getDpsInputOperands())
    same.push_back(!isMemRef(*input)                  ? input->get()
                   : accessOf(*input) == Access::Same ? load(*input, nullptr)
                                                      : Value());
  return same;
}

SmallVector<std::pair<Value, Value>> RowLoops::positions(Value k, bool vector) {
  SmallVector<std::pair<Value, Value>> known;
  op.getBlock()->walk([&](linalg::IndexOp position) {
    Value value = position.getDim() == rowDim ? k : outer[position.getDim()];
    if (vector && position.getDim() == rowDim) {
      auto type = VectorType::get({lanes}, b.getIndexType());
      value = arith::AddIOp::create(b, loc, vector::BroadcastOp::create(b, loc, type, k),
                                    vector::StepOp::create(b, loc, type));
    }
    known.emplace_back(position.getResult(), value);
  });
  return known;
}

void RowLoops::openLoop(Value begin, Value end, int64_t step) {
  auto loop = scf::ForOp::create(b, loc, begin, end, index(step));
  outer.push_back(loop.getInductionVar());
  b.setInsertionPoint(loop.getBody()->getTerminator());
}

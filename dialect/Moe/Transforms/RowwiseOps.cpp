//===- RowwiseOps.cpp - recognising matrix products and row-wise ops ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "RowwiseOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

using namespace mlir;
using namespace moe;

bool moe::isZeroFilled(Value value) {
  while (auto cast = value.getDefiningOp<tensor::CastOp>())
    value = cast.getSource();
  if (auto fill = value.getDefiningOp<linalg::FillOp>())
    value = fill.getInputs().front();
  return matchPattern(value, m_PosZeroFloat());
}

/// `scalar` is block argument `number`, or that widened to f32.
static bool isWidened(Value scalar, Block *body, unsigned number) {
  if (auto widen = scalar.getDefiningOp<arith::ExtFOp>())
    scalar = widen.getIn();
  return scalar == body->getArgument(number);
}

FailureOr<TransposedProduct> moe::matchTransposedProduct(linalg::LinalgOp op, std::string &why) {
  auto no = [&](const char *reason) {
    why = reason;
    return failure();
  };
  if (!op.hasPureTensorSemantics() || op.getNumDpsInputs() != 2 || op.getNumDpsInits() != 1 || op.getNumLoops() != 3)
    return no("not a product of two tensors");
  MLIRContext *context = op.getContext();
  AffineExpr m, n, k;
  bindDims(context, m, n, k);
  auto map = [&](AffineExpr a, AffineExpr b) { return AffineMap::get(3, 0, {a, b}, context); };
  SmallVector<AffineMap> want{map(m, k), map(n, k), map(m, n)};
  if (op.getIndexingMapsArray() != want)
    return no("not of the form x[m, k] * weight[n, k]");
  if (op.getIteratorTypesArray().back() != utils::IteratorType::reduction)
    return no("k is not summed over");
  auto init = op.getDpsInits().front();
  if (!cast<ShapedType>(init.getType()).getElementType().isF32())
    return no("sums are not in f32");
  if (!isZeroFilled(init))
    return no("the sum does not start at zero");

  Block *body = op.getBlock();
  auto add = body->getTerminator()->getOperand(0).getDefiningOp<arith::AddFOp>();
  Value accumulator = body->getArgument(2);
  if (!add || (add.getLhs() != accumulator && add.getRhs() != accumulator))
    return no("the body is not a sum of products");
  auto multiply = (add.getLhs() == accumulator ? add.getRhs() : add.getLhs()).getDefiningOp<arith::MulFOp>();
  if (!multiply || !isWidened(multiply.getLhs(), body, 0) || !isWidened(multiply.getRhs(), body, 1))
    return no("the body is not a sum of products");
  return TransposedProduct{op.getDpsInputs()[0], op.getDpsInputs()[1]};
}

bool moe::isRowwise(linalg::GenericOp op) {
  if (!op.hasPureTensorSemantics() || op.getNumParallelLoops() != op.getNumLoops() || op.getNumLoops() == 0)
    return false;
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    if (op.isDpsInit(&operand) ? !map.isIdentity() : !map.isProjectedPermutation())
      return false;
    // Loop 0 is the row: it indexes dimension 0 or nothing.
    for (auto [dim, expr] : llvm::enumerate(map.getResults()))
      if (expr.isFunctionOfDim(0) != (dim == 0 && map.isFunctionOfDim(0)))
        return false;
  }
  // The body must not know where its row is, nor how many there are: both are others after cutting. A tensor from
  // elsewhere (however deep in the body it is read) is not indexed by rows that we see.
  WalkResult walked = op.getBody()->walk([](Operation *inner) {
    bool knowsRows = llvm::any_of(inner->getOperands(), [](Value operand) {
      return isa<ShapedType>(operand.getType()) || operand.getDefiningOp<tensor::DimOp>();
    });
    return isa<linalg::IndexOp>(inner) || knowsRows ? WalkResult::interrupt() : WalkResult::advance();
  });
  return !walked.wasInterrupted();
}

bool moe::coversAllRows(GroupedMatmulOp op) {
  auto offsets = op.getOffsets().getDefiningOp<tensor::FromElementsOp>();
  if (!offsets || op.getNumExperts() != 1 || op.getChoices() || !matchPattern(offsets.getElements().front(), m_Zero()))
    return false;
  auto end = offsets.getElements().back().getDefiningOp<arith::IndexCastOp>();
  if (!end)
    return false;
  // The number of rows is mostly written as that of another tensor, which x was computed from.
  FailureOr<bool> equal = ValueBoundsConstraintSet::areEqual({op.getX(), 0}, {end.getIn()});
  return succeeded(equal) && *equal;
}

GroupedMatmulOp moe::buildGroupedMatmul(OpBuilder &b, Location loc, Value x, Value weight, Value offsets, Value init) {
  auto op = GroupedMatmulOp::create(b, loc, init.getType(), x, weight, offsets, /*choices=*/Value(),
                                    /*rowScalars=*/ValueRange(), /*columnScalars=*/ValueRange(), init,
                                    /*fanout=*/uint64_t(1));
  OpBuilder::InsertionGuard guard(b);
  Block *epilogue = b.createBlock(&op.getEpilogue(), {}, b.getF32Type(), loc);
  Value value = epilogue->getArgument(0);
  Type element = cast<ShapedType>(init.getType()).getElementType();
  if (element != value.getType())
    value = arith::TruncFOp::create(b, loc, element, value);
  YieldOp::create(b, loc, value);
  return op;
}

//===- Outlining.cpp - parallel loops as functions of their own -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Outlining.h"

#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace moe;

std::optional<ParallelLoop> ParallelLoop::from(Operation *op) {
  if (auto loop = dyn_cast<scf::ForallOp>(op))
    return ParallelLoop{op, loop.getMixedLowerBound(), loop.getMixedUpperBound(), loop.getMixedStep(),
                        loop.getInductionVars()};
  if (auto loop = dyn_cast<scf::ParallelOp>(op))
    return ParallelLoop{op, getAsOpFoldResult(loop.getLowerBound()), getAsOpFoldResult(loop.getUpperBound()),
                        getAsOpFoldResult(loop.getStep()), llvm::to_vector_of<Value>(loop.getInductionVars())};
  return std::nullopt;
}

void moe::makeSequential(ParallelLoop loop) {
  OpBuilder b(loop.op);
  Location loc = loop.op->getLoc();
  IRMapping mapping;
  for (auto [lower, upper, step, iv] :
       llvm::zip_equal(loop.lowerBounds, loop.upperBounds, loop.steps, loop.inductionVars)) {
    auto sequential = scf::ForOp::create(b, loc, getValueOrCreateConstantIndexOp(b, loc, lower),
                                         getValueOrCreateConstantIndexOp(b, loc, upper),
                                         getValueOrCreateConstantIndexOp(b, loc, step));
    mapping.map(iv, sequential.getInductionVar());
    b.setInsertionPoint(sequential.getBody()->getTerminator());
  }
  for (Operation &op : loop.body().without_terminator())
    b.clone(op, mapping);
  loop.op->erase();
}

/// The strides and offset of a memref with at least one dimension; none for other values.
static std::optional<std::pair<SmallVector<int64_t>, int64_t>> layoutOf(Value value) {
  auto type = dyn_cast<MemRefType>(value.getType());
  SmallVector<int64_t> strides;
  int64_t offset;
  if (!type || type.getRank() == 0 || failed(type.getStridesAndOffset(strides, offset)))
    return std::nullopt;
  return std::make_pair(strides, offset);
}

Capture Capture::make(OpBuilder &b, Value value) {
  auto layout = layoutOf(value);
  if (!layout)
    return {value, {value}};
  auto metadata = memref::ExtractStridedMetadataOp::create(b, value.getLoc(), value);
  Capture capture{value, {metadata.getBaseBuffer()}};
  if (ShapedType::isDynamic(layout->second))
    capture.parts.push_back(metadata.getOffset());
  for (auto [size, known] : llvm::zip(metadata.getSizes(), cast<MemRefType>(value.getType()).getShape()))
    if (ShapedType::isDynamic(known))
      capture.parts.push_back(size);
  for (auto [stride, known] : llvm::zip(metadata.getStrides(), layout->first))
    if (ShapedType::isDynamic(known))
      capture.parts.push_back(stride);
  return capture;
}

Value Capture::rebuild(OpBuilder &b, ArrayRef<Value> loaded) const {
  auto layout = layoutOf(value);
  if (!layout)
    return loaded.front();
  ArrayRef<Value> open = loaded.drop_front();
  auto take = [&](int64_t known) -> OpFoldResult {
    if (!ShapedType::isDynamic(known))
      return b.getIndexAttr(known);
    Value next = open.front();
    open = open.drop_front();
    return next;
  };
  OpFoldResult offset = take(layout->second);
  auto type = cast<MemRefType>(value.getType());
  SmallVector<OpFoldResult> sizes = llvm::map_to_vector(type.getShape(), take);
  SmallVector<OpFoldResult> strides = llvm::map_to_vector(layout->first, take);
  return memref::ReinterpretCastOp::create(b, value.getLoc(), type, loaded.front(), offset, sizes, strides);
}

//===- KernelRecipe.cpp - how a level multiplies matrices -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "KernelRecipe.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

/// The recipes that need instructions of a level, best first. What none of them takes is done by fused multiply-add.
static std::unique_ptr<KernelRecipe> (*const specialRecipes[])(GroupedMatmulOp, const IsaLevel *) = {
    makeAmxRecipe, makeBuilderRecipe, makeBf16DotRecipe};

std::unique_ptr<KernelRecipe> moe::makeKernelRecipe(GroupedMatmulOp op, const IsaLevel *level) {
  for (auto make : specialRecipes)
    if (std::unique_ptr<KernelRecipe> recipe = make(op, level))
      return recipe;
  return makeFmaRecipe(op, level);
}

bool moe::hasKernelOfItsOwn(GroupedMatmulOp op, const IsaLevel &level) {
  if (!op.isPacked() || op.isPackedForTensorCores() || !isa<MemRefType>(op.getX().getType()))
    return false;
  return level.hasAmx ? makeAmxRecipe(op, &level) != nullptr : makeBf16DotRecipe(op, &level) != nullptr;
}

Type KernelRecipe::getSumType(MLIRContext *context) const { return Float32Type::get(context); }

Value KernelRecipe::allocate(OpBuilder &b, MemRefType type) {
  return buffers.emplace_back(memref::AllocOp::create(b, loc, type, b.getI64IntegerAttr(64)));
}

void KernelRecipe::finish(OpBuilder &b) {
  for (Value buffer : buffers)
    memref::DeallocOp::create(b, loc, buffer);
}

void KernelRecipe::allocateSums(OpBuilder &b, int64_t weights) {
  for (const Plan &plan : plans) {
    auto type = MemRefType::get({plan.maxRows, weights * plan.panelSteps.front(), GroupedMatmulOp::panelWidth},
                                getSumType(b.getContext()));
    sums.push_back(allocate(b, type));
  }
}

void KernelRecipe::storeSums(OpBuilder &b, size_t plan, Value vector, Value position, int64_t number) const {
  vector::StoreOp::create(b, loc, vector, sums[plan], ValueRange{position, index(b, number), index(b, 0)});
}

void KernelRecipe::finishRows(OpBuilder &b, size_t plan, const RowBlock &rows, RowsDone done) const {
  auto type = VectorType::get({GroupedMatmulOp::panelWidth}, getSumType(b.getContext()));
  done(b, index(b, 0), subtract(b, rows.end, rows.begin), [&](OpBuilder &b, Value position, int64_t number) -> Value {
    return vector::LoadOp::create(b, loc, type, sums[plan], ValueRange{position, index(b, number), index(b, 0)});
  });
}

Value KernelRecipe::index(OpBuilder &b, int64_t value) const { return arith::ConstantIndexOp::create(b, loc, value); }

Value KernelRecipe::add(OpBuilder &b, Value left, int64_t right) const {
  return right ? add(b, left, index(b, right)) : left;
}
Value KernelRecipe::add(OpBuilder &b, Value left, Value right) const {
  return arith::AddIOp::create(b, loc, left, right);
}
Value KernelRecipe::subtract(OpBuilder &b, Value left, Value right) const {
  return arith::SubIOp::create(b, loc, left, right);
}
Value KernelRecipe::divide(OpBuilder &b, Value left, int64_t right) const {
  return arith::DivUIOp::create(b, loc, left, index(b, right));
}
Value KernelRecipe::remainder(OpBuilder &b, Value left, int64_t right) const {
  return arith::RemUIOp::create(b, loc, left, index(b, right));
}
Value KernelRecipe::multiplyBy(OpBuilder &b, Value left, int64_t right) const {
  return arith::MulIOp::create(b, loc, left, index(b, right));
}

void KernelRecipe::loop(OpBuilder &b, Value begin, Value end, int64_t step,
                        function_ref<void(OpBuilder &, Value)> body) const {
  auto loop = scf::ForOp::create(b, loc, begin, end, index(b, step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop.getBody()->getTerminator());
  body(b, loop.getInductionVar());
}

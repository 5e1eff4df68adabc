//===- PackedSteps.cpp - reading panels of quantised weights --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedSteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace moe;

/// The last two dimensions of packed weights, [.., 16, 4], as one.
static SmallVector<ReassociationIndices> collapseSteps() { return {{0}, {1}, {2}, {3, 4}}; }

VectorType packed::lanesOf(Type element) { return VectorType::get({panelWidth}, element); }

Value packed::splat(OpBuilder &b, Location loc, int32_t value) {
  auto type = lanesOf(b.getI32Type());
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, value));
}

Value packed::splat(OpBuilder &b, Location loc, float value) {
  auto type = lanesOf(b.getF32Type());
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, value));
}

Value packed::loadStep(OpBuilder &b, Location loc, Value weights, Value group, Value panel, Value step) {
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value bytes = vector::LoadOp::create(b, loc, VectorType::get({stepBytes}, b.getI8Type()), weights,
                                       ValueRange{group, panel, step, zero});
  return vector::BitCastOp::create(b, loc, lanesOf(b.getI32Type()), bytes);
}

Value packed::signedBits(OpBuilder &b, Location loc, Value lanes, unsigned first, unsigned width) {
  unsigned left = 32 - first - width;
  if (left)
    lanes = arith::ShLIOp::create(b, loc, lanes, splat(b, loc, static_cast<int32_t>(left)));
  return arith::ShRSIOp::create(b, loc, lanes, splat(b, loc, static_cast<int32_t>(32 - width)));
}

bool packed::hasAvx512(Operation *op) {
  auto function = op->getParentOfType<FunctionOpInterface>();
  auto level = function ? function->getAttrOfType<StringAttr>("moe.isa") : StringAttr();
  return level && llvm::is_contained({"amx", "avx512bf16", "avx512"}, level.getValue());
}

Value packed::intrinsic(OpBuilder &b, Location loc, StringRef name, Type result, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, loc, result, b.getStringAttr(name), operands).getResult(0);
}

LogicalResult packed::checkContiguous(GroupedMatmulOp op) {
  if (op.getWeightRank() != 5)
    return op.emitOpError("expected packed weights, which quantised ones are, but got ")
           << op.getWeights().front().getType();
  for (Value weight : op.getWeights()) {
    auto type = cast<MemRefType>(weight.getType());
    if (!type.isLastDimUnitStride() || !memref::CollapseShapeOp::isGuaranteedCollapsible(type, collapseSteps()))
      return op.emitOpError("expected packed weights with contiguous panels but got ") << type;
  }
  return success();
}

SmallVector<Value> packed::collapsed(OpBuilder &b, GroupedMatmulOp op) {
  return llvm::map_to_vector(op.getWeights(), [&](Value weight) -> Value {
    return memref::CollapseShapeOp::create(b, op.getLoc(), weight, collapseSteps());
  });
}

ArrayRef<KernelShape> packed::ladderOf32Registers(size_t weights) {
  static constexpr KernelShape one[] = {{6, 4}, {2, 4}, {1, 8}};
  static constexpr KernelShape two[] = {{6, 2}, {2, 2}, {1, 4}};
  static constexpr KernelShape more[] = {{4, 1}, {1, 1}};
  return weights == 1 ? ArrayRef(one) : weights == 2 ? ArrayRef(two) : ArrayRef(more);
}
ArrayRef<KernelShape> packed::ladderOf16Registers(size_t weights) {
  static constexpr KernelShape one[] = {{4, 1}, {1, 4}};
  static constexpr KernelShape two[] = {{2, 1}, {1, 2}};
  static constexpr KernelShape more[] = {{1, 1}};
  return weights == 1 ? ArrayRef(one) : weights == 2 ? ArrayRef(two) : ArrayRef(more);
}

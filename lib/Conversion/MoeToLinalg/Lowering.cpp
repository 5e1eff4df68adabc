//===- Lowering.cpp - helpers of the reference lowering -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;

namespace moe::lowering {

SmallVector<Value> generic(ImplicitLocOpBuilder &b, ValueRange inputs, ValueRange outputs, unsigned loops,
                           ArrayRef<SmallVector<unsigned>> maps, ArrayRef<unsigned> reductions, ScalarBody body) {
  SmallVector<AffineMap> indexingMaps;
  for (ArrayRef<unsigned> map : maps)
    indexingMaps.push_back(AffineMap::get(
        loops, 0, llvm::map_to_vector(map, [&](unsigned d) { return b.getAffineDimExpr(d); }), b.getContext()));
  SmallVector<utils::IteratorType> iterators(loops, utils::IteratorType::parallel);
  for (unsigned loop : reductions)
    iterators[loop] = utils::IteratorType::reduction;
  auto op = linalg::GenericOp::create(b, outputs.getTypes(), inputs, outputs, indexingMaps, iterators,
                                      [&](OpBuilder &inner, Location loc, ValueRange scalars) {
                                        ImplicitLocOpBuilder ib(loc, inner);
                                        linalg::YieldOp::create(ib, body(ib, scalars));
                                      });
  return SmallVector<Value>(op.getResults());
}

Value uninitialized(ImplicitLocOpBuilder &b, ArrayRef<OpFoldResult> sizes, Type element) {
  return tensor::EmptyOp::create(b, sizes, element);
}

Value filled(ImplicitLocOpBuilder &b, ArrayRef<OpFoldResult> sizes, Value value) {
  return linalg::FillOp::create(b, value, uninitialized(b, sizes, value.getType())).getResult(0);
}

Value sizeOf(ImplicitLocOpBuilder &b, Value value, int64_t dim) {
  int64_t size = cast<ShapedType>(value.getType()).getDimSize(dim);
  return ShapedType::isDynamic(size) ? tensor::DimOp::create(b, value, dim).getResult() : indexConstant(b, size);
}

Value indexConstant(ImplicitLocOpBuilder &b, int64_t value) { return arith::ConstantIndexOp::create(b, value); }

Value i32Constant(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantOp::create(b, b.getI32IntegerAttr(value));
}

Value floatConstant(ImplicitLocOpBuilder &b, Type type, double value) {
  return arith::ConstantOp::create(b, b.getFloatAttr(type, value));
}

Value negativeInfinity(ImplicitLocOpBuilder &b, FloatType type) {
  return arith::ConstantOp::create(b,
                                   b.getFloatAttr(type, APFloat::getInf(type.getFloatSemantics(), /*Negative=*/true)));
}

Value toIndex(ImplicitLocOpBuilder &b, Value i32) { return arith::IndexCastOp::create(b, b.getIndexType(), i32); }

Value toI32(ImplicitLocOpBuilder &b, Value index) { return arith::IndexCastOp::create(b, b.getI32Type(), index); }

Value toF32(ImplicitLocOpBuilder &b, Value value) {
  unsigned width = value.getType().getIntOrFloatBitWidth();
  if (value.getType().isF32())
    return value;
  if (width < 32)
    return arith::ExtFOp::create(b, b.getF32Type(), value);
  return arith::TruncFOp::create(b, b.getF32Type(), value);
}

SmallVector<Value> forLoop(ImplicitLocOpBuilder &b, Value count, ValueRange values,
                           function_ref<SmallVector<Value>(ImplicitLocOpBuilder &, Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(b, indexConstant(b, 0), count, indexConstant(b, 1), values,
                                 [&](OpBuilder &inner, Location loc, Value i, ValueRange carried) {
                                   ImplicitLocOpBuilder ib(loc, inner);
                                   scf::YieldOp::create(ib, body(ib, i, carried));
                                 });
  return SmallVector<Value>(loop.getResults());
}

SmallVector<Value> ifThen(ImplicitLocOpBuilder &b, Value condition, ValueRange otherwise,
                          function_ref<SmallVector<Value>(ImplicitLocOpBuilder &)> body) {
  auto op = scf::IfOp::create(
      b, condition,
      [&](OpBuilder &inner, Location loc) {
        ImplicitLocOpBuilder ib(loc, inner);
        scf::YieldOp::create(ib, body(ib));
      },
      [&](OpBuilder &inner, Location loc) { scf::YieldOp::create(inner, loc, otherwise); });
  return SmallVector<Value>(op.getResults());
}

void replaceWithCasts(PatternRewriter &rewriter, Operation *op, ValueRange values) {
  SmallVector<Value> replacements;
  for (auto [value, result] : llvm::zip_equal(values, op->getResults()))
    replacements.push_back(value.getType() == result.getType()
                               ? value
                               : tensor::CastOp::create(rewriter, op->getLoc(), result.getType(), value).getResult());
  rewriter.replaceOp(op, replacements);
}

} // namespace moe::lowering

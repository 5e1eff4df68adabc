//===- Layers.cpp - the layers that model families share ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ModelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace moe;
using namespace moe::frontend;

static Value constant(OpBuilder &builder, Location loc, double value) {
  return arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(static_cast<float>(value)));
}

Value ModelBuilder::linear(Value x, Value w) {
  auto wType = cast<RankedTensorType>(w.getType());
  // Both sides of a product have one type; widening is exact. x stays narrow beside weights in f32, which may have been
  // decoded: a target multiplies with their codes.
  if (getElementTypeOrSelf(x) != wType.getElementType()) {
    if (!wType.getElementType().isF32())
      x = convert(x, f32());
    w = convert(w, f32());
  }
  cost.flopsPerToken += repeats * 2.0 * wType.getDimSize(0) * wType.getDimSize(1);
  Sizes shape{sizes(x)[0], size(wType.getDimSize(0))};
  Value init = zeros(shape, f32());
  Value result =
      linalg::MatmulTransposeBOp::create(builder, location, init.getType(), ValueRange{x, w}, init)->getResult(0);
  return sized(result, shape);
}

Value ModelBuilder::rmsNorm(Value x, Value w, double eps) {
  Sizes shape = sizes(x), outer = shape;
  outer.pop_back();
  unsigned rank = shape.size();
  int64_t width = cast<RankedTensorType>(w.getType()).getDimSize(0);
  Value squares = sumLast(x, [](OpBuilder &nested, Location loc, Value element) -> Value {
    return arith::MulFOp::create(nested, loc, element, element);
  });
  Value scales = map({squares}, outer, f32(), [&](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
    Value mean = arith::DivFOp::create(nested, loc, elements[0], constant(nested, loc, static_cast<double>(width)));
    Value shifted = arith::AddFOp::create(nested, loc, mean, constant(nested, loc, eps));
    return math::RsqrtOp::create(nested, loc, shifted);
  });
  Operand rows(scales, llvm::to_vector(llvm::seq(0u, rank - 1))), columns(w, {rank - 1});
  return map({x, rows, columns}, shape, storage, [](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
    Value normed = arith::MulFOp::create(nested, loc, elements[0], elements[1]);
    return arith::MulFOp::create(nested, loc, normed, elements[2]);
  });
}

Value ModelBuilder::swiGlu(Value gate, Value up) {
  return map({gate, up}, sizes(gate), f32(), [](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
    Value exponential = math::ExpOp::create(nested, loc, arith::NegFOp::create(nested, loc, elements[0]));
    Value denominator = arith::AddFOp::create(nested, loc, constant(nested, loc, 1), exponential);
    Value silu = arith::DivFOp::create(nested, loc, elements[0], denominator);
    return arith::MulFOp::create(nested, loc, silu, elements[1]);
  });
}

RotaryTables ModelBuilder::rotaryTables(Value past, Value length, ArrayRef<float> inverseFrequencies) {
  int64_t half = inverseFrequencies.size();
  Value frequencies =
      arith::ConstantOp::create(builder, location, DenseElementsAttr::get(tensor({half}, f32()), inverseFrequencies));
  Sizes shape{length, size(half)};
  Value angles = map({Operand(frequencies, {1u})}, shape, f32(),
                     [&](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
                       Value step = linalg::IndexOp::create(nested, loc, 0);
                       Value position = arith::AddIOp::create(nested, loc, past, step);
                       Value integer = arith::IndexCastOp::create(nested, loc, nested.getI64Type(), position);
                       Value real = arith::SIToFPOp::create(nested, loc, nested.getF32Type(), integer);
                       return arith::MulFOp::create(nested, loc, real, elements[0]);
                     });
  auto table = [&](auto make) {
    return map({angles}, shape, f32(), [&](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
      return make(nested, loc, elements[0]);
    });
  };
  Value cos =
      table([](OpBuilder &nested, Location loc, Value angle) { return math::CosOp::create(nested, loc, angle); });
  Value sin =
      table([](OpBuilder &nested, Location loc, Value angle) { return math::SinOp::create(nested, loc, angle); });
  return {cos, sin};
}

Value ModelBuilder::rotateHalves(Value x, RotaryTables tables) {
  // D becomes 2 x D/2. Each half of the result needs both halves of x, so x is read through two slices.
  Sizes shape = sizes(x); // [B, S, heads, D]
  OpFoldResult half = sizes(tables.cos)[1];
  Sizes split{shape[0], shape[1], shape[2], size(2), half};
  Value halves = expand(x, {{0}, {1}, {2}, {3, 4}}, split);
  Sizes one = split;
  one[3] = size(1);
  auto part = [&](int64_t which) {
    return slice(halves, {size(0), size(0), size(0), size(which), size(0)}, one, /*dropped=*/{3});
  };
  Value first = part(0), second = part(1);

  Operand cos(tables.cos, {1u, 4u}), sin(tables.sin, {1u, 4u});
  Operand low(first, {0u, 1u, 2u, 4u}), high(second, {0u, 1u, 2u, 4u});
  Value rotated =
      map({low, high, cos, sin}, split, storage, [](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
        Value zero = arith::ConstantIndexOp::create(nested, loc, 0);
        Value which = linalg::IndexOp::create(nested, loc, 3);
        Value isLow = arith::CmpIOp::create(nested, loc, arith::CmpIPredicate::eq, which, zero);
        Value minusHigh = arith::NegFOp::create(nested, loc, elements[1]);
        Value own = arith::SelectOp::create(nested, loc, isLow, elements[0], elements[1]);
        Value other = arith::SelectOp::create(nested, loc, isLow, minusHigh, elements[0]);
        Value ownPart = arith::MulFOp::create(nested, loc, own, elements[2]);
        Value otherPart = arith::MulFOp::create(nested, loc, other, elements[3]);
        return arith::AddFOp::create(nested, loc, ownPart, otherPart);
      });
  return collapse(rotated, {{0}, {1}, {2}, {3, 4}}, shape);
}

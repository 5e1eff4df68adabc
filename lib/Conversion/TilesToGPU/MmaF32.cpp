//===- MmaF32.cpp - products of f32 on tensor cores -----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensor cores multiply tf32: f32 without the low 13 bits of the significand. So each number is taken as two,
// high + low. high is the number rounded to tf32, ties away from zero: as integers, (bits + 0x1000) & ~0x1fff (no
// instruction of the hardware does it: cvt.rna.tf32 is four). low = x - high is exact and has 12 significant bits at
// most, of which the mma ignores the last one if there are 12: x's last one, as often up as down. A product is the sum
// of three: low * high, high * low, high * high. low * low is left out, 2^-22 of the product at most.
//
// How tensor cores round sums is not documented; measured, they cut off (arXiv 2203.03341), which over a long k would
// cost more than all of the above. So the three mma of 8 elements along k start from zero, the small ones first, and
// their sum is added to what the thread has by an f32 addition, rounded to nearest. Every kernel sums in this order, so
// rows have the same bits in blocks of any shape.
//
// An infinity has no second part (it would be NaN), so sums with one are NaN, also those that would be an infinity.
//
//===----------------------------------------------------------------------===//

#include "MmaBuilder.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;
using namespace moe;

/// Products in the making at a time: so many mma are independent of each other.
static constexpr int64_t productsAtATime = 4;

namespace {
/// Registers of tf32.
struct Parts {
  SmallVector<Value> high, low;
};
} // namespace

static Parts split(ImplicitLocOpBuilder &b, ArrayRef<Value> numbers) {
  auto i32 = [&](int64_t value) -> Value { return arith::ConstantIntOp::create(b, static_cast<int32_t>(value), 32); };
  auto toFloat = [&](Value bits) -> Value { return arith::BitcastOp::create(b, b.getF32Type(), bits); };
  Parts parts;
  for (Value number : numbers) {
    Value above = arith::AddIOp::create(b, number, i32(0x1000));
    Value high = arith::AndIOp::create(b, above, i32(~0x1fff));
    Value low = arith::SubFOp::create(b, toFloat(number), toFloat(high));
    parts.high.push_back(high);
    parts.low.push_back(arith::BitcastOp::create(b, b.getI32Type(), low));
  }
  return parts;
}

void MmaBuilder::multiplyF32(const Fragments &fragments, int64_t half, MutableArrayRef<Value> sums) {
  ImplicitLocOpBuilder builder(loc, b);
  Type f32 = b.getF32Type();
  Value zero = arith::ConstantOp::create(builder, b.getF32FloatAttr(0));
  SmallVector<Parts> x;
  for (int64_t row = 0; row < rowFragments; ++row)
    x.push_back(split(builder, ArrayRef(fragments.x).slice(row * 4, 4)));
  int64_t columnsAtATime = std::max<int64_t>(productsAtATime / rowFragments, 1);
  for (int64_t first = 0; first < 2 * columnFragments; first += columnsAtATime) {
    SmallVector<Parts> columns;
    for (int64_t column = first; column < first + columnsAtATime; ++column)
      columns.push_back(split(builder, operandsOfWeights(fragments.weights, half, column)));
    SmallVector<Values> products(rowFragments * columnsAtATime, Values(4, zero));
    auto multiply = [&](SmallVector<Value> Parts::*ofX, SmallVector<Value> Parts::*ofColumn) {
      for (auto [number, product] : llvm::enumerate(products))
        multiplyAdd(f32, x[number % rowFragments].*ofX, columns[number / rowFragments].*ofColumn, product);
    };
    multiply(&Parts::low, &Parts::high);
    multiply(&Parts::high, &Parts::low);
    multiply(&Parts::high, &Parts::high);
    for (auto [number, product] : llvm::enumerate(products))
      for (auto [element, value] : llvm::enumerate(product)) {
        Value &sum = sums[sumAt(number % rowFragments, first + number / rowFragments) + element];
        sum = arith::AddFOp::create(b, loc, sum, value);
      }
  }
}

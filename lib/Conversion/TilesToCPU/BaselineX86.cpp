//===- BaselineX86.cpp - do without instructions a level lacks ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "BaselineX86.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;
using namespace moe;

namespace {
/// Writes LLVM dialect operations on values of one shape: scalars, or vectors of the same length.
class Arithmetic {
public:
  Arithmetic(OpBuilder &b, Operation *op) : b(b), loc(op->getLoc()), shape(op->getOperand(0).getType()) {}

  /// The shape with another element type.
  Type type(Type element) {
    auto vector = dyn_cast<VectorType>(shape);
    return vector ? Type(vector.clone(element)) : element;
  }
  Type i16() { return type(b.getI16Type()); }
  Type i32() { return type(b.getI32Type()); }
  Type f32() { return type(b.getF32Type()); }

  Value constant(Type type, TypedAttr value) {
    if (auto vector = dyn_cast<VectorType>(type))
      return LLVM::ConstantOp::create(b, loc, type, DenseElementsAttr::get(vector, Attribute(value)));
    return LLVM::ConstantOp::create(b, loc, type, value);
  }
  Value bits(int64_t value, unsigned width = 32) {
    return constant(type(b.getIntegerType(width)), b.getIntegerAttr(b.getIntegerType(width), value));
  }
  Value number(Type element, double value) { return constant(type(element), b.getFloatAttr(element, value)); }

  template <typename Op> Value make(Value left, Value right) { return Op::create(b, loc, left, right); }
  template <typename Op> Value convert(Type to, Value value) { return Op::create(b, loc, to, value); }
  Value less(Value left, Value right) { // unsigned
    return LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::ult, left, right);
  }
  Value compare(LLVM::FCmpPredicate predicate, Value left, Value right) {
    return LLVM::FCmpOp::create(b, loc, predicate, left, right);
  }
  Value select(Value condition, Value yes, Value no) { return LLVM::SelectOp::create(b, loc, condition, yes, no); }
  Value abs(Value x) { return LLVM::FAbsOp::create(b, loc, x); }
  Value copySign(Value magnitude, Value sign) { return LLVM::CopySignOp::create(b, loc, magnitude, sign); }

  OpBuilder &b;
  Location loc;

private:
  Type shape;
};
} // namespace

/// f16 to f32, exact. The exponent is rebased by a multiplication, which also normalises denormals.
static Value extendHalf(Arithmetic &a, Value half) {
  Value x = a.convert<LLVM::ZExtOp>(a.i32(), a.convert<LLVM::BitcastOp>(a.i16(), half));
  Value magnitude = a.make<LLVM::ShlOp>(a.make<LLVM::AndOp>(x, a.bits(0x7fff)), a.bits(13));
  Value scaled =
      a.make<LLVM::FMulOp>(a.convert<LLVM::BitcastOp>(a.f32(), magnitude), a.number(a.b.getF32Type(), 0x1p112));
  // Infinities and NaNs keep their exponent of all ones; signalling NaNs become quiet.
  Value special = a.make<LLVM::OrOp>(magnitude, a.bits(0x7f800000));
  Value isNaN = a.less(a.bits(0x0f800000), magnitude);
  special = a.select(isNaN, a.make<LLVM::OrOp>(special, a.bits(0x00400000)), special);
  Value finite = a.less(magnitude, a.bits(0x0f800000));
  Value result = a.select(finite, a.convert<LLVM::BitcastOp>(a.i32(), scaled), special);
  Value sign = a.make<LLVM::ShlOp>(a.make<LLVM::AndOp>(x, a.bits(0x8000)), a.bits(16));
  return a.convert<LLVM::BitcastOp>(a.f32(), a.make<LLVM::OrOp>(result, sign));
}

/// f32 to f16, round to nearest even.
static Value truncateToHalf(Arithmetic &a, Value x) {
  Value all = a.convert<LLVM::BitcastOp>(a.i32(), x);
  Value magnitude = a.make<LLVM::AndOp>(all, a.bits(0x7fffffff));
  Value sign = a.make<LLVM::AndOp>(a.make<LLVM::LShrOp>(all, a.bits(16)), a.bits(0x8000));
  // Normal results: rebase the exponent and round by adding just under half of the last place; a carry into the
  // exponent is right, up to infinity.
  Value odd = a.make<LLVM::AndOp>(a.make<LLVM::LShrOp>(magnitude, a.bits(13)), a.bits(1));
  Value normal = a.make<LLVM::AddOp>(magnitude, a.bits(0xfff - (112 << 23)));
  normal = a.make<LLVM::LShrOp>(a.make<LLVM::AddOp>(normal, odd), a.bits(13));
  // Denormal results: adding 0.5 lets the adder round at 2^-24, the last place of a denormal f16.
  Value half = a.number(a.b.getF32Type(), 0.5);
  Value shifted = a.make<LLVM::FAddOp>(a.convert<LLVM::BitcastOp>(a.f32(), magnitude), half);
  Value denormal = a.make<LLVM::SubOp>(a.convert<LLVM::BitcastOp>(a.i32(), shifted), a.bits(0x3f000000));
  Value result = a.select(a.less(magnitude, a.bits(113 << 23)), denormal, normal);
  // 65520 and above round to infinity; NaNs keep the top of their payload.
  result = a.select(a.less(magnitude, a.bits(143 << 23)), result, a.bits(0x7c00));
  Value payload = a.make<LLVM::AndOp>(a.make<LLVM::LShrOp>(magnitude, a.bits(13)), a.bits(0x3ff));
  Value isNaN = a.less(a.bits(0x7f800000), magnitude);
  result = a.select(isNaN, a.make<LLVM::OrOp>(payload, a.bits(0x7e00)), result);
  result = a.convert<LLVM::TruncOp>(a.i16(), a.make<LLVM::OrOp>(result, sign));
  return a.convert<LLVM::BitcastOp>(a.type(a.b.getF16Type()), result);
}

/// Rounds to the nearest integer, ties to even: above 2^p there are no fractions, below it adding 2^p removes them.
static Value roundEven(Arithmetic &a, Value x) {
  Type element = getElementTypeOrSelf(x.getType());
  Value big = a.number(element, element.isF64() ? 0x1p52 : 0x1p23);
  Value magnitude = a.abs(x);
  Value rounded = a.make<LLVM::FSubOp>(a.make<LLVM::FAddOp>(magnitude, big), big);
  Value small = a.compare(LLVM::FCmpPredicate::olt, magnitude, big);
  return a.select(small, a.copySign(rounded, x), x);
}

enum class Rounding { Floor, Ceil, Trunc, Away };

/// Rounds to an integer in another direction: to nearest, then one step back where that went too far.
static Value roundTo(Arithmetic &a, Value x, Rounding rounding) {
  using Predicate = LLVM::FCmpPredicate;
  Type element = getElementTypeOrSelf(x.getType());
  Value one = a.number(element, 1.0), zero = a.number(element, 0.0);
  auto step = [&](Value condition) { return a.select(condition, one, zero); };
  if (rounding == Rounding::Floor || rounding == Rounding::Ceil) {
    Value nearest = roundEven(a, x);
    Value result = rounding == Rounding::Floor
                       ? a.make<LLVM::FSubOp>(nearest, step(a.compare(Predicate::ogt, nearest, x)))
                       : a.make<LLVM::FAddOp>(nearest, step(a.compare(Predicate::olt, nearest, x)));
    return a.copySign(result, x); // ceil(-0.5) is -0
  }
  Value magnitude = a.abs(x), nearest = roundEven(a, magnitude);
  if (rounding == Rounding::Trunc)
    return a.copySign(a.make<LLVM::FSubOp>(nearest, step(a.compare(Predicate::ogt, nearest, magnitude))), x);
  Value lost = a.make<LLVM::FSubOp>(magnitude, nearest);
  Value tie = a.compare(Predicate::oeq, lost, a.number(element, 0.5));
  return a.copySign(a.make<LLVM::FAddOp>(nearest, step(tie)), x);
}

/// What replaces the result of `op` at `level`, or null.
static Value replacement(OpBuilder &b, Operation *op, const IsaLevel &level) {
  if (op->getNumOperands() == 0 || op->getNumResults() != 1)
    return {};
  Arithmetic a(b, op);
  Value x = op->getOperand(0);
  Type from = getElementTypeOrSelf(x.getType()), to = getElementTypeOrSelf(op->getResult(0).getType());
  if (!level.hasFma && isa<LLVM::FMAOp, LLVM::FMulAddOp>(op))
    return a.make<LLVM::FAddOp>(a.make<LLVM::FMulOp>(x, op->getOperand(1)), op->getOperand(2));
  if (!level.hasHalf && isa<LLVM::FPExtOp>(op) && from.isF16() && to.isF32())
    return extendHalf(a, x);
  if (!level.hasHalf && isa<LLVM::FPTruncOp>(op) && from.isF32() && to.isF16())
    return truncateToHalf(a, x);
  if (level.hasRound || !(from.isF32() || from.isF64()) || from != to)
    return {};
  if (isa<LLVM::RoundEvenOp, LLVM::RintOp, LLVM::NearbyintOp>(op))
    return roundEven(a, x);
  if (isa<LLVM::FFloorOp>(op))
    return roundTo(a, x, Rounding::Floor);
  if (isa<LLVM::FCeilOp>(op))
    return roundTo(a, x, Rounding::Ceil);
  if (isa<LLVM::FTruncOp>(op))
    return roundTo(a, x, Rounding::Trunc);
  if (isa<LLVM::RoundOp>(op))
    return roundTo(a, x, Rounding::Away);
  return {};
}

void moe::legalizeForLevel(Operation *function, const IsaLevel &level) {
  OpBuilder b(function->getContext());
  function->walk([&](Operation *op) {
    b.setInsertionPoint(op);
    if (Value value = replacement(b, op, level)) {
      op->getResult(0).replaceAllUsesWith(value);
      op->erase();
    }
  });
}

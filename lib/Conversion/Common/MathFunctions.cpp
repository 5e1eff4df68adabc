//===- MathFunctions.cpp - elementary functions as arithmetic -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// f32 functions that experts and softmax evaluate often (exp, exp2, tanh, erf) stay in f32; the others compute in f64
// and round once. All argument reductions are exact with and without fused multiply-add: the leading part of each
// constant has so few bits that its product with the integer is exact.
//
//===----------------------------------------------------------------------===//

#include "MathFunctions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace moe;

namespace {
/// Where expressions are written, and their shape.
struct Context {
  OpBuilder &b;
  Location loc;
  Type shape;

  Type type(Type element) const {
    auto vector = dyn_cast<VectorType>(shape);
    return vector ? Type(vector.clone(element)) : element;
  }
};

/// A value with operators that write operations. Comparisons are false for NaN (but `unordered` tests for it).
struct Expr {
  const Context *c;
  Value value;

  Type element() const { return getElementTypeOrSelf(value.getType()); }
  bool isDouble() const { return element().isF64(); }
  unsigned width() const { return element().getIntOrFloatBitWidth(); }

  /// A constant of this value's type.
  Expr constant(double number) const {
    TypedAttr attribute = isa<FloatType>(element())
                              ? TypedAttr(c->b.getFloatAttr(element(), number))
                              : TypedAttr(c->b.getIntegerAttr(element(), static_cast<int64_t>(number)));
    return wrap(attribute);
  }
  Expr bitConstant(int64_t bits) const { return wrap(c->b.getIntegerAttr(element(), bits)); }
  Expr wrap(TypedAttr attribute) const {
    if (auto vector = dyn_cast<VectorType>(value.getType()))
      attribute = DenseElementsAttr::get(vector, Attribute(attribute));
    return {c, arith::ConstantOp::create(c->b, c->loc, attribute)};
  }
  template <typename Op> Expr binary(Expr other) const { return {c, Op::create(c->b, c->loc, value, other.value)}; }
  template <typename Op> Expr unary() const { return {c, Op::create(c->b, c->loc, value)}; }
  template <typename Op> Expr to(Type element) const { return {c, Op::create(c->b, c->loc, c->type(element), value)}; }
  Expr bits() const { return to<arith::BitcastOp>(c->b.getIntegerType(width())); }
  Expr asFloat() const { return to<arith::BitcastOp>(width() == 64 ? Type(c->b.getF64Type()) : c->b.getF32Type()); }
};

Expr operator+(Expr x, Expr y) {
  return isa<FloatType>(x.element()) ? x.binary<arith::AddFOp>(y) : x.binary<arith::AddIOp>(y);
}
Expr operator-(Expr x, Expr y) {
  return isa<FloatType>(x.element()) ? x.binary<arith::SubFOp>(y) : x.binary<arith::SubIOp>(y);
}
Expr operator*(Expr x, Expr y) { return x.binary<arith::MulFOp>(y); }
Expr operator/(Expr x, Expr y) { return x.binary<arith::DivFOp>(y); }
Expr operator&(Expr x, Expr y) { return x.binary<arith::AndIOp>(y); }
Expr operator|(Expr x, Expr y) { return x.binary<arith::OrIOp>(y); }
Expr operator^(Expr x, Expr y) { return x.binary<arith::XOrIOp>(y); }
Expr operator+(Expr x, double y) { return x + x.constant(y); }
Expr operator-(Expr x, double y) { return x - x.constant(y); }
Expr operator*(Expr x, double y) { return x * x.constant(y); }
Expr operator-(Expr x) { return x.unary<arith::NegFOp>(); }

Expr fma(Expr x, Expr y, Expr z) { return {x.c, math::FmaOp::create(x.c->b, x.c->loc, x.value, y.value, z.value)}; }
Expr compare(arith::CmpFPredicate predicate, Expr x, Expr y) {
  return {x.c, arith::CmpFOp::create(x.c->b, x.c->loc, predicate, x.value, y.value)};
}
Expr operator<(Expr x, Expr y) { return compare(arith::CmpFPredicate::OLT, x, y); }
Expr operator>(Expr x, Expr y) { return compare(arith::CmpFPredicate::OGT, x, y); }
Expr operator==(Expr x, Expr y) {
  if (isa<FloatType>(x.element()))
    return compare(arith::CmpFPredicate::OEQ, x, y);
  return {x.c, arith::CmpIOp::create(x.c->b, x.c->loc, arith::CmpIPredicate::eq, x.value, y.value)};
}
Expr operator<(Expr x, double y) { return x < x.constant(y); }
Expr operator>(Expr x, double y) { return x > x.constant(y); }
Expr operator==(Expr x, double y) { return x == x.constant(y); }
Expr unordered(Expr x, Expr y) { return compare(arith::CmpFPredicate::UNO, x, y); }
Expr select(Expr condition, Expr yes, Expr no) {
  return {yes.c, arith::SelectOp::create(yes.c->b, yes.c->loc, condition.value, yes.value, no.value)};
}
Expr shiftLeft(Expr x, int64_t by) { return x.binary<arith::ShLIOp>(x.bitConstant(by)); }
Expr shiftRight(Expr x, int64_t by) { return x.binary<arith::ShRSIOp>(x.bitConstant(by)); }
Expr abs(Expr x) { return x.unary<math::AbsFOp>(); }
Expr copySign(Expr magnitude, Expr sign) { return magnitude.binary<math::CopySignOp>(sign); }

/// Keeps NaN: no comparison with it holds.
Expr clamp(Expr x, double low, double high) {
  x = select(x > high, x.constant(high), x);
  return select(x < low, x.constant(low), x);
}

/// coefficients[0] + coefficients[1] * x + ..
Expr polynomial(Expr x, ArrayRef<double> coefficients) {
  Expr sum = x.constant(coefficients.back());
  for (double coefficient : llvm::reverse(coefficients.drop_back()))
    sum = fma(sum, x, x.constant(coefficient));
  return sum;
}

/// An integer near x, as a number and as bits. Adding 1.5 * 2^p pushes the fraction out of the significand (round to
/// nearest even); the integer is what is left in the low bits.
struct Rounded {
  Expr number, integer;
};
Rounded roundToInteger(Expr x) {
  Expr magic = x.constant(x.isDouble() ? 0x1.8p52 : 0x1.8p23);
  Expr shifted = x + magic;
  return {shifted - magic, shifted.bits() - magic.bits()};
}

/// 2^n for an integer in the range of normal exponents.
Expr powerOfTwo(Expr n) {
  bool isDouble = n.width() == 64;
  return shiftLeft(n + n.bitConstant(isDouble ? 1023 : 127), isDouble ? 52 : 23).asFloat();
}

/// x * 2^n in two steps, so that n may reach past the exponent range: results overflow to infinity, or are denormal and
/// rounded once (the first step is exact).
Expr scale(Expr x, Expr n) {
  Expr half = shiftRight(n, 1);
  return x * powerOfTwo(half) * powerOfTwo(n - half);
}

Expr toDouble(Expr x) { return x.isDouble() ? x : x.to<arith::ExtFOp>(x.c->b.getF64Type()); }
Expr toTypeOf(Expr x, Expr like) {
  return x.isDouble() && !like.isDouble() ? x.to<arith::TruncFOp>(like.element()) : x;
}

constexpr double log2OfE = 0x1.71547652b82fep+0;
constexpr double ln2 = 0x1.62e42fefa39efp-1;
// ln 2 in two parts; the first has 15 significant bits (f32) or 33 (f64).
constexpr double ln2HighF32 = 0x1.62e4p-1, ln2LowF32 = 0x1.7f7d1cp-20;
constexpr double ln2HighF64 = 0x1.62e42fefp-1, ln2LowF64 = 0x1.473de6af278edp-34;

/// x = n * ln 2 + r with |r| <= ln 2 / 2.
struct ExpReduction {
  Rounded n;
  Expr r;
};
ExpReduction reduceExp(Expr x) {
  Rounded n = roundToInteger(x * log2OfE);
  Expr r = fma(n.number, x.constant(x.isDouble() ? -ln2HighF64 : -ln2HighF32), x);
  return {n, fma(n.number, x.constant(x.isDouble() ? -ln2LowF64 : -ln2LowF32), r)};
}

/// exp(r) - 1 for |r| <= ln 2 / 2.
Expr expm1Core(Expr r, bool fullDouble) {
  if (!r.isDouble()) { // minimax for (exp(r) - 1 - r) / r^2
    Expr q = polynomial(r, {0x1.fffffcp-2, 0x1.55549p-3, 0x1.5558f4p-5, 0x1.123a6ap-7, 0x1.6a2384p-10});
    return fma(r * r, q, r);
  }
  SmallVector<double> taylor{0.5};
  for (int n = 3; n <= (fullDouble ? 13 : 9); ++n)
    taylor.push_back(taylor.back() / n);
  return fma(r * r, polynomial(r, taylor), r);
}

Expr expOf(Expr x, bool fullDouble = true) {
  // Past these bounds the result is 0 or infinity, and stays so.
  x = x.isDouble() ? clamp(x, -746, 710) : clamp(x, -104.5, 89);
  ExpReduction reduced = reduceExp(x);
  return scale(expm1Core(reduced.r, fullDouble) + 1, reduced.n.integer);
}

/// exp(x) - 1 in f64, with a small relative error near 0 too: 2^n * (exp(r) - 1) + (2^n - 1).
Expr expm1Of(Expr x) {
  x = clamp(x, -60, 709);
  ExpReduction reduced = reduceExp(x);
  Expr power = powerOfTwo(reduced.n.integer);
  return fma(power, expm1Core(reduced.r, /*fullDouble=*/true), power - 1);
}

/// The logarithm of x, or of 1 + x, in f64. `fullDouble`: x may be any f64; else it is an f32 and so are the results.
Expr logOf(Expr x, LogKind kind, bool fullDouble) {
  Expr argument = kind == LogKind::OnePlus ? x + 1 : x;
  Expr normal = argument, extra = argument.constant(0);
  if (fullDouble && kind != LogKind::OnePlus) { // denormal arguments
    Expr tiny = argument < 0x1p-1022;
    normal = select(tiny, argument * 0x1p54, argument);
    extra = select(tiny, extra.constant(-54), extra);
  }
  // argument = m * 2^e with m in [sqrt 1/2, sqrt 2).
  Expr bits = normal.bits();
  Expr e = shiftRight(bits - bits.bitConstant(0x3fe6a09e667f3bcd), 52);
  Expr m = (bits - shiftLeft(e, 52)).asFloat();
  Expr magic = normal.constant(0x1.8p52);
  Expr exponent = (e + magic.bits()).asFloat() - magic + extra;
  Expr f = m - 1;
  if (kind == LogKind::OnePlus) // 1 + x has lost the last bits of a small x
    f = select(exponent == 0.0, x, f);

  // log(1 + f) = 2 atanh(s), s = f / (2 + f), |s| <= 0.172.
  Expr s = f / (f + 2);
  SmallVector<double> series;
  for (int n = 3; n <= (fullDouble ? 23 : 13); n += 2)
    series.push_back(1.0 / n);
  Expr z = s * s, twice = s + s;
  Expr core = fma(twice * z, polynomial(z, series), twice);
  Expr result = core;
  switch (kind) {
  case LogKind::Natural:
  case LogKind::OnePlus:
    result = fma(exponent, core.constant(ln2HighF64), fma(exponent, core.constant(ln2LowF64), core));
    break;
  case LogKind::Base2:
    result = fma(core, core.constant(log2OfE), exponent);
    break;
  case LogKind::Base10:
    result = fma(exponent, core.constant(0x1.34413509f79ffp-2), core * 0x1.bcb7b1526e50ep-2);
    break;
  }
  constexpr double infinity = std::numeric_limits<double>::infinity();
  result = select(argument == 0.0, result.constant(-infinity), result);
  result = select(argument == infinity, argument, result);
  result = select(argument < 0.0, result.constant(std::numeric_limits<double>::quiet_NaN()), result);
  result = select(unordered(argument, argument), argument, result);
  if (kind == LogKind::OnePlus) // keeps -0
    result = select(x == 0.0, x, result);
  return result;
}

/// (-1)^k / (first + 2k)! * first!, k ascending: the Taylor series of sine (first = 1) or cosine (0).
SmallVector<double> alternatingSeries(int first, int terms) {
  SmallVector<double> series{1.0};
  for (int k = 1; k < terms; ++k)
    series.push_back(-series.back() / ((first + 2 * k) * (first + 2 * k - 1)));
  return series;
}

Expr sinOrCosOf(Expr x, bool cosine, bool fullDouble) {
  // pi / 2 in two parts, the first with 33 bits: its product with n is exact up to n = 2^20.
  Rounded n = roundToInteger(x * 0x1.45f306dc9c883p-1);
  Expr r = fma(n.number, x.constant(-0x1.921fb544p+0), x);
  r = fma(n.number, x.constant(-0x1.0b4611a626331p-34), r);
  Expr z = r * r;
  Expr sine = r * polynomial(z, alternatingSeries(1, fullDouble ? 9 : 6));
  Expr cosineValue = polynomial(z, alternatingSeries(0, fullDouble ? 9 : 7));
  Expr quadrant = n.integer;
  if (cosine)
    quadrant = quadrant + quadrant.bitConstant(1);
  Expr odd = (quadrant & quadrant.bitConstant(1)) == 1.0;
  Expr sign = shiftLeft(quadrant & quadrant.bitConstant(2), 62);
  return (select(odd, cosineValue, sine).bits() ^ sign).asFloat();
}

/// tanh in f32: an odd polynomial, then 1 - 2 / (exp(2x) + 1).
Expr tanhF32(Expr x) {
  Expr magnitude = abs(x), z = x * x;
  Expr p = polynomial(z, {-0x1.555532p-2, 0x1.11071ep-3, -0x1.b83b18p-5, 0x1.521e0ap-6, -0x1.75b9f6p-8});
  Expr small = fma(magnitude * z, p, magnitude);
  Expr large = x.constant(1) - x.constant(2) / (expOf(magnitude + magnitude) + 1);
  return copySign(select(magnitude < 0.625, small, large), x);
}

Expr tanhF64(Expr x) {
  Expr magnitude = abs(x);
  Expr e = expm1Of(clamp(magnitude + magnitude, 0, 50));
  return copySign(e / (e + 2), x);
}

/// erf in f32: x + x * P(x^2), then 1 - exp(-Q(x)), with Q = -log(erfc(x)).
Expr erfF32(Expr x) {
  Expr magnitude = abs(x), z = x * x;
  Expr small = fma(x,
                   polynomial(z, {0x1.06eba8p-3, -0x1.812744p-2, 0x1.ce2e2ap-4, -0x1.b8112ap-6, 0x1.54e05p-8,
                                  -0x1.ab119ep-11, 0x1.5f7dd2p-14}),
                   x);
  Expr t = select(magnitude > 4.0, x.constant(4), magnitude); // erf(4) is 1 - 1.5e-8
  Expr q = polynomial(t, {-0x1.6b82b6p-13, 0x1.212776p+0, 0x1.4447c6p-1, 0x1.bb74aep-4, -0x1.9b671p-6, 0x1.111ecep-8,
                          -0x1.c6cab2p-12, 0x1.60d78ap-16});
  Expr large = copySign(x.constant(1) - expOf(-q), x);
  return select(magnitude < 0.92, small, large);
}

/// C's pow in f64.
Expr powOf(Expr x, Expr y, bool fullDouble) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Expr magnitude = abs(x);
  Expr product = y * logOf(magnitude, LogKind::Natural, fullDouble);
  Expr result = expOf(product, fullDouble);
  // 1^y and x^0 are 1, whatever the other is; so is (-1) to an infinite power.
  Expr one = x.constant(1);
  result = select(y == 0.0, one, result);
  Expr isUnit = magnitude == 1.0;
  result = select(isUnit, one, result);

  // A negative base needs an integer exponent; an odd one makes the result negative. All numbers from 2^53 on are even.
  Expr size = abs(y);
  Rounded nearest = roundToInteger(select(size < 0x1p51, size, size.constant(0)));
  Expr isBig = compare(arith::CmpFPredicate::OGE, size, size.constant(0x1p51));
  Expr isInteger = isBig | (nearest.number == size);
  Expr isOdd = (nearest.integer & nearest.integer.bitConstant(1)) == 1.0;
  if (fullDouble) { // 2^51 .. 2^53: halving is exact and shows the last bit
    Expr half = size * 0.5;
    Expr fraction = half - Expr{x.c, math::FloorOp::create(x.c->b, x.c->loc, half.value)};
    isOdd = fraction == 0.5;
    isInteger = Expr{x.c, math::FloorOp::create(x.c->b, x.c->loc, size.value)} == size;
  }
  Expr isNegative = copySign(one, x) < 0.0;
  Expr negate = isNegative & isInteger & isOdd;
  result = select(negate, -result, result);
  Expr finiteNegative = (x < 0.0) & (x > -infinity);
  Expr no = compare(arith::CmpFPredicate::ONE, x, x); // false
  Expr isFraction = select(isInteger, no, finiteNegative);
  result = select(isFraction, x.constant(std::numeric_limits<double>::quiet_NaN()), result);
  // NaN in, NaN out, but for the two cases above.
  result = select(unordered(x, x), x, result);
  result = select(unordered(y, y), y, result);
  result = select(y == 0.0, one, result);
  return select(x == 1.0, one, result);
}
} // namespace

Value MathFunctions::exp(Value value) {
  Context c{b, loc, shape};
  return expOf({&c, value}).value;
}

/// 2^r for |r| <= 1/2, in f32.
static Expr exp2Core(Expr r) {
  return fma(r,
             polynomial(r, {0x1.62e43p-1, 0x1.ebfbdcp-3, 0x1.c6aee6p-5, 0x1.3b2d5p-7, 0x1.5f3f3p-10, 0x1.41fb9ap-13}),
             r.constant(1));
}

Value MathFunctions::exp2(Value value) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  x = x.isDouble() ? clamp(x, -1080, 1025) : clamp(x, -152, 129);
  Rounded n = roundToInteger(x);
  Expr r = x - n.number;
  Expr power = x.isDouble() ? expm1Core(r * ln2, /*fullDouble=*/true) + 1 : exp2Core(r);
  return scale(power, n.integer).value;
}

Value MathFunctions::exp2OfWeight(Value value) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  // The bits of the rounded number end in those of the integer: adding them to the exponent multiplies. 1 * 2^-127 is
  // then the bits of 0.
  Expr magic = x.constant(0x1.8p23), shifted = x + magic;
  Expr power = exp2Core(x - (shifted - magic));
  return (power.bits() + shiftLeft(shifted.bits(), 23)).asFloat().value;
}

Value MathFunctions::expm1(Value value) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  Expr wide = toDouble(x);
  Expr result = select(wide > 709.0, expOf(wide), expm1Of(wide));
  result = select(wide == 0.0, wide, result); // keeps -0
  return toTypeOf(result, x).value;
}

Value MathFunctions::log(Value value, LogKind kind) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  return toTypeOf(logOf(toDouble(x), kind, x.isDouble()), x).value;
}

Value MathFunctions::tanh(Value value) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  return (x.isDouble() ? tanhF64(x) : tanhF32(x)).value;
}

Value MathFunctions::erf(Value value) {
  Context c{b, loc, shape};
  return erfF32({&c, value}).value;
}

Value MathFunctions::sinOrCos(Value value, bool cosine) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  Expr result = sinOrCosOf(toDouble(x), cosine, x.isDouble());
  return toTypeOf(result, x).value;
}

Value MathFunctions::rsqrt(Value value) {
  Context c{b, loc, shape};
  Expr x{&c, value};
  return (x.constant(1) / x.unary<math::SqrtOp>()).value;
}

Value MathFunctions::pow(Value base, Value exponent) {
  Context c{b, loc, shape};
  Expr x{&c, base}, y{&c, exponent};
  return toTypeOf(powOf(toDouble(x), toDouble(y), x.isDouble()), x).value;
}

//===- StableMath.h - exponentials with the same bits everywhere ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The C library's exp differs in the last bit between versions and processors. Sampled text and scores should not, so
// the runtime brings its own: additions and multiplications in a fixed order, nothing fused.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_APP_STABLEMATH_H
#define MOE_LIB_RUNTIME_APP_STABLEMATH_H

#include <cstdint>
#include <cstring>

namespace moe::rt {

/// exp(x) for x <= 0, to about 1e-15 relative; 0 below -700 (and for -infinity); NaN stays NaN.
inline double stableExp(double x) {
#pragma clang fp contract(off)
  double clamped = x < -700 ? -700 : x;
  // Adding and taking away 1.5 * 2^52 rounds to an integer.
  constexpr double rounder = 6755399441055744.0;
  double shifted = clamped * 1.4426950408889634 + rounder;
  double n = shifted - rounder;
  double r = (clamped - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10; // ln 2 in two parts
  // Taylor: |r| <= 0.35, so the term of degree 14 is below 1e-17.
  double p = 1.0 / 6227020800;
  for (double coefficient : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                             1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = p * r + coefficient;
  // The integer stands in the low bits of the shifted value; it becomes the exponent.
  uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  uint64_t exponent = (bits + 1023) << 52;
  double power;
  std::memcpy(&power, &exponent, sizeof power);
  return x < -700 ? 0 : p * power;
}

/// The largest of `count` values (at least one); NaN is passed over.
inline float largest(const float *values, int64_t count) {
  float best = -__builtin_inff();
  for (int64_t i = 0; i < count; ++i)
    best = values[i] > best ? values[i] : best;
  return best;
}

/// Sum of exp(values[i] - top), in eight lanes by index and a fixed tree.
inline double sumOfExponentials(const float *values, int64_t count, double top) {
#pragma clang fp contract(off)
  constexpr int lanes = 8;
  double sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int lane = 0; lane < lanes; ++lane)
      sums[lane] += stableExp(double(values[i + lane]) - top);
  for (int lane = 0; i + lane < count; ++lane)
    sums[lane] += stableExp(double(values[i + lane]) - top);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_STABLEMATH_H

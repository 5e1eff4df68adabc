//===- StableMath.cpp - exponentials with the same bits everywhere -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A vocabulary has as many exponentials per token as a small model has multiplications per layer, so they are compiled
// for several instruction sets. Vectors go by reference: how they are passed by value depends on the instruction set.
//
//===----------------------------------------------------------------------===//

#include "StableMath.h"

#include "moe/Runtime/Cpu.h"

#include <algorithm>
#include <limits>

namespace moe::rt {
namespace {

constexpr int lanes = 8;
typedef double Doubles __attribute__((vector_size(lanes * sizeof(double))));
typedef uint64_t Words __attribute__((vector_size(lanes * sizeof(uint64_t))));
typedef float Floats __attribute__((vector_size(lanes * sizeof(float))));

/// Adds exp(x) to `sum`, of one number or a vector of them.
template <typename Number, typename Word>
[[gnu::always_inline]] inline void addExponential(const Number &x, Number &sum) {
#pragma clang fp contract(off)
  Number clamped = x < -700 ? Number{} - 700 : x;
  // Adding and taking away 1.5 * 2^52 rounds to an integer.
  constexpr double rounder = 6755399441055744.0;
  Number shifted = clamped * 1.4426950408889634 + rounder;
  Number n = shifted - rounder;
  Number r = (clamped - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10; // ln 2 in two parts
  // Taylor: |r| <= 0.35, so the term of degree 14 is below 1e-17.
  Number p = Number{} + 1.0 / 6227020800;
#pragma clang loop unroll(full)
  for (double coefficient : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                             1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = p * r + coefficient;
  // The integer stands in the low bits of the shifted value; it becomes the exponent.
  Word exponent = (__builtin_bit_cast(Word, shifted) + 1023) << 52;
  Number power = __builtin_bit_cast(Number, exponent);
  sum += x < -700 ? Number{} : p * power;
}

[[gnu::always_inline]] inline SumOfExponentials sumInLanes(const float *values, int64_t count) {
#pragma clang fp contract(off)
  int64_t whole = count / lanes * lanes;
  auto load = [&](int64_t at, Floats &vector) { __builtin_memcpy(&vector, values + at, sizeof vector); };

  float top = -std::numeric_limits<float>::infinity();
  Floats tops = Floats{} + top, some;
  for (int64_t i = 0; i < whole; i += lanes) {
    load(i, some);
    tops = some > tops ? some : tops;
  }
  for (int lane = 0; lane < lanes; ++lane)
    top = std::max(top, tops[lane]);
  for (int64_t i = whole; i < count; ++i)
    top = values[i] > top ? values[i] : top;

  Doubles sums = {};
  for (int64_t i = 0; i < whole; i += lanes) {
    load(i, some);
    addExponential<Doubles, Words>(__builtin_convertvector(some, Doubles) - double(top), sums);
  }
  for (int lane = 0; whole + lane < count; ++lane) {
    double sum = sums[lane];
    addExponential<double, uint64_t>(double(values[whole + lane]) - double(top), sum);
    sums[lane] = sum;
  }
  return {top, ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))};
}

SumOfExponentials sumBaseline(const float *values, int64_t count) { return sumInLanes(values, count); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) SumOfExponentials sumAvx2(const float *values, int64_t count) {
  return sumInLanes(values, count);
}
__attribute__((target("avx512f,avx512dq"))) SumOfExponentials sumAvx512(const float *values, int64_t count) {
  return sumInLanes(values, count);
}
#endif

SumOfExponentials (*chooseSum())(const float *, int64_t) {
#if defined(__x86_64__)
  if (isaLevelAvailable("avx512"))
    return sumAvx512;
  if (isaLevelAvailable("avx2"))
    return sumAvx2;
#endif
  return sumBaseline;
}

} // namespace

double stableExp(double x) {
  double result = 0;
  addExponential<double, uint64_t>(x, result);
  return result;
}

SumOfExponentials sumOfExponentials(const float *values, int64_t count) {
  static const auto sum = chooseSum();
  return sum(values, count);
}

} // namespace moe::rt

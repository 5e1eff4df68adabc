//===- StableMath.cpp - exponentials with the same bits everywhere -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scoring takes an exponential for every word of the vocabulary and every token, as much work as a layer of a small
// model, so sums of them are compiled for several instruction sets. Vectors go by reference: how they are passed by
// value depends on the instruction set.
//
//===----------------------------------------------------------------------===//

#include "StableMath.h"

#include "moe/Runtime/Cpu.h"

#include <limits>

namespace moe::rt {

double stableExp(double x) {
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
  uint64_t exponent = (__builtin_bit_cast(uint64_t, shifted) + 1023) << 52;
  return x < -700 ? 0 : p * __builtin_bit_cast(double, exponent);
}

namespace {

constexpr int lanes = 16;
typedef float Floats __attribute__((vector_size(lanes * sizeof(float))));
typedef uint32_t Words __attribute__((vector_size(lanes * sizeof(uint32_t))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(double))));

#define MOE_INLINE [[gnu::always_inline]] inline

/// x = exp(x) for x <= 0; 0 below -87 (and for -infinity), NaN stays NaN.
MOE_INLINE void exponentials(Floats &x) {
#pragma clang fp contract(off)
  constexpr float least = -87;
  Floats clamped = x < least ? Floats{} + least : x;
  // As above: 1.5 * 2^23, and ln 2 in two parts of which the first has few enough bits for exact products.
  constexpr float rounder = 12582912.0f;
  Floats shifted = clamped * 1.44269504f + rounder;
  Floats n = shifted - rounder;
  Floats r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  // Taylor: |r| <= 0.35, so the term of degree 8 is below 6e-9.
  Floats p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Words exponent = (__builtin_bit_cast(Words, shifted) + 127) << 23;
  x = x < least ? Floats{} : p * __builtin_bit_cast(Floats, exponent);
}

MOE_INLINE SumOfExponentials sumInLanes(const float *values, int64_t count) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  int64_t whole = count / lanes * lanes;
  // What is missing in the last vector is -infinity: no candidate for the top, and its exponential is 0.
  auto load = [&](int64_t at, Floats &vector) {
    if (at < whole) {
      __builtin_memcpy(&vector, values + at, sizeof vector);
      return;
    }
    vector = Floats{} + lowest;
    for (int lane = 0; at + lane < count; ++lane)
      vector[lane] = values[at + lane];
  };

  Floats some, tops = Floats{} + lowest;
  for (int64_t i = 0; i < count; i += lanes) {
    load(i, some);
    tops = some > tops ? some : tops;
  }
  float top = lowest;
  for (int lane = 0; lane < lanes; ++lane)
    top = tops[lane] > top ? tops[lane] : top;

  Doubles sums = {};
  for (int64_t i = 0; i < count; i += lanes) {
    load(i, some);
    some -= top;
    exponentials(some);
    sums += __builtin_convertvector(some, Doubles);
  }
  double parts[lanes];
  __builtin_memcpy(parts, &sums, sizeof parts);
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    for (int lane = 0; lane < distance; ++lane)
      parts[lane] += parts[lane + distance];
  return {top, parts[0]};
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

auto chooseSum() {
#if defined(__x86_64__)
  if (isaLevelAvailable("avx512"))
    return sumAvx512;
  if (isaLevelAvailable("avx2"))
    return sumAvx2;
#endif
  return sumBaseline;
}

} // namespace

SumOfExponentials sumOfExponentials(const float *values, int64_t count) {
  static const auto sum = chooseSum();
  return sum(values, count);
}

} // namespace moe::rt

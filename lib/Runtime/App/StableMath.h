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

namespace moe::rt {

/// exp(x) for x <= 0, to about 1e-15 relative; 0 below -700 (and for -infinity); NaN stays NaN.
double stableExp(double x);

/// The logarithm's argument in a stable log-softmax, and what was taken from every value for it.
struct SumOfExponentials {
  float top;  // the largest value; NaN is passed over
  double sum; // of exp(value - top), in eight lanes by index and a fixed tree
};

/// Of `count` values, at least one. With the instructions that this machine has; the bits are the same on all.
SumOfExponentials sumOfExponentials(const float *values, int64_t count);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_STABLEMATH_H

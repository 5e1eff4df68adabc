//===- Sampler.h - the next token from logits ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_APP_SAMPLER_H
#define MOE_LIB_RUNTIME_APP_SAMPLER_H

#include <cstdint>
#include <random>

namespace moe::rt {

/// Index of the largest of `count` logits, the lowest of equals; NaN is passed over. Throws InputError if all are NaN.
int64_t greedyChoice(const float *logits, int64_t count);

/// Draws tokens: temperature, then top-k, then top-p, then one 64-bit number of std::mt19937_64 per token. Candidates
/// are ordered by logit, equals by index; the same seed gives the same tokens on every machine.
class Sampler {
public:
  /// `temperature` > 0; `topK` 0 keeps all; `topP` in (0, 1], 1 keeps all.
  Sampler(double temperature, int64_t topK, double topP, uint64_t seed)
      : temperature(temperature), topK(topK), topP(topP), generator(seed) {}

  int64_t choose(const float *logits, int64_t count);

private:
  double temperature;
  int64_t topK;
  double topP;
  std::mt19937_64 generator;
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_SAMPLER_H

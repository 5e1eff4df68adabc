//===- Sampler.cpp - the next token from logits --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Sampler.h"
#include "StableMath.h"
#include "moe/Runtime/Error.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace moe::rt {

int64_t greedyChoice(const float *logits, int64_t count) {
  int64_t best = -1;
  for (int64_t i = 0; i < count; ++i)
    if (!std::isnan(logits[i]) && (best < 0 || logits[i] > logits[best]))
      best = i;
  if (best < 0)
    throw InputError("logits: expected numbers but all are NaN");
  return best;
}

int64_t Sampler::choose(const float *logits, int64_t count) {
  double draw = double(generator() >> 11) * 0x1p-53; // in [0, 1)
  int64_t best = greedyChoice(logits, count);
  double top = logits[best];
  if (std::isinf(top))
    return best;

  std::vector<int64_t> candidates;
  candidates.reserve(size_t(count));
  for (int64_t i = 0; i < count; ++i)
    if (!std::isnan(logits[i]))
      candidates.push_back(i);
  auto before = [&](int64_t a, int64_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  size_t kept = candidates.size();
  if (topK > 0)
    kept = std::min(kept, size_t(topK));
  std::partial_sort(candidates.begin(), candidates.begin() + int64_t(kept), candidates.end(), before);
  candidates.resize(kept);

  std::vector<double> weights;
  double sum = 0;
  for (int64_t index : candidates)
    sum += weights.emplace_back(stableExp((double(logits[index]) - top) / temperature));
  if (topP < 1) {
    double enough = topP * sum, reached = 0;
    size_t nucleus = 0;
    while (nucleus < kept && (nucleus == 0 || reached < enough))
      reached += weights[nucleus++];
    kept = nucleus;
    sum = reached;
  }
  double target = draw * sum, reached = 0;
  for (size_t i = 0; i < kept; ++i)
    if ((reached += weights[i]) > target)
      return candidates[i];
  return candidates[0]; // rounding: target reached the sum
}

} // namespace moe::rt

// The MoE layer as an engineer writes it by hand around a library's matrix product: router, choice, gather, one product
// per expert for gate and up, SwiGLU, one product for down, weighted sum. The loops here are left to the vectoriser.
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "common.h"
#include "gemm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <omp.h>
#include <string>
#include <vector>

using namespace bench;

namespace {

class Layer {
public:
  Layer(int64_t hidden, int64_t width, int64_t experts, int64_t k, bool renormalise, Format format,
        const void *routerData, const void *gateUpData, const void *downData)
      : hidden(hidden), width(width), experts(experts), k(k), renormalise(renormalise), format(format),
        storage(format == Format::F32 ? Format::F32 : Format::BF16) {
    router = makeMatrices(storage, 1, experts, hidden);
    router->pack(0, routerData);
    gateUp = makeMatrices(format, experts, 2 * width, hidden);
    down = makeMatrices(format, experts, hidden, width);
    packAll(*gateUp, gateUpData, 2 * width, hidden, gateUpScales);
    packAll(*down, downData, hidden, width, downScales);
  }

  /// Router and choice of a batch, and everything that its row counts need.
  void plan(const void *x, int64_t tokens) {
    route(x, tokens);
    for (int64_t e = 0; e < experts; ++e)
      if (int64_t rows = offsets[e + 1] - offsets[e]) {
        gateUp->prepare(gateUp->padded(rows));
        down->prepare(down->padded(rows));
      }
  }

  void run(const void *x, int64_t tokens, void *out) {
    route(x, tokens);
    if (format == Format::Int8)
      quantiseTokens(static_cast<const uint16_t *>(x), tokens);
    sums.assign(tokens * hidden, 0.0f);
    for (int64_t e = 0; e < experts; ++e)
      if (int64_t rows = offsets[e + 1] - offsets[e])
        expert(e, rows, static_cast<const char *>(x));
    store(out, tokens);
  }

private:
  static constexpr int64_t spare = 16; // rows that padding may add

  template <typename T> static T *room(std::vector<char> &buffer, int64_t count) {
    buffer.resize(std::max<size_t>(buffer.size(), count * sizeof(T) + 64));
    auto at = (reinterpret_cast<uintptr_t>(buffer.data()) + 63) / 64 * 64;
    return reinterpret_cast<T *>(at);
  }

  void packAll(Matrices &to, const void *data, int64_t columns, int64_t depth, std::vector<float> &scales) {
    auto *source = static_cast<const char *>(data);
    int64_t size = columns * depth;
    if (format != Format::Int8) {
      for (int64_t e = 0; e < experts; ++e)
        to.pack(e, source + e * size * elementSize(format));
      return;
    }
    // One scale per column of the product, symmetric.
    scales.resize(experts * columns);
    std::vector<int8_t> quantised(size);
    for (int64_t e = 0; e < experts; ++e) {
      auto *values = reinterpret_cast<const uint16_t *>(source) + e * size;
#pragma omp parallel for
      for (int64_t c = 0; c < columns; ++c)
        scales[e * columns + c] = quantiseRow(values + c * depth, depth, quantised.data() + c * depth);
      to.pack(e, quantised.data());
    }
  }

  static float quantiseRow(const uint16_t *values, int64_t count, int8_t *to) {
    float largest = 0;
    for (int64_t i = 0; i < count; ++i)
      largest = std::max(largest, std::fabs(fromBf16(values[i])));
    float inverse = largest == 0 ? 0 : 127 / largest;
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<int8_t>(std::nearbyint(fromBf16(values[i]) * inverse));
    return largest / 127;
  }

  static float quantiseRow(const float *values, int64_t count, int8_t *to) {
    float largest = 0;
    for (int64_t i = 0; i < count; ++i)
      largest = std::max(largest, std::fabs(values[i]));
    float inverse = largest == 0 ? 0 : 127 / largest;
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<int8_t>(std::nearbyint(values[i] * inverse));
    return largest / 127;
  }

  void quantiseTokens(const uint16_t *x, int64_t tokens) {
    quantised.resize(tokens * hidden);
    tokenScales.resize(tokens);
#pragma omp parallel for if (tokens > 8)
    for (int64_t t = 0; t < tokens; ++t)
      tokenScales[t] = quantiseRow(x + t * hidden, hidden, quantised.data() + t * hidden);
  }

  void route(const void *x, int64_t tokens) {
    float *logits = room<float>(logitBuffer, (tokens + spare) * experts);
    // The input has no spare rows; padding is for the experts' products only.
    int64_t whole = tokens;
    while (router->padded(whole) != whole)
      --whole;
    router->multiply(0, whole, x, logits);
    if (whole < tokens)
      router->multiply(0, tokens - whole, static_cast<const char *>(x) + whole * hidden * elementSize(storage),
                       logits + whole * experts);
    chosen.resize(tokens * k);
    weights.resize(tokens * k);
#pragma omp parallel for if (tokens > 16)
    for (int64_t t = 0; t < tokens; ++t)
      choose(logits + t * experts, &chosen[t * k], &weights[t * k]);

    offsets.assign(experts + 1, 0);
    for (int32_t e : chosen)
      ++offsets[e + 1];
    std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
    places.resize(tokens * k);
    std::vector<int64_t> next(offsets.begin(), offsets.end() - 1);
    for (int64_t choice = 0; choice < tokens * k; ++choice)
      places[next[chosen[choice]]++] = choice;
  }

  void choose(float *logits, int32_t *index, float *weight) const {
    float largest = *std::max_element(logits, logits + experts), sum = 0, kept = 0;
    for (int64_t e = 0; e < experts; ++e) {
      logits[e] = std::exp(logits[e] - largest);
      sum += logits[e];
    }
    for (int64_t i = 0; i < k; ++i) {
      auto best = std::max_element(logits, logits + experts);
      index[i] = static_cast<int32_t>(best - logits);
      weight[i] = *best;
      kept += *best;
      *best = -1;
    }
    for (int64_t i = 0; i < k; ++i)
      weight[i] /= renormalise ? kept : sum;
  }

  void expert(int64_t e, int64_t rows, const char *x) {
    const int64_t *choices = &places[offsets[e]];
    int64_t size = format == Format::Int8 ? 1 : elementSize(storage), depth = hidden * size;
    const char *source = format == Format::Int8 ? reinterpret_cast<const char *>(quantised.data()) : x;
    const char *input = source + choices[0] / k * depth;
    if (rows > 1) {
      char *gathered = room<char>(gatherBuffer, (rows + spare) * depth);
#pragma omp parallel for if (rows > 8)
      for (int64_t r = 0; r < rows; ++r)
        std::memcpy(gathered + r * depth, source + choices[r] / k * depth, depth);
      input = gathered;
    }
    float *both = room<float>(bothBuffer, (rows + spare) * 2 * width);
    gateUp->multiply(e, rows, input, both);
    char *inner = room<char>(innerBuffer, (rows + spare) * width * size);
    innerScales.resize(rows);
#pragma omp parallel for if (rows > 1)
    for (int64_t r = 0; r < rows; ++r)
      activate(e, r, choices[r] / k, both + r * 2 * width, inner + r * width * size);
    float *result = room<float>(resultBuffer, (rows + spare) * hidden);
    down->multiply(e, rows, inner, result);
#pragma omp parallel for if (rows > 8)
    for (int64_t r = 0; r < rows; ++r)
      addTo(&sums[choices[r] / k * hidden], weights[choices[r]], e, r, result + r * hidden);
  }

  /// SwiGLU of one row, into what the second product reads.
  void activate(int64_t e, int64_t row, int64_t token, float *both, char *to) {
    float *gate = both, *up = both + width;
    if (format == Format::Int8) {
      auto *counts = reinterpret_cast<const int32_t *>(both);
      const float *scales = &gateUpScales[e * 2 * width];
      float scale = tokenScales[token];
      for (int64_t i = 0; i < 2 * width; ++i)
        both[i] = static_cast<float>(counts[i]) * (scale * scales[i]);
    }
    for (int64_t i = 0; i < width; ++i)
      gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    if (format == Format::Int8) {
      innerScales[row] = quantiseRow(gate, width, reinterpret_cast<int8_t *>(to));
    } else if (format == Format::BF16) {
      for (int64_t i = 0; i < width; ++i)
        reinterpret_cast<uint16_t *>(to)[i] = toBf16(gate[i]);
    } else {
      std::memcpy(to, gate, width * sizeof(float));
    }
  }

  void addTo(float *sum, float weight, int64_t e, int64_t row, const float *result) const {
    if (format != Format::Int8) {
      for (int64_t i = 0; i < hidden; ++i)
        sum[i] += weight * result[i];
      return;
    }
    auto *counts = reinterpret_cast<const int32_t *>(result);
    const float *scales = &downScales[e * hidden];
    float scale = weight * innerScales[row];
    for (int64_t i = 0; i < hidden; ++i)
      sum[i] += static_cast<float>(counts[i]) * (scale * scales[i]);
  }

  void store(void *out, int64_t tokens) const {
    if (storage == Format::F32) {
      std::memcpy(out, sums.data(), tokens * hidden * sizeof(float));
      return;
    }
    auto *to = static_cast<uint16_t *>(out);
#pragma omp parallel for if (tokens > 8)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t i = 0; i < hidden; ++i)
        to[t * hidden + i] = toBf16(sums[t * hidden + i]);
  }

  int64_t hidden, width, experts, k;
  bool renormalise;
  Format format, storage;
  std::unique_ptr<Matrices> router, gateUp, down;
  std::vector<float> gateUpScales, downScales, weights, sums, tokenScales, innerScales;
  std::vector<int32_t> chosen;
  std::vector<int64_t> offsets, places;
  std::vector<int8_t> quantised;
  std::vector<char> logitBuffer, gatherBuffer, bothBuffer, innerBuffer, resultBuffer;
};

} // namespace

extern "C" {

/// Format 0: f32, 1: bf16, 2: int8 (from bf16). Null on failure, see hand_error.
void *hand_create(int64_t hidden, int64_t width, int64_t experts, int64_t k, int renormalise, int format,
                  const void *router, const void *gateUp, const void *down) {
  Layer *layer = nullptr;
  guarded([&] {
    layer = new Layer(hidden, width, experts, k, renormalise, static_cast<Format>(format), router, gateUp, down);
  });
  return layer;
}

int hand_plan(void *layer, const void *x, int64_t tokens) {
  return guarded([&] { static_cast<Layer *>(layer)->plan(x, tokens); });
}

int hand_run(void *layer, const void *x, int64_t tokens, void *out) {
  return guarded([&] { static_cast<Layer *>(layer)->run(x, tokens, out); });
}

void hand_set_threads(int count) { setGemmThreads(count); }

const char *hand_error() { return message.c_str(); }

const char *hand_version() { return gemmVersion(); }
}

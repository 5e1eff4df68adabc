//===- Roofline.cpp - what this machine can do at most -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Two small kernels, compiled once per level: chains of multiply-adds in registers, and a read of a buffer. They are
// the only code of the runtime that is compiled for more than the baseline.
//
//===----------------------------------------------------------------------===//

#include "Roofline.h"
#include "moe/Runtime/Abi.h"
#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

namespace moe::rt {
namespace {

/// Does `rounds` rounds of multiply-adds; returns the operations done. `sink` keeps the compiler from dropping them.
using ComputeKernel = double (*)(int64_t rounds, volatile float *sink);
/// Reads `size` bytes (a multiple of 1024, 64-byte aligned).
using ReadKernel = void (*)(const char *data, size_t size, volatile uint64_t *sink);

// MULTIPLY_ADD is an expression of a, x and b. 12 chains hide the latency of two pipes with 4 to 6 cycles each.
#define MOE_KERNELS(NAME, TARGET, BYTES, MULTIPLY_ADD)                                                                 \
  TARGET double NAME##Compute(int64_t rounds, volatile float *sink) {                                                  \
    typedef float Vector __attribute__((vector_size(BYTES)));                                                          \
    constexpr int chains = 12, lanes = BYTES / sizeof(float);                                                          \
    Vector acc[chains], x = Vector{} + 0.999f, b = Vector{} + 0.001f;                                                  \
    for (int i = 0; i < chains; ++i)                                                                                   \
      acc[i] = Vector{} + float(i);                                                                                    \
    for (int64_t round = 0; round < rounds; ++round)                                                                   \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < chains; ++i) {                                            \
        Vector a = acc[i];                                                                                             \
        acc[i] = MULTIPLY_ADD;                                                                                         \
      }                                                                                                                \
    for (int i = 0; i < chains; ++i)                                                                                   \
      *sink = acc[i][0];                                                                                               \
    return 2.0 * lanes * chains * double(rounds);                                                                      \
  }                                                                                                                    \
  TARGET void NAME##Read(const char *data, size_t size, volatile uint64_t *sink) {                                     \
    typedef uint64_t Vector __attribute__((vector_size(BYTES)));                                                       \
    Vector acc[8] = {};                                                                                                \
    const Vector *from = reinterpret_cast<const Vector *>(data);                                                       \
    for (size_t i = 0; i < size / BYTES; i += 8)                                                                       \
      _Pragma("clang loop unroll(full)") for (int j = 0; j < 8; ++j) acc[j] ^= from[i + size_t(j)];                    \
    for (int j = 0; j < 8; ++j)                                                                                        \
      *sink = acc[j][0];                                                                                               \
  }

MOE_KERNELS(baseline, , 16, a *x + b)
#if defined(__x86_64__)
MOE_KERNELS(avx2, __attribute__((target("avx2,fma"))), 32, __builtin_elementwise_fma(a, x, b))
MOE_KERNELS(avx512, __attribute__((target("avx512f"))), 64, __builtin_elementwise_fma(a, x, b))
#endif
#undef MOE_KERNELS

struct Kernels {
  const char *isa;
  ComputeKernel compute;
  ReadKernel read;
};

constexpr Kernels table[] = {
#if defined(__x86_64__)
    {"avx512", avx512Compute, avx512Read},
    {"avx2", avx2Compute, avx2Read},
#endif
    {"", baselineCompute, baselineRead},
};

/// Fastest of several runs of `work`, each long enough to be timed: units per second, where work(n) does n units.
template <typename Work> double bestRate(Work work) {
  int64_t amount = 1;
  double best = 0;
  for (int timed = 0; timed < 5;) {
    auto start = std::chrono::steady_clock::now();
    work(amount);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds < 0.01) {
      amount *= 2;
      continue;
    }
    best = std::max(best, double(amount) / seconds);
    ++timed;
  }
  return best;
}

} // namespace

Roofline measureRoofline(const std::string &isa, uint64_t footprint) {
  const Kernels *kernels = table;
  while (*kernels->isa && isa != kernels->isa)
    ++kernels;
  int threads = threadCount();
  Roofline limits;
  constexpr int64_t rounds = 10000;
  volatile float floatSink = 0;
  double flopsPerUnit = kernels->compute(rounds, &floatSink);
  limits.flops = flopsPerUnit * threads * bestRate([&](int64_t amount) {
                   parallelFor(threads, [&](int64_t begin, int64_t end) {
                     volatile float sink = 0;
                     for (int64_t i = begin; i < end; ++i)
                       kernels->compute(rounds * amount, &sink);
                   });
                 });

  constexpr uint64_t step = 1024;
  uint64_t share = std::clamp<uint64_t>(footprint, uint64_t(1) << 20, uint64_t(256) << 20) / uint64_t(threads);
  share = std::max(share / step * step, step);
  std::unique_ptr<char, void (*)(void *)> buffer(static_cast<char *>(_mlir_memref_to_llvm_alloc(share * threads)),
                                                 _mlir_memref_to_llvm_free);
  std::memset(buffer.get(), 1, share * threads);
  limits.bytes = double(share * threads) * bestRate([&](int64_t amount) {
                   parallelFor(threads, [&](int64_t begin, int64_t end) {
                     volatile uint64_t sink = 0;
                     for (int64_t i = begin; i < end; ++i)
                       for (int64_t pass = 0; pass < amount; ++pass)
                         kernels->read(buffer.get() + uint64_t(i) * share, share, &sink);
                   });
                 });
  return limits;
}

} // namespace moe::rt

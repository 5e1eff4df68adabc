//===- PeakKernels.cpp - instructions to time ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chains of multiply-adds in registers, one function per instruction that generated code multiplies with, and reads of
// a buffer.
//
//===----------------------------------------------------------------------===//

#include "PeakKernels.h"
#include "moe/Runtime/Cpu.h"

#include <iterator>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace moe::rt {
namespace {

/// Chains that are in flight at a time: they hide the latency of two pipes with 4 to 6 cycles each.
constexpr int chains = 12;

/// Keeps the compiler from dropping what was computed.
template <typename T> void use(const T &value) { __asm__ volatile("" : : "r"(&value) : "memory"); }

#if defined(__aarch64__)
#define MOE_VECTOR_REGISTER(VALUE) "+w"(VALUE)
#else
#define MOE_VECTOR_REGISTER(VALUE) "+v"(VALUE)
#endif

// MULTIPLY_ADD is an expression of a, x and b, which have the type VECTOR and start as different values; LANES counts
// multiplications of one instruction.
#define MOE_COMPUTE_KERNEL(NAME, TARGET, VECTOR, INITIAL, LANES, MULTIPLY_ADD)                                         \
  TARGET double NAME(int64_t rounds) {                                                                                 \
    VECTOR acc[chains], x = INITIAL(3), b = INITIAL(5);                                                                \
    for (int i = 0; i < chains; ++i)                                                                                   \
      acc[i] = INITIAL(i);                                                                                             \
    __asm__ volatile("" : MOE_VECTOR_REGISTER(x), MOE_VECTOR_REGISTER(b));                                             \
    for (int64_t round = 0; round < rounds; ++round)                                                                   \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < chains; ++i) {                                            \
        VECTOR a = acc[i];                                                                                             \
        acc[i] = MULTIPLY_ADD;                                                                                         \
      }                                                                                                                \
    use(acc);                                                                                                          \
    return 2.0 * (LANES) * chains * double(rounds);                                                                    \
  }

// BYTES is the size of a load.
#define MOE_READ_KERNEL(NAME, TARGET, BYTES)                                                                           \
  TARGET void NAME(const char *data, size_t size) {                                                                    \
    typedef uint64_t Vector __attribute__((vector_size(BYTES)));                                                       \
    constexpr size_t streams = 4, loads = 4;                                                                           \
    Vector acc[streams] = {};                                                                                          \
    size_t length = size / streams / BYTES;                                                                            \
    const Vector *from = reinterpret_cast<const Vector *>(data);                                                       \
    for (size_t i = 0; i < length; i += loads)                                                                         \
      _Pragma("clang loop unroll(full)") for (size_t s = 0; s < streams; ++s)                                          \
          _Pragma("clang loop unroll(full)") for (size_t j = 0; j < loads; ++j) acc[s] ^= from[s * length + i + j];    \
    use(acc);                                                                                                          \
  }

#if defined(__x86_64__)

#define MOE_TARGET(FEATURES) __attribute__((target(FEATURES)))

MOE_COMPUTE_KERNEL(f32Baseline, , __m128, _mm_set1_ps, 4, _mm_add_ps(_mm_mul_ps(a, x), b))
MOE_COMPUTE_KERNEL(f32Avx2, MOE_TARGET("avx2,fma"), __m256, _mm256_set1_ps, 8, _mm256_fmadd_ps(a, x, b))
MOE_COMPUTE_KERNEL(f32Avx512, MOE_TARGET("avx512f"), __m512, _mm512_set1_ps, 16, _mm512_fmadd_ps(a, x, b))
MOE_COMPUTE_KERNEL(int8Baseline, , __m128i, _mm_set1_epi32, 8, _mm_add_epi32(_mm_madd_epi16(x, a), b))
MOE_COMPUTE_KERNEL(int8Avx2, MOE_TARGET("avx2"), __m256i, _mm256_set1_epi32, 16,
                   _mm256_add_epi32(_mm256_madd_epi16(x, a), b))
MOE_COMPUTE_KERNEL(int8Avx512, MOE_TARGET("avx512f,avx512vnni"), __m512i, _mm512_set1_epi32, 64,
                   _mm512_dpbusd_epi32(a, x, b))
MOE_COMPUTE_KERNEL(bf16Avx512, MOE_TARGET("avx512f,avx512bf16"), __m512, _mm512_set1_ps, 32,
                   _mm512_dpbf16_ps(a, __m512bh(x), __m512bh(b)))
MOE_READ_KERNEL(readBaseline, , 16)
MOE_READ_KERNEL(readAvx2, MOE_TARGET("avx2"), 32)
MOE_READ_KERNEL(readAvx512, MOE_TARGET("avx512f"), 64)

/// Palette 1: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Four accumulators hide the latency of a tile multiplication.
#define MOE_TILE_KERNEL(NAME, FEATURES, MULTIPLY, LANES)                                                               \
  MOE_TARGET(FEATURES) double NAME(int64_t rounds) {                                                                   \
    TileConfiguration configuration;                                                                                   \
    _tile_loadconfig(&configuration);                                                                                  \
    _tile_zero(0), _tile_zero(1), _tile_zero(2), _tile_zero(3);                                                        \
    _tile_zero(4), _tile_zero(5), _tile_zero(6), _tile_zero(7);                                                        \
    for (int64_t round = 0; round < rounds; ++round)                                                                   \
      MULTIPLY(0, 4, 6), MULTIPLY(1, 4, 7), MULTIPLY(2, 5, 6), MULTIPLY(3, 5, 7);                                      \
    _tile_release();                                                                                                   \
    return 2.0 * 16 * 16 * (LANES) * 4 * double(rounds);                                                               \
  }
MOE_TILE_KERNEL(bf16Amx, "amx-tile,amx-bf16", _tile_dpbf16ps, 32)
MOE_TILE_KERNEL(int8Amx, "amx-tile,amx-int8", _tile_dpbssd, 64)

#else

typedef float FloatVector __attribute__((vector_size(16)));
typedef int32_t IntVector __attribute__((vector_size(16)));
#define MOE_SET_FLOAT(VALUE) (FloatVector{} + float(VALUE))
#define MOE_SET_INT(VALUE) (IntVector{} + int32_t(VALUE))

MOE_COMPUTE_KERNEL(f32Baseline, , FloatVector, MOE_SET_FLOAT, 4, __builtin_elementwise_fma(a, x, b))
MOE_COMPUTE_KERNEL(int8Baseline, , IntVector, MOE_SET_INT, 4, a *x + b)
MOE_COMPUTE_KERNEL(bf16Dot, __attribute__((target("bf16"))), float32x4_t, MOE_SET_FLOAT, 8,
                   vbfdotq_f32(a, vreinterpretq_bf16_f32(x), vreinterpretq_bf16_f32(b)))
MOE_READ_KERNEL(readBaseline, , 16)

#endif

struct Row {
  std::string_view level;
  ComputeKernel f32, bf16, int8;
};

// bf16 is widened to f32 where no instruction multiplies it.
constexpr Row table[] = {
#if defined(__x86_64__)
    {"amx", f32Avx512, bf16Amx, int8Amx},
    {"avx512bf16", f32Avx512, bf16Avx512, int8Avx512},
    {"avx512", f32Avx512, f32Avx512, int8Avx512},
    {"avx2", f32Avx2, f32Avx2, int8Avx2},
    {"x86-64", f32Baseline, f32Baseline, int8Baseline},
#else
    {"aarch64-bf16", f32Baseline, bf16Dot, int8Baseline},
    {"aarch64", f32Baseline, f32Baseline, int8Baseline},
#endif
};

} // namespace

ComputeKernel computeKernel(std::string_view level, Arithmetic arithmetic) {
#if defined(__x86_64__)
  // Levels may be drawn more widely than the instruction: an AVX-512 machine without VNNI.
  if (level == "avx512" && arithmetic == Arithmetic::Int8 && !__builtin_cpu_supports("avx512vnni"))
    return int8Avx2;
#endif
  for (const Row &row : table)
    if (row.level == level)
      return arithmetic == Arithmetic::F32 ? row.f32 : arithmetic == Arithmetic::BF16 ? row.bf16 : row.int8;
  return nullptr;
}

ReadKernel readKernel() {
#if defined(__x86_64__)
  if (isaLevelAvailable("avx512"))
    return readAvx512;
  if (isaLevelAvailable("avx2"))
    return readAvx2;
#endif
  return readBaseline;
}

} // namespace moe::rt

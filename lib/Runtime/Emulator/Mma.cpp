//===- Mma.cpp - matrix products of a warp --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// mma.sync of shape m16n8kK. With e elements in a register, group g = lane / 4 and t = lane % 4: register r of A holds
// row g + 8 (r % 2) and k = e t + 4 e (r / 2) + i, register r of B column g and k = e t + 4 e r + i, register r of C
// row g + 8 (r / 2) and column 2 t + r % 2.
//
// A sum starts at C and takes the products with k ascending, each rounded to f32. The products of bf16, f16, tf32 and
// fp8 are exact in f32 (but for denormal ones), so it makes no difference whether the host has fused multiply-adds. The
// hardware adds several products at once, and rounds in a way that is not documented.
//
//===----------------------------------------------------------------------===//
#include "Machine.h"

#include <bit>
#include <cstring>

using namespace moe::rt::simt;

namespace {

struct Bf16 {
  static constexpr int perRegister = 2;
  static float decode(uint32_t word, int i) { return std::bit_cast<float>(word >> 16 * i << 16); }
};

struct F16 {
  static constexpr int perRegister = 2;
  static float decode(uint32_t word, int i) { return moe_simt_from_f16(uint16_t(word >> 16 * i)); }
};

/// The hardware ignores the low 13 bits.
struct Tf32 {
  static constexpr int perRegister = 1;
  static float decode(uint32_t word, int) { return std::bit_cast<float>(word & 0xffffe000); }
};

/// Eight bits with `exponentBits` bits of exponent.
template <int exponentBits> struct F8 {
  static constexpr int perRegister = 4;
  static float decode(uint32_t word, int i) {
    constexpr int mantissaBits = 7 - exponentBits;
    uint32_t bits = word >> 8 * i & 0xff, magnitude = bits & 0x7f;
    // The exponent is that of f16, moved: f16 has five bits of exponent and ten of mantissa.
    float value;
    if (exponentBits == 5) {
      value = moe_simt_from_f16(uint16_t(magnitude << 8));
    } else {
      bool isNan = magnitude == 0x7f;
      value = moe_simt_from_f16(uint16_t(magnitude << (10 - mantissaBits))) * 256.0f; // bias 7 instead of 15
      if (isNan)
        value = std::bit_cast<float>(0x7fc00000);
    }
    return bits & 0x80 ? -value : value;
  }
};

constexpr int rows = 16, columns = 8;

template <typename Element, typename Sum, int depth> struct Tiles {
  Element a[rows][depth];
  Element b[depth][columns];
  Sum c[rows][columns];
};

/// Operand words per lane of a product of that depth with so many elements in a register.
constexpr int registersOfB(int depth, int perRegister) { return depth / (4 * perRegister); }

/// Collects the operands; `decode(word, i, isB)` is element i of a register.
template <int depth, int perRegister, typename Element, typename Sum, typename Decode>
void gather(const Warp &warp, Tiles<Element, Sum, depth> &tiles, Decode &&decode) {
  constexpr int inB = registersOfB(depth, perRegister), inA = 2 * inB;
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t *words = warp.threads[lane].words;
    int group = lane / 4, t = lane % 4;
    for (int r = 0; r < inA; ++r)
      for (int i = 0; i < perRegister; ++i)
        tiles.a[group + 8 * (r % 2)][perRegister * t + 4 * perRegister * (r / 2) + i] = decode(words[r], i, false);
    for (int r = 0; r < inB; ++r)
      for (int i = 0; i < perRegister; ++i)
        tiles.b[perRegister * t + 4 * perRegister * r + i][group] = decode(words[inA + r], i, true);
    for (int r = 0; r < 4; ++r)
      memcpy(&tiles.c[group + 8 * (r / 2)][2 * t + r % 2], &words[inA + inB + r], 4);
  }
}

template <typename Element, typename Sum, int depth> void scatter(Warp &warp, const Tiles<Element, Sum, depth> &tiles) {
  for (int lane = 0; lane < 32; ++lane)
    for (int r = 0; r < 4; ++r)
      memcpy(&warp.threads[lane].words[MoeSimtResult + r], &tiles.c[lane / 4 + 8 * (r / 2)][2 * (lane % 4) + r % 2], 4);
}

void count(int depth) {
  Counters &counters = Machine::get().counters;
  ++counters.products;
  counters.productOperations += uint64_t(2) * rows * columns * depth;
}

template <typename Format, int depth> void multiplyFloats(Warp &warp) {
  Tiles<float, float, depth> tiles;
  gather<depth, Format::perRegister>(warp, tiles, [](uint32_t word, int i, bool) { return Format::decode(word, i); });
  for (int row = 0; row < rows; ++row) {
    float sums[columns];
    memcpy(sums, tiles.c[row], sizeof sums);
    for (int k = 0; k < depth; ++k)
      for (int column = 0; column < columns; ++column) {
#pragma clang fp contract(off)
        sums[column] = sums[column] + tiles.a[row][k] * tiles.b[k][column];
      }
    memcpy(tiles.c[row], sums, sizeof sums);
  }
  scatter(warp, tiles);
  count(depth);
}

template <int depth> void multiplyIntegers(Warp &warp, uint32_t flags) {
  Tiles<int32_t, int32_t, depth> tiles;
  gather<depth, 4>(warp, tiles, [&](uint32_t word, int i, bool isB) {
    uint8_t byte = uint8_t(word >> 8 * i);
    return flags & (isB ? MoeSimtUnsignedB : MoeSimtUnsignedA) ? int32_t(byte) : int32_t(int8_t(byte));
  });
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) {
      int64_t sum = tiles.c[row][column];
      for (int k = 0; k < depth; ++k)
        sum += tiles.a[row][k] * tiles.b[k][column];
      if (flags & MoeSimtSaturate)
        sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      tiles.c[row][column] = int32_t(uint32_t(uint64_t(sum)));
    }
  scatter(warp, tiles);
  count(depth);
}

} // namespace

void moe::rt::simt::multiplyMatrices(Warp &warp, uint32_t operation) {
  switch (operation & 0xff) {
  case MoeSimtMmaBf16K8:
    return multiplyFloats<Bf16, 8>(warp);
  case MoeSimtMmaBf16K16:
    return multiplyFloats<Bf16, 16>(warp);
  case MoeSimtMmaF16K8:
    return multiplyFloats<F16, 8>(warp);
  case MoeSimtMmaF16K16:
    return multiplyFloats<F16, 16>(warp);
  case MoeSimtMmaTf32K4:
    return multiplyFloats<Tf32, 4>(warp);
  case MoeSimtMmaTf32K8:
    return multiplyFloats<Tf32, 8>(warp);
  case MoeSimtMmaE4M3K32:
    return multiplyFloats<F8<4>, 32>(warp);
  case MoeSimtMmaE5M2K32:
    return multiplyFloats<F8<5>, 32>(warp);
  case MoeSimtMmaS8K16:
    return multiplyIntegers<16>(warp, operation);
  case MoeSimtMmaS8K32:
    return multiplyIntegers<32>(warp, operation);
  default:
    Machine::get().trap(warp.threads[0], noSite, "unknown operation %u", operation);
  }
}

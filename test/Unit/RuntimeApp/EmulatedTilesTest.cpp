//===- EmulatedTilesTest.cpp - AMX tiles without AMX ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Cpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace {

using Bf16Tile = std::vector<uint16_t>; // 16 x 32
using F32Tile = std::vector<float>;     // 16 x 16

uint16_t bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return uint16_t(bits >> 16);
}

TEST(EmulatedTiles, SumsEvenAndOddApart) {
  F32Tile sums(256, 0.0f);
  Bf16Tile left(512, 0), right(512, 0);
  // Row 3 of the left tile, column 5 of the right one. In one chain 1 would be lost before 2^25 is taken away.
  left[3 * 32 + 0] = bf16(0x1p25f);
  left[3 * 32 + 1] = bf16(1.0f);
  left[3 * 32 + 2] = bf16(-0x1p25f);
  for (int k = 0; k < 3; ++k)
    right[(k / 2 * 16 + 5) * 2 + k % 2] = bf16(1.0f);
  sums[3 * 16 + 5] = 0.5f;
  moe_rt_tile_dot_bf16(sums.data(), left.data(), right.data());
  for (int i = 0; i < 256; ++i)
    EXPECT_EQ(sums[i], i == 3 * 16 + 5 ? 1.5f : 0.0f) << i;
}

TEST(EmulatedTiles, DenormalNumbersAreZero) {
  F32Tile sums(256, 0x1p-130f);
  Bf16Tile left(512, 0), right(512, 0);
  left[0] = bf16(0x1p-127f); // denormal
  right[0] = bf16(0x1p100f);
  left[32] = bf16(0x1p-100f); // row 1: the product is denormal
  right[1] = bf16(0.0f);
  right[2] = bf16(0x1p-30f); // column 1
  moe_rt_tile_dot_bf16(sums.data(), left.data(), right.data());
  EXPECT_EQ(sums[0], 0.0f);
  EXPECT_EQ(sums[17], 0.0f);
}

TEST(EmulatedTiles, BytesAreSignedOrNot) {
  std::vector<uint8_t> left(1024, 0), right(1024, 0);
  left[0] = 255;
  right[0] = 254;
  std::vector<int32_t> sums(256, 10);
  moe_rt_tile_dot_i8(sums.data(), left.data(), right.data(), 0, 0);
  EXPECT_EQ(sums[0], 12);
  moe_rt_tile_dot_i8(sums.data(), left.data(), right.data(), 1, 0);
  EXPECT_EQ(sums[0], 12 - 510);
  moe_rt_tile_dot_i8(sums.data(), left.data(), right.data(), 1, 1);
  EXPECT_EQ(sums[0], 12 - 510 + 255 * 254);
}

#if defined(__x86_64__)
/// Full tiles through the processor: `multiply` is its instruction on tiles 0 += 1 * 2.
#define MOE_MULTIPLY_TILES(instruction, sums, left, right)                                                             \
  do {                                                                                                                 \
    alignas(64) unsigned char shape[64] = {1};                                                                         \
    for (int tile = 0; tile < 3; ++tile) {                                                                             \
      shape[16 + 2 * tile] = 64;                                                                                       \
      shape[48 + tile] = 16;                                                                                           \
    }                                                                                                                  \
    long stride = 64;                                                                                                  \
    __asm__ volatile(                                                                                                  \
        "ldtilecfg %0\n\t"                                                                                             \
        "tileloadd (%1,%4,1), %%tmm0\n\ttileloadd (%2,%4,1), %%tmm1\n\ttileloadd (%3,%4,1), %%tmm2\n\t" instruction    \
        " %%tmm2, %%tmm1, %%tmm0\n\ttilestored %%tmm0, (%1,%4,1)\n\ttilerelease"                                       \
        :                                                                                                              \
        : "m"(shape), "r"(sums), "r"(left), "r"(right), "r"(stride)                                                    \
        : "memory");                                                                                                   \
  } while (false)

TEST(EmulatedTiles, SameBitsAsTheProcessor) {
  if (!moe::rt::isaLevelAvailable("amx"))
    GTEST_SKIP() << "no AMX on this machine";
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    // Exponents near each other, so that sums round; every fifth round so small that products are denormal.
    auto value = [&](int low) {
      uint32_t sign = random() & 1, exponent = uint32_t(low) + random() % 12, mantissa = random() & 127;
      return uint16_t(sign << 15 | exponent << 7 | mantissa);
    };
    int low = round % 5 == 4 ? 58 : 120;
    Bf16Tile left(512), right(512);
    for (uint16_t &element : left)
      element = value(low);
    for (uint16_t &element : right)
      element = value(low);
    if (round % 7 == 6)
      left[random() % 512] = uint16_t(random() & 127); // a denormal number
    F32Tile expected(256), got;
    for (float &sum : expected)
      sum = std::ldexp(float(int(random() % 2001) - 1000), 2 * (low - 127) - 4);
    got = expected;
    MOE_MULTIPLY_TILES("tdpbf16ps", expected.data(), left.data(), right.data());
    moe_rt_tile_dot_bf16(got.data(), left.data(), right.data());
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), sizeof(float) * got.size()), 0) << "round " << round;
  }
}

TEST(EmulatedTiles, SameIntegersAsTheProcessor) {
  if (!moe::rt::isaLevelAvailable("amx"))
    GTEST_SKIP() << "no AMX on this machine";
  std::mt19937 random(8);
  std::vector<uint8_t> left(1024), right(1024);
  for (uint8_t &byte : left)
    byte = uint8_t(random());
  for (uint8_t &byte : right)
    byte = uint8_t(random());
  std::vector<int32_t> start(256, -12345), expected = start, got = start;
  MOE_MULTIPLY_TILES("tdpbssd", expected.data(), left.data(), right.data());
  moe_rt_tile_dot_i8(got.data(), left.data(), right.data(), 0, 0);
  EXPECT_EQ(got, expected);
  expected = got = start;
  MOE_MULTIPLY_TILES("tdpbusd", expected.data(), left.data(), right.data());
  moe_rt_tile_dot_i8(got.data(), left.data(), right.data(), 1, 0);
  EXPECT_EQ(got, expected);
}
#endif

} // namespace

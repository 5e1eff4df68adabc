//===- FloatsTest.cpp - conversions and approximations of the emulator ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Simt.h"

#include "gtest/gtest.h"

#include <bit>
#include <cmath>

/// The value of an f16, by its definition.
static float reference(uint16_t bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value = exponent == 0    ? std::ldexp(float(mantissa), -24)
                : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                 : std::ldexp(float(1024 + mantissa), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

TEST(Floats, F16BothWays) {
  for (uint32_t i = 0; i < 65536; ++i) {
    uint16_t bits = uint16_t(i);
    float value = moe_simt_from_f16(bits);
    if (std::isnan(reference(bits))) {
      EXPECT_TRUE(std::isnan(value)) << i;
      EXPECT_EQ(moe_simt_to_f16(value) & 0x7e00, 0x7e00) << i;
      continue;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(reference(bits))) << i;
    ASSERT_EQ(moe_simt_to_f16(value), bits) << i;
  }
}

TEST(Floats, F16RoundsToTheNearest) {
  for (uint32_t i = 0; i < 0x7bff; ++i) {
    float low = reference(uint16_t(i)), high = reference(uint16_t(i + 1)), middle = low + (high - low) / 2;
    ASSERT_EQ(moe_simt_to_f16(middle), i % 2 ? i + 1 : i) << i; // to even
    ASSERT_EQ(moe_simt_to_f16(std::nextafter(middle, low)), i) << i;
    ASSERT_EQ(moe_simt_to_f16(std::nextafter(middle, high)), i + 1) << i;
    ASSERT_EQ(moe_simt_to_f16(-middle), 0x8000 | (i % 2 ? i + 1 : i)) << i;
  }
  EXPECT_EQ(moe_simt_to_f16(65519.99f), 0x7bff);
  EXPECT_EQ(moe_simt_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(moe_simt_to_f16(1e-30f), 0);
}

TEST(Floats, Approximations) {
  EXPECT_EQ(moe_simt_exp2(10.0f, 1), 1024.0f);
  EXPECT_EQ(moe_simt_exp2(-140.0f, 1), 0.0f);
  EXPECT_GT(moe_simt_exp2(-140.0f, 0), 0.0f);
  EXPECT_EQ(moe_simt_log2(8.0f, 0), 3.0f);
  EXPECT_EQ(moe_simt_rsqrt(4.0f, 0), 0.5f);
}

TEST(Floats, PermutedBytes) {
  EXPECT_EQ(moe_simt_permute_bytes(0x33221100, 0x77665544, 0x7410), 0x77441100u);
  EXPECT_EQ(moe_simt_permute_bytes(0x00008000, 0, 0x0091), 0x0000ff80u);
}

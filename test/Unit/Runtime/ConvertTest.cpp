//===- ConvertTest.cpp - conversions between element types ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace moe::rt;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

template <typename To, typename From> To convertOne(From value, DType from, DType to) {
  To result{};
  std::string error;
  EXPECT_TRUE(convertElements(&value, from, &result, to, 1, error)) << error;
  return result;
}

template <typename From> std::string refusal(From value, DType from, DType to) {
  char room[8];
  std::string error;
  EXPECT_FALSE(convertElements(&value, from, room, to, 1, error));
  return error;
}

TEST(Convert, EverySixteenBitFloatSurvives) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    auto narrow = static_cast<uint16_t>(bits);
    if (!std::isnan(bf16ToFloat(narrow)))
      ASSERT_EQ(floatToBf16(bf16ToFloat(narrow)), narrow);
    else
      ASSERT_EQ(floatToBf16(bf16ToFloat(narrow)), narrow | 0x40);
    if (!std::isnan(f16ToFloat(narrow)))
      ASSERT_EQ(floatToF16(f16ToFloat(narrow)), narrow);
    else
      ASSERT_EQ(floatToF16(f16ToFloat(narrow)), narrow | 0x200);
  }
}

/// The two halves between neighbours go to the even one, all else to the nearer one.
TEST(Convert, RoundsToNearestEven) {
  auto check = [](auto narrowOf, auto wideOf, uint16_t last) {
    for (uint16_t bits = 0; bits < last; ++bits) {
      double low = wideOf(bits), high = wideOf(static_cast<uint16_t>(bits + 1));
      double middle = low + (high - low) / 2;
      uint16_t even = bits & 1 ? bits + 1 : bits;
      ASSERT_EQ(narrowOf(middle), even);
      ASSERT_EQ(narrowOf(std::nextafter(middle, -inf)), bits);
      ASSERT_EQ(narrowOf(std::nextafter(middle, inf)), bits + 1);
      ASSERT_EQ(narrowOf(-middle), even | 0x8000);
    }
  };
  check(doubleToF16, f16ToFloat, 0x7bff);
  check(doubleToBf16, bf16ToFloat, 0x7f7f);
}

TEST(Convert, Extremes) {
  EXPECT_EQ(doubleToF16(65519.99), 0x7bff);
  EXPECT_EQ(doubleToF16(65520), 0x7c00);
  EXPECT_EQ(doubleToF16(-inf), 0xfc00);
  EXPECT_EQ(doubleToF16(1e300), 0x7c00);
  EXPECT_EQ(doubleToF16(0x1p-25), 0);
  EXPECT_EQ(doubleToF16(std::nextafter(0x1p-25, 1)), 1);
  EXPECT_EQ(doubleToF16(-5e-324), 0x8000);
  EXPECT_EQ(doubleToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(doubleToBf16(std::bit_cast<double>(0x7ff0000000000001u)), 0x7fc0) << "a NaN whose payload is cut off";
  EXPECT_EQ(doubleToBf16(-std::numeric_limits<double>::quiet_NaN()), 0xffc0);
  EXPECT_EQ(f16ToFloat(0x8001), -0x1p-24f);
  EXPECT_TRUE(std::signbit(f16ToFloat(0x8000)));
}

TEST(Convert, RoundsOnlyOnce) {
  // By way of F32 this would first become 1 + 2^-8 exactly and then round down to even.
  EXPECT_EQ(convertOne<uint16_t>(1 + 0x1p-8 + 0x1p-40, DType::F64, DType::BF16), 0x3f81);
  // By way of F64 this would lose the last bit and round down to even.
  EXPECT_EQ(convertOne<uint16_t>((int64_t(257) << 54) + 1, DType::I64, DType::BF16), floatToBf16(0x1.02p62f));
  EXPECT_EQ(convertOne<uint16_t>(-(int64_t(257) << 54) - 1, DType::I64, DType::BF16), floatToBf16(-0x1.02p62f));
  EXPECT_EQ(convertOne<uint16_t>(int64_t(257) << 54, DType::I64, DType::BF16), floatToBf16(0x1p62f));
  EXPECT_EQ(convertOne<uint16_t>(UINT64_MAX, DType::U64, DType::BF16), floatToBf16(0x1p64f));
  EXPECT_EQ(convertOne<uint16_t>(INT64_MIN, DType::I64, DType::BF16), floatToBf16(-0x1p63f));
  EXPECT_EQ(convertOne<float>((int64_t(1) << 25) + 3, DType::I64, DType::F32), 0x1.000002p25f);
}

TEST(Convert, ExactIntegers) {
  EXPECT_EQ(convertOne<int32_t>(int64_t(-2147483648), DType::I64, DType::I32), INT32_MIN);
  EXPECT_EQ(convertOne<int64_t>(uint32_t(4294967295u), DType::U32, DType::I64), 4294967295);
  EXPECT_EQ(convertOne<int32_t>(4096.0f, DType::F32, DType::I32), 4096);
  EXPECT_EQ(convertOne<int32_t>(-0.0, DType::F64, DType::I32), 0);
  EXPECT_EQ(convertOne<uint8_t>(uint8_t(1), DType::Bool, DType::U8), 1);
  EXPECT_EQ(convertOne<uint8_t>(1.0f, DType::F32, DType::Bool), 1);
  EXPECT_EQ(convertOne<uint64_t>(0x1p63, DType::F64, DType::U64), uint64_t(1) << 63);
  EXPECT_EQ(convertOne<float>(uint16_t(0x3fc0), DType::BF16, DType::F32), 1.5f);
  EXPECT_EQ(convertOne<float>(uint16_t(0x3e00), DType::F16, DType::F32), 1.5f);
  EXPECT_EQ(convertOne<double>(int8_t(-3), DType::I8, DType::F64), -3.0);
}

TEST(Convert, RefusesWhatDoesNotFit) {
  EXPECT_EQ(refusal(int64_t(2147483648), DType::I64, DType::I32), "value 2147483648 at element 0 does not fit I32");
  EXPECT_EQ(refusal(int32_t(-1), DType::I32, DType::U64), "value -1 at element 0 does not fit U64");
  EXPECT_EQ(refusal(UINT64_MAX, DType::U64, DType::I64), "value 18446744073709551615 at element 0 does not fit I64");
  EXPECT_EQ(refusal(1.5f, DType::F32, DType::I32), "value 1.5 at element 0 does not fit I32");
  EXPECT_EQ(refusal(0x1p63, DType::F64, DType::I64), "value 9223372036854775808 at element 0 does not fit I64");
  EXPECT_EQ(refusal(std::nan(""), DType::F64, DType::I32), "value nan at element 0 does not fit I32");
  EXPECT_EQ(refusal(int32_t(2), DType::I32, DType::Bool), "value 2 at element 0 does not fit BOOL");
  EXPECT_EQ(refusal(uint8_t(2), DType::F8E4M3, DType::F32), "conversion from F8_E4M3 to F32 is not supported");
}

TEST(Convert, ManyElementsUnaligned) {
  const int64_t count = 5000; // more than one internal chunk
  std::vector<char> from(4 * count + 1), to(2 * count + 1);
  std::mt19937 random(7);
  std::vector<float> values(count);
  for (float &value : values)
    value = std::bit_cast<float>(static_cast<uint32_t>(random()));
  std::memcpy(from.data() + 1, values.data(), 4 * count);
  std::string error;
  ASSERT_TRUE(convertElements(from.data() + 1, DType::F32, to.data() + 1, DType::BF16, count, error)) << error;
  for (int64_t i = 0; i < count; ++i) {
    uint16_t result;
    std::memcpy(&result, to.data() + 1 + 2 * i, 2);
    ASSERT_EQ(result, floatToBf16(values[i]));
  }
  std::vector<int32_t> integers(count, 7);
  integers[4321] = 300;
  std::vector<uint8_t> bytes(count);
  EXPECT_FALSE(convertElements(integers.data(), DType::I32, bytes.data(), DType::U8, count, error));
  EXPECT_EQ(error, "value 300 at element 4321 does not fit U8");
}

} // namespace

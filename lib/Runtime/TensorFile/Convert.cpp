//===- Convert.cpp - conversions between element types --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elements are first widened to one of three types that hold them exactly (double, int64_t, uint64_t) and then
// narrowed: every result is rounded once.
//
//===----------------------------------------------------------------------===//
#include "moe/Runtime/Convert.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace moe::rt {
namespace {

/// A 16-bit float with `mantissaBits` and the exponent in between, from double: nearest, ties to even.
template <int mantissaBits> uint16_t narrowDouble(double value) {
  constexpr int exponentBits = 15 - mantissaBits;
  constexpr int bias = (1 << (exponentBits - 1)) - 1;
  constexpr uint64_t infinity = uint64_t((1 << exponentBits) - 1) << mantissaBits;
  constexpr int dropped = 52 - mantissaBits;

  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  uint64_t sign = bits >> 63 << 15;
  int exponent = static_cast<int>(bits >> 52 & 0x7ff);
  uint64_t mantissa = bits & ((uint64_t(1) << 52) - 1);
  if (exponent == 0x7ff) {
    if (mantissa == 0)
      return static_cast<uint16_t>(sign | infinity);
    // The quiet bit also keeps a NaN whose payload is cut off from becoming an infinity.
    return static_cast<uint16_t>(sign | infinity | uint64_t(1) << (mantissaBits - 1) | mantissa >> dropped);
  }
  int target = exponent - 1023 + bias; // biased exponent of the result while it is normal
  int shift = dropped;
  if (target > 0) {
    mantissa |= uint64_t(target) << 52; // rounding up may carry into the exponent, as it should
  } else {
    // Subnormal: the leading one is explicit and everything moves down. Doubles below 2^-1022 vanish anyway.
    mantissa |= exponent ? uint64_t(1) << 52 : 0;
    shift += 1 - target;
    if (shift > 63)
      return static_cast<uint16_t>(sign);
  }
  if (target >= (1 << exponentBits) - 1)
    return static_cast<uint16_t>(sign | infinity);
  uint64_t result = mantissa >> shift;
  uint64_t rest = mantissa & ((uint64_t(1) << shift) - 1);
  uint64_t half = uint64_t(1) << (shift - 1);
  if (rest > half || (rest == half && (result & 1)))
    ++result;
  return static_cast<uint16_t>(sign | result);
}

/// A double that every narrower binary float rounds to the same value as `value`: what does not fit its 53 bits is
/// kept as one sticky bit at the end (rounding to odd).
double roundToOdd(uint64_t value) {
  if (value >> 53)
    value = (value & ~uint64_t(0x7ff)) | (value & 0x7ff ? uint64_t(0x800) : 0);
  return static_cast<double>(value);
}
double roundToOdd(int64_t value) {
  if (value >= 0)
    return roundToOdd(static_cast<uint64_t>(value));
  return -roundToOdd(-static_cast<uint64_t>(value));
}
double roundToOdd(double value) { return value; }

template <typename T> T load(const void *from, int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const char *>(from) + index * int64_t(sizeof(T)), sizeof(T));
  return value;
}
template <typename T> void store(void *to, int64_t index, T value) {
  std::memcpy(static_cast<char *>(to) + index * int64_t(sizeof(T)), &value, sizeof(T));
}

/// `value` as T; false if T has no such value.
template <typename T, typename Wide> bool narrowInteger(Wide value, T &result) {
  if constexpr (std::is_same_v<Wide, double>) {
    // Both bounds are powers of two and exact, the upper one exclusive. NaN fails the comparisons.
    constexpr double low = static_cast<double>(std::numeric_limits<T>::min());
    const double high = std::ldexp(1.0, std::numeric_limits<T>::digits);
    if (!(value >= low && value < high && value == std::trunc(value)))
      return false;
    result = static_cast<T>(value);
    return true;
  } else {
    // The builtin is exact for any mix of signs and widths.
    return !__builtin_add_overflow(value, Wide(0), &result);
  }
}

std::string numberToString(double value) {
  char buffer[32];
  std::to_chars_result end = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, end.ptr);
}
std::string numberToString(int64_t value) { return std::to_string(value); }
std::string numberToString(uint64_t value) { return std::to_string(value); }

/// Narrows `count` wide elements into `to`. Returns the first that does not fit, or -1.
template <typename Wide> int64_t narrow(const Wide *from, void *to, DType type, int64_t count) {
  auto integers = [&](auto zero) -> int64_t {
    using T = decltype(zero);
    for (int64_t i = 0; i < count; ++i) {
      T value;
      if (!narrowInteger(from[i], value))
        return i;
      store(to, i, value);
    }
    return -1;
  };
  auto others = [&](auto convert) -> int64_t {
    for (int64_t i = 0; i < count; ++i)
      store(to, i, convert(from[i]));
    return -1;
  };
  switch (type) {
  case DType::Bool:
    for (int64_t i = 0; i < count; ++i) {
      if (from[i] != Wide(0) && from[i] != Wide(1))
        return i;
      store(to, i, static_cast<uint8_t>(from[i] != Wide(0)));
    }
    return -1;
  case DType::U8:
    return integers(uint8_t(0));
  case DType::I8:
    return integers(int8_t(0));
  case DType::I16:
    return integers(int16_t(0));
  case DType::U16:
    return integers(uint16_t(0));
  case DType::I32:
    return integers(int32_t(0));
  case DType::U32:
    return integers(uint32_t(0));
  case DType::I64:
    return integers(int64_t(0));
  case DType::U64:
    return integers(uint64_t(0));
  case DType::F16:
    return others([](Wide value) { return doubleToF16(roundToOdd(value)); });
  case DType::BF16:
    return others([](Wide value) { return doubleToBf16(roundToOdd(value)); });
  case DType::F32:
    return others([](Wide value) { return static_cast<float>(value); });
  default:
    return others([](Wide value) { return static_cast<double>(value); });
  }
}

constexpr int64_t chunk = 1024;

/// Widens with `widen(index)` a chunk at a time and narrows that.
template <typename Widen> bool convertChunks(Widen widen, void *to, DType toType, int64_t count, std::string &error) {
  using Wide = decltype(widen(int64_t(0)));
  Wide buffer[chunk];
  for (int64_t begin = 0; begin < count; begin += chunk) {
    int64_t size = std::min(chunk, count - begin);
    for (int64_t i = 0; i < size; ++i)
      buffer[i] = widen(begin + i);
    int64_t bad = narrow(buffer, static_cast<char *>(to) + begin * (dtypeBits(toType) / 8), toType, size);
    if (bad >= 0) {
      error = "value " + numberToString(buffer[bad]) + " at element " + std::to_string(begin + bad) + " does not fit " +
              std::string(dtypeName(toType));
      return false;
    }
  }
  return true;
}

bool isPlain(DType type) {
  return type == DType::Bool || isIntegerDType(type) || type == DType::F16 || type == DType::BF16 ||
         type == DType::F32 || type == DType::F64;
}

} // namespace

uint16_t doubleToBf16(double value) { return narrowDouble<7>(value); }
uint16_t doubleToF16(double value) { return narrowDouble<10>(value); }

float bf16ToFloat(uint16_t bits) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

float f16ToFloat(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16;
  uint32_t exponent = bits >> 10 & 31;
  uint32_t mantissa = bits & 1023;
  if (exponent == 0) {
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  uint32_t wide = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

bool convertElements(const void *from, DType fromType, void *to, DType toType, int64_t count, std::string &error) {
  for (DType type : {fromType, toType})
    if (!isPlain(type)) {
      error = "conversion from " + std::string(dtypeName(fromType)) + " to " + std::string(dtypeName(toType)) +
              " is not supported";
      return false;
    }
  if (count <= 0)
    return true;
  if (fromType == toType) {
    std::memcpy(to, from, static_cast<size_t>(count) * (dtypeBits(toType) / 8));
    return true;
  }
  auto run = [&](auto widen) { return convertChunks(widen, to, toType, count, error); };
  switch (fromType) {
  case DType::Bool:
    return run([=](int64_t i) { return int64_t(load<uint8_t>(from, i) != 0); });
  case DType::U8:
    return run([=](int64_t i) { return int64_t(load<uint8_t>(from, i)); });
  case DType::I8:
    return run([=](int64_t i) { return int64_t(load<int8_t>(from, i)); });
  case DType::I16:
    return run([=](int64_t i) { return int64_t(load<int16_t>(from, i)); });
  case DType::U16:
    return run([=](int64_t i) { return int64_t(load<uint16_t>(from, i)); });
  case DType::I32:
    return run([=](int64_t i) { return int64_t(load<int32_t>(from, i)); });
  case DType::U32:
    return run([=](int64_t i) { return int64_t(load<uint32_t>(from, i)); });
  case DType::I64:
    return run([=](int64_t i) { return load<int64_t>(from, i); });
  case DType::U64:
    return run([=](int64_t i) { return load<uint64_t>(from, i); });
  case DType::F16:
    return run([=](int64_t i) { return double(f16ToFloat(load<uint16_t>(from, i))); });
  case DType::BF16:
    return run([=](int64_t i) { return double(bf16ToFloat(load<uint16_t>(from, i))); });
  case DType::F32:
    return run([=](int64_t i) { return double(load<float>(from, i)); });
  default:
    return run([=](int64_t i) { return load<double>(from, i); });
  }
}

} // namespace moe::rt

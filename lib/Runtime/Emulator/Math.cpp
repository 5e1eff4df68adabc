//===- Math.cpp - approximations and conversions of the hardware ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The approximations here are more exact than those of the hardware (about 2 ulp), whose bits are not documented.
//
//===----------------------------------------------------------------------===//
#include "moe/Runtime/Simt.h"

#include <bit>
#include <cmath>
#include <limits>

/// `x`, or a zero of its sign if it is denormal and `flush` is set.
static float flushed(float x, uint32_t flush) {
  return flush && std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
}

float moe_simt_exp2(float x, uint32_t flush) { return flushed(std::exp2(flushed(x, flush)), flush); }

float moe_simt_log2(float x, uint32_t flush) { return flushed(std::log2(flushed(x, flush)), flush); }

float moe_simt_rsqrt(float x, uint32_t flush) { return flushed(1.0f / std::sqrt(flushed(x, flush)), flush); }

float moe_simt_sin(float x) { return std::sin(x); }

float moe_simt_cos(float x) { return std::cos(x); }

float moe_simt_tanh(float x) { return std::tanh(x); }

uint32_t moe_simt_permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t select = selector >> 4 * i;
    uint32_t byte = uint32_t(bytes >> 8 * (select & 7)) & 0xff;
    if (select & 8) // the sign of the byte, in all of its bits
      byte = byte & 0x80 ? 0xff : 0;
    result |= byte << 8 * i;
  }
  return result;
}

float moe_simt_from_f16(uint16_t bits) {
  uint32_t magnitude = uint32_t(bits & 0x7fff) << 13;
  // The mantissa and the exponent are in place; the bias of the exponent differs by 112, also for denormal numbers.
  float value = std::bit_cast<float>(magnitude) * 0x1p112f;
  if ((bits & 0x7c00) == 0x7c00)
    value = std::bit_cast<float>(magnitude | 0x7f800000);
  return bits & 0x8000 ? -value : value;
}

uint16_t moe_simt_to_f16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000) // rounds to 2^16 or more
    return uint16_t(sign | 0x7c00);
  if (magnitude < 0x38800000) {
    // Denormal, or zero: 2^-24 is the unit, and the addition rounds to it.
    float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return uint16_t(sign | (std::bit_cast<uint32_t>(sum) - 0x3f000000));
  }
  uint32_t odd = magnitude >> 13 & 1;
  return uint16_t(sign | ((magnitude - (112u << 23) + 0xfff + odd) >> 13));
}

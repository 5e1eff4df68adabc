//===- EmulatedTiles.cpp - AMX tiles without AMX --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// For tests: slow, and the same bits as the instructions.
//
//===----------------------------------------------------------------------===//

#include "moe/Runtime/Abi.h"

#include <cfloat>
#include <cmath>
#include <cstring>

namespace {

constexpr int rows = 16, columns = 16, pairs = 16, quads = 16;

float flush(float value) { return std::fabs(value) < FLT_MIN ? std::copysign(0.0f, value) : value; }

float extend(uint16_t bits) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return flush(value);
}

/// A byte as a signed or unsigned number.
int32_t extend(uint8_t byte, int32_t isUnsigned) { return isUnsigned ? int32_t(byte) : int32_t(int8_t(byte)); }

} // namespace

void moe_rt_tile_dot_bf16(float *sums, const uint16_t *left, const uint16_t *right) {
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columns; ++n) {
      float even = 0, odd = 0;
      for (int k = 0; k < pairs; ++k) {
        const uint16_t *a = left + 2 * (m * pairs + k), *b = right + 2 * (k * columns + n);
        even = flush(std::fmaf(extend(a[0]), extend(b[0]), even));
        odd = flush(std::fmaf(extend(a[1]), extend(b[1]), odd));
      }
      float &sum = sums[m * columns + n];
      sum = flush(flush(sum) + flush(even + odd));
    }
}

void moe_rt_tile_dot_i8(int32_t *sums, const uint8_t *left, const uint8_t *right, int32_t leftUnsigned,
                        int32_t rightUnsigned) {
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columns; ++n) {
      uint32_t sum = uint32_t(sums[m * columns + n]); // wraps around, as the instruction does
      for (int k = 0; k < 4 * quads; ++k)
        sum += uint32_t(extend(left[m * 4 * quads + k], leftUnsigned) *
                        extend(right[(k / 4 * columns + n) * 4 + k % 4], rightUnsigned));
      sums[m * columns + n] = int32_t(sum);
    }
}

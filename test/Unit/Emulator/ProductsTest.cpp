//===- ProductsTest.cpp - matrix instructions and matrix loads ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fragments are made here from whole matrices by the tables of the PTX manual, element by element.
//
//===----------------------------------------------------------------------===//
#include "HostKernel.h"

#include "gtest/gtest.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

using namespace moe::test;

namespace {

/// One product: small integers, so every format holds them and every sum is exact.
struct Product {
  uint32_t operation;
  int depth, perRegister;
  std::function<uint32_t(int)> encode; // an element in the low bits
  bool isInteger = false;
  int low = -3, high = 3;
};

const Product *product;
int a[16][32], b[32][8], c[16][8], d[16][8];

/// The register words of one lane for A: rows groupID and groupID + 8, then the next columns.
uint32_t wordOfA(int lane, int r) {
  int group = lane / 4, inGroup = lane % 4, e = product->perRegister;
  uint32_t word = 0;
  for (int i = 0; i < e; ++i) {
    int row = r % 2 == 0 ? group : group + 8;
    int column = inGroup * e + i + (r < 2 ? 0 : 4 * e);
    word |= product->encode(a[row][column]) << (32 / e * i);
  }
  return word;
}

uint32_t wordOfB(int lane, int r) {
  int group = lane / 4, inGroup = lane % 4, e = product->perRegister;
  uint32_t word = 0;
  for (int i = 0; i < e; ++i)
    word |= product->encode(b[inGroup * e + i + r * 4 * e][group]) << (32 / e * i);
  return word;
}

void multiply(void **) {
  int lane = int(laneIndex());
  int inB = product->depth / (4 * product->perRegister);
  std::vector<uint32_t> operands;
  for (int r = 0; r < 2 * inB; ++r)
    operands.push_back(wordOfA(lane, r));
  for (int r = 0; r < inB; ++r)
    operands.push_back(wordOfB(lane, r));
  for (int r = 0; r < 4; ++r) {
    int value = c[lane / 4 + (r < 2 ? 0 : 8)][lane % 4 * 2 + (r & 1)];
    operands.push_back(product->isInteger ? uint32_t(value) : std::bit_cast<uint32_t>(float(value)));
  }
  collective(product->operation, ~0u, operands);
  for (int r = 0; r < 4; ++r) {
    uint32_t word = moe_simt_lane[MoeSimtResult + r];
    d[lane / 4 + (r < 2 ? 0 : 8)][lane % 4 * 2 + (r & 1)] =
        product->isInteger ? int(word) : int(std::bit_cast<float>(word));
  }
}

void check(const Product &what) {
  product = &what;
  int state = 1;
  auto next = [&] {
    state = int(uint32_t(state) * 1103515245u + 12345u);
    return what.low + int((uint32_t(state) >> 16) % uint32_t(what.high - what.low + 1));
  };
  for (auto &row : a)
    for (int &value : row)
      value = next();
  for (auto &row : b)
    for (int &value : row)
      value = next();
  for (auto &row : c)
    for (int &value : row)
      value = next();
  launch(multiply, 1, 32);
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 8; ++n) {
      int sum = c[m][n];
      for (int k = 0; k < what.depth; ++k)
        sum += a[m][k] * b[k][n];
      ASSERT_EQ(d[m][n], sum) << m << " " << n;
    }
}

uint32_t bf16(int value) { return std::bit_cast<uint32_t>(float(value)) >> 16; }
uint32_t tf32(int value) { return std::bit_cast<uint32_t>(float(value)) | 0x1fff; } // the low bits do not count
uint32_t byte(int value) { return uint8_t(value); }
/// f8 with so many bits of exponent.
uint32_t f8(int value, int exponentBits) {
  if (value == 0)
    return 0;
  int exponent, mantissaBits = 7 - exponentBits, bias = (1 << (exponentBits - 1)) - 1;
  float mantissa = std::frexp(std::fabs(float(value)), &exponent); // in [1/2, 1)
  uint32_t fraction = uint32_t((mantissa * 2 - 1) * float(1 << mantissaBits));
  return (value < 0 ? 0x80 : 0) | uint32_t(exponent - 1 + bias) << mantissaBits | fraction;
}

} // namespace

TEST(Products, Bf16) {
  check({MoeSimtMmaBf16K16, 16, 2, bf16});
  check({MoeSimtMmaBf16K8, 8, 2, bf16});
}

TEST(Products, F16) {
  auto f16 = [](int value) -> uint32_t { return moe_simt_to_f16(float(value)); };
  check({MoeSimtMmaF16K16, 16, 2, f16});
  check({MoeSimtMmaF16K8, 8, 2, f16});
}

TEST(Products, Tf32) {
  check({MoeSimtMmaTf32K8, 8, 1, tf32});
  check({MoeSimtMmaTf32K4, 4, 1, tf32});
}

TEST(Products, F8) {
  check({MoeSimtMmaE4M3K32, 32, 4, [](int value) { return f8(value, 4); }});
  check({MoeSimtMmaE5M2K32, 32, 4, [](int value) { return f8(value, 5); }});
}

TEST(Products, Integers) {
  check({MoeSimtMmaS8K32, 32, 4, byte, true, -128, 127});
  check({MoeSimtMmaS8K16, 16, 4, byte, true, -128, 127});
  check({MoeSimtMmaS8K32 | MoeSimtUnsignedA | MoeSimtUnsignedB, 32, 4, byte, true, 0, 255});
}

TEST(Products, LoadedMatrices) {
  // Element (r, c) of matrix m is 100 m + 10 r + c.
  static bool isTransposed;
  static uint32_t words[32][4];
  for (bool transposed : {false, true}) {
    isTransposed = transposed;
    launch(
        [](void **) {
          uint32_t lane = laneIndex();
          auto *elements = static_cast<uint16_t *>(moe_simt_shared_memory());
          moe_simt_access_range(elements + 8 * lane, 16, sharedWrite);
          for (uint32_t i = 0; i < 8; ++i)
            elements[8 * lane + i] = uint16_t(100 * (lane / 8) + 10 * (lane % 8) + i);
          collective(MoeSimtSyncWarp, ~0u, {});
          uint64_t address = reinterpret_cast<uintptr_t>(elements + 8 * lane);
          collective(MoeSimtLoadMatrix, ~0u, {uint32_t(address), uint32_t(address >> 32), 4, isTransposed});
          memcpy(words[lane], moe_simt_lane + MoeSimtResult, sizeof words[lane]);
        },
        1, 32, 512);
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t matrix = 0; matrix < 4; ++matrix)
        for (uint32_t half = 0; half < 2; ++half) {
          uint32_t row = lane / 4, column = lane % 4 * 2 + half;
          uint32_t expected = 100 * matrix + (transposed ? 10 * column + row : 10 * row + column);
          ASSERT_EQ(words[lane][matrix] >> 16 * half & 0xffff, expected) << lane << " " << matrix << " " << half;
        }
  }
}

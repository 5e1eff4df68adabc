//===- CheckRuntime.cpp - compares tensors of a running test program ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Called by programs that --check-to-runtime lowered. moe_check_<element type>(actual, expected, tolerance, where)
// takes two unranked memrefs (rank and pointer to a descriptor each) and compares them element by element in row-major
// order; moe_check_finish ends the program with status 1 if a comparison failed.
//
//===----------------------------------------------------------------------===//
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

namespace {

int passed = 0, failed = 0;

/// f16 and bf16 as they lie in memory.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

double number(double value) { return value; }
double number(float value) { return value; }
double number(BFloat value) { return std::bit_cast<float>(uint32_t(value.bits) << 16); }
double number(Half value) {
  int exponent = (value.bits >> 10) & 31, fraction = value.bits & 1023;
  double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                : exponent == 0 ? std::ldexp(fraction, -24)
                                : std::ldexp(fraction + 1024, exponent - 25);
  return value.bits >> 15 ? -size : size;
}
long long number(bool value) { return value; }
long long number(int8_t value) { return value; }
long long number(int16_t value) { return value; }
long long number(int32_t value) { return value; }
long long number(int64_t value) { return value; }

std::string text(long long value) { return std::to_string(value); }
std::string text(double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.9g", value);
  return buffer;
}

/// A tensor behind an unranked memref.
template <typename T> struct Tensor {
  const T *data;
  std::vector<int64_t> sizes, strides;

  /// `descriptor`: allocated and aligned pointer, offset, `rank` sizes, `rank` strides, 8 bytes each.
  Tensor(int64_t rank, const void *descriptor) {
    auto fields = static_cast<const int64_t *>(descriptor);
    data = std::bit_cast<const T *>(fields[1]) + fields[2];
    sizes.assign(fields + 3, fields + 3 + rank);
    strides.assign(fields + 3 + rank, fields + 3 + 2 * rank);
  }

  auto at(const std::vector<int64_t> &index) const {
    int64_t position = 0;
    for (size_t dim = 0; dim < index.size(); ++dim)
      position += index[dim] * strides[dim];
    return number(data[position]);
  }
};

std::string list(const std::vector<int64_t> &values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i)
    out += (i ? ", " : "") + std::to_string(values[i]);
  return out + "]";
}

/// Calls `visit(index)` for each index of a tensor of `sizes`, in row-major order, until it returns false.
template <typename Visit> void forEachIndex(const std::vector<int64_t> &sizes, Visit visit) {
  int64_t count = 1;
  for (int64_t size : sizes)
    count *= size;
  std::vector<int64_t> index(sizes.size());
  for (int64_t n = 0; n < count; ++n) {
    if (!visit(index))
      return;
    for (size_t dim = sizes.size(); dim-- > 0 && ++index[dim] == sizes[dim];)
      index[dim] = 0;
  }
}

bool agree(long long actual, long long expected, double) { return actual == expected; }
bool agree(double actual, double expected, double allowed) {
  if (!std::isfinite(actual) || !std::isfinite(expected))
    return std::isnan(actual) ? std::isnan(expected) : actual == expected;
  return std::fabs(actual - expected) <= allowed;
}

template <typename T>
void check(int64_t actualRank, const void *actualDescriptor, int64_t expectedRank, const void *expectedDescriptor,
           double tolerance, const char *where) {
  Tensor<T> actual(actualRank, actualDescriptor), expected(expectedRank, expectedDescriptor);
  if (actual.sizes != expected.sizes) {
    ++failed;
    std::fprintf(stderr, "%s: expected shape %s but got %s\n", where, list(expected.sizes).c_str(),
                 list(actual.sizes).c_str());
    return;
  }
  double scale = 1;
  if constexpr (std::is_same_v<decltype(number(T())), double>)
    forEachIndex(expected.sizes, [&](const std::vector<int64_t> &index) {
      double size = std::fabs(expected.at(index));
      if (std::isfinite(size) && size > scale)
        scale = size;
      return true;
    });

  bool same = true;
  forEachIndex(expected.sizes, [&](const std::vector<int64_t> &index) {
    same = agree(actual.at(index), expected.at(index), tolerance * scale);
    if (!same)
      std::fprintf(stderr, "%s: expected %s but got %s at index %s\n", where, text(expected.at(index)).c_str(),
                   text(actual.at(index)).c_str(), list(index).c_str());
    return same;
  });
  ++(same ? passed : failed);
}

} // namespace

#define MOE_CHECK(NAME, TYPE)                                                                                          \
  extern "C" void moe_check_##NAME(int64_t actualRank, void *actual, int64_t expectedRank, void *expected,             \
                                   double tolerance, const char *where) {                                              \
    check<TYPE>(actualRank, actual, expectedRank, expected, tolerance, where);                                         \
  }
MOE_CHECK(f16, Half)
MOE_CHECK(bf16, BFloat)
MOE_CHECK(f32, float)
MOE_CHECK(f64, double)
MOE_CHECK(i1, bool)
MOE_CHECK(i8, int8_t)
MOE_CHECK(i16, int16_t)
MOE_CHECK(i32, int32_t)
MOE_CHECK(i64, int64_t)
MOE_CHECK(index, int64_t)

/// Prints how many checks passed since the last call. Ends the program with status 1 if one failed.
extern "C" void moe_check_finish() {
  if (failed) {
    std::fprintf(stderr, "%d of %d checks failed\n", failed, passed + failed);
    std::fflush(nullptr);
    std::_Exit(1); // no destructors: this runs inside of a just-in-time compiled program
  }
  std::printf("%d checks passed\n", passed);
  std::fflush(stdout);
  passed = 0;
}

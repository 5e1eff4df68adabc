//===- DType.cpp - element types of tensor files --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/DType.h"

#include <iterator>

namespace moe::rt {
namespace {

struct Properties {
  DType dtype;
  std::string_view name;
  unsigned bits;
};

// In the order of the enum, so that it can be indexed by it.
constexpr Properties table[] = {
    {DType::Bool, "BOOL", 8},
    {DType::U8, "U8", 8},
    {DType::I8, "I8", 8},
    {DType::F8E5M2, "F8_E5M2", 8},
    {DType::F8E4M3, "F8_E4M3", 8},
    {DType::F8E8M0, "F8_E8M0", 8},
    {DType::F8E4M3FNUZ, "F8_E4M3FNUZ", 8},
    {DType::F8E5M2FNUZ, "F8_E5M2FNUZ", 8},
    {DType::I16, "I16", 16},
    {DType::U16, "U16", 16},
    {DType::F16, "F16", 16},
    {DType::BF16, "BF16", 16},
    {DType::I32, "I32", 32},
    {DType::U32, "U32", 32},
    {DType::F32, "F32", 32},
    {DType::C64, "C64", 64},
    {DType::F64, "F64", 64},
    {DType::I64, "I64", 64},
    {DType::U64, "U64", 64},
    {DType::F4, "F4", 4},
    {DType::F6E2M3, "F6_E2M3", 6},
    {DType::F6E3M2, "F6_E3M2", 6},
};

constexpr bool inEnumOrder() {
  for (size_t i = 0; i < std::size(table); ++i)
    if (table[i].dtype != static_cast<DType>(i))
      return false;
  return std::size(table) == static_cast<size_t>(DType::F6E3M2) + 1;
}
static_assert(inEnumOrder());

const Properties &properties(DType dtype) { return table[static_cast<size_t>(dtype)]; }

} // namespace

std::string_view dtypeName(DType dtype) { return properties(dtype).name; }

std::optional<DType> dtypeFromName(std::string_view name) {
  for (const Properties &entry : table)
    if (entry.name == name)
      return entry.dtype;
  return std::nullopt;
}

unsigned dtypeBits(DType dtype) { return properties(dtype).bits; }

bool isFloatDType(DType dtype) { return properties(dtype).name[0] == 'F' || dtype == DType::BF16; }

bool isIntegerDType(DType dtype) { return properties(dtype).name[0] == 'I' || properties(dtype).name[0] == 'U'; }

std::optional<int64_t> tensorBytes(DType dtype, const std::vector<int64_t> &shape) {
  // Sizes of 0 are left out of the product: whoever computes strides from [0, 2^62, 2^62] must not overflow either.
  int64_t bits = dtypeBits(dtype);
  bool wholeBytes = bits % 8 == 0;
  int64_t count = wholeBytes ? bits / 8 : bits;
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0)
      return std::nullopt;
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(count, size, &count))
      return std::nullopt;
  }
  if (empty)
    return 0;
  if (wholeBytes)
    return count;
  return count % 8 == 0 ? std::optional<int64_t>(count / 8) : std::nullopt;
}

std::string shapeToString(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

} // namespace moe::rt

//===- DType.h - element types of tensor files ----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The element types of safetensors, by the names that format gives them. The manifest of an executable uses the same
// names. Used by the compiler too: C++17, throws nothing.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_DTYPE_H
#define MOE_RUNTIME_DTYPE_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

enum class DType : uint8_t {
  Bool,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  F8E8M0,
  F8E4M3FNUZ,
  F8E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64, // two F32
  F64,
  I64,
  U64,
  F4,
  F6E2M3,
  F6E3M2,
};

/// The name in a safetensors header: "BF16", "F8_E4M3" ...
std::string_view dtypeName(DType dtype);

/// The type called `name` (exact spelling), or nothing.
std::optional<DType> dtypeFromName(std::string_view name);

/// Bits per element: 64, 32, 16, 8, 6 or 4.
unsigned dtypeBits(DType dtype);

/// Real floating point of any width (C64 is not).
bool isFloatDType(DType dtype);

/// Signed and unsigned integers; Bool is not one.
bool isIntegerDType(DType dtype);

/// Bytes of a dense tensor, or nothing if a size is negative, the byte count does not fit 63 bits, or sub-byte
/// elements do not fill whole bytes.
std::optional<int64_t> tensorBytes(DType dtype, const std::vector<int64_t> &shape);

/// "[2,3]" for messages.
std::string shapeToString(const std::vector<int64_t> &shape);

} // namespace moe::rt

#endif // MOE_RUNTIME_DTYPE_H

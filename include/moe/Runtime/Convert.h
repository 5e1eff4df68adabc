//===- Convert.h - conversions between element types ----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Plain scalar conversions for what enters and leaves an executable; not a hot path. C++17, throws nothing.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_CONVERT_H
#define MOE_RUNTIME_CONVERT_H

#include "moe/Runtime/DType.h"

namespace moe::rt {

/// Nearest value, ties to even; too large becomes infinity; a NaN stays a NaN with its sign (and is made quiet).
uint16_t doubleToBf16(double value);
uint16_t doubleToF16(double value);
inline uint16_t floatToBf16(float value) { return doubleToBf16(value); }
inline uint16_t floatToF16(float value) { return doubleToF16(value); }

/// Exact.
float bf16ToFloat(uint16_t bits);
float f16ToFloat(uint16_t bits);

/// Converts `count` elements; neither pointer needs to be aligned, the ranges must not overlap.
/// Types: Bool, all integers, F16, BF16, F32, F64. To a float: nearest, ties to even. To an integer or Bool: the value
/// must be representable exactly, else nothing is promised about `to` and false is returned with `error` naming the
/// element ("value 1.5 at element 3 does not fit I32"). Equal types are copied bit by bit.
bool convertElements(const void *from, DType fromType, void *to, DType toType, int64_t count, std::string &error);

} // namespace moe::rt

#endif // MOE_RUNTIME_CONVERT_H

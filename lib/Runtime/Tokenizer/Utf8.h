//===- Utf8.h - walking through UTF-8 -------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_UTF8_H
#define MOE_LIB_RUNTIME_TOKENIZER_UTF8_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moe::rt {

/// One step through bytes that may be no UTF-8.
struct Utf8Step {
  size_t length;   // bytes of the character, or of the maximal invalid part (at least 1)
  bool valid;      // a whole character
  bool incomplete; // not valid, but the start of a character that the end of the text cuts off
};

/// The step at `position`, which must be inside `text`.
Utf8Step stepUtf8(std::string_view text, size_t position);

/// The code point at `position` of valid UTF-8.
int32_t codePointAt(std::string_view text, size_t position);

/// Where the character that ends before `position` starts, in valid UTF-8; `position` must not be 0.
size_t previousCharacter(std::string_view text, size_t position);

/// Bytes of `text` before the first invalid one.
size_t validPrefix(std::string_view text);

/// `codePoint` (at most U+10FFFF, no surrogate) as UTF-8.
std::string encodeUtf8(int32_t codePoint);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_UTF8_H

//===- Normalizer.h - Unicode normalisation -------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_NORMALIZER_H
#define MOE_LIB_RUNTIME_TOKENIZER_NORMALIZER_H

#include <string>
#include <string_view>

namespace moe::rt {

/// Whether `text` (valid UTF-8) is in form C without a closer look: it has no character from U+0300 on.
bool isTriviallyNfc(std::string_view text);

/// `text` (valid UTF-8) in Unicode's normalisation form C. Takes time n log n whatever the text.
std::string normalizeNfc(std::string_view text);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_NORMALIZER_H

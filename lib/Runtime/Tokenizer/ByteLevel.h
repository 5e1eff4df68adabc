//===- ByteLevel.h - the characters that stand for bytes ------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A byte-level vocabulary is written with one printable character per byte: printable Latin-1 characters for
// themselves, U+0100 and up for the other 68 bytes in order (a space is U+0120).
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_TOKENIZER_BYTELEVEL_H
#define MOE_LIB_RUNTIME_TOKENIZER_BYTELEVEL_H

#include <optional>
#include <string>
#include <string_view>

namespace moe::rt {

/// GPT-2's pattern, which ByteLevel applies with `use_regex`.
extern const char gpt2Pattern[];

/// The character (UTF-8) that stands for `byte`.
std::string_view byteLevelCharacter(unsigned char byte);

/// Appends to `bytes` what the characters of `text` (valid UTF-8) stand for; false, with `bytes` unchanged, if one of
/// them stands for no byte.
bool appendByteLevel(std::string_view text, std::string &bytes);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_BYTELEVEL_H

//===- Pattern.h - the regular expressions of pre-tokenizers --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_PATTERN_H
#define MOE_LIB_RUNTIME_TOKENIZER_PATTERN_H

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace moe::rt {

/// Patterns are written for Oniguruma (what Hugging Face's tokenizers use). Rewrites one so that PCRE2 (UTF, UCP) means
/// the same by it. Throws std::runtime_error naming a construct that differs in a way that is not handled.
std::string translatePattern(std::string_view pattern);

/// A compiled pattern.
class Pattern {
public:
  /// Throws std::runtime_error if the pattern is wrong or uses what is not supported.
  explicit Pattern(std::string_view pattern);
  Pattern(Pattern &&other) noexcept;
  Pattern(const Pattern &) = delete;
  Pattern &operator=(const Pattern &) = delete;
  ~Pattern();

  /// Calls `emit` with all parts of `text` (valid UTF-8) in order: every match and everything between matches, empty
  /// parts left out. Throws std::runtime_error if matching needs too much backtracking.
  void split(std::string_view text, const std::function<void(std::string_view)> &emit) const;

private:
  pcre2_real_code_8 *code;
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_PATTERN_H

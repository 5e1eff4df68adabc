//===- TokenizerParts.h - what a tokenizer is made of ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_TOKENIZERPARTS_H
#define MOE_LIB_RUNTIME_TOKENIZER_TOKENIZERPARTS_H

#include "AddedTokens.h"
#include "Bpe.h"
#include "Pattern.h"

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace moe::rt {

struct TokenizerJson;

/// Finds strings by views of strings.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <typename T> using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

struct TokenizerParts {
  /// One step of the pre-tokenizer: puts a space in front of a part that has none, then splits it.
  struct Stage {
    bool prefixSpace = false;
    std::optional<Pattern> pattern;
  };
  /// A token's bytes inside `text`.
  struct Token {
    size_t offset = 0;
    uint32_t length = 0;
    bool present = false;
    bool special = false;
  };

  bool nfc = false;
  AddedTokenMatcher rawTokens;        // looked for before the text is normalised
  AddedTokenMatcher normalizedTokens; // and after
  std::vector<Stage> stages;
  Bpe bpe;
  bool ignoreMerges = false;
  StringMap<int32_t> wholeWords; // with ignoreMerges: the bytes of every token
  std::vector<Token> tokens;     // by id
  std::string text;

  /// Interprets a tokenizer.json. Throws std::runtime_error naming what is wrong or not supported.
  static TokenizerParts build(const TokenizerJson &json);
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_TOKENIZERPARTS_H

//===- AddedTokens.h - tokens that are cut out of the text first ----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_ADDEDTOKENS_H
#define MOE_LIB_RUNTIME_TOKENIZER_ADDEDTOKENS_H

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

/// A token that is matched as it stands, before the text is split into words.
struct AddedToken {
  std::string content; // never empty
  int32_t id = 0;
  bool special = false;
  bool singleWord = false; // only where no word character touches it
  bool stripLeft = false;  // takes the white space before it along
  bool stripRight = false; // and behind it
  bool normalized = false; // looked for in the normalised text
};

/// Finds added tokens: leftmost first, the longest of those that start at the same place.
class AddedTokenMatcher {
public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  /// Calls `emitText` and `emitToken` with the parts of `text` (valid UTF-8) in order; empty texts are left out.
  void split(std::string_view text, const std::function<void(std::string_view)> &emitText,
             const std::function<void(int32_t)> &emitToken) const;

private:
  /// The longest token at `position`, or null.
  const AddedToken *match(std::string_view text, size_t position) const;

  std::vector<AddedToken> tokens;                           // by first byte, then the longest first
  std::array<std::pair<uint32_t, uint32_t>, 256> byFirst{}; // range in `tokens`
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_ADDEDTOKENS_H

//===- AddedTokens.cpp - tokens that are cut out of the text first --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AddedTokens.h"

#include "Utf8.h"

#include <utf8proc.h>

#include <algorithm>

namespace moe::rt {
namespace {

/// Unicode's White_Space.
bool isSpace(int32_t codePoint) {
  switch (utf8proc_category(codePoint)) {
  case UTF8PROC_CATEGORY_ZS:
  case UTF8PROC_CATEGORY_ZL:
  case UTF8PROC_CATEGORY_ZP:
    return true;
  default:
    return (codePoint >= 0x09 && codePoint <= 0x0d) || codePoint == 0x85;
  }
}

/// \w of Unicode's regular expressions: alphabetic, marks, decimal digits, connectors, joiners.
bool isWord(int32_t codePoint) {
  switch (utf8proc_category(codePoint)) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_PC:
    return true;
  default: {
    auto in = [&](int32_t first, int32_t last) { return codePoint >= first && codePoint <= last; };
    // Circled and squared letters are alphabetic symbols; U+200C and U+200D are the joiners.
    return in(0x200c, 0x200d) || in(0x24b6, 0x24e9) || in(0x1f130, 0x1f149) || in(0x1f150, 0x1f169) ||
           in(0x1f170, 0x1f189);
  }
  }
}

} // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> unsorted) : tokens(std::move(unsorted)) {
  auto first = [](const AddedToken &token) { return static_cast<unsigned char>(token.content[0]); };
  std::sort(tokens.begin(), tokens.end(), [&](const AddedToken &a, const AddedToken &b) {
    if (first(a) != first(b))
      return first(a) < first(b);
    if (a.content.size() != b.content.size())
      return a.content.size() > b.content.size();
    return a.id < b.id;
  });
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    auto &[begin, end] = byFirst[first(tokens[i])];
    if (begin == end)
      begin = i;
    end = i + 1;
  }
}

const AddedToken *AddedTokenMatcher::match(std::string_view text, size_t position) const {
  auto [begin, end] = byFirst[static_cast<unsigned char>(text[position])];
  for (uint32_t i = begin; i < end; ++i)
    if (text.compare(position, tokens[i].content.size(), tokens[i].content) == 0)
      return &tokens[i];
  return nullptr;
}

void AddedTokenMatcher::split(std::string_view text, const std::function<void(std::string_view)> &emitText,
                              const std::function<void(int32_t)> &emitToken) const {
  size_t emitted = 0;
  for (size_t position = 0; position < text.size();) {
    const AddedToken *token = match(text, position);
    if (!token) {
      ++position;
      continue;
    }
    size_t begin = position, end = position + token->content.size();
    position = end;
    if (token->singleWord && ((begin > 0 && isWord(codePointAt(text, previousCharacter(text, begin)))) ||
                              (end < text.size() && isWord(codePointAt(text, end)))))
      continue;
    if (token->stripLeft)
      while (begin > emitted) {
        size_t before = previousCharacter(text, begin);
        if (!isSpace(codePointAt(text, before)))
          break;
        begin = before;
      }
    if (token->stripRight)
      while (end < text.size() && isSpace(codePointAt(text, end)))
        end += stepUtf8(text, end).length;
    if (begin > emitted)
      emitText(text.substr(emitted, begin - emitted));
    emitToken(token->id);
    emitted = end;
  }
  if (emitted < text.size())
    emitText(text.substr(emitted));
}

} // namespace moe::rt

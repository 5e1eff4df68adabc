//===- Utf8.cpp - walking through UTF-8 -----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Utf8.h"

#include "moe/Runtime/Tokenizer.h"

#include <cstring>

namespace moe::rt {

Utf8Step stepUtf8(std::string_view text, size_t position) {
  auto byteAt = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byteAt(position);
  if (lead < 0x80)
    return {1, true, false};
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  size_t length;
  unsigned char low = 0x80, high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    low = lead == 0xe0 ? 0xa0 : 0x80;
    high = lead == 0xed ? 0x9f : 0xbf;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    low = lead == 0xf0 ? 0x90 : 0x80;
    high = lead == 0xf4 ? 0x8f : 0xbf;
  } else {
    return {1, false, false};
  }
  for (size_t i = 1; i < length; ++i) {
    if (position + i == text.size())
      return {i, false, true};
    unsigned char next = byteAt(position + i);
    if (next < low || next > high)
      return {i, false, false};
    low = 0x80;
    high = 0xbf;
  }
  return {length, true, false};
}

int32_t codePointAt(std::string_view text, size_t position) {
  auto byteAt = [&](size_t i) { return static_cast<int32_t>(static_cast<unsigned char>(text[position + i])); };
  int32_t lead = byteAt(0);
  if (lead < 0x80)
    return lead;
  if (lead < 0xe0)
    return (lead & 0x1f) << 6 | (byteAt(1) & 0x3f);
  if (lead < 0xf0)
    return (lead & 0x0f) << 12 | (byteAt(1) & 0x3f) << 6 | (byteAt(2) & 0x3f);
  return (lead & 0x07) << 18 | (byteAt(1) & 0x3f) << 12 | (byteAt(2) & 0x3f) << 6 | (byteAt(3) & 0x3f);
}

size_t previousCharacter(std::string_view text, size_t position) {
  do
    --position;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xc0) == 0x80);
  return position;
}

size_t validPrefix(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    // Eight ASCII bytes at a time.
    uint64_t word;
    if (position + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + position, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        position += sizeof(word);
        continue;
      }
    }
    Utf8Step step = stepUtf8(text, position);
    if (!step.valid)
      break;
    position += step.length;
  }
  return position;
}

std::string encodeUtf8(int32_t codePoint) {
  auto c = static_cast<uint32_t>(codePoint);
  auto tail = [&](unsigned shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80)
    return {static_cast<char>(c)};
  if (c < 0x800)
    return {static_cast<char>(0xc0 | c >> 6), tail(0)};
  if (c < 0x10000)
    return {static_cast<char>(0xe0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
}

std::string toValidUtf8(std::string_view bytes) {
  std::string result;
  while (true) {
    size_t valid = validPrefix(bytes);
    result += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty())
      return result;
    result += "\xef\xbf\xbd"; // U+FFFD
    bytes.remove_prefix(stepUtf8(bytes, 0).length);
  }
}

} // namespace moe::rt

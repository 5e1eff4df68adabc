//===- ByteLevel.cpp - the characters that stand for bytes ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ByteLevel.h"

#include "Utf8.h"

#include <array>

namespace moe::rt {
namespace {

struct Tables {
  static constexpr int32_t end = 256 + 68; // one past the last character in use

  std::array<std::string, 256> characters;
  std::array<int16_t, end> bytes; // by code point, -1 where none

  Tables() {
    bytes.fill(-1);
    int32_t next = 256;
    for (int32_t byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
      int32_t codePoint = printable ? byte : next++;
      characters[byte] = encodeUtf8(codePoint);
      bytes[codePoint] = static_cast<int16_t>(byte);
    }
  }
};

const Tables &tables() {
  static const Tables instance;
  return instance;
}

} // namespace

const char gpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string_view byteLevelCharacter(unsigned char byte) { return tables().characters[byte]; }

bool appendByteLevel(std::string_view text, std::string &bytes) {
  const Tables &table = tables();
  size_t before = bytes.size();
  for (size_t i = 0; i < text.size(); i += stepUtf8(text, i).length) {
    int32_t codePoint = codePointAt(text, i);
    int16_t byte = codePoint < Tables::end ? table.bytes[codePoint] : int16_t(-1);
    if (byte < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(byte);
  }
  return true;
}

} // namespace moe::rt

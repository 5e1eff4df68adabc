//===- TextCodec.cpp - text to token ids and back ------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TextCodec.h"
#include "moe/Runtime/Error.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace moe::rt {

TextCodec::TextCodec(std::string_view json) {
  if (json.empty())
    return;
  try {
    tokenizer.emplace(Tokenizer::fromJson(json));
  } catch (const std::runtime_error &error) {
    throw InputError(error.what());
  }
}

std::vector<int32_t> TextCodec::encode(std::string_view text, const std::string &where) const {
  try {
    return tokenizer->encode(text);
  } catch (const std::runtime_error &error) {
    throw InputError(where + ": " + error.what());
  }
}

std::string TextCodec::decode(const std::vector<int32_t> &ids) const {
  TextStream stream(*this);
  std::string text;
  for (int32_t id : ids)
    text += stream.push(id);
  return text + stream.flush();
}

TextStream::TextStream(const TextCodec &codec) : codec(codec) {
  if (codec.tokenizer)
    decoder.emplace(*codec.tokenizer, /*skipSpecial=*/true);
}

std::string TextStream::push(int32_t id) {
  return decoder && codec.tokenizer->contains(id) ? decoder->push(id) : std::string();
}

std::string TextStream::flush() { return decoder ? decoder->flush() : std::string(); }

std::string readTextFile(const std::string &path) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "rbe"), fclose);
  std::string text;
  if (file) {
    char buffer[1 << 16];
    while (size_t got = fread(buffer, 1, sizeof buffer, file.get()))
      text.append(buffer, got);
  }
  if (!file || ferror(file.get()))
    throw InputError(path + ": expected a readable file but got: " + strerror(errno));
  return text;
}

} // namespace moe::rt

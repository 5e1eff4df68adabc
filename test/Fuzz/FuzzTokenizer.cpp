//===- FuzzTokenizer.cpp - any bytes as a tokenizer.json and a text -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The input is a tokenizer.json; behind the first zero byte follows a text to encode with it.
//
//===----------------------------------------------------------------------===//
#include "moe/Runtime/Tokenizer.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>

using namespace moe::rt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view input(reinterpret_cast<const char *>(data), size);
  size_t zero = input.find('\0');
  std::string_view json = input.substr(0, zero);
  std::string_view text = zero == input.npos ? json.substr(0, 256) : input.substr(zero + 1);
  try {
    Tokenizer tokenizer = Tokenizer::fromJson(json);
    std::vector<int32_t> ids = tokenizer.encode(text);
    std::string whole = toValidUtf8(tokenizer.decode(ids)), pieces;
    StreamingDecoder decoder(tokenizer);
    for (int32_t id : ids)
      pieces += decoder.push(id);
    pieces += decoder.flush();
    if (pieces != whole)
      std::abort();
  } catch (const std::runtime_error &error) {
    if (std::strchr(error.what(), '\n'))
      std::abort();
  }
  return 0;
}

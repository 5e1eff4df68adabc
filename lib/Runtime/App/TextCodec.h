//===- TextCodec.h - text to token ids and back --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_APP_TEXTCODEC_H
#define MOE_LIB_RUNTIME_APP_TEXTCODEC_H

#include "moe/Runtime/Tokenizer.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

/// The tokenizer of a program, if it has one.
class TextCodec {
public:
  /// `json` is a tokenizer.json, or empty. Throws InputError if it cannot be used.
  explicit TextCodec(std::string_view json);

  bool available() const { return tokenizer.has_value(); }

  /// Ids of `text` without special tokens around it. `where` begins the message of an InputError.
  std::vector<int32_t> encode(std::string_view text, const std::string &where) const;

  /// The text of `ids` without special tokens and ids that the tokenizer lacks (a model's vocabulary may be padded);
  /// always UTF-8. Empty without a tokenizer.
  std::string decode(const std::vector<int32_t> &ids) const;

private:
  friend class TextStream;
  std::optional<Tokenizer> tokenizer;
};

/// The text of ids as they come, in whole characters. All pieces joined are what TextCodec::decode gives.
class TextStream {
public:
  explicit TextStream(const TextCodec &codec);

  std::string push(int32_t id);
  std::string flush();

private:
  const TextCodec &codec;
  std::optional<StreamingDecoder> decoder;
};

/// The bytes of a file. Throws InputError.
std::string readTextFile(const std::string &path);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_TEXTCODEC_H

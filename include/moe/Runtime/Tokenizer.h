//===- Tokenizer.h - text to token ids and back ---------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Byte-level BPE as a checkpoint's tokenizer.json describes it, with the ids that the Hugging Face tokenizers library
// gives. Supported: normalizer null, NFC; pre-tokenizers ByteLevel and Split (a regular expression, isolated) before
// it; Sequences of these; model BPE; decoder ByteLevel; post-processors that add no tokens; added tokens with all
// their flags. Anything else is refused by its name. `truncation` and `padding` are ignored. Characters that are newer
// than the Unicode tables of either side (ours: version 14) may be split otherwise. An added token always decodes to
// its content, where Hugging Face takes its characters for bytes if all of them can stand for one.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_TOKENIZER_H
#define MOE_RUNTIME_TOKENIZER_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

/// `bytes` with every maximal invalid part replaced by U+FFFD, as Python's bytes.decode(errors="replace") and the
/// WHATWG encoding standard do it. Valid UTF-8 comes back unchanged.
std::string toValidUtf8(std::string_view bytes);

struct TokenizerParts;

/// Immutable once made; all members may be called from several threads at once.
class Tokenizer {
public:
  /// Reads the text of a tokenizer.json. Throws std::runtime_error with one line that starts with "tokenizer.json: "
  /// and names what is wrong or not supported.
  static Tokenizer fromJson(std::string_view json);

  Tokenizer(Tokenizer &&) noexcept;
  Tokenizer &operator=(Tokenizer &&) noexcept;
  ~Tokenizer();

  /// The ids of a text, without any tokens added around it. `bytes` may be anything: what is not UTF-8 is first
  /// replaced as `toValidUtf8` does. Bytes whose symbol the vocabulary lacks are dropped, as Hugging Face does. Throws
  /// std::runtime_error if a pattern needs more backtracking than is allowed (no published pattern does).
  std::vector<int32_t> encode(std::string_view bytes) const;

  /// The bytes that the tokens stand for (not always UTF-8: see StreamingDecoder for text). Added tokens give their
  /// content, or nothing if they are special and `skipSpecial` is set. Throws std::runtime_error naming an id that is
  /// not in the vocabulary.
  std::string decode(const std::vector<int32_t> &ids, bool skipSpecial = false) const;

  /// The bytes of one token; throws like `decode`.
  std::string_view tokenBytes(int32_t id) const;

  /// Whether `id` is in the vocabulary (which may have holes).
  bool contains(int32_t id) const;

  /// Whether `id` is an added token marked special (end of text and the like).
  bool isSpecial(int32_t id) const;

  /// One more than the largest id.
  size_t vocabularySize() const;

private:
  explicit Tokenizer(std::unique_ptr<const TokenizerParts> parts);
  std::unique_ptr<const TokenizerParts> parts;
};

/// Turns ids into text as they come, never emitting part of a character. All that `push` and `flush` return, joined, is
/// `toValidUtf8(tokenizer.decode(ids, skipSpecial))`.
class StreamingDecoder {
public:
  /// `tokenizer` must outlive the decoder.
  explicit StreamingDecoder(const Tokenizer &tokenizer, bool skipSpecial = false)
      : tokenizer(&tokenizer), skipSpecial(skipSpecial) {}

  /// The text that is complete with this token. Throws std::runtime_error if `id` is not in the vocabulary.
  std::string push(int32_t id);

  /// What is left: U+FFFD if the last character is incomplete, else nothing.
  std::string flush();

private:
  const Tokenizer *tokenizer;
  bool skipSpecial;
  std::string pending; // an incomplete character
};

} // namespace moe::rt

#endif // MOE_RUNTIME_TOKENIZER_H

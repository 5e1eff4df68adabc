//===- Tokenizer.cpp - text to token ids and back -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Tokenizer.h"

#include "Normalizer.h"
#include "TokenizerJson.h"
#include "TokenizerParts.h"
#include "Utf8.h"

#include <stdexcept>

namespace moe::rt {
namespace {

/// Words that were encoded before in the same text: most words of a text are.
class WordCache {
public:
  /// Appends the ids of `word` if it is known.
  bool lookUp(std::string_view word, std::vector<int32_t> &ids) const {
    auto found = words.find(word);
    if (found == words.end())
      return false;
    auto first = pool.begin() + static_cast<std::ptrdiff_t>(found->second.begin);
    ids.insert(ids.end(), first, first + static_cast<std::ptrdiff_t>(found->second.count));
    return true;
  }

  /// Remembers that `word` has the ids from `begin` on.
  void add(std::string_view word, const std::vector<int32_t> &ids, size_t begin) {
    if (word.size() > longestWord || words.size() >= mostWords)
      return;
    words.emplace(word, Span{pool.size(), ids.size() - begin});
    pool.insert(pool.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.end());
  }

private:
  static constexpr size_t longestWord = 64; // longer ones are hardly ever seen again
  static constexpr size_t mostWords = 1 << 17;

  struct Span {
    size_t begin, count; // in `pool`
  };
  StringMap<Span> words;
  std::vector<int32_t> pool;
};

/// One call of `encode`.
class Encoder {
public:
  explicit Encoder(const TokenizerParts &parts) : parts(parts) {}

  std::vector<int32_t> ids;

  void run(std::string_view text) {
    auto emit = [&](int32_t id) { ids.push_back(id); };
    parts.rawTokens.split(
        text,
        [&](std::string_view raw) {
          std::string normalized;
          if (parts.nfc && !isTriviallyNfc(raw))
            raw = normalized = normalizeNfc(raw);
          parts.normalizedTokens.split(raw, [&](std::string_view piece) { preTokenize(0, piece); }, emit);
        },
        emit);
  }

private:
  void preTokenize(size_t index, std::string_view piece) {
    if (index == parts.stages.size()) {
      word(piece);
      return;
    }
    const TokenizerParts::Stage &stage = parts.stages[index];
    std::string prefixed;
    if (stage.prefixSpace && !piece.starts_with(' '))
      piece = (prefixed = ' ') += piece;
    if (stage.pattern)
      stage.pattern->split(piece, [&](std::string_view part) { preTokenize(index + 1, part); });
    else
      preTokenize(index + 1, piece);
  }

  void word(std::string_view bytes) {
    if (cache.lookUp(bytes, ids))
      return;
    // Ids and positions in a word are 32 bits wide.
    if (bytes.size() > size_t(INT32_MAX))
      throw std::runtime_error("cannot encode a word of " + std::to_string(bytes.size()) + " bytes");
    size_t before = ids.size();
    auto whole = parts.wholeWords.end();
    if (parts.ignoreMerges)
      whole = parts.wholeWords.find(bytes);
    if (whole != parts.wholeWords.end())
      ids.push_back(whole->second);
    else
      parts.bpe.encode(bytes, scratch, ids);
    cache.add(bytes, ids, before);
  }

  const TokenizerParts &parts;
  Bpe::Scratch scratch;
  WordCache cache;
};

const TokenizerParts::Token &findToken(const TokenizerParts &parts, int32_t id) {
  if (id < 0 || static_cast<size_t>(id) >= parts.tokens.size() || !parts.tokens[id].present)
    throw std::runtime_error("token id " + std::to_string(id) + " is not in the vocabulary");
  return parts.tokens[id];
}

} // namespace

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerParts> parts) : parts(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer &&) noexcept = default;
Tokenizer &Tokenizer::operator=(Tokenizer &&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::fromJson(std::string_view json) {
  try {
    TokenizerJson file = TokenizerJson::parse(json);
    return Tokenizer(std::make_unique<const TokenizerParts>(TokenizerParts::build(file)));
  } catch (const std::runtime_error &error) {
    throw std::runtime_error(std::string("tokenizer.json: ") + error.what());
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view bytes) const {
  std::string replaced;
  if (validPrefix(bytes) != bytes.size())
    bytes = replaced = toValidUtf8(bytes);
  Encoder encoder(*parts);
  encoder.run(bytes);
  return std::move(encoder.ids);
}

std::string Tokenizer::decode(const std::vector<int32_t> &ids, bool skipSpecial) const {
  std::string result;
  for (int32_t id : ids) {
    const TokenizerParts::Token &token = findToken(*parts, id);
    if (!skipSpecial || !token.special)
      result.append(parts->text, token.offset, token.length);
  }
  return result;
}

std::string_view Tokenizer::tokenBytes(int32_t id) const {
  const TokenizerParts::Token &token = findToken(*parts, id);
  return {parts->text.data() + token.offset, token.length};
}

bool Tokenizer::contains(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < parts->tokens.size() && parts->tokens[id].present;
}

bool Tokenizer::isSpecial(int32_t id) const { return contains(id) && parts->tokens[id].special; }

size_t Tokenizer::vocabularySize() const { return parts->tokens.size(); }

std::string StreamingDecoder::push(int32_t id) {
  if (skipSpecial && tokenizer->isSpecial(id))
    return "";
  pending += tokenizer->tokenBytes(id);
  // Only a character at the very end can be waiting for more; it is at most three bytes long.
  size_t complete = pending.size();
  for (size_t back = 1; back <= 3 && back <= pending.size(); ++back) {
    Utf8Step step = stepUtf8(pending, pending.size() - back);
    if (step.incomplete && step.length == back)
      complete = pending.size() - back;
  }
  std::string result = toValidUtf8(std::string_view(pending).substr(0, complete));
  pending.erase(0, complete);
  return result;
}

std::string StreamingDecoder::flush() {
  std::string result = toValidUtf8(pending);
  pending.clear();
  return result;
}

} // namespace moe::rt

//===- TokenizerJson.h - the text of tokenizer.json -----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_TOKENIZERJSON_H
#define MOE_LIB_RUNTIME_TOKENIZER_TOKENIZERJSON_H

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

/// Strings with numbers, all in one buffer, looked up by content.
class StringTable {
public:
  /// Adds `text`; false if it is there already.
  bool insert(std::string_view text, int32_t value);

  /// The value of `text`, or nothing.
  std::optional<int32_t> find(std::string_view text) const;

  size_t size() const { return entries.size(); }
  std::string_view text(size_t i) const { return {buffer.data() + entries[i].offset, entries[i].length}; }
  int32_t value(size_t i) const { return entries[i].value; }

private:
  struct Entry {
    size_t offset, length;
    int32_t value;
  };

  struct Slot {
    uint32_t entry = 0; // 1 + position in `entries`, 0 is free
    uint32_t hash = 0;  // of its text: most comparisons need not look at the text itself
  };

  /// The slot that holds `text`, whose hash is given, or the free one where it would go.
  size_t slotOf(std::string_view text, uint32_t hash) const;

  std::string buffer;
  std::vector<Entry> entries;
  std::vector<Slot> slots; // a power of two, at most half full
};

/// A tokenizer.json as written. The two big parts have their own form; the rest is small.
struct TokenizerJson {
  /// The two tokens of a merge, written one behind the other.
  struct MergeText {
    size_t offset;
    uint32_t left, right; // bytes
  };

  nlohmann::json document; // model.vocab and model.merges are null in it if they were read
  bool hasVocabulary = false;
  bool hasMerges = false;
  StringTable vocabulary; // model.vocab
  std::string mergeBuffer;
  std::vector<MergeText> merges; // model.merges

  std::string_view left(const MergeText &merge) const { return view(merge.offset, merge.left); }
  std::string_view right(const MergeText &merge) const { return view(merge.offset + merge.left, merge.right); }
  std::string_view joined(const MergeText &merge) const { return view(merge.offset, merge.left + merge.right); }

  /// Throws std::runtime_error if `text` is no JSON object or has duplicate keys, or these two parts are malformed.
  static TokenizerJson parse(std::string_view text);

private:
  std::string_view view(size_t offset, size_t length) const { return {mergeBuffer.data() + offset, length}; }
};

/// Largest token id that is accepted; published vocabularies are some twenty times smaller.
constexpr int32_t maxTokenId = (1 << 22) - 1;

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_TOKENIZERJSON_H

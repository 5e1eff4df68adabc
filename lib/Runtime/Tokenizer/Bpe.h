//===- Bpe.h - byte pair encoding of one word -----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TOKENIZER_BPE_H
#define MOE_LIB_RUNTIME_TOKENIZER_BPE_H

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace moe::rt {

/// Two neighbouring tokens that become one.
struct Merge {
  int32_t left, right, result;
};

/// The merges in the order of their ranks, the lowest first.
class Bpe {
public:
  /// Room that `encode` reuses from word to word.
  struct Scratch {
    struct Symbol {
      int32_t token;          // -1: merged into the one before
      int32_t previous, next; // -1 at the ends
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      int32_t result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
  };

  Bpe() = default;
  /// `byteTokens[b]` is the token of byte b, -1 if there is none. Of merges of the same pair the last counts.
  Bpe(const std::array<int32_t, 256> &byteTokens, const std::vector<Merge> &merges);

  /// Appends the tokens of `word` to `ids`. Time n log n in the length of the word (less than 2^31 bytes).
  void encode(std::string_view word, Scratch &scratch, std::vector<int32_t> &ids) const;

private:
  struct Slot {
    int32_t left = -1, right = -1; // -1: free
    uint32_t rank = 0;
    int32_t result = 0;
  };

  /// The merge of a pair, or null.
  const Slot *find(int32_t left, int32_t right) const;
  size_t firstSlot(int32_t left, int32_t right) const;

  std::array<int32_t, 256> byteTokens{};
  std::vector<Slot> slots; // hash table with linear probing; its size is a power of two
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TOKENIZER_BPE_H

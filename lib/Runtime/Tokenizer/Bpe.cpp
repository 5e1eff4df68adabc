//===- Bpe.cpp - byte pair encoding of one word ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The lowest rank is merged first and, among equals, the leftmost. All candidates are in one queue; those that another
// merge has overtaken stay in it and are recognised when they come out.
//
//===----------------------------------------------------------------------===//
#include "Bpe.h"

#include <algorithm>
#include <bit>

namespace moe::rt {

Bpe::Bpe(const std::array<int32_t, 256> &byteTokens, const std::vector<Merge> &merges) : byteTokens(byteTokens) {
  slots.resize(std::bit_ceil(merges.size() * 2 + 1));
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge &merge = merges[rank];
    size_t i = firstSlot(merge.left, merge.right);
    while (slots[i].left >= 0 && (slots[i].left != merge.left || slots[i].right != merge.right))
      i = (i + 1) & (slots.size() - 1);
    slots[i] = {merge.left, merge.right, static_cast<uint32_t>(rank), merge.result};
  }
}

size_t Bpe::firstSlot(int32_t left, int32_t right) const {
  uint64_t key = uint64_t(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  key *= 0x9e3779b97f4a7c15u; // 2^64 / golden ratio spreads neighbouring ids
  return (key ^ key >> 32) & (slots.size() - 1);
}

const Bpe::Slot *Bpe::find(int32_t left, int32_t right) const {
  for (size_t i = firstSlot(left, right); slots[i].left >= 0; i = (i + 1) & (slots.size() - 1))
    if (slots[i].left == left && slots[i].right == right)
      return &slots[i];
  return nullptr;
}

void Bpe::encode(std::string_view word, Scratch &scratch, std::vector<int32_t> &ids) const {
  auto &symbols = scratch.symbols;
  auto &queue = scratch.queue;
  symbols.clear();
  queue.clear();
  for (char c : word) {
    int32_t token = byteTokens[static_cast<unsigned char>(c)];
    if (token < 0)
      continue;
    auto position = static_cast<int32_t>(symbols.size());
    symbols.push_back({token, position - 1, position + 1});
  }
  if (symbols.empty())
    return;
  symbols.back().next = -1;

  // The standard heap has its largest element on top.
  auto later = [](const Scratch::Candidate &a, const Scratch::Candidate &b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  auto candidateAt = [&](int32_t position) {
    const Scratch::Symbol &left = symbols[position];
    const Slot *slot = find(left.token, symbols[left.next].token);
    if (slot)
      queue.push_back({slot->rank, position, slot->result});
    return slot != nullptr;
  };
  for (int32_t position = 0; symbols[position].next >= 0; ++position)
    candidateAt(position);
  std::make_heap(queue.begin(), queue.end(), later);

  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), later);
    Scratch::Candidate top = queue.back();
    queue.pop_back();
    Scratch::Symbol &left = symbols[top.position];
    if (left.token < 0 || left.next < 0)
      continue;
    Scratch::Symbol &right = symbols[left.next];
    // The reference compares results, not ranks: a pair that grew here since, with the same result, is merged now.
    const Slot *slot = find(left.token, right.token);
    if (!slot || slot->result != top.result)
      continue;
    left.token = top.result;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) {
      symbols[left.next].previous = top.position;
      if (candidateAt(top.position))
        std::push_heap(queue.begin(), queue.end(), later);
    }
    if (left.previous >= 0 && candidateAt(left.previous))
      std::push_heap(queue.begin(), queue.end(), later);
  }
  for (int32_t position = 0; position >= 0; position = symbols[position].next)
    ids.push_back(symbols[position].token);
}

} // namespace moe::rt

//===- Scratch.cpp - memory that a thread lends to loop bodies ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Scratch.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <vector>

namespace moe::rt {
namespace {

/// One block for each loop that the thread is in at a time, outermost first; two or three at most.
struct Blocks {
  struct Block {
    void *memory = nullptr;
    size_t size = 0;
  };
  std::vector<Block> blocks;
  size_t lent = 0;

  ~Blocks() {
    for (Block &block : blocks)
      _mlir_memref_to_llvm_free(block.memory);
  }
};

thread_local Blocks own;

} // namespace

Scratch::Scratch(size_t size) : memory(nullptr) {
  if (size == 0)
    return;
  if (own.lent == own.blocks.size())
    own.blocks.emplace_back();
  Blocks::Block &block = own.blocks[own.lent];
  if (block.size < size) {
    // A size that grows with the tokens of a call would be allocated anew each time.
    size_t grown = std::max(size, block.size + block.size / 2);
    _mlir_memref_to_llvm_free(block.memory);
    block = {};
    block.memory = _mlir_memref_to_llvm_alloc(grown);
    block.size = grown;
  }
  ++own.lent;
  memory = block.memory;
}

Scratch::~Scratch() {
  if (memory)
    --own.lent;
}

} // namespace moe::rt

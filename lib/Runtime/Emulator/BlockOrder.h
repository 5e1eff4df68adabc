//===- BlockOrder.h - which blocks have seen what others wrote ------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Blocks of a launch run in any order, so what one writes to global memory another one may only touch if an atomic
// operation of the first, after the write, comes before one of the other. Seen from far: an atomic operation of any
// thread counts for its whole block, and any two of them are enough, whatever their addresses. So nothing is reported
// that is right, but not everything that is wrong is found.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_BLOCKORDER_H
#define MOE_LIB_RUNTIME_EMULATOR_BLOCKORDER_H

#include <cstdint>
#include <vector>

namespace moe::rt::simt {

/// The order that atomic operations make between blocks, which are numbered as they lie in the grid.
class BlockOrder {
public:
  /// Who wrote, and how many times the block had released before. Zero: nobody.
  using Stamp = uint64_t;

  void begin(uint64_t blockCount) {
    blocks.assign(blockCount, {});
    now = 0;
  }

  /// A block does an atomic operation on global memory.
  void meet(uint32_t block) {
    State &state = blocks[block];
    state.seen = ++now;
    if (state.hasWritten)
      state.releases.push_back(now);
    state.hasWritten = false;
  }

  Stamp write(uint32_t block) {
    blocks[block].hasWritten = true;
    return uint64_t(blocks[block].releases.size()) << 32 | (block + 1);
  }

  /// Whether `block` may touch what was written at that time.
  bool isOrdered(Stamp stamp, uint32_t block) const {
    uint32_t writer = writerOf(stamp);
    if (stamp == 0 || writer == block)
      return true;
    const std::vector<uint64_t> &releases = blocks[writer].releases;
    uint64_t before = stamp >> 32;
    return before < releases.size() && releases[before] < blocks[block].seen;
  }

  static uint32_t writerOf(Stamp stamp) { return uint32_t(stamp) - 1; }

private:
  struct State {
    std::vector<uint64_t> releases; // times of the first atomic operations after writes
    uint64_t seen = 0;              // of the last atomic operation
    bool hasWritten = false;
  };
  std::vector<State> blocks;
  uint64_t now = 0;
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_BLOCKORDER_H

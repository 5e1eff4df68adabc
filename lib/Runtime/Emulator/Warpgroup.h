//===- Warpgroup.h - products of four warps -------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// wgmma.mma_async begins a product and goes on; its accumulators are registers that may not be touched until
// wgmma.wait_group. Here a product is done when the first warp waits for it. Until then, and as long as nobody asks for
// a value, the accumulators are in a tile of the warpgroup, and the registers of the threads hold tokens: which tile,
// after which product, which element. Moving a register moves its token; everything else asks for the value
// (moe_simt_wgmma_value), which ends the process if the thread has not waited.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_WARPGROUP_H
#define MOE_LIB_RUNTIME_EMULATOR_WARPGROUP_H

#include "Shadow.h"

#include <array>
#include <deque>
#include <optional>
#include <vector>

namespace moe::rt::simt {

struct Thread;
struct Warp;

/// A matrix in shared memory, K innermost, as its descriptor says it: rows of 16 elements of 16 bits.
struct SharedMatrix {
  uint64_t start;  // offset
  uint64_t chunks; // bytes from one chunk of 16 bytes of a row to the next, without a swizzle
  uint64_t eights; // from eight rows to the next eight
  uint32_t swizzleBytes;

  /// Where chunk 0 or 1 of a row lies.
  uint64_t offset(uint32_t row, uint32_t chunk) const;
};

class Warpgroup {
public:
  static constexpr uint32_t warps = 4;
  static constexpr uint32_t rows = 64, depth = 16;

  /// For a block that begins.
  void begin();

  /// All lanes of a warp begin a product (moe_simt_wgmma; the arguments are in their exchange words).
  void issue(Warp &warp, uint32_t site);
  void fence(const Warp &warp) { of(warp).isFenced = true, ++of(warp).fences; }
  void commit(const Warp &warp) { of(warp).groupEnds.push_back(of(warp).issued); }
  /// Says which products `warp` waits for: all of its groups but the last `pending`.
  void beginWait(const Warp &warp, uint32_t pending);
  /// Whether all warps have begun them.
  bool canFinish(const Warp &warp) const;
  /// Does them, if they are not done.
  void finishWait(const Warp &warp);

  /// What a register holds, or stands for.
  float value(const Thread &thread, float token, uint32_t site);

  /// setmaxnreg; 0 before the first.
  uint32_t registers = 0;

private:
  struct Product {
    SharedMatrix a, b;
    uint64_t descriptorA, descriptorB;
    uint32_t flags, tile, version, site;
    bool isFresh; // its accumulators were no tile before
    Shadow::View view;
    uint64_t clock; // of the agent

    uint32_t columns() const;
  };
  struct Tile {
    std::vector<float> values; // 64 x columns
    uint32_t columns = 0, version = 0;
    std::array<uint32_t, warps> versions{}; // as each warp sees it
    std::array<uint64_t, warps> products{}; // the last one behind it
    std::array<uint64_t, warps> reads{};    // how many fences there were when values were asked for, and one
  };
  struct OfWarp {
    uint64_t issued = 0, waited = 0, target = 0; // numbers of products
    std::vector<uint64_t> groupEnds;
    uint64_t fences = 0;
    bool isFenced = false; // since it last waited
  };
  struct Token {
    uint32_t tile, version, element;
  };

  OfWarp &of(const Warp &warp);
  const OfWarp &of(const Warp &warp) const;
  uint32_t newTile(const Warp &warp, uint32_t columns, uint32_t site);
  std::optional<Token> tokenOf(float value) const;
  bool isTile(const Warp &warp, uint32_t columns) const;
  void fill(Tile &tile, const Warp &warp, uint32_t site);
  void check(const Warp &warp, Product &product);
  void multiply(const Product &product);

  std::array<OfWarp, warps> ofWarp;
  std::deque<Product> products; // that are not done
  uint64_t done = 0;            // how many were before
  uint64_t lastClock = 0;       // of the last of them
  std::vector<Tile> tiles;
  uint32_t nextTile = 0;
  char *shared = nullptr;
  std::optional<uint32_t> agent;
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_WARPGROUP_H

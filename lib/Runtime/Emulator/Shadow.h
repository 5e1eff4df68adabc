//===- Shadow.h - who touched which byte of shared memory -----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds accesses that no barrier orders, whatever the schedule of this run happens to be. Each warp has a vector of
// clocks, one for each warp of the block: barriers join the vectors of the warps that meet. An access is ordered before
// another one if the other's warp has joined a clock of the first one's warp that is later than the access. Within a
// warp, barriers and bar.warp.sync order; shuffles and matrix operations do not, as PTX has it.
//
// What goes on by itself once a thread has begun it (a bulk copy, a product of a warpgroup) has a clock of its own, as
// an agent: who waits for it joins that clock. Bulk copies and products of warpgroups touch shared memory by another
// proxy than loads and stores, so what loads and stores have left must pass a proxy fence on its way to them: a second
// vector of each warp says up to which clock of each other it has.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_SHADOW_H
#define MOE_LIB_RUNTIME_EMULATOR_SHADOW_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe::rt::simt {

enum class Conflict : uint8_t { None, NeverWritten, InFlight, AfterWrite, AfterRead, NoProxyFence };

/// How an operation reaches shared memory.
enum class Proxy : uint8_t { Generic, Async };

struct Finding {
  Conflict conflict = Conflict::None;
  uint32_t thread = 0; // whose access it conflicts with; an agent's is not less than Shadow::firstAgentThread()
  uint32_t offset = 0; // of the byte
};

/// Shadow of one block's shared memory: for each byte the last write, and the readers of up to two warps since.
class Shadow {
public:
  Shadow() = default;
  Shadow(const Shadow &) = delete;
  Shadow &operator=(const Shadow &) = delete;
  ~Shadow();

  /// Starts a block of `warpCount` warps with `bytes` bytes, none of them written.
  void begin(uint64_t bytes, uint32_t warpCount);

  Finding read(uint64_t offset, uint64_t bytes, uint32_t thread);
  Finding write(uint64_t offset, uint64_t bytes, uint32_t thread);
  /// A read and a write that conflict with no other such.
  Finding update(uint64_t offset, uint64_t bytes, uint32_t thread);

  /// From now on a copy may write the bytes at any time ...
  Finding startCopy(uint64_t offset, uint64_t bytes, uint32_t thread, Proxy proxy = Proxy::Generic);
  /// ... and now it is done, for the thread (or agent) `thread`.
  void finishCopy(uint64_t offset, uint64_t bytes, uint32_t thread, Proxy proxy = Proxy::Generic);

  struct Clocks {
    std::vector<uint64_t> seen, visible; // of each warp and agent: what was done, what a proxy fence has let through
    void clear() {
      seen.clear();
      visible.clear();
    }
  };

  /// All that `warp` has done or seen comes before what sees `clocks`.
  void release(uint32_t warp, Clocks &clocks);
  /// The same for one lane, which does not order the lanes of the warp.
  void releaseLane(uint32_t warp, Clocks &clocks);
  /// Whether the last write of the byte, which `warp` knows, may be read by the other proxy.
  bool isVisible(uint64_t offset, uint32_t warp) const { return isVisible(bytes[offset], warp); }
  /// What `warp` does from now on comes after what was released to `clocks`.
  void acquire(uint32_t warp, const Clocks &clocks);
  /// Orders the accesses of the lanes of one warp.
  void syncWarp(uint32_t warp) { laneClocks[warp] = ++own(warp); }
  /// What comes before now may be accessed by the other proxy.
  void fenceProxy(uint32_t warp);

  /// A new agent; its one thread. There is room for as many as there may be warps, then they share clocks.
  uint32_t addAgent();
  uint32_t firstAgentThread() const { return warps * 32; }
  /// The clock of an agent moves on; returns what it was.
  uint64_t tick(uint32_t agentThread) { return own(agentThread / 32)++; }
  /// `warp` has waited until the clock of an agent was past `clock`.
  void acquireAgent(uint32_t warp, uint32_t agentThread, uint64_t clock);

  /// What a warp knows at some time; `meet` leaves what both know.
  using View = Clocks;
  View view(uint32_t warp) const;
  static void meet(View &view, const View &other);
  /// A read by an agent and the other proxy, begun by warps that knew `view`. It lasts until its clock has moved on.
  Finding readByAgent(uint64_t offset, uint64_t bytes, uint32_t agentThread, const View &view);

private:
  static constexpr uint32_t mostParties = 64; // warps and agents

  /// Thread, flags and the clock of its warp at an access.
  using Stamp = uint64_t;
  struct Byte {
    Stamp write, read, otherRead;
    bool operator==(const Byte &) const = default;
  };

  /// Applies `step` to each byte: what it finds, or None and a new value for the byte. It depends on the byte alone.
  template <typename Step> Finding forEachByte(uint64_t offset, uint64_t size, Step &&step);

  uint64_t &seen(uint32_t warp, uint32_t other) { return clocks[warp * mostParties + other]; }
  uint64_t seen(uint32_t warp, uint32_t other) const { return clocks[warp * mostParties + other]; }
  uint64_t &own(uint32_t warp) { return seen(warp, warp); }
  bool isVisible(const Byte &byte, uint32_t warp) const;
  Stamp stamp(uint32_t thread, uint64_t flags) { return own(thread / 32) << 16 | flags | thread; }
  void meetFirst(uint32_t party, uint32_t count);
  bool isOrdered(Stamp stamp, uint32_t thread) const;
  Finding checkWrite(const Byte &byte, uint32_t thread, bool atomic) const;
  void addRead(Byte &byte, uint32_t thread);

  Byte *bytes = nullptr;
  uint64_t capacity = 0;
  uint32_t warps = 0, parties = 0, agents = 0;
  uint64_t start = 0;               // clocks of earlier blocks are less
  std::vector<uint64_t> clocks;     // by warp or agent, then of whom
  std::vector<uint64_t> visible;    // likewise: what is before may be accessed by the other proxy
  std::vector<uint64_t> laneClocks; // by warp: accesses of its lanes before are ordered
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_SHADOW_H

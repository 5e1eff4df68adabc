//===- Shadow.h - who touched which byte of shared memory -----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds accesses that no barrier orders, whatever the schedule of this run happens to be. Each warp has a vector of
// clocks, one for each warp of the block: barriers join the vectors of the warps that meet. An access is ordered before
// another one if the other's warp has joined a clock of the first one's warp that is later than the access. Within a
// warp, barriers and bar.warp.sync order; shuffles and matrix operations do not, as PTX has it.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_SHADOW_H
#define MOE_LIB_RUNTIME_EMULATOR_SHADOW_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe::rt::simt {

enum class Conflict : uint8_t { None, NeverWritten, InFlight, AfterWrite, AfterRead };

struct Finding {
  Conflict conflict = Conflict::None;
  uint32_t thread = 0; // whose access it conflicts with
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
  Finding startCopy(uint64_t offset, uint64_t bytes, uint32_t thread);
  /// ... and now it is done, for the thread that started it.
  void finishCopy(uint64_t offset, uint64_t bytes, uint32_t thread);

  using Clocks = std::vector<uint64_t>;

  /// All that `warp` has done or seen comes before what sees `clocks`.
  void release(uint32_t warp, Clocks &clocks);
  /// What `warp` does from now on comes after what was released to `clocks`.
  void acquire(uint32_t warp, const Clocks &clocks);
  /// Orders the accesses of the lanes of one warp.
  void syncWarp(uint32_t warp) { ++own(warp); }

private:
  /// Thread, flags and the clock of its warp at an access.
  using Stamp = uint64_t;
  struct Byte {
    Stamp write, read, otherRead;
    bool operator==(const Byte &) const = default;
  };

  /// Applies `step` to each byte: what it finds, or None and a new value for the byte. It depends on the byte alone.
  template <typename Step> Finding forEachByte(uint64_t offset, uint64_t size, Step &&step);

  uint64_t &own(uint32_t warp) { return clocks[warp * warps + warp]; }
  Stamp stamp(uint32_t thread, uint64_t flags) { return own(thread / 32) << 16 | flags | thread; }
  bool isOrdered(Stamp stamp, uint32_t thread) const;
  Finding checkWrite(const Byte &byte, uint32_t thread, bool atomic) const;
  void addRead(Byte &byte, uint32_t thread);

  Byte *bytes = nullptr;
  uint64_t capacity = 0;
  uint32_t warps = 0;
  uint64_t start = 0; // clocks of earlier blocks are less
  Clocks clocks;      // warps x warps
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_SHADOW_H

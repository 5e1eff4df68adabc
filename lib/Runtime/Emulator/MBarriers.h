//===- MBarriers.h - barriers in shared memory ----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The mbarrier objects of one block, and the copies that arrive at them. A copy is done as late as the hardware could
// do it: when a thread waits for the barrier and nothing else is missing, or when nobody can go on otherwise. Schedules
// of other seeds than 0 also do some earlier.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_MBARRIERS_H
#define MOE_LIB_RUNTIME_EMULATOR_MBARRIERS_H

#include "AsyncCopy.h"
#include "Shadow.h"
#include "TensorMap.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace moe::rt::simt {

struct Block;
struct Thread;
class Random;

/// A copy of a box of a tensor to shared memory.
struct TensorCopy {
  TensorMap map;
  int32_t at[TensorMap::mostDimensions]; // the box's first element in the tensor
  uint64_t to;                           // offset in shared memory

  uint64_t rowBytes() const { return uint64_t(map.box[0]) * map.elementBytes; }

  /// Calls `body(offset, address, first, bytes)` for each row of the box: `offset` in the box; of the row the `bytes`
  /// bytes from `first` on lie at `address`, the others (or all) outside of the tensor.
  template <typename Body> void forEachRow(Body &&body) const {
    int64_t begin = std::max<int64_t>(0, -int64_t(at[0]));
    int64_t end = std::min<int64_t>(map.box[0], int64_t(map.sizes[0]) - at[0]);
    int64_t size = map.elementBytes;
    uint64_t rows = map.boxBytes() / rowBytes();
    for (uint64_t row = 0; row < rows; ++row) {
      const char *address = map.address + size * (at[0] + begin);
      bool isInside = begin < end;
      uint64_t rest = row;
      for (uint32_t d = 1; d < map.rank; ++d) {
        int64_t index = at[d] + int64_t(rest % map.box[d]);
        rest /= map.box[d];
        isInside &= index >= 0 && index < int64_t(map.sizes[d]);
        address += index * int64_t(map.strides[d - 1]);
      }
      body(row * rowBytes(), address, uint64_t(size * begin), isInside ? uint64_t(size * (end - begin)) : 0);
    }
  }

  /// Copies; what is outside of the tensor becomes zero. `shared` is the block's shared memory.
  void perform(char *shared) const;
};

/// What will arrive at a barrier by itself.
struct Arrival {
  uint32_t thread;                // who began it
  std::vector<AsyncCopy> copies;  // cp.async, with an arrival of the thread; or
  std::vector<TensorCopy> tensor; // one bulk copy, with its bytes
};

struct MBarrier {
  uint32_t expected = 0; // arrivals in a phase
  int64_t pending = 0;   // those that are missing
  int64_t bytes = 0;     // of transactions expected, less those that were made
  int64_t expectedBytes = 0, arrivedBytes = 0;
  uint64_t phase = 0; // the one that is not complete
  uint32_t agent = 0;
  Shadow::Clocks arriving, completed;
  std::vector<Arrival> arrivals;
  std::vector<uint32_t> waiting; // threads
};

class MBarriers {
public:
  void begin() {
    barriers.clear();
    arrivalCount = 0;
  }

  void initialize(Thread &thread, uint64_t offset, uint32_t count, uint32_t site);
  void invalidate(Thread &thread, uint64_t offset, uint32_t site);
  /// The barrier at an address of shared memory that `thread` uses now; ends the process if there is none, or if
  /// nothing orders its initialisation before.
  MBarrier &at(const Thread &thread, uint64_t offset, uint32_t site);

  /// What the thread that runs does to a barrier; returns the phase it was in.
  uint64_t arrive(Block &block, MBarrier &barrier, uint32_t warp, uint32_t count, uint32_t bytes);
  void add(Block &block, MBarrier &barrier, Arrival arrival);
  /// Does what has been put off for `barrier`, if its phase is then complete.
  void deliverIfComplete(Block &block, MBarrier &barrier);

  /// Does everything that was put off; returns whether there was anything.
  bool deliverAll(Block &block);
  /// One of the things put off, if there are any.
  void deliverSome(Block &block, Random &random);
  /// Those of one thread.
  void deliverOf(Block &block, uint32_t thread);
  bool hasArrivals() const { return arrivalCount != 0; }
  /// Who began the first of them.
  uint32_t threadOfArrival() const;

  /// "mbarrier at shared address 0x0, phase 0: 1 of 2 arrivals and 64 of 128 bytes have come" of those that threads
  /// wait for; empty if there are none. `thread` becomes one of the threads.
  std::string describeWaits(uint32_t &thread) const;

private:
  void deliver(Block &block, MBarrier &barrier, size_t index);
  void advance(Block &block, MBarrier &barrier);

  std::map<uint64_t, MBarrier> barriers; // by their offset
  size_t arrivalCount = 0;
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_MBARRIERS_H

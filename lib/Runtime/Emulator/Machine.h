//===- Machine.h - the emulated GPU ---------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Threads, warps and blocks of the launch that runs, and who runs next. All fibers run on one thread of the host, so
// nothing here is locked, and everything that happens depends on the seed alone.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_MACHINE_H
#define MOE_LIB_RUNTIME_EMULATOR_MACHINE_H

#include "AsyncCopy.h"
#include "Counters.h"
#include "DeviceMemory.h"
#include "Fiber.h"
#include "MBarriers.h"
#include "Shadow.h"
#include "Warpgroup.h"
#include "moe/Runtime/Gpu.h"
#include "moe/Runtime/Simt.h"

#include <array>
#include <memory>
#include <vector>

namespace moe::rt::simt {

constexpr uint32_t warpSize = 32;
constexpr uint32_t noSite = ~0u;
/// Bytes that the addresses in matrix descriptors tell apart.
constexpr uint64_t descriptorWindow = 1 << 18;
/// barrier.arrive is done by whole warps, as an operation of our own.
constexpr uint32_t arriveOperation = 0xff;

struct Block;
struct Warp;

enum class State : uint8_t { Ready, AtCollective, AtBarrier, AtMBarrier, AtWarpgroup, Exited };

/// A thread of a block. The exchange words come first: generated code knows the address of the running thread by them.
struct Thread {
  uint32_t words[MoeSimtWords];
  void *stack; // where it stands, while others run
  Warp *warp;
  uint32_t index; // in the block, x fastest
  uint32_t lane;
  State state;
  // What it waits for:
  uint32_t operation; // or the barrier's number or address
  uint32_t mask;
  uint32_t site;
  uint32_t spins;
  AsyncCopies copies;
  bool hasArrivals; // copies of its may be the business of an mbarrier
};

/// Lanes that wait for each other at one operation.
struct Group {
  uint32_t operation, mask, site;
  uint32_t arrived;
};

struct Warp {
  Block *block;
  Thread *threads;  // of its lanes
  uint32_t index;   // in the block
  uint32_t present; // lanes that exist
  uint32_t exited;
  uint32_t ready;
  std::vector<Group> groups;
  Requests requests; // accesses not yet counted
};

struct Barrier {
  uint32_t expected; // threads, while some wait
  uint32_t arrived;
  uint32_t population, all, any;      // of predicates
  std::array<uint32_t, 32> waiting{}; // lanes by warp
  std::array<uint32_t, 32> sites{};   // of the first lane of each warp
  Shadow::Clocks clocks;              // of those that arrived
};

/// A block in flight. Kept for the blocks after it.
struct Block {
  uint32_t index[3];
  uint32_t number; // in the grid, x fastest
  uint32_t threadCount;
  uint32_t live; // threads that have not exited
  uint32_t readyWarps;
  bool running = false;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::array<Barrier, 16> barriers{};
  char *shared = nullptr;
  size_t sharedCapacity = 0;
  MBarriers mbarriers;
  std::vector<Warpgroup> warpgroups; // of four warps each
  Stacks stacks;
  Shadow shadow;

  ~Block();
};

/// A generator of schedules: small, and the same everywhere.
class Random {
public:
  void seed(uint64_t value) { state = value * 0x9e3779b97f4a7c15 + 0x1234567; }
  uint32_t next() {
    state = state * 6364136223846793005 + 1442695040888963407;
    return uint32_t(state >> 33);
  }
  /// Uniform enough in [0, bound).
  uint32_t below(uint32_t bound) { return uint32_t(uint64_t(next()) * bound >> 31); }

private:
  uint64_t state = 0;
};

/// What a launch asks for.
struct Launch {
  const MoeGpuKernel *kernel;
  const MoeSimtKernel *details;
  uint32_t grid[3], block[3];
  uint64_t sharedBytes; // dynamic
  void **params;
};

class Machine {
public:
  static Machine &get();

  /// Runs a kernel to its end.
  void run(const Launch &launch);

  /// The running thread.
  Thread &self() { return *current; }

  /// Lets others run until the running thread is made ready again.
  void block(State state);

  /// Lets others run; the running thread stays ready.
  void yield();

  /// Lets others run now and then, if the schedule is a seeded one.
  void preempt();

  /// Marks the lanes of `mask` ready.
  void wake(Warp &warp, uint32_t mask);

  /// Ends the process: `message` behind the names of the kernel, the block and the thread, and before the operation at
  /// `site`, if any.
  [[noreturn]] void trap(const Thread &thread, uint32_t site, const char *message, ...)
      __attribute__((format(printf, 4, 5)));

  /// What the code says of a site; null for `noSite`.
  const MoeSimtSite *site(uint32_t index) const;

  /// Bytes of shared memory of a block: static and dynamic.
  uint64_t sharedBytes() const { return launch.details->dynamicOffset + launch.sharedBytes; }

  // Set before a launch.
  uint64_t seed = 0;
  uint32_t multiprocessors = 4;
  uint32_t mostBlocks = 256; // in flight

  Launch launch{};
  Counters counters;
  DeviceMemory memory;
  BlockOrder order;
  bool checking = false; // the running kernel is instrumented
  uint64_t progress = 0; // grows with everything that is not waiting

private:
  static void threadMain();
  [[noreturn]] void leave();
  Thread *next();
  Thread *nextOf(Block &block, const Thread *after);
  Block &startBlock();
  void startThreads(Block &block);
  void switchTo(Thread *thread);
  [[noreturn]] void reportDeadlock(Block &block);

  Thread *current = nullptr;
  void *mainStack = nullptr;
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<Block *> candidates; // of `run`
  uint64_t nextBlock = 0, blockCount = 0;
  uint64_t turn = 0;
  uint32_t countdown = 1; // to the next preemption
  uint64_t yieldsWithoutProgress = 0, progressAtYield = 0;
  Random random;
};

/// Copies what the thread has to have copied when all but its last `pending` groups are done, or everything.
void finishCopies(Thread &thread, uint32_t pending, bool all);

/// Counts what the lanes of the warp have accessed since it last met.
void flushRequests(Warp &warp);

/// The warp reaches a barrier (words 0 and 1: which one, for how many threads) and does not wait for it.
void arriveAtBarrier(Warp &warp, uint32_t site);

/// Ends the process if `bytes` bytes at `address` are no shared memory of the thread's block, or if an access by
/// `thread` (MoeSimtAccess) is not ordered with others.
void checkShared(const Thread &thread, const void *address, uint64_t bytes, uint32_t access, uint32_t site);

/// Ends the process if an access to global memory is out of bounds, or races with another block; notes it otherwise.
void checkGlobal(const Thread &thread, const void *address, uint64_t bytes, uint32_t access, uint32_t site);

/// Ends the process because of what the shadow of shared memory has found.
[[noreturn]] void report(const Thread &thread, const Finding &found, uint32_t access, uint32_t site);

/// Whether the bytes at an offset of shared memory lie in one of the kernel's variables.
bool isInShared(const Machine &machine, uint64_t offset, uint64_t bytes);

/// Names of an operation, for messages.
const char *operationName(uint32_t operation);

/// Does `operation` for the lanes of `mask`, which all stand at it.
void execute(Warp &warp, uint32_t operation, uint32_t mask, uint32_t site);

/// The matrix products among them.
void multiplyMatrices(Warp &warp, uint32_t operation);
/// What warps of a warpgroup do with their products (Warpgroup.h).
void controlProducts(Warp &warp, uint32_t operation, uint32_t site);

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_MACHINE_H

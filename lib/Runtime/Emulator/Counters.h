//===- Counters.h - what a profiler of the GPU would count ----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The unit is the request: one memory instruction executed by lanes of one warp. Lanes run one after the other here, so
// their accesses are brought together: the n-th execution of a site by each lane, since the warp last met, is one
// request.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_EMULATOR_COUNTERS_H
#define MOE_LIB_RUNTIME_EMULATOR_COUNTERS_H

#include "moe/Runtime/Simt.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace moe::rt::simt {

/// Sums over requests; those to shared memory have wavefronts, those to global memory sectors.
struct AccessCounts {
  uint64_t requests = 0;
  uint64_t bytes = 0; // asked for by lanes
  uint64_t wavefronts = 0;
  uint64_t idealWavefronts = 0;
  uint64_t sectors = 0;      // of 32 bytes
  uint64_t sectorBytes = 0;  // different bytes asked for
  uint64_t partialLanes = 0; // requests that lanes of the warp took no part in

  AccessCounts &operator+=(const AccessCounts &other);
};

/// Addresses of one request.
struct Request {
  uint32_t mask = 0;
  uint32_t bytes = 0; // at each address
  std::array<uint64_t, 32> addresses;
};

/// Wavefronts of one access to shared memory: `bytes` bytes at each address of `mask`. Every 128 bytes of the lanes in
/// their order are a phase; in each, different words of one bank take turns, or all lanes of a bank for an atomic.
AccessCounts countShared(const Request &request, uint32_t bytes, bool atomic = false);

/// Sectors of one access to global memory.
AccessCounts countGlobal(const Request &request, uint32_t bytes);

/// Counts of one launch.
class Counters {
public:
  uint64_t products = 0; // matrix instructions
  uint64_t productOperations = 0;
  uint64_t collectives = 0;                     // warp operations other than products
  uint64_t barriers = 0;                        // phases
  uint64_t instructions = 0;                    // LLVM's, by all threads; 0 if the kernel is not instrumented
  uint64_t sectorsRead = 0, sectorsWritten = 0; // different ones
  uint64_t warpgroupProducts = 0;               // products of warpgroups; their operations are with the others
  uint64_t bulkCopies = 0, bulkBytes = 0;       // of tensors, to shared memory
  uint64_t leastPendingGroups = ~uint64_t(0);   // of asynchronous copies, after a wait

  /// Starts a launch with so many sites.
  void begin(size_t siteCount);

  /// Adds another launch of the same kernel.
  Counters &operator+=(const Counters &other);

  /// Counts a request of `site` to memory of `space`.
  void add(uint32_t site, uint32_t space, const Request &request, uint32_t bytes, bool atomic);

  /// Counts what is no request of a warp.
  void add(uint32_t site, uint32_t space, const AccessCounts &counts);

  AccessCounts sum(uint32_t space) const;
  /// Of one site; empty if it is unknown.
  AccessCounts at(uint32_t site, uint32_t space) const;

  /// As JSON; `sites` describe the operations.
  std::string report(const MoeSimtSite *sites, size_t siteCount) const;

private:
  std::vector<std::array<AccessCounts, 2>> bySite; // global, shared
};

/// Accesses of one warp that are not yet complete requests.
class Requests {
public:
  /// The access of `lane` at `site` (any index the owner likes) to `bytes` bytes, for all lanes the same. Calls
  /// `done(site, request)` if all lanes of `expected` have now made it.
  template <typename Done>
  void add(uint32_t site, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t expected, Done &&done) {
    if (site >= slots.size())
      slots.resize(site + 1);
    Slot &slot = slots[site];
    if (!slot.isTouched) {
      slot.isTouched = true;
      touched.push_back(site);
    }
    if (slot.executions[lane] == mostPending)
      finish(slot, site, done);
    uint32_t execution = slot.executions[lane]++;
    if (execution >= slot.lanes.size()) {
      slot.lanes.push_back(0);
      size_t needed = placeOf(execution, 31) + 1;
      if (slot.addresses.size() < needed)
        slot.addresses.resize(needed);
    }
    slot.addresses[placeOf(execution, lane)] = address;
    slot.bytes = bytes;
    if ((slot.lanes[execution] |= 1u << lane) == expected) {
      done(site, slot.take(execution));
      slot.lanes[execution] = 0;
    }
  }

  /// Calls `done` for requests that some lanes have not made: the warp meets, so they will not.
  template <typename Done> void flush(Done &&done) {
    for (uint32_t site : touched) {
      finish(slots[site], site, done);
      slots[site].isTouched = false;
    }
    touched.clear();
  }

private:
  /// Where the address of a lane's execution is kept. Lanes run one after the other, often through a loop, so later
  /// executions of a lane lie side by side, a cache line of them.
  static size_t placeOf(uint32_t execution, uint32_t lane) {
    return execution == 0 ? lane : 32 + (execution - 1) / 8 * 256 + lane * 8 + (execution - 1) % 8;
  }

  struct Slot {
    std::array<uint32_t, 32> executions{}; // by lane
    std::vector<uint32_t> lanes;           // by execution: who made it; 0 if it is done
    std::vector<uint64_t> addresses;
    uint32_t bytes = 0;
    bool isTouched = false;

    Request take(uint32_t execution) const {
      Request request;
      request.mask = lanes[execution];
      request.bytes = bytes;
      for (uint32_t lane = 0; lane < 32; ++lane)
        request.addresses[lane] = addresses[placeOf(execution, lane)];
      return request;
    }
  };

  template <typename Done> static void finish(Slot &slot, uint32_t site, Done &&done) {
    for (uint32_t i = 0; i < slot.lanes.size(); ++i)
      if (slot.lanes[i])
        done(site, slot.take(i));
    slot.lanes.clear();
    slot.executions.fill(0);
  }

  // A lane that is further ahead of the others than this spins.
  static constexpr uint32_t mostPending = 1 << 16;

  std::vector<Slot> slots;
  std::vector<uint32_t> touched;
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_COUNTERS_H

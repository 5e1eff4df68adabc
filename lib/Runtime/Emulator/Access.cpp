//===- Access.cpp - checks of accesses to memory --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DeviceMemory.h"
#include "Machine.h"

#include <algorithm>

using namespace moe::rt::simt;

using ull = unsigned long long;

static const char *nameOf(uint32_t access) {
  return access & MoeSimtAtomic ? "atomic" : access & MoeSimtStore ? "write" : "read";
}

/// "thread (1, 0, 0)" of the thread with this index in its block, or what else has a clock of its own.
static std::string nameOf(const Thread &thread, uint32_t index) {
  if (index >= thread.warp->block->shadow.firstAgentThread())
    return "a copy or product that goes on by itself";
  const uint32_t *size = Machine::get().launch.block;
  return "thread (" + std::to_string(index % size[0]) + ", " + std::to_string(index / size[0] % size[1]) + ", " +
         std::to_string(index / size[0] / size[1]) + ")";
}

void moe::rt::simt::report(const Thread &thread, const Finding &found, uint32_t access, uint32_t site) {
  Machine &machine = Machine::get();
  std::string other = nameOf(thread, found.thread);
  switch (found.conflict) {
  case Conflict::NeverWritten:
    machine.trap(thread, site, "%s of shared memory that nobody has written: address 0x%x", nameOf(access),
                 found.offset);
  case Conflict::InFlight:
    machine.trap(thread, site, "%s of shared memory that an asynchronous copy of %s may still be writing: address 0x%x",
                 nameOf(access), other.c_str(), found.offset);
  case Conflict::NoProxyFence:
    machine.trap(thread, site,
                 "%s of shared memory by the async proxy that %s has written by the generic proxy, without a "
                 "fence.proxy.async between: address 0x%x",
                 nameOf(access), other.c_str(), found.offset);
  case Conflict::AfterWrite:
    machine.trap(thread, site,
                 "race: %s of shared memory that %s has written, without a barrier between: "
                 "address 0x%x",
                 nameOf(access), other.c_str(), found.offset);
  default:
    machine.trap(thread, site,
                 "race: %s of shared memory that %s has read, without a barrier between: "
                 "address 0x%x",
                 nameOf(access), other.c_str(), found.offset);
  }
}

/// Whether the bytes lie in one variable of the block's shared memory.
bool moe::rt::simt::isInShared(const Machine &machine, uint64_t offset, uint64_t bytes) {
  const MoeSimtKernel &kernel = *machine.launch.details;
  if (offset > machine.sharedBytes() || bytes > machine.sharedBytes() - offset)
    return false;
  if (offset >= uint64_t(kernel.dynamicOffset))
    return true;
  for (int64_t i = 0; i < kernel.sharedVariableCount; ++i) {
    const MoeSimtRange &variable = kernel.sharedVariables[i];
    uint64_t begin = reinterpret_cast<uintptr_t>(variable.base);
    if (offset >= begin && offset + bytes <= begin + uint64_t(variable.bytes))
      return true;
  }
  return false;
}

void moe::rt::simt::checkShared(const Thread &thread, const void *address, uint64_t bytes, uint32_t access,
                                uint32_t site) {
  Machine &machine = Machine::get();
  Block &block = *thread.warp->block;
  uint64_t offset = uint64_t(static_cast<const char *>(address) - block.shared);
  if (!isInShared(machine, offset, bytes))
    machine.trap(thread, site, "%s out of bounds: %llu bytes at shared address 0x%llx, the block has %llu bytes%s",
                 nameOf(access), ull(bytes), ull(offset), ull(machine.sharedBytes()),
                 offset < machine.sharedBytes() ? " (across the end of a variable)" : "");
  if (!machine.checking)
    return;
  Finding found = access & MoeSimtAtomic  ? block.shadow.update(offset, bytes, thread.index)
                  : access & MoeSimtStore ? block.shadow.write(offset, bytes, thread.index)
                                          : block.shadow.read(offset, bytes, thread.index);
  if (found.conflict != Conflict::None)
    report(thread, found, access, site);
}

void moe::rt::simt::checkGlobal(const Thread &thread, const void *address, uint64_t bytes, uint32_t access,
                                uint32_t site) {
  Machine &machine = Machine::get();
  DeviceMemory &memory = machine.memory;
  Allocation *allocation = memory.find(address, site);
  uintptr_t at = reinterpret_cast<uintptr_t>(address);
  if (!allocation || bytes > allocation->begin + allocation->size - at) {
    const Allocation *before = memory.before(address);
    if (!before)
      machine.trap(thread, site, "%s out of bounds: %llu bytes at address 0x%llx, in no allocation", nameOf(access),
                   ull(bytes), ull(at));
    machine.trap(thread, site, "%s out of bounds: %llu bytes at byte %llu of an allocation of %llu bytes",
                 nameOf(access), ull(bytes), ull(at - before->begin), ull(before->size));
  }
  if (access != MoeSimtLoad && !allocation->isWritable)
    machine.trap(thread, site, "%s of constant memory", nameOf(access));
  if (machine.checking) {
    uint32_t block = thread.warp->block->number;
    if (access == MoeSimtAtomic)
      machine.order.meet(block);
    uint32_t writer = DeviceMemory::findRace(*allocation, address, bytes, access == MoeSimtStore, block, machine.order);
    if (writer != ~0u) {
      const uint32_t *grid = machine.launch.grid;
      machine.trap(thread, site, "race: %s of global memory that block (%u, %u, %u) has written in the same launch",
                   nameOf(access), writer % grid[0], writer / grid[0] % grid[1], writer / grid[0] / grid[1]);
    }
  }
  if (access != MoeSimtStore)
    DeviceMemory::note(*allocation, address, bytes, false);
  if (access != MoeSimtLoad)
    DeviceMemory::note(*allocation, address, bytes, true);
}

/// Global or shared, of an address that may be either; generic: memory of the thread itself.
static uint32_t spaceOf(const Thread &thread, const void *address, uint32_t space) {
  if (space != MoeSimtGeneric)
    return space;
  const Block &block = *thread.warp->block;
  if (uint64_t(static_cast<const char *>(address) - block.shared) < block.sharedCapacity)
    return MoeSimtShared;
  return block.stacks.contains(thread.index, address) ? MoeSimtGeneric : MoeSimtGlobal;
}

static void access(const void *address, uint64_t bytes, uint32_t siteIndex) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  const MoeSimtSite &site = *machine.site(siteIndex);
  uint32_t space = spaceOf(thread, address, site.space);
  if (reinterpret_cast<uintptr_t>(address) & (site.alignment - 1)) // a power of two
    machine.trap(thread, siteIndex, "misaligned %s: expected a multiple of %u but got address 0x%llx",
                 nameOf(site.access), site.alignment, ull(reinterpret_cast<uintptr_t>(address)));
  if (space == MoeSimtGeneric || bytes == 0)
    return;
  if (space == MoeSimtShared)
    checkShared(thread, address, bytes, site.access, siteIndex);
  else
    checkGlobal(thread, address, bytes, site.access, siteIndex);
  Warp &warp = *thread.warp;
  uint64_t key = space == MoeSimtShared
                     ? reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(warp.block->shared)
                     : reinterpret_cast<uintptr_t>(address);
  warp.requests.add(2 * siteIndex + (space == MoeSimtShared), thread.lane, key, uint32_t(bytes),
                    warp.present & ~warp.exited, [&](uint32_t index, const Request &request) {
                      machine.counters.add(index / 2, space, request, request.bytes, site.access & MoeSimtAtomic);
                    });
  machine.preempt();
}

void moe_simt_access(const void *address, uint32_t site) { access(address, Machine::get().site(site)->bytes, site); }

void moe_simt_access_range(const void *address, uint64_t bytes, uint32_t site) { access(address, bytes, site); }

void moe::rt::simt::flushRequests(Warp &warp) {
  Machine &machine = Machine::get();
  warp.requests.flush([&](uint32_t index, const Request &request) {
    const MoeSimtSite &site = *machine.site(index / 2);
    machine.counters.add(index / 2, index % 2 ? MoeSimtShared : MoeSimtGlobal, request, request.bytes,
                         site.access & MoeSimtAtomic);
  });
}

void moe_simt_copy_async(void *shared, const void *global, uint32_t bytes, uint32_t sourceBytes, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Warp &warp = *thread.warp;
  Block &block = *warp.block;
  char *to = static_cast<char *>(shared);
  uint64_t offset = uint64_t(to - block.shared);
  sourceBytes = std::min(sourceBytes, bytes);
  if (offset % bytes)
    machine.trap(thread, site, "misaligned asynchronous copy: expected a multiple of %u but got shared address 0x%llx",
                 bytes, ull(offset));
  if (reinterpret_cast<uintptr_t>(global) % bytes)
    machine.trap(thread, site, "misaligned asynchronous copy: expected a multiple of %u but got global address 0x%llx",
                 bytes, ull(reinterpret_cast<uintptr_t>(global)));
  if (!isInShared(machine, offset, bytes))
    machine.trap(thread, site, "write out of bounds: %u bytes at shared address 0x%llx, the block has %llu bytes",
                 bytes, ull(offset), ull(machine.sharedBytes()));
  if (sourceBytes)
    checkGlobal(thread, global, sourceBytes, MoeSimtLoad, site);
  if (machine.checking)
    if (Finding found = block.shadow.startCopy(offset, bytes, thread.index); found.conflict != Conflict::None)
      report(thread, found, MoeSimtStore, site);
  thread.copies.add({to, static_cast<const char *>(global), bytes, sourceBytes});
  uint32_t lanes = warp.present & ~warp.exited;
  auto count = [&](uint32_t index, const Request &request) {
    machine.counters.add(index / 2, index % 2 ? MoeSimtShared : MoeSimtGlobal, request, request.bytes,
                         /*atomic=*/false);
  };
  warp.requests.add(2 * site + 1, thread.lane, offset, bytes, lanes, count);
  if (sourceBytes)
    warp.requests.add(2 * site, thread.lane, reinterpret_cast<uintptr_t>(global), sourceBytes, lanes, count);
}

void moe::rt::simt::finishCopies(Thread &thread, uint32_t pending, bool all) {
  if (all)
    thread.copies.commit();
  Block &block = *thread.warp->block;
  bool checking = Machine::get().checking;
  thread.copies.wait(pending, [&](const AsyncCopy &copy) {
    copy.perform();
    if (checking)
      block.shadow.finishCopy(uint64_t(copy.to - block.shared), copy.bytes, thread.index);
  });
}

void moe_simt_copy_commit() { Machine::get().self().copies.commit(); }

/// Copies of which an mbarrier was told are done, too: nobody knows which groups they were in.
static void finishArrivals(Thread &thread) {
  if (!thread.hasArrivals)
    return;
  thread.hasArrivals = false;
  Block &block = *thread.warp->block;
  block.mbarriers.deliverOf(block, thread.index);
}

void moe_simt_copy_wait(uint32_t pending) {
  Machine &machine = Machine::get();
  finishArrivals(machine.self());
  finishCopies(machine.self(), pending, /*all=*/false);
  machine.counters.leastPendingGroups =
      std::min<uint64_t>(machine.counters.leastPendingGroups, machine.self().copies.pendingGroups());
}

void moe_simt_copy_wait_all() {
  Thread &thread = Machine::get().self();
  finishArrivals(thread);
  finishCopies(thread, 0, /*all=*/true);
}

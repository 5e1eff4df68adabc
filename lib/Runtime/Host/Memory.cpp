//===- Memory.cpp - buffers of generated code, and its way to fail --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Generated code allocates the same few large temporaries in every layer of every call. malloc would map and unmap each
// of them, and the page faults cost more than the work on a small batch. So large blocks are kept by size class when
// they are freed, as long as all memory is at most twice what was ever in use at once (the results of a call, which may
// be most of it, should outlive the temporaries of the next one); small ones are malloc's business.
//
//===----------------------------------------------------------------------===//

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MOE_PLAIN_MALLOC 1 // a kept block would hide a use after free
#endif
#endif
#ifndef MOE_PLAIN_MALLOC
#define MOE_PLAIN_MALLOC 0
#endif

namespace {

constexpr size_t alignmentOfBuffers = 64;
constexpr int smallestBits = 16; // blocks from 64 KiB are kept
constexpr int largestBits = 46;
constexpr int stepsPerDouble = 8; // a block is at most 1/8 larger than asked for
constexpr size_t hugePage = size_t(2) << 20, leastForHugePages = 2 * hugePage;
constexpr int classCount = (largestBits - smallestBits) * stepsPerDouble;

/// Lies in the 64 bytes before every buffer.
struct Header {
  void *base;    // what malloc returned
  size_t size;   // of the buffer, rounded up to its class
  int sizeClass; // -1: not kept
  // While free:
  Header *next;          // in the list of its class, freed before this one
  Header *older, *newer; // among all kept blocks
};
static_assert(sizeof(Header) <= alignmentOfBuffers);

[[noreturn]] void outOfMemory(size_t size) {
  char message[96];
  snprintf(message, sizeof message, "out of memory: a buffer of %zu bytes was asked for", size);
  moe_rt_fail(message);
}

/// The class of `size` bytes, with `size` rounded up to what blocks of that class hold; -1 if such blocks are not kept.
int classOf(size_t &size) {
  if (MOE_PLAIN_MALLOC || size < size_t(1) << smallestBits)
    return -1;
  int bits = std::bit_width(size) - 1;
  if (bits >= largestBits)
    return -1;
  size_t step = (size_t(1) << bits) / stepsPerDouble;
  size_t steps = (size - (size_t(1) << bits) + step - 1) / step;
  size = (size_t(1) << bits) + steps * step;
  if (steps == stepsPerDouble) {
    ++bits;
    steps = 0;
    if (bits >= largestBits)
      return -1;
  }
  return (bits - smallestBits) * stepsPerDouble + int(steps);
}

class Keeper {
public:
  /// A kept block of the class, or null. Counts it as used either way.
  Header *take(int sizeClass, size_t size) {
    std::lock_guard lock(mutex);
    used += size;
    mostUsed = std::max(mostUsed, used);
    Header *block = free[sizeClass];
    if (block)
      remove(block);
    return block;
  }

  /// Keeps the block. Returns blocks that lay unused longer and have no room beside it, linked by `next`: the caller
  /// gives them back to malloc.
  Header *put(Header *block) {
    std::lock_guard lock(mutex);
    used -= block->size;
    Header *evicted = nullptr;
    while (used + kept + block->size > 2 * mostUsed) { // the block was in use with what is, so it has room alone
      Header *victim = oldest;
      remove(victim);
      victim->next = evicted;
      evicted = victim;
    }
    kept += block->size;
    block->next = std::exchange(free[block->sizeClass], block);
    block->newer = nullptr;
    block->older = std::exchange(newest, block);
    (block->older ? block->older->newer : oldest) = block;
    return evicted;
  }

private:
  void remove(Header *block) {
    Header **link = &free[block->sizeClass];
    while (*link != block)
      link = &(*link)->next;
    *link = block->next;
    (block->older ? block->older->newer : oldest) = block->newer;
    (block->newer ? block->newer->older : newest) = block->older;
    kept -= block->size;
  }

  std::mutex mutex;
  Header *free[classCount] = {};
  Header *oldest = nullptr, *newest = nullptr;
  size_t used = 0, mostUsed = 0, kept = 0;
};

constinit Keeper keeper;

/// Asks for large pages, of which the first touch takes a fraction of the faults; only whole ones of the block's own.
void adviseHugePages(void *base, size_t size) {
  uintptr_t begin = (reinterpret_cast<uintptr_t>(base) + hugePage - 1) / hugePage * hugePage;
  uintptr_t end = (reinterpret_cast<uintptr_t>(base) + size) / hugePage * hugePage;
  if (begin < end)
    madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE); // a system without them says no
}

void *allocate(size_t alignment, size_t size) {
  size_t wanted = size;
  if (size > SIZE_MAX / 4)
    outOfMemory(wanted);
  int sizeClass = alignment == alignmentOfBuffers ? classOf(size) : -1;
  if (sizeClass >= 0)
    if (Header *block = keeper.take(sizeClass, size))
      return reinterpret_cast<char *>(block) + alignmentOfBuffers;
  // The header takes one whole step of the alignment, so what follows it is aligned too.
  size_t total = (alignment + size + alignment - 1) / alignment * alignment;
  void *base = aligned_alloc(alignment, total);
  if (!base)
    outOfMemory(wanted);
  if (total >= leastForHugePages)
    adviseHugePages(base, total);
  char *buffer = static_cast<char *>(base) + alignment;
  *reinterpret_cast<Header *>(buffer - alignmentOfBuffers) = {base, size, sizeClass, nullptr, nullptr, nullptr};
  return buffer;
}

} // namespace

void *_mlir_memref_to_llvm_alloc(size_t size) { return allocate(alignmentOfBuffers, size); }

void *_mlir_memref_to_llvm_aligned_alloc(size_t alignment, size_t size) {
  return allocate(std::bit_ceil(std::max(alignment, alignmentOfBuffers)), size);
}

void _mlir_memref_to_llvm_free(void *pointer) {
  if (!pointer)
    return;
  Header *block = reinterpret_cast<Header *>(static_cast<char *>(pointer) - alignmentOfBuffers);
  Header *unwanted = block;
  if (block->sizeClass >= 0)
    unwanted = keeper.put(block);
  else
    block->next = nullptr;
  while (unwanted)
    free(std::exchange(unwanted, unwanted->next)->base);
}

void moe_rt_fail(const char *message) {
  // Straight to the descriptor and out: other threads may be anywhere, so no locks and no destructors.
  char line[512];
  int length = snprintf(line, sizeof line, "error: %s\n", message);
  length = std::min<int>(length, sizeof line - 1);
  for (int done = 0; done < length;) {
    ssize_t wrote = write(STDERR_FILENO, line + done, length - done);
    if (wrote <= 0)
      break;
    done += int(wrote);
  }
  _exit(3);
}

//===- MemoryTest.cpp - buffers of generated code ------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Abi.h"

#include <cstring>
#include <gtest/gtest.h>
#include <set>
#include <thread>
#include <vector>

namespace {

bool aligned(void *pointer, size_t alignment) { return reinterpret_cast<uintptr_t>(pointer) % alignment == 0; }

TEST(Memory, BuffersAreAlignedDistinctAndWritable) {
  std::vector<char *> buffers;
  std::vector<size_t> sizes;
  for (size_t size : {0, 1, 63, 64, 65, 4096, 65535, 65536, 65537, 73728, 73729, 131071, 131072, 1 << 20, 3000000}) {
    auto *buffer = static_cast<char *>(_mlir_memref_to_llvm_alloc(size));
    ASSERT_NE(buffer, nullptr);
    EXPECT_TRUE(aligned(buffer, 64)) << size;
    std::memset(buffer, int(buffers.size()), size);
    buffers.push_back(buffer);
    sizes.push_back(size);
  }
  for (size_t i = 0; i < buffers.size(); ++i) {
    for (size_t at = 0; at < sizes[i]; ++at)
      ASSERT_EQ(buffers[i][at], char(i)) << sizes[i];
    _mlir_memref_to_llvm_free(buffers[i]);
  }
}

TEST(Memory, LargerAlignmentsAreKept) {
  for (size_t alignment : {1, 16, 64, 128, 4096, 1 << 16})
    for (size_t size : {0, 100, 100000}) {
      auto *buffer = static_cast<char *>(_mlir_memref_to_llvm_aligned_alloc(alignment, size));
      EXPECT_TRUE(aligned(buffer, std::max<size_t>(alignment, 64)));
      std::memset(buffer, 1, size);
      _mlir_memref_to_llvm_free(buffer);
    }
}

TEST(Memory, FreeingNothingIsAllowed) { _mlir_memref_to_llvm_free(nullptr); }

#if !defined(__SANITIZE_ADDRESS__) && !(defined(__has_feature) && __has_feature(address_sanitizer))
TEST(Memory, LargeBlocksAreUsedAgain) {
  // Whatever other tests left behind makes room for the block that was freed last.
  for (size_t size : {100'000, 1'000'000, 3'000'000})
    _mlir_memref_to_llvm_free(_mlir_memref_to_llvm_alloc(size));
  void *first = _mlir_memref_to_llvm_alloc(5'000'000);
  _mlir_memref_to_llvm_free(first);
  void *second = _mlir_memref_to_llvm_alloc(4'990'000); // the same class
  EXPECT_EQ(first, second);
  void *third = _mlir_memref_to_llvm_alloc(5'000'000);
  EXPECT_NE(second, third);
  _mlir_memref_to_llvm_free(second);
  _mlir_memref_to_llvm_free(third);
}
#endif

TEST(Memory, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([thread] {
      for (int round = 0; round < 300; ++round) {
        size_t size = size_t(1) << (14 + (round + thread) % 5);
        auto *buffer = static_cast<char *>(_mlir_memref_to_llvm_alloc(size));
        buffer[0] = buffer[size - 1] = char(thread);
        ASSERT_EQ(buffer[0], char(thread));
        ASSERT_EQ(buffer[size - 1], char(thread));
        _mlir_memref_to_llvm_free(buffer);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(MemoryDeathTest, OutOfMemorySaysHowMuch) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(_mlir_memref_to_llvm_alloc(SIZE_MAX - 100), testing::ExitedWithCode(3),
              "out of memory: a buffer of 18446744073709551515 bytes was asked for");
}

TEST(MemoryDeathTest, FailureEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(moe_rt_fail("expert index 9 out of range"), testing::ExitedWithCode(3),
              "^error: expert index 9 out of range\n$");
}

} // namespace

//===- ThreadPoolTest.cpp - worker threads of the runtime ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/ThreadPool.h"

#include <atomic>
#include <gtest/gtest.h>
#include <numeric>
#include <set>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace moe::rt;

namespace {

struct RestoreThreads : testing::Test {
  int before = threadCount();
  void TearDown() override { setThreadCount(before); }
};
using ThreadPool = RestoreThreads;

TEST_F(ThreadPool, UsesAtLeastOneCoreAndNoMoreThanThereAre) {
  EXPECT_GE(usableCores(), 1);
  EXPECT_LE(usableCores(), int(std::thread::hardware_concurrency()));
}

TEST_F(ThreadPool, CoversEveryIndexOnce) {
  for (int threads : {1, 2, 3, 8}) {
    setThreadCount(threads);
    EXPECT_EQ(threadCount(), threads);
    for (int64_t count : {0, 1, 2, 3, 7, 8, 9, 1000}) {
      std::vector<int> seen(size_t(count), 0);
      parallelFor(count, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          ++seen[size_t(i)];
      });
      EXPECT_EQ(std::accumulate(seen.begin(), seen.end(), int64_t(0)), count);
      EXPECT_TRUE(count == 0 || *std::min_element(seen.begin(), seen.end()) == 1) << threads << " " << count;
    }
  }
}

TEST_F(ThreadPool, SplitsIntoEqualContiguousRanges) {
  setThreadCount(4);
  std::vector<int64_t> length(10);
  parallelFor(10, [&](int64_t begin, int64_t end) { length[size_t(begin)] = end - begin; });
  EXPECT_EQ(length, (std::vector<int64_t>{3, 0, 0, 3, 0, 0, 2, 0, 2, 0}));
}

TEST_F(ThreadPool, RunsOnSeveralThreads) {
  setThreadCount(3);
  // Nobody gets out before all three are in.
  std::atomic<int> inside{0};
  parallelFor(3, [&](int64_t begin, int64_t end) {
    EXPECT_EQ(end - begin, 1);
    ++inside;
    while (inside.load() < 3)
      std::this_thread::yield();
  });
  EXPECT_EQ(inside.load(), 3);
}

TEST_F(ThreadPool, SmallLoopsStayOnTheCaller) {
  setThreadCount(4);
  auto self = std::this_thread::get_id();
  int calls = 0;
  parallelFor(1, [&](int64_t begin, int64_t end) {
    EXPECT_EQ(std::this_thread::get_id(), self);
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 1);
    ++calls;
  });
  parallelFor(0, [&](int64_t, int64_t) { ++calls; });
  parallelFor(-5, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST_F(ThreadPool, NestedLoopsRunInline) {
  setThreadCount(4);
  std::atomic<int64_t> sum{0};
  parallelFor(8, [&](int64_t begin, int64_t end) {
    auto self = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i)
      parallelFor(100, [&](int64_t first, int64_t last) {
        EXPECT_EQ(std::this_thread::get_id(), self);
        EXPECT_EQ(last - first, 100);
        sum += last - first;
      });
  });
  EXPECT_EQ(sum.load(), 800);
}

TEST_F(ThreadPool, ALoopOfOneMayStillUseThreadsInside) {
  setThreadCount(2);
  std::atomic<int> ranges{0};
  parallelFor(1, [&](int64_t, int64_t) { parallelFor(2, [&](int64_t, int64_t) { ++ranges; }); });
  EXPECT_EQ(ranges.load(), 2);
}

TEST_F(ThreadPool, WritesAreSeenByTheCallerAndByTheNextLoop) {
  std::vector<int64_t> values(257);
  for (int round = 0; round < 2000; ++round) {
    setThreadCount(1 + round % 5);
    std::iota(values.begin(), values.end(), round);
    parallelFor(257, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        values[size_t(i)] *= 2;
    });
    // The other way round, so that threads read what others wrote.
    parallelFor(257, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        ASSERT_GE(values[size_t(256 - i)], 2 * round);
    });
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), int64_t(0)), 257 * 2 * round + 256 * 257);
  }
}

TEST_F(ThreadPool, WakesWorkersThatWentToSleep) {
  setThreadCount(4);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> ranges{0};
    parallelFor(4, [&](int64_t, int64_t) { ++ranges; });
    EXPECT_EQ(ranges.load(), 4);
    usleep(2000); // longer than workers spin
  }
}

TEST_F(ThreadPool, SeveralThreadsMayCallAtOnce) {
  setThreadCount(3);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round)
        parallelFor(10, [&](int64_t begin, int64_t end) { sum += end - begin; });
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(sum.load(), 4 * 500 * 10);
}

TEST_F(ThreadPool, CountsAreClamped) {
  setThreadCount(0);
  EXPECT_EQ(threadCount(), 1);
  setThreadCount(1 << 30);
  EXPECT_EQ(threadCount(), maxThreads);
}

} // namespace

//===- ThreadPoolTest.cpp - worker threads of the runtime ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <mutex>
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

TEST_F(ThreadPool, EachThreadBeginsWithItsOwnContiguousRange) {
  setThreadCount(4);
  // Nobody takes a second piece before all have their first.
  std::atomic<int> inside{0};
  std::vector<std::atomic<int>> first(40);
  parallelFor(40, [&](int64_t begin, int64_t) {
    first[size_t(begin)] = inside.fetch_add(1) < 4;
    while (inside.load() < 4)
      std::this_thread::yield();
  });
  for (int64_t i = 0; i < 40; ++i)
    EXPECT_EQ(first[size_t(i)].load(), i % 10 == 0) << i;
}

TEST_F(ThreadPool, WorkOfOthersIsTakenFromTheEnd) {
  setThreadCount(2);
  // The caller is stuck in its first piece until the worker has done everything else.
  std::vector<int64_t> order;
  std::atomic<int> done{0};
  auto self = std::this_thread::get_id();
  parallelFor(16, [&](int64_t begin, int64_t end) {
    if (std::this_thread::get_id() == self) {
      EXPECT_EQ(begin, 0);
      while (done.load() < 16 - int(end - begin))
        std::this_thread::yield();
    } else {
      order.push_back(begin);
    }
    done += int(end - begin);
  });
  // Its own half forwards, then the caller's backwards.
  auto turn = std::find_if(order.begin(), order.end(), [](int64_t begin) { return begin < 8; });
  ASSERT_NE(turn, order.end());
  EXPECT_TRUE(std::is_sorted(order.begin(), turn));
  EXPECT_TRUE(std::is_sorted(turn, order.end(), std::greater<int64_t>()));
}

TEST_F(ThreadPool, ALoopDoesNotWaitForAWorkerThatIsLate) {
  setThreadCount(2);
  parallelFor(2, [](int64_t, int64_t) {});
  // Whether the worker comes or not: all iterations are done when the loop returns.
  for (int round = 0; round < 200; ++round) {
    int64_t sum = 0;
    std::mutex mutex;
    parallelFor(
        100,
        [&](int64_t begin, int64_t end) {
          std::lock_guard lock(mutex);
          for (int64_t i = begin; i < end; ++i)
            sum += i;
        },
        /*work=*/100);
    ASSERT_EQ(sum, 99 * 100 / 2);
    if (round % 10 == 0)
      usleep(200); // asleep: not woken for so little
  }
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

TEST_F(ThreadPool, LoopsWithLittleWorkStayOnTheCaller) {
  setThreadCount(4);
  auto self = std::this_thread::get_id();
  int calls = 0;
  parallelFor(
      100,
      [&](int64_t begin, int64_t end) {
        EXPECT_EQ(std::this_thread::get_id(), self);
        EXPECT_EQ(end - begin, 100);
        ++calls;
      },
      /*work=*/2);
  EXPECT_EQ(calls, 1);
  // So much work that the sum does not fit a number.
  std::atomic<int64_t> covered{0};
  parallelFor(100, [&](int64_t begin, int64_t end) { covered += end - begin; }, /*work=*/INT64_MAX / 2);
  EXPECT_EQ(covered.load(), 100);
}

TEST_F(ThreadPool, MoreIterationsThanFitARange) {
  setThreadCount(3);
  std::atomic<int64_t> covered{0};
  int64_t count = (int64_t(5) << 30) + 7;
  parallelFor(count, [&](int64_t begin, int64_t end) {
    EXPECT_LT(begin, end);
    EXPECT_LE(end, count);
    covered += end - begin;
  });
  EXPECT_EQ(covered.load(), count);
}

TEST_F(ThreadPool, ScratchIsAlignedAndOfOneThreadAtATime) {
  for (int threads : {1, 2, 4}) {
    setThreadCount(threads);
    for (int64_t bytes : {1, 64, 1000, 100000, 3000}) {
      parallelForWithScratch(50, bytes, [&](int64_t begin, int64_t end, void *scratch) {
        auto *memory = static_cast<unsigned char *>(scratch);
        ASSERT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
        for (int64_t i = begin; i < end; ++i) {
          std::memset(memory, int(i), size_t(bytes));
          std::this_thread::yield();
          for (int64_t at = 0; at < bytes; ++at)
            ASSERT_EQ(memory[at], (unsigned char)i);
        }
      });
    }
  }
  parallelForWithScratch(4, 0, [](int64_t, int64_t, void *scratch) { EXPECT_EQ(scratch, nullptr); });
}

TEST_F(ThreadPool, ScratchIsKeptAndLoopsInsideHaveTheirOwn) {
  setThreadCount(1);
  void *first = nullptr;
  parallelForWithScratch(2, 5000, [&](int64_t, int64_t, void *scratch) { first = scratch; });
  // A loop of one may use the threads inside; the caller is one of them, and has its memory in use already.
  setThreadCount(2);
  parallelForWithScratch(1, 4000, [&](int64_t, int64_t, void *outer) {
    EXPECT_EQ(outer, first);
    std::memset(outer, 1, 4000);
    parallelForWithScratch(8, 6000, [&](int64_t, int64_t, void *inner) {
      std::memset(inner, 2, 6000);
      parallelForWithScratch(3, 7000, [&](int64_t, int64_t, void *innermost) { std::memset(innermost, 3, 7000); });
      for (int at = 0; at < 6000; ++at)
        ASSERT_EQ(static_cast<char *>(inner)[at], 2);
    });
    for (int at = 0; at < 4000; ++at)
      ASSERT_EQ(static_cast<char *>(outer)[at], 1);
  });
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

TEST_F(ThreadPool, SeveralCallersHaveScratchOfTheirOwn) {
  setThreadCount(3);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([caller] {
      for (int round = 0; round < 200; ++round)
        parallelForWithScratch(6, 512 << (round % 4), [&](int64_t begin, int64_t end, void *scratch) {
          for (int64_t i = begin; i < end; ++i) {
            *static_cast<int64_t *>(scratch) = caller * 100 + i;
            std::this_thread::yield();
            ASSERT_EQ(*static_cast<int64_t *>(scratch), caller * 100 + i);
          }
        });
    });
  for (std::thread &caller : callers)
    caller.join();
}

TEST_F(ThreadPool, CountsAreClamped) {
  setThreadCount(0);
  EXPECT_EQ(threadCount(), 1);
  setThreadCount(1 << 30);
  EXPECT_EQ(threadCount(), maxThreads);
}

} // namespace

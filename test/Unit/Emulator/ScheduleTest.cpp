//===- ScheduleTest.cpp - who runs when on the emulated GPU ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "HostKernel.h"
#include "moe/Runtime/Emulator.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <numeric>

using namespace moe::test;

#define EXPECT_FAILURE(statement, message) EXPECT_EXIT(statement, testing::ExitedWithCode(3), message)

/// The order in which the threads of four blocks reach a point, under a seed.
static std::vector<uint32_t> orderOf(uint64_t seed) {
  static std::vector<uint32_t> order;
  order.clear();
  moe::rt::setEmulatorSeed(seed);
  launch(
      [](void **) {
        barrier();
        order.push_back(blockIndex() * 96 + threadIndex());
      },
      4, 96);
  moe::rt::setEmulatorSeed(0);
  return order;
}

TEST(Schedule, SeedsChooseTheOrder) {
  std::vector<uint32_t> inOrder(4 * 96);
  std::iota(inOrder.begin(), inOrder.end(), 0);
  std::vector<uint32_t> zero = orderOf(0), one = orderOf(1), two = orderOf(2);
  std::vector<uint32_t> sorted = zero;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, inOrder);
  // Blocks one after the other.
  for (size_t i = 0; i < zero.size(); ++i)
    EXPECT_EQ(zero[i] / 96, i / 96);
  EXPECT_NE(zero, one);
  EXPECT_NE(one, two);
  EXPECT_EQ(one, orderOf(1));
  std::sort(one.begin(), one.end());
  EXPECT_EQ(one, inOrder);
}

TEST(Schedule, Registers) {
  static std::vector<std::array<uint32_t, 7>> seen;
  launch(
      [](void **) {
        std::array<uint32_t, 7> row;
        uint32_t i = 0;
        for (uint32_t which : {MoeSimtThreadIndex, MoeSimtBlockIndex, MoeSimtBlockSize, MoeSimtGridSize, MoeSimtLane,
                               MoeSimtWarp, MoeSimtLaneMaskLess})
          row[i++] = moe_simt_register(which);
        seen.push_back(row);
      },
      2, 40);
  ASSERT_EQ(seen.size(), 80u);
  EXPECT_EQ(seen[0], (std::array<uint32_t, 7>{0, 0, 40, 2, 0, 0, 0}));
  EXPECT_EQ(seen[79], (std::array<uint32_t, 7>{39, 1, 40, 2, 7, 1, 127}));
}

TEST(Schedule, ReductionsAtBarriers) {
  static std::vector<std::array<uint32_t, 3>> seen;
  launch(
      [](void **) {
        bool isOdd = threadIndex() % 2;
        std::array<uint32_t, 3> row = {
            moe_simt_barrier(0, 0, MoeSimtAligned | MoeSimtBarrierPopulation, isOdd, barrierA),
            moe_simt_barrier(0, 0, MoeSimtAligned | MoeSimtBarrierAnd, isOdd, barrierA),
            moe_simt_barrier(0, 0, MoeSimtAligned | MoeSimtBarrierOr, isOdd, barrierA)};
        seen.push_back(row);
      },
      1, 64);
  ASSERT_EQ(seen.size(), 64u);
  for (const auto &row : seen)
    EXPECT_EQ(row, (std::array<uint32_t, 3>{32, 0, 1}));
}

TEST(Schedule, BarriersOfPartsOfABlock) {
  // Two pairs of warps, each with a barrier of its own, many times.
  static int sums[2];
  sums[0] = sums[1] = 0;
  launch(
      [](void **) {
        uint32_t pair = threadIndex() / 64;
        for (int i = 0; i < 10; ++i) {
          barrier(1 + pair, 64);
          if (threadIndex() % 64 == uint32_t(i))
            ++sums[pair];
        }
      },
      1, 128);
  EXPECT_EQ(sums[0], 10);
  EXPECT_EQ(sums[1], 10);
}

TEST(Schedule, PartialWarps) {
  static uint32_t ballot;
  launch([](void **) { ballot = collective(MoeSimtBallot, ~0u, {1}); }, 1, 20);
  EXPECT_EQ(ballot, (1u << 20) - 1);
  // Two halves of a warp apart from each other.
  static uint32_t ballots[32];
  launch(
      [](void **) {
        uint32_t lane = laneIndex();
        ballots[lane] = lane % 2 ? collective(MoeSimtBallot, 0xaaaaaaaa, {lane > 15})
                                 : collective(MoeSimtBallot, 0x55555555, {lane < 8});
      },
      1, 32);
  EXPECT_EQ(ballots[0], 0x55u);
  EXPECT_EQ(ballots[1], 0xaaaa0000u);
}

TEST(Deadlock, OfBarriers) {
  EXPECT_FAILURE(launch([](void **) { barrier(threadIndex() < 32 ? 1 : 2, 64); }, 1, 64),
                 "deadlock: 32 of 64 threads have come to barrier 1, 32 of 64 threads have come to barrier 2");
  EXPECT_FAILURE(launch([](void **) { barrier(1, 96); }, 1, 64), "deadlock: barrier 1 for 96 threads, but the block");
  EXPECT_FAILURE(launch([](void **) { barrier(1, 40); }, 1, 64), "barrier 1 for 40 threads: expected a multiple of 32");
  EXPECT_FAILURE(launch([](void **) { barrier(16); }, 1, 64), "barrier 16: expected a number from 0 to 15");
  EXPECT_FAILURE(launch(
                     [](void **) {
                       if (threadIndex() < 32)
                         barrier(1, 64);
                       else
                         barrier(1, 96);
                     },
                     1, 96),
                 "barrier 1 is reached for 64 threads and for 96 at the same time");
}

TEST(Deadlock, OfDivergentWarps) {
  EXPECT_FAILURE(launch([](void **) { barrier(0, 0, laneIndex() < 16 ? barrierA : barrierB); }, 1, 32),
                 "divergent barrier: threads of warp 0 reach barrier 0 at different instructions, the other one is "
                 "'barrier a' at 'barrier b'");
  EXPECT_FAILURE(launch(
                     [](void **) {
                       if (laneIndex() < 16)
                         barrier();
                       else
                         collective(MoeSimtSyncWarp, 0xffff0000, {});
                     },
                     1, 32),
                 "divergent barrier: lanes 0-15 of warp 0 wait at barrier 0, but lane 16 has exited");
  EXPECT_FAILURE(launch(
                     [](void **) {
                       if (threadIndex() < 32)
                         barrier();
                     },
                     1, 64),
                 "divergent barrier: 32 of 64 threads have come to barrier 0; 32 have exited");
}

TEST(Deadlock, OfWarpOperations) {
  EXPECT_FAILURE(launch(
                     [](void **) {
                       if (laneIndex() < 16)
                         collective(MoeSimtMmaBf16K16, ~0u, std::vector<uint32_t>(10));
                     },
                     1, 32),
                 "part of a warp at an operation of the whole warp: lanes 0-15 of warp 0 wait at mma.sync for lanes "
                 "16-31 \\(lane 16 has exited\\)");
  EXPECT_FAILURE(launch([](void **) { collective(MoeSimtLoadMatrix, ~0u, {0, 0, 4, 0}); }, 1, 16),
                 "part of a warp at an operation of the whole warp: ldmatrix by a warp of 16 threads");
  EXPECT_FAILURE(launch(
                     [](void **) {
                       if (laneIndex() == 0)
                         collective(MoeSimtSyncWarp, ~0u, {});
                       else
                         barrier();
                     },
                     1, 32),
                 "deadlock: lane 0 of warp 0 waits at bar.warp.sync for lanes 1-31 \\(lane 1 waits at barrier 0\\)");
  EXPECT_FAILURE(launch([](void **) { collective(MoeSimtSyncWarp, 2, {}); }, 1, 1), "which lacks the lane itself");
}

TEST(Launch, RefusesWhatNoGpuCanDo) {
  auto nothing = [](void **) {};
  launch(nothing, 0, 32); // no blocks, no launch
  EXPECT_FAILURE(launch(nothing, 1, 1025), "a block of 1025 x 1 x 1 threads is not possible");
  EXPECT_FAILURE(launch(nothing, 1, 32, 300000), "300000 bytes of shared memory are not possible");
  EXPECT_FAILURE(launch(nothing, -1, 32), "a grid of -1 x 1 x 1 blocks is not possible");
}

TEST(Launch, DeepStacksAreFound) {
  EXPECT_FAILURE(launch(
                     [](void **) {
                       volatile char big[68 * 1024];
                       for (size_t i = 0; i < sizeof big; ++i)
                         big[i] = 0;
                     },
                     1, 2),
                 "stack overflow: more than 65536 bytes of local memory");
}

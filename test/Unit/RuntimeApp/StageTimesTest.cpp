//===- StageTimesTest.cpp - how long each stage of a call took ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/StageTimes.h"

#include "moe/Runtime/Abi.h"

#include <chrono>
#include <gtest/gtest.h>
#include <thread>

using namespace moe::rt;

namespace {

void wait(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(StageTimes, TimeIsTheStageThatBeganLast) {
  moe_rt_stage("nobody listens");
  listenToStages();
  wait(2);
  moe_rt_stage("gate");
  wait(8);
  moe_rt_stage("down");
  wait(4);
  std::string sameName = "gate"; // at another address
  moe_rt_stage(sameName.c_str());
  wait(8);
  std::vector<StageTime> times = takeStageTimes();
  moe_rt_stage("nobody listens");
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].name, "");
  EXPECT_EQ(times[1].name, "gate");
  EXPECT_EQ(times[2].name, "down");
  // A sleep takes its time or longer.
  EXPECT_GE(times[0].seconds, 2e-3);
  EXPECT_GE(times[1].seconds, 16e-3);
  EXPECT_GE(times[2].seconds, 4e-3);
}

TEST(StageTimes, EachListeningBeginsAtZero) {
  listenToStages();
  moe_rt_stage("a");
  wait(1);
  takeStageTimes();
  listenToStages();
  std::vector<StageTime> times = takeStageTimes();
  ASSERT_EQ(times.size(), 1u);
  EXPECT_LT(times[0].seconds, 1e-3);
}

} // namespace

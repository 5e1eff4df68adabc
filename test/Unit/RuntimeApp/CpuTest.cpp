//===- CpuTest.cpp - instruction-set levels ------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <thread>

using namespace moe::rt;

namespace {

#if defined(__x86_64__)
TEST(Cpu, LevelsAreKnownBestFirst) {
  EXPECT_EQ(knownIsaLevels(), (std::vector<std::string>{"amx", "avx512bf16", "avx512", "avx2", "x86-64"}));
}

TEST(Cpu, AgreesWithTheCompiler) {
  __builtin_cpu_init();
  EXPECT_TRUE(isaLevelAvailable("x86-64"));
  EXPECT_EQ(isaLevelAvailable("avx2"), bool(__builtin_cpu_supports("x86-64-v3")));
  EXPECT_EQ(isaLevelAvailable("avx512"), __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni"));
  EXPECT_EQ(isaLevelAvailable("avx512bf16"), isaLevelAvailable("avx512") && __builtin_cpu_supports("avx512bf16"));
}

TEST(Cpu, ChoosesTheFirstThatIsAvailable) {
  EXPECT_EQ(chooseIsaLevel({"mystery", "x86-64"}), "x86-64");
  EXPECT_EQ(chooseIsaLevel({"x86-64", "avx2"}), "x86-64");
  EXPECT_EQ(chooseIsaLevel({"mystery"}), "");
}
#endif

TEST(Cpu, EmulatedTilesAreAlwaysAvailableButNeverOnOffer) {
  std::vector<std::string> known = knownIsaLevels();
  EXPECT_EQ(std::count(known.begin(), known.end(), emulatedAmxLevel), 0);
  EXPECT_TRUE(isaLevelAvailable(emulatedAmxLevel));
}

#if defined(__x86_64__)
/// Uses a tile register; ends with a signal where the system has not permitted that.
void useTiles() {
  alignas(64) unsigned char shape[64] = {};
  shape[0] = 1;   // palette
  shape[16] = 64; // bytes of a row of tile 0
  shape[48] = 16; // rows of tile 0
  __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm0\n\ttilerelease" : : "m"(shape));
}

// A thread that ran before the question, and one that starts after it.
TEST(Cpu, PermissionForTilesHoldsForAllThreads) {
  std::promise<bool> answer;
  std::thread early([&] {
    if (answer.get_future().get())
      useTiles();
  });
  bool available = isaLevelAvailable("amx");
  answer.set_value(available);
  early.join();
  if (!available)
    GTEST_SKIP() << "no AMX on this machine";
  useTiles();
  std::thread(useTiles).join();
}
#endif

TEST(Cpu, UnknownLevelsAreNotAvailable) {
  EXPECT_FALSE(isaLevelAvailable("mystery"));
  EXPECT_FALSE(isaLevelAvailable(""));
}

} // namespace

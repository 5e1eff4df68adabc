//===- CpuTest.cpp - instruction-set levels ------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Cpu.h"

#include <gtest/gtest.h>

using namespace moe::rt;

namespace {

#if defined(__x86_64__)
TEST(Cpu, LevelsAreKnownBestFirst) {
  EXPECT_EQ(knownIsaLevels(), (std::vector<std::string>{"avx512", "avx2", "x86-64"}));
}

TEST(Cpu, AgreesWithTheCompiler) {
  __builtin_cpu_init();
  EXPECT_TRUE(isaLevelAvailable("x86-64"));
  EXPECT_EQ(isaLevelAvailable("avx2"), bool(__builtin_cpu_supports("x86-64-v3")));
  EXPECT_EQ(isaLevelAvailable("avx512"), bool(__builtin_cpu_supports("x86-64-v4")));
}

TEST(Cpu, ChoosesTheFirstThatIsAvailable) {
  EXPECT_EQ(chooseIsaLevel({"mystery", "x86-64"}), "x86-64");
  EXPECT_EQ(chooseIsaLevel({"x86-64", "avx2"}), "x86-64");
  EXPECT_EQ(chooseIsaLevel({"mystery"}), "");
}
#endif

TEST(Cpu, UnknownLevelsAreNotAvailable) {
  EXPECT_FALSE(isaLevelAvailable("mystery"));
  EXPECT_FALSE(isaLevelAvailable(""));
}

} // namespace

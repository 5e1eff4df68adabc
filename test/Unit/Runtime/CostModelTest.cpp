//===- CostModelTest.cpp - formulas of the cost model -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/CostModel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace moe::rt;

namespace {

/// Round numbers: 10 GB/s from memory with one thread and 16 with four, ten times that from a cache of 1 MB.
Machine roundMachine() {
  Machine machine;
  machine.cpu = "round";
  machine.threads = 4;
  machine.l2Bytes = 1 << 20;
  machine.l3Bytes = 16 << 20;
  machine.loopSeconds = 1e-6;
  machine.bandwidth = {{1e6, {100e9, 400e9}}, {1e8, {10e9, 16e9}}};
  machine.peaks = {{"avx2", Arithmetic::F32, {1e11, 4e11}}, {"amx", Arithmetic::BF16, {1e12, 2e12}}};
  return machine;
}

/// Two weights of [8, 32, 64] in bf16 for each of 8 experts, 2 per token.
Stage expertStage() {
  Stage stage;
  stage.name = "gate/up";
  stage.rows = RowsOf::Choices;
  stage.arithmetic = Arithmetic::BF16;
  stage.groups = 8;
  stage.choices = 2;
  stage.groupBytes = 2 * 32 * 64 * 2;
  stage.rowBytes = 64 * 2 + 32 * 2;
  stage.rowOperations = 2.0 * 2 * 32 * 64;
  return stage;
}

TEST(CostModel, BandwidthFollowsFootprintAndThreads) {
  Machine machine = roundMachine();
  EXPECT_DOUBLE_EQ(machine.readBandwidth(1e3, 1), 100e9); // outside: the nearest
  EXPECT_DOUBLE_EQ(machine.readBandwidth(1e12, 1), 10e9);
  EXPECT_DOUBLE_EQ(machine.readBandwidth(1e8, 4), 16e9); // four threads do not read four times as much
  EXPECT_DOUBLE_EQ(machine.readBandwidth(1e6, 2), 200e9);
  EXPECT_NEAR(machine.readBandwidth(1e7, 1), 55e9, 1e3); // half way in the logarithm
  EXPECT_DOUBLE_EQ(machine.readBandwidth(1e8, 100), 16e9);
  EXPECT_EQ(Machine().readBandwidth(1, 1), 0);
}

TEST(CostModel, PeakIsOfLevelAndArithmetic) {
  Machine machine = roundMachine();
  EXPECT_DOUBLE_EQ(machine.peak("avx2", Arithmetic::F32, 1), 1e11);
  EXPECT_DOUBLE_EQ(machine.peak("avx2", Arithmetic::F32, 2), 2e11);
  EXPECT_DOUBLE_EQ(machine.peak("amx", Arithmetic::BF16, 4), 2e12);
  EXPECT_DOUBLE_EQ(machine.peak("amx", Arithmetic::BF16, 64), 2e12);
  EXPECT_EQ(machine.peak("avx2", Arithmetic::BF16, 1), 0);
  EXPECT_EQ(machine.peak("mystery", Arithmetic::F32, 1), 0);
}

TEST(CostModel, DefaultsCoverEveryLevel) {
  for (const char *level : {"amx", "avx512bf16", "avx512", "avx2", "x86-64", "aarch64-bf16", "aarch64"})
    for (Arithmetic arithmetic : {Arithmetic::F32, Arithmetic::BF16, Arithmetic::Int8})
      EXPECT_GT(defaultMachine().peak(level, arithmetic, 1), 0) << level;
  EXPECT_GT(defaultMachine().readBandwidth(1e9, 1), 0);
}

TEST(CostModel, ExpectedGroups) {
  EXPECT_DOUBLE_EQ(expectedGroups(8, 2, 1), 2);
  EXPECT_DOUBLE_EQ(expectedGroups(8, 2, 2), 8 * (1 - 0.75 * 0.75));
  EXPECT_DOUBLE_EQ(expectedGroups(8, 8, 1), 8);
  EXPECT_DOUBLE_EQ(expectedGroups(8, 2, 0), 0);
  EXPECT_DOUBLE_EQ(expectedGroups(1, 1, 100), 1);
  EXPECT_NEAR(expectedGroups(64, 8, 1e6), 64, 1e-9);
}

TEST(CostModel, ExpectedPaddedRowsAgreeWithDrawing) {
  EXPECT_DOUBLE_EQ(expectedPaddedRows(8, 2, 5, 1), 10);
  EXPECT_NEAR(expectedPaddedRows(8, 2, 1, 16), 2 * 16, 1e-9); // two groups with one row each
  EXPECT_DOUBLE_EQ(expectedPaddedRows(4, 4, 17, 16), 4 * 32);
  // 64 experts, 8 per token, 100 tokens: 12.5 rows each, half of them need a second tile.
  std::mt19937_64 generator(7);
  double sum = 0;
  constexpr int draws = 2000;
  for (int draw = 0; draw < draws; ++draw) {
    int rows = 0;
    for (int token = 0; token < 100; ++token)
      rows += generator() % 64 < 8;
    sum += std::ceil(rows / 16.0) * 16;
  }
  EXPECT_NEAR(expectedPaddedRows(64, 8, 100, 16), 64 * sum / draws, 0.03 * 64 * 16);
  // Many rows: half a tile more than there are.
  EXPECT_NEAR(expectedPaddedRows(64, 8, 1e6, 16) / 64, 1e6 / 8 + 7.5, 0.1);
}

TEST(CostModel, ProductOfExperts) {
  Machine machine = roundMachine();
  Stage stage = expertStage();
  stage.repeats = 3;
  Call call;
  call.tokens = 2;
  StageCost cost = predict({stage}, call, machine, "amx", 1, 1e8).front();
  double groups = 8 * (1 - 0.75 * 0.75);
  EXPECT_DOUBLE_EQ(cost.groups, 3 * groups);
  EXPECT_DOUBLE_EQ(cost.rows, 3 * 4);
  EXPECT_DOUBLE_EQ(cost.weightBytes, 3 * groups * stage.groupBytes);
  EXPECT_DOUBLE_EQ(cost.operations, 12 * stage.rowOperations);
  // AMX multiplies 16 rows at a time. 2 tokens: 8 groups, each with a row or two at 1 - 0.75^2.
  EXPECT_NEAR(cost.computeSeconds, 3 * groups * 16 * stage.rowOperations / 1e12, 1e-12);
  EXPECT_DOUBLE_EQ(cost.memorySeconds, cost.weightBytes / 10e9 + cost.activationBytes / 100e9);
  EXPECT_EQ(cost.overheadSeconds, 0); // one thread
  EXPECT_DOUBLE_EQ(cost.seconds(), cost.memorySeconds);
  StageCost threaded = predict({stage}, call, machine, "amx", 4, 1e8).front();
  EXPECT_DOUBLE_EQ(threaded.overheadSeconds, 3e-6);
  EXPECT_DOUBLE_EQ(threaded.weightBytes, cost.weightBytes);
}

TEST(CostModel, KnownCountsReplaceExpectations) {
  Stage stage = expertStage();
  stage.repeats = 2;
  Call call;
  call.tokens = 20;
  call.counts = {{40, 0, 0, 0, 0, 0, 0, 0}, {17, 17, 6, 0, 0, 0, 0, 0}};
  StageCost cost = predict({stage}, call, roundMachine(), "amx", 1).front();
  EXPECT_DOUBLE_EQ(cost.groups, 4);
  EXPECT_DOUBLE_EQ(cost.weightBytes, 4 * stage.groupBytes);
  EXPECT_DOUBLE_EQ(cost.computeSeconds, (48 + 32 + 32 + 16) * stage.rowOperations / 1e12);
}

TEST(CostModel, WeightsThatFitAreReadFromTheCache) {
  Stage stage = expertStage();
  Call call;
  StageCost small = predict({stage}, call, roundMachine(), "amx", 1).front();
  EXPECT_DOUBLE_EQ(small.memorySeconds, small.bytes() / 100e9);
  // The footprint is that of the whole call.
  Stage head;
  head.name = "head";
  head.rows = RowsOf::Kept;
  head.groupBytes = 1e9;
  std::vector<StageCost> costs = predict({stage, head}, call, roundMachine(), "amx", 1);
  EXPECT_DOUBLE_EQ(costs[0].memorySeconds, costs[0].weightBytes / 10e9 + costs[0].activationBytes / 100e9);
  EXPECT_DOUBLE_EQ(totalSeconds(costs), costs[0].seconds() + costs[1].seconds());
}

TEST(CostModel, KeptRowsAreOnePerSequence) {
  Stage head;
  head.rows = RowsOf::Kept;
  head.rowOperations = 10;
  Call call;
  call.tokens = 64;
  call.sequences = 2;
  EXPECT_DOUBLE_EQ(predict({head}, call, roundMachine(), "avx2", 1).front().operations, 20);
}

TEST(CostModel, AttentionSeesWhatIsBefore) {
  Stage stage;
  stage.kind = StageKind::Attention;
  stage.positionBytes = 8;
  stage.pairOperations = 4;
  Call call;
  call.tokens = 3;
  call.past = 10;
  StageCost cost = predict({stage}, call, roundMachine(), "avx2", 1).front();
  EXPECT_DOUBLE_EQ(cost.operations, 4 * (11 + 12 + 13));
  EXPECT_DOUBLE_EQ(cost.weightBytes, 8 * 13);
  stage.window = 12; // the last token misses one
  cost = predict({stage}, call, roundMachine(), "avx2", 1).front();
  EXPECT_DOUBLE_EQ(cost.operations, 4 * (11 + 12 + 12));
  stage.window = 4;
  cost = predict({stage}, call, roundMachine(), "avx2", 1).front();
  EXPECT_DOUBLE_EQ(cost.operations, 4 * (4 + 4 + 4));
  EXPECT_DOUBLE_EQ(cost.weightBytes, 8 * 6);
}

TEST(CostModel, RowTilesFitHalfOfL2) {
  TileStage stage; // OLMoE's first product
  stage.columns = 1024;
  stage.depth = 2048;
  stage.weights = 2;
  EXPECT_EQ(chooseTileRows(stage), 256); // 1 MiB of 2 MiB
  Machine smaller = defaultMachine();
  smaller.l2Bytes = 1 << 20;
  EXPECT_EQ(chooseTileRows(stage, smaller), 128);
  stage.depth = 128;
  EXPECT_EQ(chooseTileRows(stage), 256);
  // 14336 deep: rows that fit would be so few that the weights were read all the time.
  stage = {4096, 14336, 1, 2, 2};
  EXPECT_EQ(chooseTileRows(stage), 256);
}

TEST(CostModel, ArithmeticsHaveNames) {
  for (Arithmetic arithmetic : {Arithmetic::F32, Arithmetic::BF16, Arithmetic::Int8})
    EXPECT_EQ(parseArithmetic(arithmeticName(arithmetic)), arithmetic);
  EXPECT_FALSE(parseArithmetic("f64"));
}

} // namespace

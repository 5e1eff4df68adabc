//===- GpuCostModelTest.cpp - the cost model of GPUs by hand --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/GpuCostModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

using namespace moe::rt;

namespace {

const BlockShape &shapeOf(int64_t rows) {
  return *std::find_if(blockShapes().begin(), blockShapes().end(), [&](auto &shape) { return shape.rows == rows; });
}

/// 128 experts of 3 x 2048 x 768: the first product.
GpuProduct manyExperts() { return {2 * 768, 2048, 128, 2.0 * 2 * 768 * 2048, 2.0 * (2048 + 768)}; }

TEST(GpuCostModel, TakesAMachineForEachArchitecture) {
  EXPECT_STREQ(gpuMachineFor("sm_80").name, "A100 SXM 80 GB");
  EXPECT_STREQ(gpuMachineFor("sm_86").name, "A40");
  EXPECT_STREQ(gpuMachineFor("sm_90a").name, "H100 SXM");
  EXPECT_STREQ(gpuMachineFor("sm_103a").name, "B200");
  EXPECT_STREQ(gpuMachineFor("sm_121a").name, "RTX 5090");
  EXPECT_STREQ(gpuMachineFor("").name, "A100 SXM 80 GB");
  // The rates are those of the data sheets, in TFLOP/s; of wgmma's and tcgen05's machines mma.sync reaches a part.
  for (auto [architecture, peak] : {std::pair("sm_80", 312.0), std::pair("sm_86", 149.7), std::pair("sm_89", 121.0),
                                    std::pair("sm_90a", 0.62 * 989.4), std::pair("sm_120a", 209.5)}) {
    const GpuMachine &machine = gpuMachineFor(architecture);
    EXPECT_NEAR(machine.multiprocessors * machine.clock * machine.mmaOperations * 1e-12, peak, 0.01 * peak)
        << architecture;
  }
}

TEST(GpuCostModel, BlocksFillWaves) {
  // 3 tiles of rows and 100 of columns; 2 blocks on each of 108 multiprocessors, so 216 and then 84, one on each.
  GpuProduct product{12800, 320, 1, 0, 0};
  const GpuMachine &machine = gpuMachineFor("sm_80");
  LaunchCost cost = predictLaunch(product, 300, shapeOf(128), machine);
  EXPECT_EQ(cost.blocks, 300);
  EXPECT_EQ(cost.waves, 2);
  EXPECT_EQ(cost.operations, 2.0 * 300 * 12800 * 320);
  EXPECT_EQ(cost.paddedOperations, 2.0 * 384 * 12800 * 320);
  EXPECT_EQ(cost.l2Bytes, 300 * 10 * (128 + 128) * 64.0);
  EXPECT_STREQ(cost.tileLimit, "tensor cores");
  // A step of two blocks takes 2 x 128 x 128 x 32 products, that of one at least the latency of memory.
  double step = 2 * 2.0 * 128 * 128 * 32 / (0.8 * 2048) / 1410e6;
  EXPECT_NEAR(cost.tileSeconds, 10 * (step + std::max(step / 2, 0.6e-6 / 2)), 1e-9);
}

TEST(GpuCostModel, FewRowsWaitForMemory) {
  const GpuMachine &machine = gpuMachineFor("sm_80");
  GpuProduct product = manyExperts();
  LaunchCost cost = predictLaunch(product, 8, shapeOf(16), machine);
  double groups = expectedGroups(128, 1, 8);
  EXPECT_NEAR(cost.memoryBytes, groups * product.groupBytes + 8 * product.rowBytes, 1e-6 * cost.memoryBytes);
  EXPECT_NEAR(cost.memorySeconds, cost.memoryBytes / (0.9 * 2039e9), 1e-12);
  EXPECT_GT(cost.memorySeconds, cost.tileSeconds);
  // A second pass over the rows of a tile reads the weights again, since L2 cannot hold those of all blocks.
  LaunchCost passes = predictLaunch(product, 128 * 64, shapeOf(16), machine);
  EXPECT_GT(passes.memoryBytes, 3 * predictLaunch(product, 128 * 64, shapeOf(128), machine).memoryBytes);
}

TEST(GpuCostModel, ManyRowsWaitForTensorCores) {
  const GpuMachine &machine = gpuMachineFor("sm_80");
  LaunchCost cost = predictLaunch(manyExperts(), 128 * 4096, shapeOf(128), machine);
  double peak = machine.multiprocessors * machine.clock * machine.mmaOperations;
  EXPECT_GT(cost.operations / cost.seconds(), 0.75 * peak);
  EXPECT_LT(cost.operations / cost.seconds(), 0.8 * peak);
  EXPECT_EQ(predictLaunch(manyExperts(), 0, shapeOf(128), machine).seconds(), 0);
}

TEST(GpuCostModel, ChoosesShapesByTheirTime) {
  for (const GpuMachine &machine : gpuMachines())
    for (const GpuProduct &product : {manyExperts(), GpuProduct{4096, 2048, 1, 2.0 * 4096 * 2048, 2.0 * (4096 + 2048)},
                                      GpuProduct{192, 128, 16, 2.0 * 192 * 128, 2.0 * (128 + 96)}}) {
      std::vector<ShapeChoice> choices = chooseShapes(product, machine);
      SCOPED_TRACE(std::string(machine.name) + ", " + std::to_string(product.groups) + " groups");
      ASSERT_GE(choices.size(), 2u);
      EXPECT_EQ(choices.back().shape.rows, 128);
      int64_t before = 0;
      for (const ShapeChoice &choice : choices) {
        EXPECT_GT(choice.rows, before);
        EXPECT_LE(choice.rows, choice.shape.rows);
        // Where it ends it is about as fast as any other that there is.
        double rows = double(product.groups * choice.rows), least = 1;
        for (const ShapeChoice &other : choices)
          least = std::min(least, predictLaunch(product, rows, other.shape, machine).seconds());
        if (choice.shape.rows < 128)
          EXPECT_LE(predictLaunch(product, rows, choice.shape, machine).seconds(), 1.06 * least);
        before = choice.rows;
      }
    }
  // One row of an expert or two are read by the smallest blocks; the shape between is worth it where tensor cores are
  // slow.
  auto hasMiddle = [](const char *name) {
    for (const GpuMachine &machine : gpuMachines())
      if (machine.name == std::string(name))
        return chooseShapes(manyExperts(), machine).size() == 3;
    return false;
  };
  EXPECT_EQ(chooseShapes(manyExperts(), gpuMachineFor("sm_80")).front().shape.rows, 16);
  EXPECT_FALSE(hasMiddle("A100 SXM 80 GB"));
  EXPECT_TRUE(hasMiddle("RTX 3090"));
  // Tiles that have few rows for another reason.
  GpuProduct router{128, 2048, 1, 2.0 * 128 * 2048, 2.0 * 2048 + 4.0 * 128, 16};
  ASSERT_EQ(chooseShapes(router, gpuMachineFor("sm_80")).size(), 1u);
  EXPECT_EQ(chooseShapes(router, gpuMachineFor("sm_80")).front().shape.rows, 16);
}

TEST(GpuCostModel, F32IsThreeProductsAtHalfTheRate) {
  const GpuMachine &machine = gpuMachineFor("sm_80");
  GpuProduct bits16 = manyExperts(), f32 = bits16;
  f32.mma = MmaKind::F32;
  double rows = 128 * 4096;
  LaunchCost half = predictLaunch(bits16, rows, blockShapes().back(), machine),
             whole = predictLaunch(f32, rows, blockShapes(MmaKind::F32).back(), machine);
  EXPECT_STREQ(half.tileLimit, "tensor cores");
  EXPECT_STREQ(whole.tileLimit, "tensor cores");
  EXPECT_NEAR(whole.tileSeconds / half.tileSeconds, 6, 0.1);
  // Its own shapes, from the smallest to the largest.
  std::vector<ShapeChoice> choices = chooseShapes(f32, machine);
  ASSERT_EQ(choices.size(), 2u);
  EXPECT_EQ(choices.front().shape.rows, 16);
  EXPECT_EQ(choices.back().shape.rows, 32);
  EXPECT_EQ(choices.back().rows, gpuMostTileRows);
}

TEST(GpuCostModel, PredictsStages) {
  const GpuMachine &machine = gpuMachineFor("sm_80");
  GpuStage product, rows;
  product.stage.name = "gate/up";
  product.stage.rows = RowsOf::Choices;
  product.stage.groups = 128;
  product.stage.choices = 8;
  product.stage.repeats = 3;
  product.stage.groupBytes = manyExperts().groupBytes;
  product.stage.rowBytes = manyExperts().rowBytes;
  product.stage.rowOperations = 2 * manyExperts().columns * 2048;
  product.columns = manyExperts().columns;
  product.depth = 2048;
  rows.stage.name = "combine";
  rows.stage.kind = StageKind::Rows;
  rows.stage.rowBytes = 1e9;
  rows.stage.rowOperations = 1;
  for (double tokens : {1.0, 4096.0}) {
    Call call;
    call.tokens = tokens;
    std::vector<GpuStageCost> costs = predictGpu({product, rows}, call, machine);
    ASSERT_EQ(costs.size(), 2u);
    EXPECT_EQ(costs[0].shape.rows, tokens == 1 ? 16 : 128);
    EXPECT_EQ(costs[0].launches, 3);
    EXPECT_NEAR(costs[0].cost.seconds(),
                3 * predictLaunch(manyExperts(), 8 * tokens, costs[0].shape, machine).seconds(),
                0.05 * costs[0].cost.seconds());
    EXPECT_EQ(costs[1].launches, 0);
    EXPECT_EQ(costs[1].shape.rows, 0);
    EXPECT_NEAR(costs[1].cost.seconds(), tokens * 1e9 / (0.9 * 2039e9), 1e-9 * tokens);
  }
}

} // namespace

//===- GpuCostModel.cpp - how long a kernel takes on a GPU ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/GpuCostModel.h"

#include <algorithm>
#include <cmath>

namespace moe::rt {

namespace {

/// Shared memory that the system keeps of each block, since sm_80.
constexpr double reservedShared = 1024;
/// How much faster a shape has to be somewhere, if there is to be a kernel of it.
constexpr double worthIt = 0.9;
/// How much slower a smaller shape may be where it is still taken: it does less that is thrown away.
constexpr double closeEnough = 1.05;
/// What good kernels reach of the machine's rates, by published measurements.
constexpr double mmaShare = 0.8, memoryShare = 0.9;

/// Blocks of `shape` on a multiprocessor at a time.
double residentBlocks(const BlockShape &shape, const GpuMachine &machine) {
  double room = std::floor(machine.sharedBytes / (double(shape.sharedBytes()) + reservedShared));
  return std::clamp(room, 1.0, double(shape.blocks));
}

struct Step {
  double seconds;
  const char *limit;
};

/// Elements along k in a stage, and how long its mma take compared to those of 16 bits.
struct StageWork {
  double depth, time;
};

StageWork stageWork(MmaKind kind) {
  return kind == MmaKind::F32 ? StageWork{BlockShape::depth / 2.0, 3} : StageWork{BlockShape::depth, 1};
}

/// One step along k of `resident` blocks on one multiprocessor.
Step stepOf(const BlockShape &shape, MmaKind mma, double resident, const GpuMachine &machine) {
  double operations = stageWork(mma).time * 2.0 * double(shape.rows * shape.columns * BlockShape::depth);
  // The copies write a stage; each warp reads the rows and columns that it multiplies.
  double fragments = double(shape.rows * shape.warpColumns + shape.columns * shape.warpRows) * BlockShape::depth * 2;
  double shared = double(shape.stageBytes()) + fragments;
  const Step steps[] = {
      {resident * operations / (mmaShare * machine.mmaOperations) / machine.clock, "tensor cores"},
      {resident * shared / machine.sharedBytesPerCycle / machine.clock, "shared memory"},
      {resident * double(shape.stageBytes()) / machine.l2BytesPerCycle / machine.clock, "L2"},
      // All stages but the one that is multiplied are on their way.
      {machine.latencySeconds / double(shape.stages - 1), "latency"},
  };
  return *std::max_element(std::begin(steps), std::end(steps),
                           [](const Step &a, const Step &b) { return a.seconds < b.seconds; });
}

} // namespace

const std::vector<BlockShape> &blockShapes(MmaKind kind) {
  // Four blocks of 128 threads on a multiprocessor leave a thread 128 registers, three 168, two 255. Sums of f32, the
  // ones in the making beside them and two parts of each operand take twice as many as those of 16 bits.
  static const std::vector<BlockShape> bits16 = {{16, 128, 1, 4, 4, 4}, {64, 128, 2, 2, 4, 3}, {128, 128, 2, 2, 3, 2}},
                                       f32 = {{16, 128, 1, 4, 4, 4}, {32, 128, 1, 4, 4, 3}};
  return kind == MmaKind::F32 ? f32 : bits16;
}

LaunchCost predictLaunch(const GpuProduct &product, double rows, const BlockShape &shape, const GpuMachine &machine) {
  LaunchCost cost;
  if (rows <= 0)
    return cost;
  // A row belongs to a group at random, so it is as if each were a token with one choice.
  double groups = expectedGroups(product.groups, 1, rows);
  double tiles = expectedPaddedRows(product.groups, 1, rows, product.tileRows) / double(product.tileRows);
  double padded = expectedPaddedRows(product.groups, 1, rows, shape.rows);
  double columnTiles = std::ceil(product.columns / double(shape.columns));
  double stageDepth = stageWork(product.mma).depth;
  double passes = padded / double(shape.rows) / tiles;
  double steps = passes * std::ceil(product.depth / stageDepth);
  double resident = residentBlocks(shape, machine), places = resident * machine.multiprocessors;

  cost.blocks = tiles * columnTiles;
  cost.operations = 2 * rows * product.columns * product.depth;
  cost.paddedOperations = 2 * padded * columnTiles * double(shape.columns) * product.depth;
  // A block reads its weights once for each of its rows of tiles: from memory again if what all blocks read in between
  // does not stay in L2.
  double between =
      std::min(places, cost.blocks) * double(shape.columns) * product.depth * double(BlockShape::rowBytes) / stageDepth;
  double again = (passes - 1) * (1 - std::min(1.0, machine.l2Bytes / between));
  cost.memoryBytes = groups * product.groupBytes * (1 + again) + rows * product.rowBytes;
  cost.l2Bytes = cost.blocks * steps * double(shape.stageBytes());
  cost.memorySeconds = cost.memoryBytes / (memoryShare * machine.memoryBytesPerSecond);

  // Full waves, and what is left: as few blocks as possible share a multiprocessor there.
  double full = std::floor(cost.blocks / places), rest = cost.blocks - full * places;
  Step step = stepOf(shape, product.mma, resident, machine);
  cost.waves = full;
  cost.tileSeconds = full * steps * step.seconds;
  if (rest > 1e-9) {
    Step last = stepOf(shape, product.mma, std::ceil(rest / machine.multiprocessors), machine);
    cost.waves += 1;
    cost.tileSeconds += steps * last.seconds;
    if (full == 0)
      step = last;
  }
  cost.tileLimit = step.limit;
  // The first tile comes and the last sums go at the latency of memory.
  cost.overheadSeconds = machine.launchSeconds + 2 * machine.latencySeconds;
  return cost;
}

std::vector<ShapeChoice> chooseShapes(const GpuProduct &product, const GpuMachine &machine) {
  const std::vector<BlockShape> &shapes = blockShapes(product.mma);
  if (product.tileRows <= shapes.front().rows)
    return {{shapes.front(), product.tileRows}};
  // Rows of a group on average that are looked at, and what they cost in each shape.
  std::vector<int64_t> means;
  for (int64_t rows = 1; rows <= gpuMostTileRows; rows += rows < 16 ? 1 : rows < 64 ? 4 : 16)
    means.push_back(rows);
  std::vector<std::vector<double>> seconds;
  for (const BlockShape &shape : shapes) {
    seconds.emplace_back();
    for (int64_t rows : means)
      seconds.back().push_back(predictLaunch(product, double(product.groups * rows), shape, machine).seconds());
  }
  // The smallest one and the largest one there always are.
  std::vector<size_t> kept{0};
  for (size_t i = 1; i + 1 < shapes.size(); ++i)
    for (size_t at = 0; at < means.size(); ++at)
      if (seconds[i][at] < worthIt * std::min(seconds.front()[at], seconds.back()[at])) {
        kept.push_back(i);
        break;
      }
  kept.push_back(shapes.size() - 1);

  std::vector<ShapeChoice> choices;
  int64_t before = 0;
  for (size_t i = 0; i + 1 < kept.size(); ++i) {
    // As long as no larger one is much faster, and most tiles are done in one pass.
    int64_t most = before;
    for (size_t at = 0; at < means.size() && means[at] <= shapes[kept[i]].rows; ++at) {
      bool isFast = true;
      for (size_t j = i + 1; j < kept.size(); ++j)
        isFast &= seconds[kept[i]][at] <= closeEnough * seconds[kept[j]][at];
      if (isFast)
        most = std::max(most, means[at]);
    }
    if (most > before)
      choices.push_back({shapes[kept[i]], most});
    before = most;
  }
  choices.push_back({shapes.back(), gpuMostTileRows});
  return choices;
}

std::vector<GpuStageCost> predictGpu(const std::vector<GpuStage> &stages, const Call &call, const GpuMachine &machine) {
  // Bytes, operations and rows are those of the CPU's model; of its times nothing is used.
  std::vector<Stage> plain;
  for (const GpuStage &stage : stages)
    plain.push_back(stage.stage);
  std::vector<StageCost> costs = predict(plain, call, Machine(), "", 1);
  std::vector<GpuStageCost> result;
  for (size_t i = 0; i < stages.size(); ++i) {
    const Stage &stage = stages[i].stage;
    GpuStageCost gpu;
    gpu.cost = std::move(costs[i]);
    StageCost &cost = gpu.cost;
    bool isProduct = stage.kind == StageKind::Product;
    double rows = stage.repeats > 0 ? cost.rows / stage.repeats : 0;
    gpu.launches = rows > 0 && stage.kind != StageKind::Rows ? stage.repeats : 0;
    cost.memorySeconds = cost.bytes() / (memoryShare * machine.memoryBytesPerSecond);
    cost.computeSeconds = cost.operations / (machine.fmaOperations * machine.multiprocessors * machine.clock);
    cost.overheadSeconds = gpu.launches * (machine.launchSeconds + 2 * machine.latencySeconds);
    if (isProduct && stages[i].columns > 0 && rows > 0) {
      GpuProduct product{stages[i].columns, stages[i].depth,    stage.groups, stage.groupBytes,
                         stage.rowBytes,    stages[i].tileRows, stages[i].mma};
      for (const ShapeChoice &choice : chooseShapes(product, machine)) {
        gpu.shape = choice.shape;
        if (rows <= double(product.groups * choice.rows))
          break;
      }
      gpu.launch = predictLaunch(product, rows, gpu.shape, machine);
      cost.computeSeconds = stage.repeats * gpu.launch.tileSeconds;
    }
    result.push_back(std::move(gpu));
  }
  return result;
}

} // namespace moe::rt

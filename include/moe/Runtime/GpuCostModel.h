//===- GpuCostModel.h - how long a kernel takes on a GPU ------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The part of the cost model (CostModel.h) for GPUs. Stages and calls are those of the CPU. A product is a launch of
// blocks of some shape, in waves over the multiprocessors; a multiprocessor's step along k takes the slowest of its
// tensor cores, its shared memory, what it gets from L2, and the wait for memory. Everything else is bytes and
// operations. docs/CostModel.md has the formulas, the machines and where their numbers are from.
//
// Units: seconds, bytes, operations (a multiplication and an addition count two).
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_GPUCOSTMODEL_H
#define MOE_RUNTIME_GPUCOSTMODEL_H

#include "moe/Runtime/CostModel.h"

namespace moe::rt {

/// A GPU as the model sees it; everything per cycle is of one multiprocessor.
struct GpuMachine {
  const char *name;         // "A100 SXM 80 GB"
  const char *architecture; // "sm_80"
  double multiprocessors;
  double clock;                // cycles per second
  double mmaOperations;        // per cycle: mma.sync of 16-bit numbers with sums in f32
  double fmaOperations;        // per cycle: f32 without tensor cores
  double sharedBytes;          // of shared memory, for all blocks together
  double registers;            // of 32 bits
  double sharedBytesPerCycle;  // in and out of shared memory
  double l2Bytes;              // of the machine
  double l2BytesPerCycle;      // from L2
  double memoryBytesPerSecond; // from memory, all multiprocessors together
  double latencySeconds;       // of a read from memory
  double launchSeconds;        // from the end of a kernel to the start of the next one in a stream
};

/// The machines that are known, by ascending architecture; of one architecture the one that is taken for it comes
/// first.
const std::vector<GpuMachine> &gpuMachines();

/// The machine that stands for `architecture` ("sm_90a"; letters at the end do not matter): the first of it, else of
/// the highest one below, else of the lowest.
const GpuMachine &gpuMachineFor(std::string_view architecture);

/// How a block of threads computes a part of a product on tensor cores.
struct BlockShape {
  int64_t rows;                           ///< of x in a block
  int64_t columns;                        ///< of all weights together in a block
  int64_t warpRows;                       ///< warps along the rows
  int64_t warpColumns;                    ///< and along the columns: four warps in all
  int64_t stages;                         ///< of the pipeline of copies
  int64_t blocks;                         ///< that a multiprocessor should hold: they share its 65536 registers
  int64_t columnBytes = rowBytes;         ///< of a column of weights in a stage
  static constexpr int64_t rowBytes = 64; ///< of a row of x in a stage, along k
  static constexpr int64_t depth = 32;    ///< elements of 16 bits in that

  /// Bytes of shared memory.
  int64_t sharedBytes() const { return stages * stageBytes(); }
  int64_t stageBytes() const { return rows * rowBytes + columns * columnBytes; }
};

/// What numbers tensor cores multiply: those of 16 bits (and all that do not say otherwise), or f32 as three products
/// of tf32, each of which takes as long for 8 elements along k as one of 16 bits for 16.
enum class MmaKind { Bits16, F32 };

/// The shapes that kernels are made in, by ascending rows. Which of them are, and for how many rows each, is chosen by
/// chooseShapes.
const std::vector<BlockShape> &blockShapes(MmaKind kind = MmaKind::Bits16);

/// Most rows in a tile, which is of one group; a block goes over the rows of its tile in turn.
constexpr int64_t gpuMostTileRows = 128;

/// A grouped product on tensor cores.
struct GpuProduct {
  double columns = 0;    // of all weights together
  double depth = 0;      // length of the sums
  int64_t groups = 1;    // experts; 1: dense
  double groupBytes = 0; // weights of one group
  double rowBytes = 0;   // read and written, per row
  int64_t tileRows = gpuMostTileRows;
  MmaKind mma = MmaKind::Bits16;
};

/// One launch of a product.
struct LaunchCost {
  double blocks = 0;           // tiles of rows and columns
  double waves = 0;            // until all of them had a place on a multiprocessor
  double memoryBytes = 0;      // everything once
  double l2Bytes = 0;          // what multiprocessors read
  double operations = 0;       // of rows that exist
  double paddedOperations = 0; // that tensor cores do
  double memorySeconds = 0;    // memoryBytes at full bandwidth
  double tileSeconds = 0;      // the waves' steps, if memory were no limit
  const char *tileLimit = "";  // what a wave's steps wait for: "tensor cores", "shared memory", "L2", "latency"
  double overheadSeconds = 0;  // the launch, the first loads and the last stores
  double seconds() const { return (memorySeconds > tileSeconds ? memorySeconds : tileSeconds) + overheadSeconds; }
};

/// What `product` costs with `rows` rows, spread over its groups at random, in blocks of `shape`.
LaunchCost predictLaunch(const GpuProduct &product, double rows, const BlockShape &shape, const GpuMachine &machine);

/// A shape, and the most rows of a group on average that it is for.
struct ShapeChoice {
  BlockShape shape;
  int64_t rows;
};

/// The shapes to make kernels in for `product`, by ascending rows; the last one is for all that the others are not for.
/// One more kernel has to be worth it: shapes that are never faster than the others by a tenth are left out. Never
/// changes a result.
std::vector<ShapeChoice> chooseShapes(const GpuProduct &product, const GpuMachine &machine);

/// What a stage costs on a GPU.
struct GpuStageCost {
  StageCost cost;        // times as on the CPU: memory, compute, overhead
  double launches = 0;   // of products and attention, all executions; what else there is depends on fusion
  LaunchCost launch;     // of products on tensor cores: one execution
  BlockShape shape = {}; // likewise; rows 0: no tensor cores
};

/// A stage with what the GPU's model needs beyond the CPU's.
struct GpuStage {
  Stage stage;
  double columns = 0, depth = 0; // of a product: of all weights together, and of the sums; 0 columns: no tensor cores
  int64_t tileRows = gpuMostTileRows;
  MmaKind mma = MmaKind::Bits16;
};

/// Costs of `stages` in one call on `machine`.
std::vector<GpuStageCost> predictGpu(const std::vector<GpuStage> &stages, const Call &call, const GpuMachine &machine);

} // namespace moe::rt

#endif // MOE_RUNTIME_GPUCOSTMODEL_H

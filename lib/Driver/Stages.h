//===- Stages.h - what the entries of a module spend their time on --*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_STAGES_H
#define MOE_LIB_DRIVER_STAGES_H

#include "moe/Frontend/Model.h"
#include "moe/Runtime/GpuCostModel.h"

#include "mlir/IR/BuiltinOps.h"

#include <string>
#include <vector>

namespace moe {

/// A stage of an entry for the cost model, and what was fused into it.
struct StageInfo {
  rt::Stage stage;
  std::string fused; ///< "gather, 2 weights, epilogue exp divf mulf"; empty: nothing
  /// Of a product that a GPU's tensor cores can do: columns of all weights together, and length of the sums; else 0.
  double columns = 0, depth = 0;
  rt::MmaKind mma = rt::MmaKind::Bits16; ///< of that product
};

/// The stages of one public function, in the order of their first execution. Equal ones are one with `repeats`.
struct EntryStages {
  std::string entry;
  std::vector<StageInfo> stages;
};

/// Reads the stages off a module after phase fuse: matrix products, attention, experts that were not cut, and as stages
/// of kind Rows what is between them (routing, combine, element-wise). Calls are followed. What depends on parameters
/// alone is no stage: it is computed at compile time. The ops' locations then name their stages (StageLocation.h), for
/// pass moe-mark-stages.
std::vector<EntryStages> collectStages(mlir::ModuleOp module);

/// Corrects `expertBytes` in `costs` where stages say what is read of an expert: its weights may be stored in fewer
/// bits than the frontend saw.
void countStoredBytes(llvm::MutableArrayRef<EntryCost> costs, const std::vector<EntryStages> &entries);

/// The stages called `entry`; none if there is no such entry.
std::vector<rt::Stage> stagesOf(const std::vector<EntryStages> &entries, llvm::StringRef entry);

/// The same for the model of GPUs.
std::vector<rt::GpuStage> gpuStagesOf(const std::vector<EntryStages> &entries, llvm::StringRef entry);

/// Kernels that one call of an entry launches.
struct EntryLaunches {
  std::string entry;
  int64_t oneToken = 0, manyTokens = 0;
};

/// Counts the launches of each public function of a module after phase kernel for GPUs, which chooses between launches
/// for few rows (the first branch of `scf.if`) and for many.
std::vector<EntryLaunches> countLaunches(mlir::ModuleOp module);

} // namespace moe

#endif // MOE_LIB_DRIVER_STAGES_H

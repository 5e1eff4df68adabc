//===- Stages.h - what the entries of a module spend their time on --*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_STAGES_H
#define MOE_LIB_DRIVER_STAGES_H

#include "moe/Runtime/CostModel.h"

#include "mlir/IR/BuiltinOps.h"

#include <string>
#include <vector>

namespace moe {

/// A stage of an entry for the cost model, and what was fused into it.
struct StageInfo {
  rt::Stage stage;
  std::string fused; ///< "gather, 2 weights, epilogue exp divf mulf"; empty: nothing
};

/// The stages of one public function, in the order of their first execution. Equal ones are one with `repeats`.
struct EntryStages {
  std::string entry;
  std::vector<StageInfo> stages;
};

/// Reads the stages off a module after phase fuse: matrix products, attention, experts that were not cut, and as stages
/// of kind Rows what is between them (routing, combine, element-wise). Calls are followed. What depends on parameters
/// alone is no stage: it is computed at compile time.
std::vector<EntryStages> collectStages(mlir::ModuleOp module);

/// The stages called `entry`; none if there is no such entry.
std::vector<rt::Stage> stagesOf(const std::vector<EntryStages> &entries, llvm::StringRef entry);

} // namespace moe

#endif // MOE_LIB_DRIVER_STAGES_H

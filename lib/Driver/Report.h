//===- Report.h - what --report prints ------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_REPORT_H
#define MOE_LIB_DRIVER_REPORT_H

#include "Manifest.h"
#include "Stages.h"

namespace moe {

/// Wall-clock seconds of a step of the compilation.
struct StepTime {
  std::string name;
  double seconds;
};

/// Everything the report is about.
struct ReportContents {
  const ModelInfo &info;
  const WeightsTable &weights;
  const std::vector<Entry> &entries;
  const std::vector<EntryStages> &stages;
  const std::vector<std::string> &levels; ///< in the program, best first
  const rt::Machine &machine;             ///< to predict for
  std::string machineSource;              ///< where that came from, for people
  std::string tuningSource;               ///< the machine whose tiles are in the code
  uint64_t codeBytes = 0, fileBytes = 0;
  const std::vector<StepTime> &steps;
  /// Of a program for GPUs: their architectures, in place of levels and machine, and the launches of each entry.
  std::vector<std::string> architectures = {};
  std::vector<EntryLaunches> launches = {};
};

/// Prints the model's size by kind of parameter, what was fused, the work and the predicted time of each entry stage by
/// stage, memory, sizes, and where the compilation's time went.
void printReport(llvm::raw_ostream &stream, const ReportContents &contents);

} // namespace moe

#endif // MOE_LIB_DRIVER_REPORT_H

//===- Report.h - what --report prints ------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_REPORT_H
#define MOE_LIB_DRIVER_REPORT_H

#include "Manifest.h"

namespace moe {

/// Wall-clock seconds of a step of the compilation.
struct StepTime {
  std::string name;
  double seconds;
};

/// Prints the model's size by kind of parameter, the work per token of each entry, and where the time went.
void printReport(llvm::raw_ostream &stream, const ModelInfo &info, const WeightsTable &weights,
                 const std::vector<Entry> &entries, const std::vector<StepTime> &steps);

} // namespace moe

#endif // MOE_LIB_DRIVER_REPORT_H

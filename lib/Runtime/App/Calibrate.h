//===- Calibrate.h - measuring a machine for the cost model --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_APP_CALIBRATE_H
#define MOE_LIB_RUNTIME_APP_CALIBRATE_H

#include "moe/Runtime/CostModel.h"

#include <string>
#include <vector>

namespace moe::rt {

/// What to measure. "All threads" are the cores that this process may use.
struct CalibrationPlan {
  std::vector<std::string> levels; // peaks of these, as far as the machine has them
  std::vector<double> footprints;  // bytes, ascending
  double secondsPerNumber = 0.05;  // each is the best of several runs

  /// Everything: less than three seconds.
  static CalibrationPlan complete();
  /// What a program of one level with `weights` bytes of weights needs: about a third of a second.
  static CalibrationPlan quick(const std::string &level, double weights);
};

/// Measures this machine. The number of threads is the same afterwards.
Machine measureMachine(const CalibrationPlan &plan);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_CALIBRATE_H

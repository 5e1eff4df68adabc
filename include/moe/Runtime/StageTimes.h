//===- StageTimes.h - how long each stage of a call took ------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Generated code says where a stage begins (`moe_rt_stage`, Abi.h); the time until the next one begins is this stage's.
// While nobody listens that is one load and a branch not taken.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_STAGETIMES_H
#define MOE_RUNTIME_STAGETIMES_H

#include <string>
#include <vector>

namespace moe::rt {

/// Seconds spent in the stage `name` since listening began.
struct StageTime {
  std::string name;
  double seconds = 0;
};

/// Begins to take times, from zero. What runs before a stage is named belongs to the stage called "". Calls of entries
/// must come from this thread only until takeStageTimes.
void listenToStages();

/// Ends it and returns the times, in the order in which the stages first began.
std::vector<StageTime> takeStageTimes();

} // namespace moe::rt

#endif // MOE_RUNTIME_STAGETIMES_H

//===- Progress.h - a progress bar on a terminal -------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_HOST_PROGRESS_H
#define MOE_LIB_RUNTIME_HOST_PROGRESS_H

#include <chrono>
#include <cstdint>
#include <string>

namespace moe::rt {

/// Draws a bar on standard error while work goes on that takes longer than two seconds, if standard error is a
/// terminal; removes it at the end.
class Progress {
public:
  Progress(std::string label, int64_t total);
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  /// `steps` more of `total` are done.
  void advance(int64_t steps);

private:
  std::string label;
  int64_t total, done = 0;
  bool terminal, shown = false;
  std::chrono::steady_clock::time_point start, drawn;
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_HOST_PROGRESS_H

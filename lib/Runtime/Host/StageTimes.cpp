//===- StageTimes.cpp - how long each stage of a call took ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/StageTimes.h"

#include "moe/Runtime/Abi.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace {

using Clock = std::chrono::steady_clock;

struct Listener {
  std::vector<moe::rt::StageTime> times;
  size_t current = 0;
  Clock::time_point since;

  /// Books the time up to now and goes on with the stage `name`.
  void begin(const char *name) {
    Clock::time_point now = Clock::now();
    times[current].seconds += std::chrono::duration<double>(now - since).count();
    auto found = std::find_if(times.begin(), times.end(), [&](const auto &time) { return time.name == name; });
    current = size_t(found - times.begin());
    if (found == times.end())
      times.push_back({name, 0});
    since = Clock::now(); // the search is nobody's time
  }
};

Listener listener;
bool isListening = false;

} // namespace

void moe::rt::listenToStages() {
  listener = {{{"", 0}}, 0, Clock::now()};
  isListening = true;
}

std::vector<moe::rt::StageTime> moe::rt::takeStageTimes() {
  listener.begin("");
  isListening = false;
  return std::move(listener.times);
}

void moe_rt_stage(const char *name) {
  if (isListening) [[unlikely]]
    listener.begin(name);
}

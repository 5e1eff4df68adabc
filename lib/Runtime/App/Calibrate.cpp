//===- Calibrate.cpp - measuring a machine for the cost model ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Calibrate.h"
#include "PeakKernels.h"
#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Cpu.h"
#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <unistd.h>

namespace moe::rt {
namespace {

constexpr double mebi = 1 << 20;
constexpr int leastRuns = 3, mostRuns = 20;

/// Fastest of several runs of `work`, each of at least a twentieth of `seconds`, for about that long: units per second,
/// where work(n) does n units. Short runs fit between the interruptions of a busy machine.
template <typename Work> double bestRate(double seconds, Work work) {
  int64_t amount = 1;
  double best = 0, sum = 0, least = seconds / mostRuns;
  for (int timed = 0; timed < leastRuns || (timed < mostRuns && sum < seconds);) {
    auto start = std::chrono::steady_clock::now();
    work(amount);
    double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (taken < least) {
      // At most eightfold: the first runs are slower than those to come.
      amount = std::max(amount + 1, int64_t(double(amount) * std::min(8.0, 1.2 * least / std::max(taken, 1e-9))));
      continue;
    }
    best = std::max(best, double(amount) / taken);
    sum += taken;
    ++timed;
  }
  return best;
}

/// `measure(threads)` for one thread and for all.
template <typename Measure> Rate measureBoth(int threads, Measure measure) {
  setThreadCount(1);
  Rate rate;
  rate.one = rate.all = measure(1);
  if (threads > 1) {
    setThreadCount(threads);
    rate.all = measure(threads);
  }
  return rate;
}

Rate measurePeak(ComputeKernel kernel, int threads, double seconds) {
  constexpr int64_t rounds = 1000;
  double operations = kernel(rounds);
  return measureBoth(threads, [&](int count) {
    return operations * count * bestRate(seconds, [&](int64_t amount) {
             parallelFor(count, [&](int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i)
                 kernel(rounds * amount);
             });
           });
  });
}

/// Memory that every thread has touched its part of.
class Buffer {
public:
  Buffer(size_t size, int threads)
      : bytes(static_cast<char *>(_mlir_memref_to_llvm_alloc(size)), _mlir_memref_to_llvm_free) {
    setThreadCount(threads);
    size_t share = size / size_t(threads);
    parallelFor(threads, [&](int64_t begin, int64_t end) {
      std::memset(bytes.get() + size_t(begin) * share, 1, size_t(end - begin) * share);
    });
  }
  const char *data() const { return bytes.get(); }

private:
  std::unique_ptr<char, void (*)(void *)> bytes;
};

Rate measureBandwidth(const Buffer &buffer, double footprint, int threads, double seconds) {
  constexpr size_t step = 4096;
  ReadKernel read = readKernel();
  return measureBoth(threads, [&](int count) {
    size_t share = std::max(size_t(footprint) / size_t(count) / step * step, step);
    return double(share) * count * bestRate(seconds, [&](int64_t amount) {
             parallelFor(count, [&](int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i)
                 for (int64_t pass = 0; pass < amount; ++pass)
                   read(buffer.data() + size_t(i) * share, share);
             });
           });
  });
}

/// Seconds of a parallel loop without work: of many short series the fastest, which no other process interrupted.
double measureLoop(int threads, double seconds) {
  if (threads <= 1)
    return 0;
  setThreadCount(threads);
  constexpr int series = 16;
  double best = 1, sum = 0;
  while (sum < seconds) {
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < series; ++i)
      parallelFor(threads, [](int64_t, int64_t) {});
    double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, taken / series);
    sum += taken;
  }
  return best;
}

/// Bytes of the unified cache of this level that a core sees; `otherwise` if the system does not say.
double cacheSize(int level, double otherwise) {
  for (int index = 0; index < 8; ++index) {
    std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int found = 0;
    std::string type, size;
    if (!(std::ifstream(folder + "level") >> found) || !(std::ifstream(folder + "type") >> type) ||
        !(std::ifstream(folder + "size") >> size))
      continue;
    double kibi = std::atof(size.c_str()); // "2048K"
    if (found == level && type != "Instruction" && kibi > 0)
      return kibi * 1024;
  }
  return otherwise;
}

} // namespace

CalibrationPlan CalibrationPlan::complete() {
  CalibrationPlan plan;
  plan.levels = knownIsaLevels();
  // Inside L2, around it, inside and around L3, and memory.
  plan.footprints = {mebi / 4, 2 * mebi, 8 * mebi, 32 * mebi, 96 * mebi, 256 * mebi};
  return plan;
}

CalibrationPlan CalibrationPlan::quick(const std::string &level, double weights) {
  CalibrationPlan plan;
  plan.levels = {level};
  plan.footprints = {mebi};
  if (weights > mebi)
    plan.footprints.push_back(std::min(weights, 256 * mebi));
  plan.secondsPerNumber = 0.02;
  return plan;
}

Machine measureMachine(const CalibrationPlan &plan) {
  struct Restore {
    int threads = threadCount();
    ~Restore() { setThreadCount(threads); }
  } restore;
  Machine machine;
  machine.cpu = cpuModel();
  machine.threads = usableCores();
  machine.l2Bytes = cacheSize(2, defaultMachine().l2Bytes);
  machine.l3Bytes = cacheSize(3, 0);

  std::map<ComputeKernel, Rate> known; // levels share instructions
  for (const std::string &level : plan.levels)
    for (Arithmetic arithmetic : {Arithmetic::F32, Arithmetic::BF16, Arithmetic::Int8}) {
      ComputeKernel kernel = isaLevelAvailable(level) ? computeKernel(level, arithmetic) : nullptr;
      if (!kernel)
        continue;
      if (!known.count(kernel))
        known[kernel] = measurePeak(kernel, machine.threads, plan.secondsPerNumber);
      machine.peaks.push_back({level, arithmetic, known[kernel]});
    }

  size_t largest = size_t(*std::max_element(plan.footprints.begin(), plan.footprints.end()));
  Buffer buffer(largest, machine.threads);
  for (double footprint : plan.footprints)
    machine.bandwidth.push_back(
        {footprint, measureBandwidth(buffer, footprint, machine.threads, plan.secondsPerNumber)});

  machine.loopSeconds = measureLoop(machine.threads, plan.secondsPerNumber);
  return machine;
}

} // namespace moe::rt

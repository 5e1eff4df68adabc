//===- CostModel.cpp - how long a stage of a model takes ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/CostModel.h"

#include <algorithm>
#include <cmath>

namespace moe::rt {

std::string_view arithmeticName(Arithmetic arithmetic) {
  switch (arithmetic) {
  case Arithmetic::F32:
    return "f32";
  case Arithmetic::BF16:
    return "bf16";
  case Arithmetic::Int8:
    return "int8";
  }
  return "";
}

std::optional<Arithmetic> parseArithmetic(std::string_view name) {
  for (Arithmetic arithmetic : {Arithmetic::F32, Arithmetic::BF16, Arithmetic::Int8})
    if (name == arithmeticName(arithmetic))
      return arithmetic;
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Machines
//===----------------------------------------------------------------------===//

double Machine::readBandwidth(double footprint, int threads) const {
  if (bandwidth.empty())
    return 0;
  auto at = [&](const BandwidthPoint &point) { return std::min(threads * point.bytes.one, point.bytes.all); };
  auto above = std::find_if(bandwidth.begin(), bandwidth.end(),
                            [&](const BandwidthPoint &point) { return point.footprint >= footprint; });
  if (above == bandwidth.end())
    return at(bandwidth.back());
  if (above == bandwidth.begin() || above->footprint == footprint)
    return at(*above);
  const BandwidthPoint &below = above[-1];
  double share = std::log(footprint / below.footprint) / std::log(above->footprint / below.footprint);
  return at(below) + share * (at(*above) - at(below));
}

double Machine::peak(std::string_view level, Arithmetic arithmetic, int count) const {
  for (const Peak &peak : peaks)
    if (peak.level == level && peak.arithmetic == arithmetic) {
      if (threads <= 1)
        return peak.operations.one;
      double share = double(std::clamp(count, 1, threads) - 1) / (threads - 1);
      return peak.operations.one + share * (peak.operations.all - peak.operations.one);
    }
  return 0;
}

double Machine::loopOverhead(int count) const { return count <= 1 ? 0 : loopSeconds; }

const Machine &defaultMachine() {
  // One core, and eight of them as "all"; rates of the data sheets' order of magnitude, less what measurements lose.
  static const Machine machine = [] {
    Machine m;
    m.cpu = "default";
    m.threads = 8;
    m.l2Bytes = 2 << 20;
    m.l3Bytes = 32 << 20;
    m.loopSeconds = 3e-6;
    auto point = [&](double footprint, double one, double all) {
      m.bandwidth.push_back({footprint, {one * 1e9, all * 1e9}});
    };
    point(256 << 10, 80, 640);
    point(4 << 20, 25, 400);
    point(32 << 20, 20, 120);
    point(256 << 20, 13, 80);
    auto peak = [&](const char *level, double f32, double bf16, double int8) {
      auto rate = [](double one) { return Rate{one * 1e9, 8 * one * 1e9}; };
      m.peaks.push_back({level, Arithmetic::F32, rate(f32)});
      m.peaks.push_back({level, Arithmetic::BF16, rate(bf16)});
      m.peaks.push_back({level, Arithmetic::Int8, rate(int8)});
    };
    peak("amx", 140, 2000, 4000);
    peak("avx512bf16", 140, 140, 540);
    peak("avx512", 140, 140, 540);
    peak("avx2", 80, 80, 150);
    peak("x86-64", 20, 20, 40);
    peak("aarch64-bf16", 40, 80, 80);
    peak("aarch64", 40, 40, 80);
    return m;
  }();
  return machine;
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

double expectedGroups(int64_t groups, int64_t choices, double tokens) {
  if (groups <= 1)
    return tokens > 0 ? double(groups) : 0;
  double share = std::min(1.0, double(choices) / double(groups));
  return double(groups) * (1 - std::pow(1 - share, tokens));
}

double expectedPaddedRows(int64_t groups, int64_t choices, double tokens, int64_t granularity) {
  double rows = tokens * double(choices);
  if (granularity <= 1)
    return rows;
  double share = std::min(1.0, double(choices) / double(std::max<int64_t>(groups, 1))), step = double(granularity);
  if (share >= 1) // every group has every token
    return double(groups) * std::ceil(tokens / step) * step;
  // The rows of a group follow a binomial distribution; ten deviations around its mean are all of it.
  double mean = tokens * share, deviation = std::sqrt(mean * (1 - share)), sum = 0, mass = 0;
  for (double r = std::floor(std::max(0.0, mean - 10 * deviation)), last = std::min(tokens, mean + 10 * deviation + 1);
       r <= last; ++r) {
    double probability = std::exp(std::lgamma(tokens + 1) - std::lgamma(r + 1) - std::lgamma(tokens - r + 1) +
                                  r * std::log(share) + (tokens - r) * std::log1p(-share));
    sum += probability * std::ceil(r / step) * step;
    mass += probability;
  }
  return mass > 0 ? double(groups) * sum / mass : rows;
}

int64_t rowGranularity(std::string_view level, Arithmetic arithmetic) {
  return level == "amx" && arithmetic != Arithmetic::F32 ? 16 : 1;
}

namespace {

/// Rows of one execution of `stage`.
double rowsOf(const Stage &stage, const Call &call) {
  switch (stage.rows) {
  case RowsOf::Tokens:
    return call.tokens;
  case RowsOf::Choices:
    return call.tokens * double(stage.choices);
  case RowsOf::Kept:
    return call.sequences;
  }
  return 0;
}

/// Groups that have rows, and rows padded to `granularity`, of one execution.
struct Use {
  double groups = 0, rows = 0;
};

Use usedGroups(const Stage &stage, const Call &call, int64_t granularity) {
  double rows = rowsOf(stage, call), step = double(granularity);
  if (stage.groups <= 1)
    return {rows > 0 ? 1.0 : 0.0, std::ceil(rows / step) * step};
  if (call.counts.empty())
    return {expectedGroups(stage.groups, stage.choices, call.tokens),
            expectedPaddedRows(stage.groups, stage.choices, call.tokens, granularity)};
  // Known counts: the mean over layers, which the stage's repeats make a sum again.
  Use use;
  for (const std::vector<int64_t> &layer : call.counts)
    for (int64_t count : layer) {
      use.groups += count > 0;
      use.rows += std::ceil(double(count) / step) * step;
    }
  use.groups /= double(call.counts.size());
  use.rows /= double(call.counts.size());
  return use;
}

/// Pairs of a token and a position it sees, and positions read, of one sequence.
struct Seen {
  double pairs = 0, positions = 0;
};

Seen seenPositions(const Stage &stage, const Call &call) {
  double length = call.sequences > 0 ? call.tokens / call.sequences : 0, past = call.past;
  Seen seen{length * past + length * (length + 1) / 2, past + length};
  if (stage.window > 0 && double(stage.window) < past + length) {
    double window = double(stage.window);
    // Tokens before the window is full see as many as without one.
    double growing = std::clamp(window - past, 0.0, length);
    seen.pairs = growing * past + growing * (growing + 1) / 2 + (length - growing) * window;
    seen.positions = std::min(past + length, window + length - 1);
  }
  return seen;
}

} // namespace

std::vector<StageCost> predict(const std::vector<Stage> &stages, const Call &call, const Machine &machine,
                               std::string_view level, int threads, double footprint) {
  std::vector<StageCost> costs;
  for (const Stage &stage : stages) {
    StageCost cost;
    cost.name = stage.name;
    double rows = rowsOf(stage, call), paddedRows = rows;
    if (stage.kind == StageKind::Product) {
      Use use = usedGroups(stage, call, rowGranularity(level, stage.arithmetic));
      cost.groups = stage.repeats * use.groups;
      cost.weightBytes = cost.groups * stage.groupBytes;
      paddedRows = use.rows;
    }
    double operations = rows * stage.rowOperations, paddedOperations = paddedRows * stage.rowOperations;
    if (stage.kind == StageKind::Attention) {
      Seen seen = seenPositions(stage, call);
      cost.weightBytes = stage.repeats * call.sequences * seen.positions * stage.positionBytes;
      operations += call.sequences * seen.pairs * stage.pairOperations;
      paddedOperations = operations;
    }
    cost.rows = stage.repeats * rows;
    cost.activationBytes = stage.repeats * rows * stage.rowBytes;
    cost.operations = stage.repeats * operations;
    double peak = machine.peak(level, stage.arithmetic, threads);
    cost.computeSeconds = peak > 0 ? stage.repeats * paddedOperations / peak : 0;
    cost.overheadSeconds = rows > 0 ? stage.repeats * stage.loops * machine.loopOverhead(threads) : 0;
    costs.push_back(std::move(cost));
  }
  if (footprint <= 0)
    for (const StageCost &cost : costs)
      footprint += cost.weightBytes;
  for (size_t i = 0; i < costs.size(); ++i) {
    StageCost &cost = costs[i];
    if (cost.weightBytes > 0)
      cost.memorySeconds += cost.weightBytes / machine.readBandwidth(footprint, threads);
    // Activations were just written by another stage: they lie where one execution's worth of them fits.
    if (cost.activationBytes > 0)
      cost.memorySeconds +=
          cost.activationBytes / machine.readBandwidth(cost.activationBytes / stages[i].repeats, threads);
  }
  return costs;
}

double totalSeconds(const std::vector<StageCost> &costs) {
  double sum = 0;
  for (const StageCost &cost : costs)
    sum += cost.seconds();
  return sum;
}

//===----------------------------------------------------------------------===//
// Choices
//===----------------------------------------------------------------------===//

int64_t chooseTileRows(const TileStage &stage, const Machine &machine) {
  constexpr int64_t leastRows = 16, mostRows = 256;
  double rowSize = double(stage.depth) * stage.rowBytes;
  double groupSize = double(stage.columns * stage.depth * stage.weights) * stage.weightBytes;
  int64_t best = mostRows;
  double least = 0;
  for (int64_t rows = mostRows; rows >= leastRows; rows /= 2) {
    // Seconds of traffic beyond L2 per multiply-add: the weights once per tile; the rows once if they stay in L2, else
    // once for each pair of panels.
    double block = double(rows) * rowSize;
    double columnsPerPass =
        block <= machine.l2Bytes / 2 ? double(stage.columns) : double(std::min(2 * panelColumns, stage.columns));
    double seconds = stage.weightBytes / double(rows) / machine.readBandwidth(groupSize, 1) +
                     stage.rowBytes / (columnsPerPass * double(stage.weights)) / machine.readBandwidth(block, 1);
    if (rows == mostRows || seconds < least) {
      best = rows;
      least = seconds;
    }
  }
  return best;
}

} // namespace moe::rt

//===- Report.cpp - what --report prints ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Report.h"

#include "moe/Runtime/DType.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe;

/// "1.50 MB"; decimal units, as disks are sold and models are described.
static std::string amount(double value, llvm::StringRef unit) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  for (; value >= 1000 && prefix + 1 < std::size(prefixes); ++prefix)
    value /= 1000;
  return llvm::formatv(prefix ? "{0:F2} {1}{2}" : "{0:F0} {1}{2}", value, prefixes[prefix], unit).str();
}

/// The part of the model a parameter belongs to, from the words checkpoints use in names.
static llvm::StringRef kindOf(llvm::StringRef name) {
  static const std::pair<llvm::StringRef, llvm::StringRef> words[] = {{"shared_expert", "shared experts"},
                                                                      {"expert", "experts"},
                                                                      {"router", "router"},
                                                                      {"gate.weight", "router"},
                                                                      {"norm", "norms"},
                                                                      {"attn", "attention"},
                                                                      {"attention", "attention"},
                                                                      {"embed", "embedding"},
                                                                      {"lm_head", "output head"},
                                                                      {"mlp", "dense layers"},
                                                                      {"feed_forward", "dense layers"}};
  for (auto [word, kind] : words)
    if (name.contains(word))
      return kind;
  return "other";
}

/// Bytes of the states of an entry per sequence and position: what is left of their sizes without the two.
static double cacheBytes(const Entry &entry) {
  double bytes = 0;
  for (const EntryTensor &argument : entry.arguments) {
    if (argument.role != "state")
      continue;
    double size = rt::dtypeBits(*rt::dtypeFromName(argument.dtype)) / 8.0;
    for (int64_t dimension : argument.shape)
      size *= dimension < 0 ? 1 : double(dimension);
    bytes += size;
  }
  return bytes;
}

/// The best level of the program that the machine was measured for; the first if there is none.
static std::string reportedLevel(const ReportContents &contents) {
  for (const std::string &level : contents.levels)
    if (contents.machine.peak(level, rt::Arithmetic::F32, 1) > 0)
      return level;
  return contents.levels.empty() ? "" : contents.levels.front();
}

static void printFused(llvm::raw_ostream &stream, const EntryStages &entry) {
  for (const StageInfo &info : entry.stages) {
    stream << llvm::formatv("  {0,-14} {1,4} x", info.stage.name, int64_t(info.stage.repeats));
    if (info.stage.groups > 1)
      stream << llvm::formatv(" {0} of {1} experts", info.stage.choices, info.stage.groups);
    if (info.stage.groupBytes > 0)
      stream << (info.stage.groups > 1 ? " of " : " ") << amount(info.stage.groupBytes, "B");
    if (!info.fused.empty())
      stream << "; fused: " << info.fused;
    stream << "\n";
  }
}

static void printPrediction(llvm::raw_ostream &stream, const std::vector<rt::Stage> &stages, double tokens,
                            const rt::Machine &machine, llvm::StringRef level) {
  rt::Call call;
  call.tokens = tokens;
  std::vector<rt::StageCost> costs =
      rt::predict(stages, call, machine, std::string_view(level.data(), level.size()), machine.threads);
  rt::StageCost total;
  auto line = [&](llvm::StringRef name, const rt::StageCost &cost, double seconds) {
    double intensity = cost.bytes() > 0 ? cost.operations / cost.bytes() : 0;
    stream << llvm::formatv("    {0,-18} {1,12} {2,14} {3,10:F1} {4,12:F3} ms", name, amount(cost.bytes(), "B"),
                            amount(cost.operations, "FLOP"), intensity, seconds * 1e3);
  };
  stream << llvm::formatv("  {0,-20} {1,12} {2,14} {3,10} {4,15}\n",
                          llvm::formatv("{0} token{1}", int64_t(tokens), tokens == 1 ? "" : "s").str(), "bytes",
                          "operations", "FLOP/B", "predicted");
  for (const rt::StageCost &cost : costs) {
    line(cost.name, cost, cost.seconds());
    bool isOverhead = cost.overheadSeconds > std::max(cost.memorySeconds, cost.computeSeconds);
    stream << (isOverhead                                  ? "  overhead"
               : cost.memorySeconds >= cost.computeSeconds ? "  memory"
                                                           : "  compute")
           << "\n";
    total.weightBytes += cost.bytes();
    total.operations += cost.operations;
  }
  line("total", total, rt::totalSeconds(costs));
  stream << "\n";
}

/// As printPrediction, for a GPU: products with the shape of their blocks, how many of those there are and how often
/// they fill the machine.
static void printGpuPrediction(llvm::raw_ostream &stream, const std::vector<rt::GpuStage> &stages, double tokens,
                               const rt::GpuMachine &machine, int64_t launches) {
  rt::Call call;
  call.tokens = tokens;
  std::vector<rt::GpuStageCost> costs = rt::predictGpu(stages, call, machine);
  stream << llvm::formatv("  {0,-20} {1,12} {2,14} {3,9} {4,9} {5,8} {6,6} {7,15}\n",
                          llvm::formatv("{0} token{1}", int64_t(tokens), tokens == 1 ? "" : "s").str(), "bytes",
                          "operations", "launches", "block", "blocks", "waves", "predicted");
  auto line = [&](llvm::StringRef name, double bytes, double operations, double launches, double seconds,
                  const rt::GpuStageCost *product) {
    auto number = [](double value) { return value > 0 ? llvm::formatv("{0:F0}", value).str() : std::string("-"); };
    std::string block = product ? llvm::formatv("{0}x{1}", product->shape.rows, product->shape.columns).str() : "-";
    stream << llvm::formatv("    {0,-18} {1,12} {2,14} {3,9} {4,9} {5,8} {6,6} {7,12:F4} ms", name, amount(bytes, "B"),
                            amount(operations, "FLOP"), number(launches), block,
                            number(product ? product->launch.blocks : 0), number(product ? product->launch.waves : 0),
                            seconds * 1e3);
  };
  double bytes = 0, operations = 0, seconds = 0, counted = 0;
  for (const rt::GpuStageCost &stage : costs) {
    const rt::StageCost &cost = stage.cost;
    bool onTensorCores = stage.shape.rows > 0;
    line(cost.name, cost.bytes(), cost.operations, stage.launches, cost.seconds(), onTensorCores ? &stage : nullptr);
    bool isOverhead = cost.overheadSeconds > std::max(cost.memorySeconds, cost.computeSeconds);
    stream << "  "
           << (isOverhead                                  ? "overhead"
               : cost.memorySeconds >= cost.computeSeconds ? "memory"
               : onTensorCores                             ? stage.launch.tileLimit
                                                           : "compute")
           << "\n";
    bytes += cost.bytes();
    operations += cost.operations;
    seconds += cost.seconds();
    counted += stage.launches;
  }
  // Kernels beside those of products and attention.
  seconds += std::max(0.0, double(launches) - counted) * (machine.launchSeconds + machine.latencySeconds);
  line("total", bytes, operations, double(launches), seconds, nullptr);
  stream << "\n";
}

static void printGpuEntry(llvm::raw_ostream &stream, const ReportContents &contents, const Entry &entry) {
  EntryLaunches launches;
  for (const EntryLaunches &other : contents.launches)
    if (other.entry == entry.name)
      launches = other;
  stream << "  launches       " << launches.oneToken << " for one token, " << launches.manyTokens << " for many\n";
  std::vector<rt::GpuStage> stages = gpuStagesOf(contents.stages, entry.name);
  for (const std::string &architecture : contents.architectures) {
    const rt::GpuMachine &machine = rt::gpuMachineFor(architecture);
    stream << "  " << architecture << ", predicted for " << machine.name << "\n";
    for (int64_t tokens : {1, 16, 256, 1024, 4096})
      if (contents.info.maxPositions == 0 || tokens <= contents.info.maxPositions || cacheBytes(entry) == 0)
        printGpuPrediction(stream, stages, double(tokens), machine,
                           tokens == 1 ? launches.oneToken : launches.manyTokens);
  }
}

void moe::printReport(llvm::raw_ostream &stream, const ReportContents &contents) {
  const ModelInfo &info = contents.info;
  const WeightsTable &weights = contents.weights;
  stream << llvm::formatv("{0,-14} {1}", "model", info.name);
  if (!info.family.empty())
    stream << " (" << info.family << "), " << info.layers << " layers, " << info.experts << " experts, "
           << info.expertsPerToken << " per token";
  stream << "\n";
  if (info.parameters)
    stream << llvm::formatv("{0,-14} {1}, {2} active per token\n", "parameters", info.parameters,
                            info.activeParameters);

  if (!info.quantizedExperts.empty() || !info.quantizedOthers.empty()) {
    auto orNone = [](llvm::StringRef format) { return format.empty() ? "none" : format; };
    stream << llvm::formatv("{0,-14} experts {1}, others {2}\n", "quantised", orNone(info.quantizedExperts),
                            orNone(info.quantizedOthers));
  }
  stream << llvm::formatv("{0,-14} {1}\n", "weights", amount(double(weights.size), "B"));
  llvm::MapVector<llvm::StringRef, uint64_t> kinds;
  for (const WeightsTensor &tensor : weights.tensors)
    kinds[kindOf(tensor.sources.empty() ? tensor.name : tensor.sources.front())] += tensor.size;
  for (auto [kind, bytes] : kinds)
    stream << llvm::formatv("  {0,-14} {1}\n", kind, amount(double(bytes), "B"));

  // There is one rank, which has everything.
  double cache = 0, activations = 0;
  for (const Entry &entry : contents.entries)
    cache += cacheBytes(entry);
  constexpr double tokens = 256;
  for (const EntryStages &entry : contents.stages)
    for (const StageInfo &stage : entry.stages)
      activations =
          std::max(activations, stage.stage.rowBytes * tokens *
                                    (stage.stage.rows == rt::RowsOf::Choices ? double(stage.stage.choices) : 1));
  stream << llvm::formatv("{0,-14} 1 rank: {1} of weights", "memory", amount(double(weights.size), "B"));
  if (cache > 0)
    stream << ", " << amount(cache, "B") << " of cache per position and sequence";
  stream << ", " << amount(activations, "B") << " of activations in the largest stage for " << int64_t(tokens)
         << " tokens\n";
  stream << llvm::formatv("{0,-14} {1} of code for {2}; file {3}\n", "sizes", amount(double(contents.codeBytes), "B"),
                          llvm::join(contents.levels, ", "), amount(double(contents.fileBytes), "B"));

  bool isGpu = !contents.architectures.empty();
  std::string level = reportedLevel(contents);
  if (isGpu)
    stream << llvm::formatv("{0,-14} blocks are for {1}\n", "tuned for",
                            rt::gpuMachineFor(contents.architectures.front()).name);
  else
    stream << llvm::formatv("{0,-14} {1}, {2}, {3} thread{4}; tile sizes are for {5}\n", "predicted for",
                            contents.machineSource, level, contents.machine.threads,
                            contents.machine.threads == 1 ? "" : "s", contents.tuningSource);
  for (const Entry &entry : contents.entries) {
    stream << llvm::formatv("{0,-14} {1}", "entry", entry.name);
    for (const EntryCost &cost : info.costs)
      if (cost.entry == entry.name) {
        double bytes = cost.denseBytes + double(cost.moeLayers) * double(info.expertsPerToken) * cost.expertBytes;
        stream << ": " << amount(cost.flopsPerToken, "FLOP") << " and " << amount(bytes, "B")
               << " of weights per token";
      }
    stream << "\n";
    std::vector<rt::Stage> stages = stagesOf(contents.stages, entry.name);
    if (stages.empty())
      continue;
    for (const EntryStages &other : contents.stages)
      if (other.entry == entry.name)
        printFused(stream, other);
    if (isGpu) {
      printGpuEntry(stream, contents, entry);
      continue;
    }
    for (int64_t count : {1, 16, 256, 1024})
      if (info.maxPositions == 0 || count <= info.maxPositions || cacheBytes(entry) == 0)
        printPrediction(stream, stages, double(count), contents.machine, level);
  }

  stream << "time\n";
  double total = 0;
  for (const StepTime &step : contents.steps) {
    stream << llvm::formatv("  {0,-14} {1,8:F1} ms\n", step.name, step.seconds * 1e3);
    total += step.seconds;
  }
  stream << llvm::formatv("  {0,-14} {1,8:F1} ms\n", "total", total * 1e3);
}

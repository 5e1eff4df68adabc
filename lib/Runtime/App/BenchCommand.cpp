//===- BenchCommand.cpp - how fast the entries are -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "../Host/Progress.h"
#include "Calibrate.h"
#include "Commands.h"
#include "KernelCounters.h"
#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/LanguageModel.h"
#include "moe/Runtime/StageTimes.h"
#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

namespace moe::rt {
namespace {

using Json = nlohmann::ordered_json;

constexpr int leastRepetitions = 5;
constexpr double secondsPerCell = 0.5;
constexpr int64_t decodePast = 128; // positions in the cache of a decode step

struct Cell {
  std::string entry, isa;
  int64_t tokens = 0, threads = 0;
  double median = 0, fastest = 0;  // seconds
  double flops = 0, bytes = 0;     // of one call
  double roofline = 0;             // share of the limit reached
  std::vector<StageCost> stages;   // predicted
  std::vector<StageTime> measured; // seconds of one call, where they were asked for
  size_t repetitions = 0;
};

/// The machine to predict and compare with: this user's calibration, or what is measured now.
struct Limits {
  Machine machine;
  std::string file; // that it was read from; empty: measured now
};

Limits findLimits(const Model &model) {
  std::string path = machineFilePath(), error;
  std::optional<Machine> machine;
  if (!path.empty())
    machine = loadMachine(path, cpuModel(), usableCores(), error);
  if (!error.empty())
    fprintf(stderr, "note: %s; measuring this machine now (bench --calibrate replaces the file)\n", error.c_str());
  // A calibration of another version may not know the level.
  if (machine && machine->peak(model.isa(), Arithmetic::F32, 1) > 0)
    return {std::move(*machine), path};
  return {measureMachine(CalibrationPlan::quick(model.isa(), double(model.manifest().weightsSize))), {}};
}

/// How often each expert was chosen, by layer, in a call with these results; empty where they do not say.
std::vector<std::vector<int64_t>> expertCounts(const std::vector<Tensor> &results, int64_t experts) {
  std::vector<std::vector<int64_t>> counts;
  for (const Tensor &result : results) {
    if (result.dtype != DType::I32 || result.shape.size() != 2 || experts <= 0)
      continue;
    const int32_t *values = result.as<int32_t>();
    if (result.name == "expert_counts" && result.shape[1] == experts)
      for (int64_t layer = 0; layer < result.shape[0]; ++layer)
        counts.emplace_back(values + layer * experts, values + (layer + 1) * experts);
    if (result.name == "topk_index") {
      counts.assign(1, std::vector<int64_t>(size_t(experts)));
      for (int64_t i = 0; i < result.elements(); ++i)
        if (values[i] >= 0 && values[i] < experts)
          ++counts[0][size_t(values[i])];
    }
  }
  return counts;
}

/// Predicts the call and what this machine would need at least. Programs without stages have cost numbers: random
/// routing, and logits of the last token only.
void estimate(const Manifest &manifest, const EntryInfo &entry, const Machine &machine, const Call &call, Cell &cell) {
  double compute = 0;
  cell.stages = predict(entry.stages, call, machine, cell.isa, int(cell.threads));
  for (size_t i = 0; i < entry.stages.size(); ++i) {
    double peak = machine.peak(cell.isa, entry.stages[i].arithmetic, int(cell.threads));
    cell.flops += cell.stages[i].operations;
    cell.bytes += cell.stages[i].weightBytes;
    compute += peak > 0 ? cell.stages[i].operations / peak : 0;
  }
  if (entry.stages.empty()) {
    cell.flops = entry.cost.flopsPerToken * call.tokens;
    if (entry.kind == EntryKind::LanguageModel)
      cell.flops -= (call.tokens - 1) * 2 * double(manifest.hiddenSize) * double(manifest.vocabSize);
    cell.flops = std::max(cell.flops, 0.0);
    cell.bytes = entry.cost.denseBytes + entry.cost.moeLayers * entry.cost.expertBytes *
                                             expectedGroups(manifest.experts, manifest.expertsPerToken, call.tokens);
    double peak = machine.peak(cell.isa, Arithmetic::F32, int(cell.threads));
    compute = peak > 0 ? cell.flops / peak : 0;
  }
  double memory = cell.bytes / machine.readBandwidth(cell.bytes, int(cell.threads));
  cell.roofline = std::max(compute, memory) / cell.median;
}

/// Random values of a fixed seed: normal for floats, zero for everything else (any integer is a valid zero).
Tensor randomTensor(const ArgumentInfo &argument, int64_t tokens) {
  std::vector<int64_t> shape = argument.shape;
  std::replace(shape.begin(), shape.end(), dynamicSize, tokens);
  Tensor values = Tensor::zeros(argument.name, DType::F32, shape);
  if (isFloatDType(argument.dtype)) {
    std::mt19937_64 generator(1);
    std::normal_distribution<float> normal;
    for (int64_t i = 0, count = values.elements(); i < count; ++i)
      values.as<float>()[i] = normal(generator);
  }
  return argument.dtype == DType::F32 ? values : convertTensor(values.view(), argument.dtype);
}

/// One call of an entry, again and again.
struct Prepared {
  std::function<std::vector<Tensor>()> call;
  int64_t past = 0;
};

Prepared prepareCall(const Model &model, const EntryInfo &entry, int64_t tokens) {
  if (entry.kind != EntryKind::LanguageModel) {
    std::vector<Tensor> inputs;
    for (const ArgumentInfo *argument : entry.withRole(Role::Input))
      inputs.push_back(randomTensor(*argument, tokens));
    return {[&model, &entry, inputs = std::move(inputs)] { return model.call(entry, inputs); }};
  }
  auto languageModel = std::make_shared<LanguageModel>(model, entry);
  int64_t limit = languageModel->maxPositions();
  if (tokens > limit)
    throw InputError("--tokens: expected at most " + std::to_string(limit) + " (max_positions of the model) but got " +
                     std::to_string(tokens));
  int64_t past = tokens == 1 ? std::min(decodePast, limit - 1) : 0;
  std::mt19937_64 generator(1);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < past + tokens; ++i)
    ids.push_back(int32_t(generator() % uint64_t(std::max<int64_t>(model.manifest().vocabSize, 1))));
  auto cache = std::make_shared<Cache>(languageModel->makeCache(1, past + tokens));
  if (past > 0)
    languageModel->forward({ids.data(), size_t(past)}, past, 1, *cache);
  ids.erase(ids.begin(), ids.begin() + past);
  auto call = [=] {
    cache->length = past; // the same positions are written again
    return languageModel->forward(ids, tokens, 1, *cache);
  };
  return {call, past};
}

/// Bytes of the tensors that a call is given and returns, as the device has them.
double bytesInAndOut(const EntryInfo &entry, int64_t tokens, const std::vector<Tensor> &results) {
  double bytes = 0;
  for (const ArgumentInfo *argument : entry.withRole(Role::Input)) {
    std::vector<int64_t> shape = argument->shape;
    if (entry.kind == EntryKind::LanguageModel)
      shape = {tokens};
    std::replace(shape.begin(), shape.end(), dynamicSize, tokens);
    bytes += double(tensorBytes(argument->dtype, shape).value_or(0));
  }
  for (const Tensor &result : results)
    bytes += double(result.size);
  return bytes;
}

/// One call on a device that counts.
CountedCall countCall(const Model &model, const EntryInfo &entry, int64_t tokens) {
  const Manifest &manifest = model.manifest();
  Prepared prepared = prepareCall(model, entry, tokens);
  if (model.takeKernelCounters().empty())
    throw InputError("bench --counters: expected a program whose kernels run on the emulator (moe-compile "
                     "--target=cuda --run-on=host) but got one for " +
                     model.isa());
  std::vector<Tensor> results = prepared.call();
  CountedCall counted{entry.name, tokens, 0, parseKernelCounters(model.takeKernelCounters())};
  Call call;
  call.tokens = double(tokens);
  call.past = double(prepared.past);
  call.counts = expertCounts(results, manifest.experts);
  Cell cell;
  cell.isa = model.isa();
  cell.threads = 1;
  estimate(manifest, entry, defaultMachine(), call, cell);
  counted.leastBytes = cell.bytes + bytesInAndOut(entry, tokens, results);
  return counted;
}

/// Returns the results of the first call, which is not measured: it meets cold pages and caches.
std::vector<Tensor> measure(const Prepared &prepared, Cell &cell) {
  std::vector<Tensor> results = prepared.call();
  std::vector<double> seconds;
  double sum = 0;
  while (seconds.size() < size_t(leastRepetitions) || sum < secondsPerCell) {
    auto start = std::chrono::steady_clock::now();
    prepared.call();
    seconds.push_back(secondsSince(start));
    sum += seconds.back();
  }
  std::sort(seconds.begin(), seconds.end());
  cell.repetitions = seconds.size();
  cell.fastest = seconds.front();
  cell.median = (seconds[(seconds.size() - 1) / 2] + seconds[seconds.size() / 2]) / 2;
  return results;
}

/// Seconds of each stage in one call: the mean of calls of their own, as the clock is read often. Empty if the code
/// names no stages.
std::vector<StageTime> measureStages(const Prepared &prepared) {
  int calls = 0;
  auto start = std::chrono::steady_clock::now();
  listenToStages();
  while (calls < leastRepetitions || secondsSince(start) < secondsPerCell) {
    prepared.call();
    moe_rt_stage("");
    ++calls;
  }
  std::vector<StageTime> times = takeStageTimes();
  if (times.size() == 1)
    return {};
  for (StageTime &time : times)
    time.seconds /= calls;
  return times;
}

std::vector<const EntryInfo *> chooseEntries(const Manifest &manifest, const std::string &name) {
  if (!name.empty())
    return {&manifest.entry(name)};
  std::vector<const EntryInfo *> entries;
  for (const EntryInfo &entry : manifest.entries) {
    if (entry.name == "main")
      return {&entry};
    entries.push_back(&entry);
  }
  return entries;
}

const char *boundOf(const StageCost &cost) {
  if (cost.overheadSeconds > std::max(cost.memorySeconds, cost.computeSeconds))
    return "overhead";
  return cost.memorySeconds >= cost.computeSeconds ? "memory" : "compute";
}

/// What is shown of a stage. The code tells stages apart by name alone, so those of one name are one.
struct StageRow {
  StageCost cost; // sums
  double predicted = 0;
  std::optional<double> measured;
};

std::vector<StageRow> rowsOf(const Cell &cell) {
  std::vector<StageRow> rows;
  auto rowOf = [&](const std::string &name) -> StageRow & {
    for (StageRow &row : rows)
      if (row.cost.name == name)
        return row;
    rows.emplace_back().cost.name = name;
    return rows.back();
  };
  for (const StageCost &stage : cell.stages) {
    StageRow &row = rowOf(stage.name);
    row.predicted += stage.seconds();
    row.cost.weightBytes += stage.weightBytes;
    row.cost.activationBytes += stage.activationBytes;
    row.cost.operations += stage.operations;
    row.cost.memorySeconds += stage.memorySeconds;
    row.cost.computeSeconds += stage.computeSeconds;
    row.cost.overheadSeconds += stage.overheadSeconds;
  }
  for (const StageTime &time : cell.measured)
    rowOf(time.name.empty() ? "other" : time.name).measured = time.seconds;
  return rows;
}

Json describe(const Cell &cell) {
  Json object = {{"entry", cell.entry},
                 {"tokens", cell.tokens},
                 {"threads", cell.threads},
                 {"isa", cell.isa},
                 {"median_ms", cell.median * 1e3},
                 {"min_ms", cell.fastest * 1e3},
                 {"tokens_per_s", double(cell.tokens) / cell.median},
                 {"gflops", cell.flops / cell.median * 1e-9},
                 {"gbytes_per_s", cell.bytes / cell.median * 1e-9},
                 {"roofline", cell.roofline},
                 {"repetitions", cell.repetitions}};
  if (cell.stages.empty())
    return object;
  object["predicted_ms"] = totalSeconds(cell.stages) * 1e3;
  Json stages = Json::array();
  for (const StageRow &row : rowsOf(cell)) {
    stages.push_back({{"name", row.cost.name},
                      {"predicted_ms", row.predicted * 1e3},
                      {"bound", boundOf(row.cost)},
                      {"flops", row.cost.operations},
                      {"weight_bytes", row.cost.weightBytes},
                      {"activation_bytes", row.cost.activationBytes}});
    if (row.measured)
      stages.back()["measured_ms"] = *row.measured * 1e3;
  }
  object["stages"] = std::move(stages);
  return object;
}

std::string stageTable(const Cell &cell) {
  std::string text =
      format("%s, %lld tokens, %lld threads: %.3f ms predicted\n  %-18s %12s %12s  %-8s %16s %13s\n",
             cell.entry.c_str(), (long long)cell.tokens, (long long)cell.threads, totalSeconds(cell.stages) * 1e3,
             "stage", "predicted ms", "measured ms", "bound", "operations", "bytes");
  for (const StageRow &row : rowsOf(cell)) {
    std::string measured = row.measured ? format("%.3f", *row.measured * 1e3) : "-";
    text += format("  %-18s %12.3f %12s  %-8s %10.3f MFLOP %10.3f MB\n", row.cost.name.c_str(), row.predicted * 1e3,
                   measured.c_str(), boundOf(row.cost), row.cost.operations * 1e-6, row.cost.bytes() * 1e-6);
  }
  return text;
}

} // namespace

void calibrateCommand(const BenchOptions &options) {
  std::string path = machineFilePath(), error;
  if (path.empty())
    throw InputError("bench --calibrate: expected XDG_CACHE_HOME or HOME to say where to store the result but neither "
                     "is set");
  // Before the work, not after it.
  std::error_code code;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), code);
  if (code)
    throw InputError("'" + path + "': cannot be written: " + code.message());
  Machine machine = measureMachine(CalibrationPlan::complete());
  if (!storeMachine(path, machine, error))
    throw InputError(error);
  if (options.json)
    return writeOutput(Json{{"calibration", Json::parse(machineText(machine))}, {"file", path}}.dump() + "\n");
  std::string text = format("%s, %d threads; stored in %s\n", machine.cpu.c_str(), machine.threads, path.c_str());
  text += format("caches: L2 %.0f KiB per core, L3 %.0f KiB\nparallel loop: %.2f us\n", machine.l2Bytes / 1024,
                 machine.l3Bytes / 1024, machine.loopSeconds * 1e6);
  text += format("%-28s %14s %14s\n", "", "one thread", "all threads");
  for (const BandwidthPoint &point : machine.bandwidth)
    text += format("read %10.2f MiB             %9.1f GB/s %9.1f GB/s\n", point.footprint / (1 << 20),
                   point.bytes.one * 1e-9, point.bytes.all * 1e-9);
  for (const Peak &peak : machine.peaks)
    text += format("%-12s %-10s      %9.1f GF/s %9.1f GF/s\n", peak.level.c_str(),
                   std::string(arithmeticName(peak.arithmetic)).c_str(), peak.operations.one * 1e-9,
                   peak.operations.all * 1e-9);
  writeOutput(text);
}

void benchCommand(const Model &model, const BenchOptions &options) {
  const Manifest &manifest = model.manifest();
  std::vector<const EntryInfo *> entries = chooseEntries(manifest, options.entry);
  for (const EntryInfo *entry : entries)
    for (const ArgumentInfo &argument : entry->arguments)
      if (entry->kind != EntryKind::LanguageModel && argument.role != Role::Input && argument.role != Role::Parameter)
        throw InputError("entry '" + entry->name + "': argument '" + argument.name +
                         "' is a state of a language model, which this entry is not");
  std::vector<int64_t> tokens = options.tokens;
  if (tokens.empty())
    for (int64_t count : {1, 16, 256})
      if (manifest.maxPositions == 0 || count <= manifest.maxPositions)
        tokens.push_back(count);
  if (options.counters) {
    std::vector<CountedCall> calls;
    for (const EntryInfo *entry : entries)
      for (int64_t length : tokens)
        calls.push_back(countCall(model, *entry, length));
    return writeOutput(options.json ? countersJson(calls) : countersTable(calls));
  }
  int before = threadCount();
  std::vector<int64_t> threads = options.threads;
  if (threads.empty())
    threads.push_back(before);

  Limits limits = findLimits(model);
  const Machine &machine = limits.machine;
  std::vector<Cell> cells;
  {
    Progress progress("bench", int64_t(threads.size() * entries.size() * tokens.size()));
    for (int64_t count : threads) {
      setThreadCount(int(count));
      for (const EntryInfo *entry : entries)
        for (int64_t length : tokens) {
          Cell cell;
          cell.entry = entry->name;
          cell.isa = model.isa();
          cell.tokens = length;
          cell.threads = count;
          Prepared prepared = prepareCall(model, *entry, length);
          std::vector<Tensor> results = measure(prepared, cell);
          if (options.stages)
            cell.measured = measureStages(prepared);
          Call call;
          call.tokens = double(length);
          call.past = double(prepared.past);
          call.counts = expertCounts(results, manifest.experts);
          estimate(manifest, *entry, machine, call, cell);
          cells.push_back(std::move(cell));
          progress.advance(1);
        }
    }
  }
  setThreadCount(before);

  // The limits that "roofline" compares with, of the arithmetic that most of the work is done in.
  double weights = double(manifest.weightsSize), most = 0;
  Arithmetic arithmetic = Arithmetic::F32;
  for (const Stage &stage : entries.front()->stages)
    if (double work = stage.repeats * stage.rowOperations * double(stage.choices); work > most) {
      most = work;
      arithmetic = stage.arithmetic;
    }
  auto peakOf = [&](int64_t count) { return machine.peak(model.isa(), arithmetic, int(count)) * 1e-9; };
  auto bandwidthOf = [&](int64_t count) { return machine.readBandwidth(weights, int(count)) * 1e-9; };
  if (options.json) {
    Json results = Json::array(), list = Json::array();
    for (const Cell &cell : cells)
      results.push_back(describe(cell));
    for (int64_t count : threads)
      list.push_back({{"threads", count},
                      {"peak_gflops", peakOf(count)},
                      {"peak_arithmetic", arithmeticName(arithmetic)},
                      {"peak_gbytes_per_s", bandwidthOf(count)},
                      {"source", limits.file.empty() ? "measured" : "stored"}});
    writeOutput(Json{{"results", results}, {"machine", list}}.dump() + "\n");
    return;
  }
  std::string text;
  for (int64_t count : threads)
    text +=
        format("%lld thread%s, %s: at most %.1f GFLOP/s (%s), %.1f GB/s\n", (long long)count, count == 1 ? "" : "s",
               model.isa().c_str(), peakOf(count), std::string(arithmeticName(arithmetic)).c_str(), bandwidthOf(count));
  text += limits.file.empty() ? "limits measured now; bench --calibrate measures them well and stores them\n"
                              : "limits from " + limits.file + "\n";
  text += format("%-16s %8s %8s %12s %12s %12s %12s %10s %10s %9s\n", "entry", "tokens", "threads", "median ms",
                 "predicted ms", "min ms", "tokens/s", "GFLOP/s", "GB/s", "roofline");
  for (const Cell &cell : cells) {
    std::string predicted = cell.stages.empty() ? "-" : format("%.3f", totalSeconds(cell.stages) * 1e3);
    text += format("%-16s %8lld %8lld %12.3f %12s %12.3f %12.0f %10.2f %10.2f %8.1f%%\n", cell.entry.c_str(),
                   (long long)cell.tokens, (long long)cell.threads, cell.median * 1e3, predicted.c_str(),
                   cell.fastest * 1e3, double(cell.tokens) / cell.median, cell.flops / cell.median * 1e-9,
                   cell.bytes / cell.median * 1e-9, cell.roofline * 100);
  }
  if (options.stages)
    for (const Cell &cell : cells)
      if (!cell.stages.empty())
        text += stageTable(cell);
  writeOutput(text);
}

} // namespace moe::rt

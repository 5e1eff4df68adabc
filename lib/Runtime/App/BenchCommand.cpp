//===- BenchCommand.cpp - how fast the entries are -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Commands.h"
#include "Progress.h"
#include "Roofline.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/LanguageModel.h"
#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
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
  double median = 0, fastest = 0; // seconds
  double flops = 0, bytes = 0;    // of one call
  double roofline = 0;            // share of the limit reached
  size_t repetitions = 0;
};

/// Operations of one call and bytes of weights it reads. Random routing: T tokens reach E (1 - (1 - k/E)^T) experts.
void estimateWork(const Manifest &manifest, const EntryInfo &entry, Cell &cell) {
  double tokens = double(cell.tokens), experts = double(manifest.experts), k = double(manifest.expertsPerToken);
  cell.flops = entry.cost.flopsPerToken * tokens;
  // Prefill asks for the logits of its last token only.
  if (entry.kind == EntryKind::LanguageModel)
    cell.flops -= (tokens - 1) * 2 * double(manifest.hiddenSize) * double(manifest.vocabSize);
  cell.flops = std::max(cell.flops, 0.0);
  double distinct = experts > 0 ? experts * (1 - std::pow(1 - std::min(1.0, k / experts), tokens)) : 0;
  cell.bytes = entry.cost.denseBytes + entry.cost.moeLayers * distinct * entry.cost.expertBytes;
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

/// A function that does one call of the entry.
std::function<void()> prepareCall(const Model &model, const EntryInfo &entry, int64_t tokens) {
  if (entry.kind != EntryKind::LanguageModel) {
    std::vector<Tensor> inputs;
    for (const ArgumentInfo *argument : entry.withRole(Role::Input))
      inputs.push_back(randomTensor(*argument, tokens));
    return [&model, &entry, inputs = std::move(inputs)] { model.call(entry, inputs); };
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
  return [=] {
    cache->length = past; // the same positions are written again
    languageModel->forward(ids, tokens, 1, *cache);
  };
}

void measure(const std::function<void()> &call, Cell &cell) {
  call(); // pages and caches
  std::vector<double> seconds;
  double sum = 0;
  while (seconds.size() < size_t(leastRepetitions) || sum < secondsPerCell) {
    auto start = std::chrono::steady_clock::now();
    call();
    seconds.push_back(secondsSince(start));
    sum += seconds.back();
  }
  std::sort(seconds.begin(), seconds.end());
  cell.repetitions = seconds.size();
  cell.fastest = seconds.front();
  cell.median = (seconds[(seconds.size() - 1) / 2] + seconds[seconds.size() / 2]) / 2;
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

Json describe(const Cell &cell) {
  return {{"entry", cell.entry},
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
}

} // namespace

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
  int before = threadCount();
  std::vector<int64_t> threads = options.threads;
  if (threads.empty())
    threads.push_back(before);

  std::map<int64_t, Roofline> limits;
  std::vector<Cell> cells;
  {
    Progress progress("bench", int64_t(threads.size() * entries.size() * tokens.size()));
    for (int64_t count : threads) {
      setThreadCount(int(count));
      if (!limits.count(count))
        limits[count] = measureRoofline(model.isa(), manifest.weightsSize);
      for (const EntryInfo *entry : entries)
        for (int64_t length : tokens) {
          Cell cell;
          cell.entry = entry->name;
          cell.isa = model.isa();
          cell.tokens = length;
          cell.threads = count;
          estimateWork(manifest, *entry, cell);
          measure(prepareCall(model, *entry, length), cell);
          cell.roofline = std::max(cell.flops / limits[count].flops, cell.bytes / limits[count].bytes) / cell.median;
          cells.push_back(std::move(cell));
          progress.advance(1);
        }
    }
  }
  setThreadCount(before);

  if (options.json) {
    Json results = Json::array(), machine = Json::array();
    for (const Cell &cell : cells)
      results.push_back(describe(cell));
    for (auto &[count, limit] : limits)
      machine.push_back(
          {{"threads", count}, {"peak_gflops", limit.flops * 1e-9}, {"peak_gbytes_per_s", limit.bytes * 1e-9}});
    writeOutput(Json{{"results", results}, {"machine", machine}}.dump() + "\n");
    return;
  }
  std::string text;
  for (auto &[count, limit] : limits)
    text += format("%lld thread%s, %s: at most %.1f GFLOP/s, %.1f GB/s\n", (long long)count, count == 1 ? "" : "s",
                   model.isa().c_str(), limit.flops * 1e-9, limit.bytes * 1e-9);
  text += format("%-16s %8s %8s %12s %12s %12s %10s %10s %9s\n", "entry", "tokens", "threads", "median ms", "min ms",
                 "tokens/s", "GFLOP/s", "GB/s", "roofline");
  for (const Cell &cell : cells)
    text += format("%-16s %8lld %8lld %12.3f %12.3f %12.0f %10.2f %10.2f %8.1f%%\n", cell.entry.c_str(),
                   (long long)cell.tokens, (long long)cell.threads, cell.median * 1e3, cell.fastest * 1e3,
                   double(cell.tokens) / cell.median, cell.flops / cell.median * 1e-9, cell.bytes / cell.median * 1e-9,
                   cell.roofline * 100);
  writeOutput(text);
}

} // namespace moe::rt

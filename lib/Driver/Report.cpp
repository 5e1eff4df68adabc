//===- Report.cpp - what --report prints ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Report.h"

#include "llvm/ADT/MapVector.h"
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

void moe::printReport(llvm::raw_ostream &stream, const ModelInfo &info, const WeightsTable &weights,
                      const std::vector<Entry> &entries, const std::vector<StepTime> &steps) {
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

  for (const Entry &entry : entries) {
    stream << llvm::formatv("{0,-14} {1}", "entry", entry.name);
    for (const EntryCost &cost : info.costs)
      if (cost.entry == entry.name) {
        double bytes = cost.denseBytes + double(cost.moeLayers) * double(info.expertsPerToken) * cost.expertBytes;
        stream << ": " << amount(cost.flopsPerToken, "FLOP") << " and " << amount(bytes, "B")
               << " of weights per token";
      }
    stream << "\n";
  }

  stream << "time\n";
  double total = 0;
  for (const StepTime &step : steps) {
    stream << llvm::formatv("  {0,-14} {1,8:F1} ms\n", step.name, step.seconds * 1e3);
    total += step.seconds;
  }
  stream << llvm::formatv("  {0,-14} {1,8:F1} ms\n", "total", total * 1e3);
}

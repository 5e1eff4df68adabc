//===- InfoCommand.cpp - what the program is -----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Commands.h"
#include "moe/Runtime/Cpu.h"
#include "moe/Runtime/ThreadPool.h"

#include <nlohmann/json.hpp>

namespace moe::rt {
namespace {

using Json = nlohmann::ordered_json;

std::string join(const std::vector<std::string> &words) {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

const char *kindName(EntryKind kind) {
  switch (kind) {
  case EntryKind::LanguageModel:
    return "language_model";
  case EntryKind::MoeBlock:
    return "moe_block";
  case EntryKind::Function:
    break;
  }
  return "function";
}

const char *modeName(WeightsMode mode) {
  switch (mode) {
  case WeightsMode::Embedded:
    return "embed";
  case WeightsMode::External:
    return "external";
  case WeightsMode::None:
    break;
  }
  return "none";
}

template <typename Named> Json signature(const Named &tensor) {
  return {{"name", tensor.name}, {"dtype", dtypeName(tensor.dtype)}, {"shape", tensor.shape}};
}

Json describeEntry(const EntryInfo &entry) {
  Json inputs = Json::array(), outputs = Json::array();
  for (const ArgumentInfo *argument : entry.withRole(Role::Input))
    inputs.push_back(signature(*argument));
  for (const ResultInfo &result : entry.results)
    outputs.push_back(signature(result));
  return {{"name", entry.name}, {"kind", kindName(entry.kind)}, {"inputs", inputs}, {"outputs", outputs}};
}

Json orNull(const std::string &text) { return text.empty() ? Json(nullptr) : Json(text); }

/// "hidden BF16[?,128], ...".
std::string signatures(const Json &tensors) {
  std::string text;
  for (const Json &tensor : tensors)
    text += (text.empty() ? "" : ", ") + tensor["name"].get<std::string>() + " " + tensor["dtype"].get<std::string>() +
            patternToString(tensor["shape"].get<std::vector<int64_t>>());
  return text;
}

} // namespace

void infoCommand(const ModelImage &image, const InfoOptions &options) {
  Manifest manifest = parseManifest(image.manifest);
  std::vector<std::string> available;
  for (const std::string &level : manifest.isa)
    if (isaLevelAvailable(level))
      available.push_back(level);
  // A machine that cannot run the program can still say what it is.
  std::string chosen = options.isa.empty() && available.empty() ? "" : chooseLevel(manifest, options.isa);

  Json details = Json::array(), names = Json::array();
  for (const EntryInfo &entry : manifest.entries) {
    names.push_back(entry.name);
    details.push_back(describeEntry(entry));
  }
  if (options.json) {
    Json out = {{"name", manifest.name},
                {"family", manifest.family},
                {"numerics", manifest.numerics},
                {"layers", manifest.layers},
                {"experts", manifest.experts},
                {"experts_per_token", manifest.expertsPerToken},
                {"hidden_size", manifest.hiddenSize},
                {"vocab_size", manifest.vocabSize},
                {"max_positions", manifest.maxPositions},
                {"dtypes", manifest.dtypes},
                {"parameters", manifest.parameters},
                {"active_parameters", manifest.activeParameters},
                {"eos_token_ids", manifest.eosTokenIds},
                {"tokenizer", !image.tokenizer.empty()},
                {"quantization",
                 {{"experts", orNull(manifest.quantizedExperts)}, {"others", orNull(manifest.quantizedOthers)}}},
                {"weights", {{"mode", modeName(manifest.weightsMode)}, {"bytes", manifest.weightsSize}}},
                {"entries", names},
                {"entry_details", details},
                {"isa", chosen.empty() ? Json(nullptr) : Json(chosen)},
                {"isa_available", available},
                {"isa_levels", manifest.isa},
                {"threads", threadCount()}};
    writeOutput(out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    return;
  }

  std::string text;
  auto row = [&](const char *key, const std::string &value) { text += format("%-18s %s\n", key, value.c_str()); };
  row("name", manifest.name);
  if (!manifest.family.empty()) {
    row("family", manifest.family);
    row("layers", std::to_string(manifest.layers));
    row("experts",
        std::to_string(manifest.experts) + " per layer, " + std::to_string(manifest.expertsPerToken) + " per token");
    row("parameters",
        std::to_string(manifest.parameters) + " (" + std::to_string(manifest.activeParameters) + " active per token)");
    row("numerics", manifest.numerics + " (" + join(manifest.dtypes) + ")");
    if (manifest.maxPositions > 0)
      row("positions", std::to_string(manifest.maxPositions));
    row("tokenizer", image.tokenizer.empty() ? "none" : "byte-level BPE");
  }
  auto orNone = [](const std::string &format) { return format.empty() ? "none" : format; };
  if (!manifest.quantizedExperts.empty() || !manifest.quantizedOthers.empty())
    row("quantised", "experts " + orNone(manifest.quantizedExperts) + ", others " + orNone(manifest.quantizedOthers));
  row("weights", std::string(modeName(manifest.weightsMode)) + ", " + std::to_string(manifest.weightsSize) + " bytes");
  row("instruction sets", join(manifest.isa) + " (here: " + (chosen.empty() ? "none available" : chosen) + ")");
  row("threads", std::to_string(threadCount()));
  for (const Json &entry : details)
    row("entry",
        entry["name"].get<std::string>() + ": " + signatures(entry["inputs"]) + " -> " + signatures(entry["outputs"]));
  writeOutput(text);
}

} // namespace moe::rt

//===- Manifest.cpp - what a compiled model says of itself ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Manifest.h"
#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Error.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace moe::rt {
namespace {

using nlohmann::json;

/// A value of the manifest together with where it stands, for messages.
class Value {
public:
  Value(const json &value, std::string path) : value(value), path(std::move(path)) {}

  [[noreturn]] void fail(const std::string &expected) const {
    std::string found = value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (found.size() > 60)
      found = found.substr(0, 57) + "...";
    fail(expected, found);
  }
  [[noreturn]] void fail(const std::string &expected, const std::string &found) const {
    throw InternalError("manifest: " + (path.empty() ? "" : path + ": ") + "expected " + expected + " but got " +
                        found);
  }

  Value operator[](const char *key) const {
    if (!value.is_object())
      fail("an object");
    auto member = value.find(key);
    if (member == value.end())
      Value(value, path.empty() ? key : path + "." + key).fail("a value", "nothing");
    return Value(*member, path.empty() ? key : path + "." + key);
  }
  bool has(const char *key) const { return value.is_object() && value.contains(key); }

  template <typename Use> void each(Use use) const {
    if (!value.is_array())
      fail("a list");
    for (size_t i = 0; i < value.size(); ++i)
      use(Value(value[i], path + "[" + std::to_string(i) + "]"));
  }

  std::string text() const {
    if (!value.is_string())
      fail("a string");
    return value.get<std::string>();
  }
  int64_t integer(int64_t least) const {
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max())) ||
        value.get<int64_t>() < least)
      fail("an integer of at least " + std::to_string(least));
    return value.get<int64_t>();
  }
  double number() const {
    if (!value.is_number() || !(value.get<double>() >= 0))
      fail("a number of at least 0");
    return value.get<double>();
  }
  DType dtype() const {
    std::optional<DType> type = dtypeFromName(text());
    if (!type)
      fail("an element type");
    return *type;
  }
  std::vector<int64_t> shape(int64_t least) const {
    std::vector<int64_t> sizes;
    each([&](Value size) { sizes.push_back(size.integer(least)); });
    if (sizes.size() > size_t(MemRefDescriptor::maxRank))
      fail("at most " + std::to_string(MemRefDescriptor::maxRank) + " dimensions", std::to_string(sizes.size()));
    return sizes;
  }

private:
  const json &value;
  std::string path;
};

template <typename Enum> Enum oneOf(const Value &value, std::initializer_list<std::pair<const char *, Enum>> choices) {
  std::string text = value.text(), names;
  for (auto &[name, choice] : choices) {
    if (text == name)
      return choice;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  value.fail("one of " + names);
}

void readWeights(const Value &weights, Manifest &manifest) {
  manifest.weightsMode = oneOf<WeightsMode>(
      weights["mode"],
      {{"embed", WeightsMode::Embedded}, {"external", WeightsMode::External}, {"none", WeightsMode::None}});
  if (manifest.weightsMode == WeightsMode::None)
    return;
  manifest.weightsSize = uint64_t(weights["size"].integer(0));
  std::string digits = weights["fingerprint"].text();
  if (digits.size() != 16 || digits.find_first_not_of("0123456789abcdef") != std::string::npos)
    weights["fingerprint"].fail("16 lower-case hexadecimal digits");
  manifest.fingerprint = std::stoull(digits, nullptr, 16);
  weights["tensors"].each([&](Value tensor) {
    WeightInfo info;
    info.name = tensor["name"].text();
    info.dtype = tensor["dtype"].dtype();
    info.shape = tensor["shape"].shape(0);
    info.offset = uint64_t(tensor["offset"].integer(0));
    std::optional<int64_t> bytes = tensorBytes(info.dtype, info.shape);
    if (!bytes)
      tensor["shape"].fail("a tensor of whole bytes that can be addressed");
    info.size = uint64_t(*bytes);
    if (info.offset % weightsTensorAlignment != 0)
      tensor["offset"].fail("a multiple of " + std::to_string(weightsTensorAlignment));
    if (info.offset > manifest.weightsSize || info.size > manifest.weightsSize - info.offset)
      tensor["offset"].fail("a tensor within " + std::to_string(manifest.weightsSize) + " bytes of weights",
                            std::to_string(info.offset) + " + " + std::to_string(info.size));
    manifest.tensors.push_back(std::move(info));
  });
}

/// What the runtime relies on when it drives a language model itself.
void checkLanguageModel(const Value &value, const EntryInfo &entry) {
  auto inputs = entry.withRole(Role::Input);
  if (inputs.size() != 1 || inputs[0]->shape.size() != 2 || inputs[0]->dtype != DType::I32)
    value["arguments"].fail("a language model to have one input, I32 of rank 2", "other inputs");
  for (Role role : {Role::Past, Role::Keep}) {
    auto arguments = entry.withRole(role);
    if (arguments.size() != 1 || !arguments[0]->shape.empty() || arguments[0]->dtype != DType::I64)
      value["arguments"].fail("a language model to have one past and one keep, I64 of rank 0", "other arguments");
  }
  for (const ArgumentInfo *state : entry.withRole(Role::State))
    if (state->shape.size() < 2 || state->shape[0] != dynamicSize || state->shape[1] != dynamicSize ||
        std::count(state->shape.begin(), state->shape.end(), dynamicSize) != 2)
      value["arguments"].fail("state '" + state->name + "' to be [?,?, static sizes...]",
                              patternToString(state->shape));
  if (entry.results.empty() || entry.results[0].name != "logits" || entry.results[0].shape.size() != 3 ||
      entry.results[0].shape[2] == dynamicSize)
    value["results"].fail("a language model to give logits [?,?,vocabulary] first", "other results");
}

/// Numbers that a stage may leave out have the value that Stage gives them.
Stage readStage(const Value &value) {
  Stage stage;
  stage.name = value["name"].text();
  stage.kind = oneOf<StageKind>(
      value["kind"], {{"product", StageKind::Product}, {"attention", StageKind::Attention}, {"rows", StageKind::Rows}});
  stage.rows =
      oneOf<RowsOf>(value["rows"], {{"tokens", RowsOf::Tokens}, {"choices", RowsOf::Choices}, {"kept", RowsOf::Kept}});
  std::optional<Arithmetic> arithmetic = parseArithmetic(value["arithmetic"].text());
  if (!arithmetic)
    value["arithmetic"].fail("one of f32, bf16, int8");
  stage.arithmetic = *arithmetic;
  auto real = [&](const char *key, double &to) {
    if (value.has(key))
      to = value[key].number();
  };
  auto whole = [&](const char *key, int64_t &to, int64_t least) {
    if (value.has(key))
      to = value[key].integer(least);
  };
  real("repeats", stage.repeats);
  real("loops", stage.loops);
  whole("groups", stage.groups, 1);
  whole("choices", stage.choices, 1);
  real("group_bytes", stage.groupBytes);
  real("row_bytes", stage.rowBytes);
  real("row_operations", stage.rowOperations);
  real("position_bytes", stage.positionBytes);
  real("pair_operations", stage.pairOperations);
  whole("window", stage.window, 0);
  return stage;
}

EntryInfo readEntry(const Value &value, const Manifest &manifest) {
  EntryInfo entry;
  entry.name = value["name"].text();
  entry.kind = oneOf<EntryKind>(value["kind"], {{"language_model", EntryKind::LanguageModel},
                                                {"moe_block", EntryKind::MoeBlock},
                                                {"function", EntryKind::Function}});
  value["arguments"].each([&](Value argument) {
    ArgumentInfo info;
    info.name = argument["name"].text();
    info.role = oneOf<Role>(argument["role"], {{"input", Role::Input},
                                               {"past", Role::Past},
                                               {"keep", Role::Keep},
                                               {"state", Role::State},
                                               {"parameter", Role::Parameter}});
    info.dtype = argument["dtype"].dtype();
    info.shape = argument["shape"].shape(dynamicSize);
    if (info.role == Role::Parameter) {
      info.parameter = size_t(argument["parameter"].integer(0));
      if (info.parameter >= manifest.tensors.size())
        argument["parameter"].fail("an index below " + std::to_string(manifest.tensors.size()));
      const WeightInfo &tensor = manifest.tensors[info.parameter];
      if (tensor.dtype != info.dtype || tensor.shape != info.shape)
        argument["shape"].fail(std::string(dtypeName(tensor.dtype)) + shapeToString(tensor.shape) + " as in weights",
                               std::string(dtypeName(info.dtype)) + patternToString(info.shape));
    }
    entry.arguments.push_back(std::move(info));
  });
  value["results"].each([&](Value result) {
    // States are updated in place; a manifest that lists them among the results means nothing more.
    if (result.has("role") && result["role"].text() == "state")
      return;
    entry.results.push_back({result["name"].text(), result["dtype"].dtype(), result["shape"].shape(dynamicSize)});
  });
  if (value.has("cost")) {
    Value cost = value["cost"];
    entry.cost = {cost["flops_per_token"].number(), cost["dense_bytes"].number(), cost["expert_bytes"].number(),
                  cost["moe_layers"].number()};
  }
  if (value.has("stages"))
    value["stages"].each([&](Value stage) { entry.stages.push_back(readStage(stage)); });
  if (entry.kind == EntryKind::LanguageModel)
    checkLanguageModel(value, entry);
  return entry;
}

} // namespace

std::string patternToString(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? "," : "") + (shape[i] == dynamicSize ? std::string("?") : std::to_string(shape[i]));
  return text + "]";
}

std::vector<const ArgumentInfo *> EntryInfo::withRole(Role role) const {
  std::vector<const ArgumentInfo *> found;
  for (const ArgumentInfo &argument : arguments)
    if (argument.role == role)
      found.push_back(&argument);
  return found;
}

const EntryInfo &Manifest::entry(const std::string &name) const {
  std::string names;
  for (const EntryInfo &entry : entries) {
    if (entry.name == name || (name.empty() && (entry.name == "main" || entries.size() == 1)))
      return entry;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  if (name.empty())
    throw InputError("--entry: expected one of " + names + " but got nothing");
  throw InputError("--entry: expected one of " + names + " but got '" + name + "'");
}

Manifest parseManifest(std::string_view text) {
  json document;
  try {
    document = json::parse(text.begin(), text.end());
  } catch (const json::exception &error) {
    throw InternalError(std::string("manifest: not valid JSON: ") + error.what());
  }
  Value root(document, "");
  if (root["version"].integer(0) != 1)
    root["version"].fail("1");
  Manifest manifest;
  manifest.name = root["name"].text();
  // Facts that only models have; a program made from an .mlir file may leave them out.
  auto word = [&](const char *key, std::string &to) {
    if (root.has(key))
      to = root[key].text();
  };
  auto count = [&](const char *key, int64_t &to) {
    if (root.has(key))
      to = root[key].integer(0);
  };
  word("family", manifest.family);
  word("numerics", manifest.numerics);
  count("layers", manifest.layers);
  count("experts", manifest.experts);
  count("experts_per_token", manifest.expertsPerToken);
  count("hidden_size", manifest.hiddenSize);
  count("vocab_size", manifest.vocabSize);
  count("parameters", manifest.parameters);
  count("active_parameters", manifest.activeParameters);
  count("max_positions", manifest.maxPositions);
  if (root.has("dtypes"))
    root["dtypes"].each([&](Value dtype) { manifest.dtypes.push_back(dtype.text()); });
  if (root.has("eos_token_ids"))
    root["eos_token_ids"].each([&](Value id) { manifest.eosTokenIds.push_back(id.integer(0)); });
  root["isa"].each([&](Value level) { manifest.isa.push_back(level.text()); });
  if (root.has("quantization")) {
    manifest.quantizedExperts = root["quantization"]["experts"].text();
    manifest.quantizedOthers = root["quantization"]["others"].text();
  }
  readWeights(root["weights"], manifest);
  root["entries"].each([&](Value entry) { manifest.entries.push_back(readEntry(entry, manifest)); });
  if (manifest.entries.empty())
    root["entries"].fail("at least one entry");
  return manifest;
}

} // namespace moe::rt

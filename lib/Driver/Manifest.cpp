//===- Manifest.cpp - what a compiled model says of itself ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Manifest.h"
#include "Errors.h"

#include "moe/Runtime/Abi.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

using namespace moe;
using namespace mlir;

/// Reads one argument or result; `what` names it in errors.
static llvm::Expected<EntryTensor> describe(Type type, DictionaryAttr attributes, const std::string &fallback,
                                            const llvm::Twine &what) {
  EntryTensor tensor;
  auto read = [&](llvm::StringRef key, llvm::StringRef otherwise) {
    auto value = attributes ? attributes.getAs<StringAttr>(key) : StringAttr();
    return value ? value.str() : otherwise.str();
  };
  tensor.name = read("moe.name", fallback);
  tensor.role = read("moe.role", "input");
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (ranked)
    tensor.dtype = dtypeName(ranked.getElementType()).str();
  if (tensor.dtype.empty()) {
    std::string text;
    llvm::raw_string_ostream(text) << type;
    return inputError(what + " '" + tensor.name + "': expected a tensor of known rank of floats or integers but got " +
                      text);
  }
  if (ranked.getRank() > rt::MemRefDescriptor::maxRank)
    return inputError(what + " '" + tensor.name + "': expected at most " + llvm::Twine(rt::MemRefDescriptor::maxRank) +
                      " dimensions but got " + llvm::Twine(ranked.getRank()));
  if (!llvm::is_contained({"input", "past", "keep", "state", "parameter"}, tensor.role))
    return inputError(what + " '" + tensor.name +
                      "': moe.role: expected input, past, keep, state or parameter but got '" + tensor.role + "'");
  for (int64_t size : ranked.getShape())
    tensor.shape.push_back(ShapedType::isDynamic(size) ? -1 : size);
  return tensor;
}

static llvm::Expected<Entry> describeEntry(func::FuncOp function, const WeightsTable &weights) {
  Entry entry;
  entry.name = function.getSymName().str();
  std::string place = "function '" + entry.name + "', ";
  if (function.isExternal())
    return inputError("function '" + entry.name + "' is public but has no body");
  llvm::StringSet<> argumentNames, resultNames;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    auto tensor = describe(function.getArgumentTypes()[i], function.getArgAttrDict(i), "arg" + llvm::utostr(i),
                           place + "argument");
    if (!tensor)
      return tensor.takeError();
    if (tensor->role == "parameter") {
      auto symbol = function.getArgAttrOfType<FlatSymbolRefAttr>(i, "moe.parameter");
      auto found = symbol ? weights.index.find(symbol.getValue()) : weights.index.end();
      if (found == weights.index.end())
        return internalError(place + "argument " + llvm::Twine(i) + " names no parameter");
      tensor->parameter = found->second;
      tensor->name = symbol.getValue().str();
    } else if (!argumentNames.insert(tensor->name).second) {
      return inputError(place + "two arguments are called '" + tensor->name + "'");
    }
    entry.arguments.push_back(std::move(*tensor));
  }
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    auto tensor = describe(function.getResultTypes()[i], function.getResultAttrDict(i), "result" + llvm::utostr(i),
                           place + "result");
    if (!tensor)
      return tensor.takeError();
    if (tensor->role == "state")
      continue;
    if (!resultNames.insert(tensor->name).second)
      return inputError(place + "two results are called '" + tensor->name + "'");
    entry.results.push_back(std::move(*tensor));
  }
  return entry;
}

llvm::Expected<std::vector<Entry>> moe::collectEntries(ModuleOp module, const WeightsTable &weights) {
  std::vector<Entry> entries;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (!function.isPublic())
      continue;
    auto entry = describeEntry(function, weights);
    if (!entry)
      return entry.takeError();
    entries.push_back(std::move(*entry));
  }
  if (entries.empty())
    return inputError("there is no public function to compile");
  return entries;
}

static llvm::json::Array toJson(llvm::ArrayRef<int64_t> numbers) {
  llvm::json::Array array;
  for (int64_t number : numbers)
    array.push_back(number);
  return array;
}

static llvm::json::Array toJson(llvm::ArrayRef<std::string> words) {
  llvm::json::Array array;
  for (const std::string &word : words)
    array.push_back(word);
  return array;
}

static llvm::json::Object toJson(const EntryTensor &tensor) {
  return llvm::json::Object{{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", toJson(tensor.shape)}};
}

/// What kind of program an entry is: decides which commands of the executable can use it.
static llvm::StringRef entryKind(const Entry &entry, const ModelInfo &info) {
  if (info.family.empty())
    return "function";
  return llvm::StringRef(entry.name).starts_with("moe.") ? "moe_block" : "language_model";
}

/// Only what differs from the defaults of a stage.
static llvm::json::Object toJson(const rt::Stage &stage) {
  static const char *const kinds[] = {"product", "attention", "rows"}, *const rows[] = {"tokens", "choices", "kept"};
  llvm::json::Object object{{"name", stage.name},
                            {"kind", kinds[int(stage.kind)]},
                            {"rows", rows[int(stage.rows)]},
                            {"arithmetic", std::string(rt::arithmeticName(stage.arithmetic))}};
  rt::Stage usual;
  auto add = [&](llvm::StringRef key, auto value, auto otherwise) {
    if (value != otherwise)
      object[key] = value;
  };
  add("repeats", stage.repeats, usual.repeats);
  add("loops", stage.loops, usual.loops);
  add("groups", stage.groups, usual.groups);
  add("choices", stage.choices, usual.choices);
  add("group_bytes", stage.groupBytes, usual.groupBytes);
  add("row_bytes", stage.rowBytes, usual.rowBytes);
  add("row_operations", stage.rowOperations, usual.rowOperations);
  add("position_bytes", stage.positionBytes, usual.positionBytes);
  add("pair_operations", stage.pairOperations, usual.pairOperations);
  add("window", stage.window, usual.window);
  return object;
}

static llvm::json::Object toJson(const Entry &entry, const ModelInfo &info, const std::vector<EntryStages> &stages) {
  llvm::json::Array arguments, results;
  for (const EntryTensor &argument : entry.arguments) {
    llvm::json::Object object = toJson(argument);
    object["role"] = argument.role;
    if (argument.role == "parameter")
      object["parameter"] = int64_t(argument.parameter);
    arguments.push_back(std::move(object));
  }
  for (const EntryTensor &result : entry.results)
    results.push_back(toJson(result));
  llvm::json::Object object{{"name", entry.name},
                            {"kind", entryKind(entry, info)},
                            {"arguments", std::move(arguments)},
                            {"results", std::move(results)}};
  for (const EntryCost &cost : info.costs)
    if (cost.entry == entry.name)
      object["cost"] = llvm::json::Object{{"flops_per_token", cost.flopsPerToken},
                                          {"dense_bytes", cost.denseBytes},
                                          {"expert_bytes", cost.expertBytes},
                                          {"moe_layers", cost.moeLayers}};
  llvm::json::Array list;
  for (const rt::Stage &stage : stagesOf(stages, entry.name))
    list.push_back(toJson(stage));
  if (!list.empty())
    object["stages"] = std::move(list);
  return object;
}

std::string moe::writeManifest(const ManifestContents &contents) {
  const ModelInfo &info = contents.info;
  llvm::json::Array tensors, entries;
  for (const WeightsTensor &tensor : contents.weights.tensors)
    tensors.push_back(llvm::json::Object{{"name", tensor.name},
                                         {"dtype", tensor.dtype},
                                         {"shape", toJson(tensor.shape)},
                                         {"offset", int64_t(tensor.offset)}});
  for (const Entry &entry : contents.entries)
    entries.push_back(toJson(entry, info, contents.stages));
  llvm::json::Object weights{{"mode", contents.weightsMode},
                             {"size", int64_t(contents.weights.size)},
                             {"fingerprint", llvm::formatv("{0:x-16}", contents.fingerprint).str()},
                             {"tensors", std::move(tensors)}};
  llvm::json::Object manifest{{"version", 1},
                              {"name", info.name},
                              {"family", info.family},
                              {"numerics", contents.numerics == Numerics::F32 ? "f32" : "storage"},
                              {"layers", info.layers},
                              {"experts", info.experts},
                              {"experts_per_token", info.expertsPerToken},
                              {"hidden_size", info.hiddenSize},
                              {"vocab_size", info.vocabSize},
                              {"parameters", info.parameters},
                              {"active_parameters", info.activeParameters},
                              {"dtypes", toJson(info.dtypes)},
                              {"max_positions", info.maxPositions},
                              {"eos_token_ids", toJson(info.eosTokenIds)},
                              {"isa", toJson(contents.levels)},
                              {"weights", std::move(weights)},
                              {"entries", std::move(entries)}};
  if (!info.quantizedExperts.empty() || !info.quantizedOthers.empty())
    manifest["quantization"] = llvm::json::Object{{"experts", info.quantizedExperts}, {"others", info.quantizedOthers}};
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(manifest));
  return text;
}

std::string moe::writeHeader(llvm::StringRef library, llvm::StringRef interface, const ModelInfo &info,
                             const std::vector<Entry> &entries) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << "/* C interface of " << library << ", made by moe-compile from model " << info.name << ".\n *\n";
  auto list = [&](llvm::StringRef label, const EntryTensor &tensor) {
    stream << " *   " << label << " " << tensor.name << ": " << tensor.dtype << " [";
    llvm::interleaveComma(tensor.shape, stream, [&](int64_t size) {
      if (size < 0)
        stream << "any";
      else
        stream << size;
    });
    stream << "]\n";
  };
  for (const Entry &entry : entries) {
    stream << " * entry " << entry.name << "\n";
    for (const EntryTensor &argument : entry.arguments)
      if (argument.role != "parameter")
        list(argument.role, argument);
    for (const EntryTensor &result : entry.results)
      list("result", result);
  }
  stream << " */\n" << interface;
  return text;
}

//===- Model.h - what a frontend hands to the compiler --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model description becomes a module, facts about the model, and a way to read its parameters by name. Nothing here
// depends on the format the model came from.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_FRONTEND_MODEL_H
#define MOE_FRONTEND_MODEL_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moe {

/// Number formats of activations: those of the checkpoint, or f32 everywhere (weights are upcast).
enum class Numerics { Storage, F32 };

/// What the user asked of an import.
struct ImportOptions {
  Numerics numerics = Numerics::Storage;
  /// Layers whose MoE blocks become entries `moe.<l>`; empty: the whole model becomes the entry `main`.
  std::vector<int64_t> layers;
  /// Set: only config.json is read, and every parameter is random but a function of this seed and its name.
  std::optional<uint64_t> randomSeed;
};

/// Work of one entry function, for reports and rooflines. A token is one row of the input.
struct EntryCost {
  std::string entry;
  /// Multiply and add count as two. Attention over the cache is left out (it depends on the position).
  double flopsPerToken = 0;
  /// Bytes of parameters read once per call, whatever the number of tokens.
  double denseBytes = 0;
  /// Bytes of the parameters of one expert in one layer.
  double expertBytes = 0;
  /// Number of MoE layers the entry goes through.
  int64_t moeLayers = 0;
};

/// Facts about a model, in the words of the manifest (docs/Executable.md). Zero or empty: unknown.
struct ModelInfo {
  std::string name;   // base name of the folder
  std::string family; // model_type
  int64_t layers = 0;
  int64_t experts = 0;
  int64_t expertsPerToken = 0;
  int64_t hiddenSize = 0;
  int64_t vocabSize = 0;
  int64_t maxPositions = 0;
  /// Scalars in the whole checkpoint, and those a single token meets.
  int64_t parameters = 0;
  int64_t activeParameters = 0;
  /// As in safetensors ("BF16"), sorted, each once.
  std::vector<std::string> dtypes;
  std::vector<int64_t> eosTokenIds;
  /// Formats the compiler was asked to store weights in (see moe-quantize), of the experts and of the others; empty: as
  /// they are.
  std::string quantizedExperts, quantizedOthers;
  /// Text of tokenizer.json; empty where there is none.
  std::string tokenizerJson;
  std::vector<EntryCost> costs;
};

/// One parameter as it lies in the checkpoint: little-endian, row-major, without gaps.
struct ParameterData {
  llvm::StringRef dtype; // as in safetensors; lives as long as the source
  std::vector<int64_t> shape;
  llvm::ArrayRef<char> bytes;
  /// Keeps `bytes` alive where they are made on demand; null where they are mapped for the life of the source.
  std::shared_ptr<const void> owner;
};

/// Parameters by tensor name, the name of the `ml_program.global` in the module.
class ParameterSource {
public:
  virtual ~ParameterSource() = default;

  /// Finds parameter `name`. The error names the file and the tensor.
  virtual llvm::Expected<ParameterData> get(llvm::StringRef name) = 0;
};

/// A model after import: what `moe-compile` starts from.
struct ImportedModel {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  ModelInfo info;
  std::shared_ptr<ParameterSource> parameters;
};

} // namespace moe

#endif // MOE_FRONTEND_MODEL_H

//===- Weights.h - from the checkpoint's tensors to the weights blob -*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// After phase `pack` each parameter of an entry is a global of the module: a tensor of the model as it is, or the
// result of a function of the nested module @prepare. The table lists them with their place in the blob.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_DRIVER_WEIGHTS_H
#define MOE_LIB_DRIVER_WEIGHTS_H

#include "moe/Frontend/Model.h"

#include "llvm/ADT/StringMap.h"

#include <optional>
#include <string>
#include <vector>

namespace llvm {
class raw_ostream;
} // namespace llvm

namespace moe {

/// The name of `type` in safetensors files and manifests ("BF16"); empty if it has none.
llvm::StringRef dtypeName(mlir::Type type);

/// One tensor of the blob.
struct WeightsTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  unsigned elementBytes = 0;
  uint64_t offset = 0, size = 0; // bytes, from the start of the blob
  /// Function of @prepare that computes the tensor; empty: it is the only source, unchanged.
  std::string function;
  /// Names of the model's parameters the tensor is made from.
  std::vector<std::string> sources;
};

/// All tensors of the blob, in its order.
struct WeightsTable {
  std::vector<WeightsTensor> tensors;
  llvm::StringMap<size_t> index; // by name
  uint64_t size = 0;             // of the blob
};

/// Lists the parameters that the arguments of the module's public functions name (attribute `moe.parameter`).
llvm::Expected<WeightsTable> makeWeightsTable(mlir::ModuleOp module);

/// A number that differs for models with other tensors, other layouts, another `salt` or (but for a sample of the
/// bytes) other values, and is always the same for the same model. `prepare` may be null; so may `values`, whose bytes
/// are then left out.
llvm::Expected<uint64_t> fingerprint(const WeightsTable &table, mlir::ModuleOp prepare, ParameterSource *values,
                                     llvm::StringRef salt);

/// Writes the blob page aligned behind the `position` bytes that `stream` holds already, and the trailer (see
/// moe/Runtime/Abi.h). One tensor is in memory at a time. `prepare` may be null if no tensor has a function.
llvm::Error writeWeights(const WeightsTable &table, mlir::ModuleOp prepare, ParameterSource &source,
                         uint64_t fingerprint, uint64_t position, llvm::raw_ostream &stream);

/// Parameters of a model that came from `file`, an .mlir file: those whose values are written there (dense attributes
/// and resources of globals), and with a `seed` all others, at random. `get` of another parameter is an error that
/// names `file`.
llvm::Expected<std::shared_ptr<ParameterSource>> collectFileParameters(mlir::ModuleOp module, llvm::StringRef file,
                                                                       std::optional<uint64_t> seed);

} // namespace moe

#endif // MOE_LIB_DRIVER_WEIGHTS_H

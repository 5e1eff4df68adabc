//===- Manifest.h - what a compiled model says of itself ------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The compiler's side of moe/Runtime/Manifest.h; docs/Executable.md lists the keys.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_DRIVER_MANIFEST_H
#define MOE_LIB_DRIVER_MANIFEST_H

#include "Stages.h"
#include "Weights.h"

#include <optional>
#include <string>
#include <vector>

namespace moe {

/// An argument or result of an entry function, as its attributes `moe.name` and `moe.role` describe it.
struct EntryTensor {
  std::string name;
  std::string role;
  std::string dtype;
  std::vector<int64_t> shape; // -1: any size
  size_t parameter = 0;       // role "parameter": index into the weights table
};

/// A public function of the module.
struct Entry {
  std::string name;
  std::vector<EntryTensor> arguments;
  std::vector<EntryTensor> results; // without the states, which are updated in place
};

/// Reads the signatures of the module's public functions. Fails where a type has no counterpart at run time, a name
/// occurs twice, or there is no public function.
llvm::Expected<std::vector<Entry>> collectEntries(mlir::ModuleOp module, const WeightsTable &weights);

/// Everything the manifest says.
struct ManifestContents {
  const ModelInfo &info;
  Numerics numerics;
  std::vector<std::string> levels;
  /// "embed", "external" or "none".
  std::string weightsMode;
  uint64_t fingerprint;
  const WeightsTable &weights;
  const std::vector<Entry> &entries;
  const std::vector<EntryStages> &stages;
};

/// The manifest as JSON text.
std::string writeManifest(const ManifestContents &contents);

/// A C header for a shared library of the model, self-contained: `interface` is the text of the runtime's own header.
std::string writeHeader(llvm::StringRef library, llvm::StringRef interface, const ModelInfo &info,
                        const std::vector<Entry> &entries);

} // namespace moe

#endif // MOE_LIB_DRIVER_MANIFEST_H

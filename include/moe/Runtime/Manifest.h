//===- Manifest.h - what a compiled model says of itself --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The manifest is JSON text that the compiler embeds; docs/Executable.md lists its keys.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_MANIFEST_H
#define MOE_RUNTIME_MANIFEST_H

#include "moe/Runtime/CostModel.h"
#include "moe/Runtime/DType.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

/// Size of a dimension that is known only when an entry is called.
constexpr int64_t dynamicSize = -1;

/// "[?,128]": a shape in which -1 stands for any size.
std::string patternToString(const std::vector<int64_t> &shape);

/// What an argument of an entry is for.
enum class Role {
  Input,     // given by the caller
  Past,      // rank 0: positions that are in the cache already
  Keep,      // rank 0: how many last positions of each sequence get logits
  State,     // updated in place by the call (the cache)
  Parameter, // a tensor of the weights
};

struct ArgumentInfo {
  std::string name;
  Role role = Role::Input;
  DType dtype = DType::F32;
  std::vector<int64_t> shape; // dynamicSize where not known
  size_t parameter = 0;       // Role::Parameter: index into Manifest::tensors
};

struct ResultInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
};

/// Work of one call with T tokens: T * flopsPerToken operations (a multiplication and an addition count two; the
/// language model head is included) and denseBytes + moeLayers * (distinct experts) * expertBytes bytes of weights.
struct Cost {
  double flopsPerToken = 0;
  double denseBytes = 0;
  double expertBytes = 0; // of one expert of one layer
  double moeLayers = 0;
};

enum class EntryKind { LanguageModel, MoeBlock, Function };

struct EntryInfo {
  std::string name;
  EntryKind kind = EntryKind::Function;
  std::vector<ArgumentInfo> arguments;
  std::vector<ResultInfo> results; // without the states
  Cost cost;
  std::vector<Stage> stages; // empty: not known

  /// Arguments with this role, in order.
  std::vector<const ArgumentInfo *> withRole(Role role) const;
};

/// A tensor of the weights blob.
struct WeightInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  uint64_t offset = 0; // in the blob
  uint64_t size = 0;   // bytes
};

enum class WeightsMode { Embedded, External, None };

struct Manifest {
  std::string name, family, numerics;
  int64_t layers = 0, experts = 0, expertsPerToken = 0, hiddenSize = 0, vocabSize = 0;
  int64_t parameters = 0, activeParameters = 0;
  int64_t maxPositions = 0; // 0: no limit
  std::vector<std::string> dtypes;
  std::vector<int64_t> eosTokenIds;
  std::vector<std::string> isa; // best first
  /// Formats that the compiler stored weights in: of the experts, of the others; empty: those of the checkpoint.
  std::string quantizedExperts, quantizedOthers;

  WeightsMode weightsMode = WeightsMode::None;
  uint64_t weightsSize = 0;
  uint64_t fingerprint = 0;
  std::vector<WeightInfo> tensors;

  std::vector<EntryInfo> entries;

  /// The entry called `name`; empty stands for the default: `main`, or the only one. Throws InputError that lists the
  /// entries.
  const EntryInfo &entry(const std::string &name) const;
};

/// Reads and checks a manifest. Throws InternalError that names the key, what was expected and what was found.
Manifest parseManifest(std::string_view text);

} // namespace moe::rt

#endif // MOE_RUNTIME_MANIFEST_H

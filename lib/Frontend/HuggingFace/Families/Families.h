//===- Families.h - the model families that can be read -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A family is one source file: it reads its keys of config.json into a decoder and overrides what differs. Adding one:
// write the file, declare its function here, add a row to the table in Families.cpp.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_FRONTEND_HUGGINGFACE_FAMILIES_FAMILIES_H
#define MOE_LIB_FRONTEND_HUGGINGFACE_FAMILIES_FAMILIES_H

#include "../Config.h"
#include "lib/Frontend/Model/Decoder.h"

#include <memory>

namespace moe::frontend {

struct Family {
  llvm::StringRef modelType;
  /// Reads a config. Errors are kept in it.
  std::unique_ptr<Decoder> (*read)(Config &config);
};

/// All families, sorted by name.
llvm::ArrayRef<Family> families();

std::unique_ptr<Decoder> readMixtral(Config &config);
std::unique_ptr<Decoder> readQwen3Moe(Config &config);

//===----------------------------------------------------------------------===//
// For the families
//===----------------------------------------------------------------------===//

/// Values of keys that a file may leave out because they are at the default of the family.
struct Defaults {
  double normEps;
  double ropeTheta;
  int64_t maxPositions;
};

/// Reads what the configs of nearly all decoders have in common: sizes, heads, norm, rotary embedding, tied embeddings.
void readDecoder(Config &config, DecoderConfig &decoder, const Defaults &defaults);

/// After `readDecoder`: reads `experts` and `expertsPerToken` and checks one against the other.
void readExperts(Config &config, DecoderConfig &decoder, const Keys &experts);

/// The base of the rotary embedding. Only the default type is known; others are refused by name.
double readRopeTheta(Config &config, double fallback);

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_HUGGINGFACE_FAMILIES_FAMILIES_H

//===- LanguageModel.h - token ids in, logits out ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_RUNTIME_LANGUAGEMODEL_H
#define MOE_RUNTIME_LANGUAGEMODEL_H

#include "moe/Runtime/Model.h"

namespace moe::rt {

/// The cache of a batch of sequences of equal length.
struct Cache {
  std::vector<Tensor> states;
  int64_t batch = 0;
  int64_t capacity = 0; // positions
  int64_t length = 0;   // positions filled
};

/// A whole-model entry with its cache.
class LanguageModel {
public:
  /// `entry` must be of kind language_model, else InputError. Both must outlive this object.
  LanguageModel(const Model &model, const EntryInfo &entry);

  /// An empty cache for `batch` sequences of at most `capacity` positions. Throws InputError if the model has no room
  /// for so many positions.
  Cache makeCache(int64_t batch, int64_t capacity) const;

  /// Appends `length` tokens to each sequence: `ids` is [cache.batch, length], row-major. Returns the results of the
  /// entry, logits [batch, keep, vocabulary] first, in F32 and I32. Empty batches and lengths give empty results
  /// without a call. Throws InputError for an id outside the vocabulary (`where` begins the message) and for more
  /// positions than the cache has.
  std::vector<Tensor> forward(std::span<const int32_t> ids, int64_t length, int64_t keep, Cache &cache,
                              const std::string &where = "token ids") const;

  const Manifest &manifest() const { return model.manifest(); }

  /// Positions of a sequence that the model allows; a very large number if there is no limit.
  int64_t maxPositions() const;

  /// Position of the result `name` among the results, or nothing.
  std::optional<size_t> resultIndex(std::string_view name) const;

private:
  const Model &model;
  const EntryInfo &entry;
};

/// Throws InputError naming the first of `ids` outside [0, vocabulary).
void checkTokenIds(std::span<const int32_t> ids, int64_t vocabulary, const std::string &where);

} // namespace moe::rt

#endif // MOE_RUNTIME_LANGUAGEMODEL_H

//===- LanguageModel.cpp - token ids in, logits out ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/LanguageModel.h"
#include "moe/Runtime/Error.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace moe::rt {

void checkTokenIds(std::span<const int32_t> ids, int64_t vocabulary, const std::string &where) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocabulary)
      throw InputError(where + ": expected token ids in [0, " + std::to_string(vocabulary) + ") but got " +
                       std::to_string(ids[i]) + " at position " + std::to_string(i));
}

LanguageModel::LanguageModel(const Model &model, const EntryInfo &entry) : model(model), entry(entry) {
  if (entry.kind != EntryKind::LanguageModel)
    throw InputError("entry '" + entry.name + "' is not a language model, so it can only be called by run");
}

int64_t LanguageModel::maxPositions() const {
  int64_t limit = manifest().maxPositions;
  return limit > 0 ? limit : std::numeric_limits<int64_t>::max() / 4;
}

std::optional<size_t> LanguageModel::resultIndex(std::string_view name) const {
  for (size_t i = 0; i < entry.results.size(); ++i)
    if (entry.results[i].name == name)
      return i;
  return std::nullopt;
}

Cache LanguageModel::makeCache(int64_t batch, int64_t capacity) const {
  if (capacity > maxPositions())
    throw InputError("expected at most " + std::to_string(maxPositions()) +
                     " positions (max_positions of the model) but got " + std::to_string(capacity));
  Cache cache;
  cache.batch = batch;
  cache.capacity = capacity;
  for (const ArgumentInfo *state : entry.withRole(Role::State)) {
    std::vector<int64_t> shape = state->shape;
    shape[0] = batch;
    shape[1] = capacity;
    cache.states.push_back(model.makeState(state->name, state->dtype, std::move(shape)));
  }
  return cache;
}

std::vector<Tensor> LanguageModel::forward(std::span<const int32_t> ids, int64_t length, int64_t keep, Cache &cache,
                                           const std::string &where) const {
  int64_t vocabulary = manifest().vocabSize > 0 ? manifest().vocabSize : entry.results[0].shape[2];
  checkTokenIds(ids, vocabulary, where);
  if (length < 0 || int64_t(ids.size()) != cache.batch * length || keep < 0 || keep > length)
    throw InternalError("forward: expected " + std::to_string(cache.batch) + " x " + std::to_string(length) +
                        " token ids but got " + std::to_string(ids.size()));
  if (length > cache.capacity - cache.length)
    throw InputError(where + ": expected at most " + std::to_string(cache.capacity) + " positions but got " +
                     std::to_string(cache.length) + " + " + std::to_string(length));

  std::vector<Tensor> results;
  if (cache.batch == 0 || length == 0) {
    // Nothing to compute. Logits are [batch, keep, vocabulary]; everything else is counted from nothing.
    for (const ResultInfo &info : entry.results) {
      std::vector<int64_t> shape = info.shape;
      int64_t sizes[] = {cache.batch, keep};
      size_t next = 0;
      for (int64_t &size : shape)
        if (size == dynamicSize)
          size = next < 2 ? sizes[next++] : 0;
      results.push_back(Tensor::zeros(info.name, info.dtype, std::move(shape)));
    }
  } else {
    Tensor input = Tensor::zeros("input_ids", DType::I32, {cache.batch, length});
    std::memcpy(input.data.get(), ids.data(), ids.size_bytes());
    Model::Extra extra{cache.length, keep, cache.states};
    results = model.call(entry, {&input, 1}, extra);
  }
  cache.length += length;
  for (Tensor &result : results)
    toPublicType(result);
  return results;
}

} // namespace moe::rt

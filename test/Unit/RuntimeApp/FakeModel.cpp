//===- FakeModel.cpp - a hand-written compiled model ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What moe-compile would emit, written by hand: manifest, table of variants, entries with the C ABI. `main` is a toy
// language model whose next token depends on all earlier ones through its cache; `edges` gives results in every form
// that generated code can.
//
//===----------------------------------------------------------------------===//

#include "FakeModel.h"
#include "moe/Runtime/Abi.h"

#include <cmath>
#include <cstring>

namespace {

/// A memref descriptor of rank `Rank`, as generated code sees it.
template <typename T, int Rank> struct MemRef {
  T *allocated, *aligned;
  int64_t offset;
  int64_t sizes[Rank + (Rank == 0)], strides[Rank + (Rank == 0)];

  static MemRef &at(void *argument) { return *static_cast<MemRef *>(argument); }

  template <typename... Index> T &operator()(Index... index) {
    int64_t indices[] = {index...}, position = offset;
    for (int i = 0; i < Rank; ++i)
      position += indices[i] * strides[i];
    return aligned[position];
  }
};

/// Allocates a dense result and writes its descriptor to `out`, which it moves on.
template <typename T, typename... Size> MemRef<T, sizeof...(Size)> giveResult(char *&out, Size... sizes) {
  constexpr int rank = sizeof...(Size);
  MemRef<T, rank> result{nullptr, nullptr, 0, {int64_t(sizes)...}, {}};
  int64_t count = 1;
  for (int i = rank - 1; i >= 0; --i) {
    result.strides[i] = count;
    count *= result.sizes[i];
  }
  result.allocated = result.aligned = static_cast<T *>(_mlir_memref_to_llvm_alloc(size_t(count) * sizeof(T)));
  std::memcpy(out, &result, 24 + 16 * rank);
  out += 24 + 16 * rank;
  return result;
}

void mainEntry(void **args) {
  moe_rt_stage("router"); // it has nothing to do for the others
  auto &ids = MemRef<int32_t, 2>::at(args[0]);
  int64_t past = *MemRef<int64_t, 0>::at(args[1]).aligned, keep = *MemRef<int64_t, 0>::at(args[2]).aligned;
  auto &cache = MemRef<float, 3>::at(args[3]);
  auto &table = MemRef<float, 1>::at(args[4]);
  int64_t batch = ids.sizes[0], length = ids.sizes[1];
  if (past + length > cache.sizes[1] || batch != cache.sizes[0])
    moe_rt_fail("fake model: the cache is too small");

  char *out = static_cast<char *>(args[5]);
  auto logits = giveResult<float>(out, batch, keep, fake::vocabulary);
  auto counts = giveResult<int32_t>(out, fake::layers, fake::experts);
  std::memset(counts.aligned, 0, fake::layers * fake::experts * sizeof(int32_t));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < length; ++s) {
      int64_t position = past + s;
      float before = position > 0 ? cache(b, position - 1, int64_t(0)) : 0;
      // The second value of a fresh position is zero, or the cache was not cleared.
      float state = std::fmod(3 * before + float(ids(b, s)) + cache(b, position, int64_t(1)), 17.0f);
      cache(b, position, int64_t(0)) = state;
      for (int64_t layer = 0; layer < fake::layers; ++layer)
        for (int64_t choice = 0; choice < 2; ++choice)
          ++counts(layer, (ids(b, s) + layer + choice) % fake::experts);
      if (s < length - keep)
        continue;
      for (int64_t v = 0; v < fake::vocabulary; ++v)
        logits(b, s - (length - keep), v) =
            0.25f * float((v * 7 + int64_t(state) * 5 + position) % 23) + 0.001f * table(v);
      if (state == 5)
        logits(b, s - (length - keep), int64_t(fake::endOfText)) = 100;
    }
}

/// y = 2 x as a [?,4] tensor; t = its transpose in the same memory; same = x itself; half = every second row of y;
/// c = a constant; wide and flag = other element types.
void edgesEntry(void **args) {
  auto &x = MemRef<float, 2>::at(args[0]);
  char *out = static_cast<char *>(args[1]);
  int64_t rows = x.sizes[0];
  auto y = giveResult<float>(out, rows, 4);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < 4; ++j)
      y(i, j) = 2 * x(i, j);
  auto give = [&](auto descriptor, int rank) {
    std::memcpy(out, &descriptor, size_t(24 + 16 * rank));
    out += 24 + 16 * rank;
  };
  give(MemRef<float, 2>{y.allocated, y.aligned, 0, {4, rows}, {1, 4}}, 2);
  give(x, 2);
  give(MemRef<float, 2>{y.allocated, y.aligned, 4, {rows / 2, 4}, {8, 1}}, 2);
  static float constant[2] = {1.5f, -2.5f};
  give(MemRef<float, 1>{reinterpret_cast<float *>(0xdeadbeef), constant, 0, {2}, {1}}, 1);
  giveResult<int64_t>(out).aligned[0] = -7;
  auto flag = giveResult<bool>(out, 2);
  flag(int64_t(0)) = true;
  flag(int64_t(1)) = false;
}

/// Any block: hidden + 1 in bf16, expert 1 for every token.
void blockEntry(void **args) {
  auto &x = MemRef<uint16_t, 2>::at(args[0]);
  auto &weight = MemRef<float, 1>::at(args[1]);
  char *out = static_cast<char *>(args[2]);
  auto y = giveResult<uint16_t>(out, x.sizes[0], 4);
  auto index = giveResult<int32_t>(out, x.sizes[0], 1);
  for (int64_t i = 0; i < x.sizes[0]; ++i) {
    index(i, int64_t(0)) = 1;
    for (int64_t j = 0; j < 4; ++j) {
      uint32_t bits = uint32_t(x(i, j)) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      value += weight(int64_t(0));
      std::memcpy(&bits, &value, sizeof value);
      y(i, j) = uint16_t(bits >> 16);
    }
  }
}

void failEntry(void **) { moe_rt_fail("fake model: expert index out of range"); }

} // namespace

extern "C" {
const MoeEntryVariant moe_model_variants[] = {
    {"main", "avx512", mainEntry},    {"main", "avx2", mainEntry},    {"main", "x86-64", mainEntry},
    {"edges", "avx512", edgesEntry},  {"edges", "avx2", edgesEntry},  {"edges", "x86-64", edgesEntry},
    {"moe.0", "avx512", blockEntry},  {"moe.0", "avx2", blockEntry},  {"moe.0", "x86-64", blockEntry},
    {"failing", "avx512", failEntry}, {"failing", "avx2", failEntry}, {"failing", "x86-64", failEntry},
    {nullptr, nullptr, nullptr}};
const MoeModelDevice moe_model_device = {};

#define FAKE_MANIFEST                                                                                                  \
  R"({"version": 1, "name": "fake", "family": "toy", "numerics": "f32", "layers": 3, "experts": 4,
"experts_per_token": 2, "hidden_size": 8, "vocab_size": 257, "parameters": 1000, "active_parameters": 600,
"dtypes": ["F32"], "max_positions": 40, "eos_token_ids": [256], "isa": ["avx512", "avx2", "x86-64"],
"weights": {"mode": "embed", "size": 1092, "fingerprint": "00000000c0ffee11", "tensors": [
  {"name": "table", "dtype": "F32", "shape": [257], "offset": 0},
  {"name": "one", "dtype": "F32", "shape": [1], "offset": 1088}]},
"entries": [
 {"name": "main", "kind": "language_model", "arguments": [
   {"name": "input_ids", "role": "input", "dtype": "I32", "shape": [-1, -1]},
   {"name": "past", "role": "past", "dtype": "I64", "shape": []},
   {"name": "keep", "role": "keep", "dtype": "I64", "shape": []},
   {"name": "key_cache.0", "role": "state", "dtype": "F32", "shape": [-1, -1, 2]},
   {"name": "table", "role": "parameter", "dtype": "F32", "shape": [257], "parameter": 0}],
  "results": [
   {"name": "logits", "dtype": "F32", "shape": [-1, -1, 257]},
   {"name": "expert_counts", "dtype": "I32", "shape": [2, 4]}],
  "cost": {"flops_per_token": 1e6, "dense_bytes": 4e4, "expert_bytes": 1e4, "moe_layers": 2},
  "stages": [
   {"name": "router", "kind": "product", "rows": "tokens", "arithmetic": "f32", "repeats": 2, "group_bytes": 512,
    "row_bytes": 64, "row_operations": 256},
   {"name": "gate/up", "kind": "product", "rows": "choices", "arithmetic": "bf16", "repeats": 2, "groups": 4,
    "choices": 2, "group_bytes": 10000, "row_bytes": 100, "row_operations": 10000},
   {"name": "attention", "kind": "attention", "rows": "tokens", "arithmetic": "f32", "repeats": 2, "position_bytes": 32,
    "pair_operations": 64, "row_bytes": 16},
   {"name": "head", "kind": "product", "rows": "kept", "arithmetic": "bf16", "group_bytes": 40000,
    "row_operations": 40000}]},
 {"name": "edges", "kind": "function", "arguments": [
   {"name": "x", "role": "input", "dtype": "F32", "shape": [-1, 4]}],
  "results": [
   {"name": "y", "dtype": "F32", "shape": [-1, 4]}, {"name": "t", "dtype": "F32", "shape": [4, -1]},
   {"name": "same", "dtype": "F32", "shape": [-1, 4]}, {"name": "half", "dtype": "F32", "shape": [-1, 4]},
   {"name": "c", "dtype": "F32", "shape": [2]}, {"name": "wide", "dtype": "I64", "shape": []},
   {"name": "flag", "dtype": "BOOL", "shape": [2]}]},
 {"name": "moe.0", "kind": "moe_block", "arguments": [
   {"name": "hidden", "role": "input", "dtype": "BF16", "shape": [-1, 4]},
   {"name": "one", "role": "parameter", "dtype": "F32", "shape": [1], "parameter": 1}],
  "results": [{"name": "hidden", "dtype": "BF16", "shape": [-1, 4]},
              {"name": "topk_index", "dtype": "I32", "shape": [-1, 1]}]},
 {"name": "failing", "kind": "function", "arguments": [], "results": []},
 {"name": "missing", "kind": "function", "arguments": [], "results": []}]})"

extern const char moe_model_manifest[] = FAKE_MANIFEST;
extern const uint64_t moe_model_manifest_size = sizeof(FAKE_MANIFEST) - 1;
extern const char moe_model_tokenizer[] = "";
extern const uint64_t moe_model_tokenizer_size = 0;
} // extern "C"

namespace fake {

static std::string utf8(unsigned character) {
  if (character < 0x80)
    return {char(character)};
  return {char(0xC0 | character >> 6), char(0x80 | (character & 0x3F))};
}

std::string manifest() { return FAKE_MANIFEST; }

std::string tokenizer() {
  // Byte-level vocabularies write each byte as one printable character.
  std::string vocabularyText;
  unsigned next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string symbol = utf8(printable ? byte : next++);
    if (symbol == "\"" || symbol == "\\")
      symbol = "\\" + symbol;
    vocabularyText += (byte ? ", \"" : "\"") + symbol + "\": " + std::to_string(byte);
  }
  return R"({"version": "1.0", "truncation": null, "padding": null,
"added_tokens": [{"id": 256, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
                  "normalized": false, "special": true}],
"normalizer": null,
"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
"post_processor": null,
"decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
"model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
          "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "merges": [], "vocab": {)" +
         vocabularyText + "}}}";
}

std::string weightsFile(const std::string &before, uint64_t fingerprint) {
  std::string file = before;
  file.resize((file.size() + 4095) / 4096 * 4096);
  moe::rt::WeightsTrailer trailer{{}, file.size(), weightsSize, fingerprint, {}};
  std::memcpy(trailer.magic, moe::rt::weightsMagic, sizeof trailer.magic);
  float table[weightsSize / sizeof(float)] = {};
  for (int64_t v = 0; v < vocabulary; ++v)
    table[v] = float(v % 10);
  table[1088 / sizeof(float)] = 1;
  file.append(reinterpret_cast<char *>(table), sizeof table);
  file.append(reinterpret_cast<char *>(&trailer), sizeof trailer);
  return file;
}

} // namespace fake

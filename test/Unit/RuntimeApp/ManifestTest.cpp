//===- ManifestTest.cpp - reading manifests ------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Manifest.h"
#include "FakeModel.h"
#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Error.h"

#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

using namespace moe::rt;
using nlohmann::json;

namespace {

json fakeManifest() { return json::parse(std::string(moe_model_manifest, size_t(moe_model_manifest_size))); }

/// The message for a manifest that `change` has broken.
std::string errorAfter(const std::function<void(json &)> &change) {
  json document = fakeManifest();
  change(document);
  try {
    parseManifest(document.dump());
  } catch (const InternalError &error) {
    return error.what();
  }
  return "no error";
}

TEST(Manifest, IsRead) {
  Manifest manifest = parseManifest(fakeManifest().dump());
  EXPECT_EQ(manifest.family, "toy");
  EXPECT_EQ(manifest.fingerprint, fake::fingerprint);
  EXPECT_EQ(manifest.weightsSize, fake::weightsSize);
  EXPECT_EQ(manifest.maxPositions, fake::maxPositions);
  ASSERT_EQ(manifest.entries.size(), 5u);
  const EntryInfo &entry = manifest.entry("");
  EXPECT_EQ(entry.name, "main");
  EXPECT_EQ(entry.arguments.size(), 5u);
  EXPECT_EQ(entry.withRole(Role::Parameter)[0]->parameter, 0u);
  EXPECT_EQ(entry.results[0].shape, (std::vector<int64_t>{-1, -1, 257}));
  EXPECT_EQ(entry.cost.expertBytes, 1e4);
  ASSERT_EQ(entry.stages.size(), 4u);
  EXPECT_EQ(entry.stages[1].name, "gate/up");
  EXPECT_EQ(entry.stages[1].rows, RowsOf::Choices);
  EXPECT_EQ(entry.stages[1].arithmetic, Arithmetic::BF16);
  EXPECT_EQ(entry.stages[1].groups, 4);
  EXPECT_EQ(entry.stages[2].kind, StageKind::Attention);
  EXPECT_EQ(entry.stages[2].positionBytes, 32);
  EXPECT_EQ(entry.stages[3].loops, 1);
  EXPECT_THROW(manifest.entry("other"), InputError);
}

TEST(Manifest, ProgramsWithoutAModelSayLess) {
  Manifest manifest = parseManifest(R"({"version": 1, "name": "f", "isa": ["x86-64"], "weights": {"mode": "none"},
    "entries": [{"name": "f", "kind": "function", "arguments": [], "results": []}]})");
  EXPECT_EQ(manifest.weightsMode, WeightsMode::None);
  EXPECT_EQ(manifest.entry("").name, "f");
}

TEST(Manifest, StatesAmongTheResultsAreNoResults) {
  json document = fakeManifest();
  document["entries"][0]["results"].push_back(
      {{"name", "key_cache.0"}, {"role", "state"}, {"dtype", "F32"}, {"shape", {-1, -1, 2}}});
  EXPECT_EQ(parseManifest(document.dump()).entries[0].results.size(), 2u);
}

TEST(Manifest, BrokenOnesAreRefusedWithTheKey) {
  EXPECT_EQ(errorAfter([](json &m) { m["version"] = 2; }), "manifest: version: expected 1 but got 2");
  EXPECT_EQ(errorAfter([](json &m) { m.erase("name"); }), "manifest: name: expected a value but got nothing");
  EXPECT_EQ(errorAfter([](json &m) { m["layers"] = "two"; }),
            "manifest: layers: expected an integer of at least 0 but got \"two\"");
  EXPECT_EQ(errorAfter([](json &m) { m["layers"] = 1e300; }),
            "manifest: layers: expected an integer of at least 0 but got 1e+300");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"] = json::array(); }),
            "manifest: entries: expected at least one entry but got []");
  EXPECT_EQ(errorAfter([](json &m) { m["weights"]["mode"] = "maybe"; }),
            "manifest: weights.mode: expected one of embed, external, none but got \"maybe\"");
  EXPECT_EQ(errorAfter([](json &m) { m["weights"]["fingerprint"] = "C0FFEE"; }),
            "manifest: weights.fingerprint: expected 16 lower-case hexadecimal digits but got \"C0FFEE\"");
  EXPECT_EQ(errorAfter([](json &m) { m["weights"]["tensors"][1]["offset"] = 1090; }),
            "manifest: weights.tensors[1].offset: expected a multiple of 64 but got 1090");
  EXPECT_EQ(errorAfter([](json &m) { m["weights"]["tensors"][1]["offset"] = 1152; }),
            "manifest: weights.tensors[1].offset: expected a tensor within 1092 bytes of weights but got 1152 + 4");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["arguments"][4]["parameter"] = 2; }),
            "manifest: entries[0].arguments[4].parameter: expected an index below 2 but got 2");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["arguments"][4]["shape"] = {256}; }),
            "manifest: entries[0].arguments[4].shape: expected F32[257] as in weights but got F32[256]");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["arguments"][3]["shape"] = {-1, 4, 2}; }),
            "manifest: entries[0].arguments: expected state 'key_cache.0' to be [?,?, static sizes...] but got "
            "[?,4,2]");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][1]["results"][0]["dtype"] = "F33"; }),
            "manifest: entries[1].results[0].dtype: expected an element type but got \"F33\"");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][1]["results"][0]["shape"] = {1, 1, 1, 1, 1, 1, 1, 1, 1}; }),
            "manifest: entries[1].results[0].shape: expected at most 8 dimensions but got 9");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["cost"]["flops_per_token"] = -1; }),
            "manifest: entries[0].cost.flops_per_token: expected a number of at least 0 but got -1");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["stages"][1]["rows"] = "columns"; }),
            "manifest: entries[0].stages[1].rows: expected one of tokens, choices, kept but got \"columns\"");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["stages"][0]["arithmetic"] = "f64"; }),
            "manifest: entries[0].stages[0].arithmetic: expected one of f32, bf16, int8 but got \"f64\"");
  EXPECT_EQ(errorAfter([](json &m) { m["entries"][0]["stages"][1]["groups"] = 0; }),
            "manifest: entries[0].stages[1].groups: expected an integer of at least 1 but got 0");
}

TEST(Manifest, TextThatIsNotJsonIsRefused) {
  EXPECT_THROW(parseManifest("{"), InternalError);
  EXPECT_THROW(parseManifest(""), InternalError);
  EXPECT_THROW(parseManifest("[]"), InternalError);
}

} // namespace

//===- ModelTest.cpp - weights and calls ---------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Model.h"
#include "Program.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/LanguageModel.h"
#include "moe/Runtime/ThreadPool.h"

#include <chrono>
#include <cinttypes>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <numeric>
#include <sys/mman.h>
#include <thread>

using namespace moe::rt;

namespace {

struct ModelTest : testing::Test {
  Scratch scratch;
  std::string weights = scratch / "weights";
  void SetUp() override { writeFile(weights, fake::weightsFile("")); }
  Model open() { return Model(linkedModel(), {weights, ""}); }
  Model open(const std::string &bytes) {
    writeFile(weights, bytes);
    return open();
  }
  /// The message for a weights file.
  std::string errorFor(const std::string &bytes) {
    try {
      open(bytes);
    } catch (const InputError &error) {
      std::string text = error.what();
      if (size_t at = text.find(weights); at != std::string::npos)
        text.replace(at, weights.size(), "FILE");
      return text;
    }
    return "no error";
  }
};
using Weights = ModelTest;

TEST_F(Weights, HugePagesHoldTheSameBytes) {
  // Tensors that begin and end inside of a page, one of several pages, one of none.
  Manifest manifest;
  std::string blob(7'000'064, '\0');
  for (size_t i = 0; i < blob.size(); ++i)
    blob[i] = char(i * 7 + i / 1000);
  for (uint64_t offset : {0, 64, 1'000'000 / 64 * 64, 6'500'032, 6'500'032})
    manifest.tensors.push_back({"t", DType::U8, {}, offset, 64});
  manifest.weightsSize = blob.size();
  manifest.fingerprint = 7;
  WeightsTrailer trailer = {{}, 0, blob.size(), 7, {}};
  std::memcpy(trailer.magic, weightsMagic, sizeof weightsMagic);
  writeFile(weights, blob + std::string(reinterpret_cast<char *>(&trailer), sizeof trailer));
  for (int threads : {1, 3}) {
    int before = threadCount();
    setThreadCount(threads);
    moe::rt::Weights opened = moe::rt::Weights::open(weights, weights, manifest);
    opened.copyToHugePages(manifest);
    setThreadCount(before);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(opened.data()) % (2 << 20), 0u);
    EXPECT_EQ(std::memcmp(opened.data(), blob.data(), blob.size()), 0);
  }
}

/// Bytes in memory of the mapping that `address` is in, as the system counts them.
static size_t residentBytes(const void *address) {
  std::ifstream maps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin, end;
    unsigned long long kilobytes;
    if (sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
      found = begin <= uintptr_t(address) && uintptr_t(address) < end;
    else if (found && sscanf(line.c_str(), "Rss: %llu kB", &kilobytes) == 1)
      return size_t(kilobytes) << 10;
  }
  return 0;
}

TEST_F(Weights, ArePagesOfMemoryAheadOfTheirUse) {
  Manifest manifest;
  manifest.weightsSize = 20 << 20;
  manifest.fingerprint = 7;
  WeightsTrailer trailer = {{}, 0, manifest.weightsSize, 7, {}};
  std::memcpy(trailer.magic, weightsMagic, sizeof weightsMagic);
  writeFile(weights,
            std::string(manifest.weightsSize, 'w') + std::string(reinterpret_cast<char *>(&trailer), sizeof trailer));
  moe::rt::Weights opened = moe::rt::Weights::open(weights, weights, manifest);
  size_t before = residentBytes(opened.data());
  EXPECT_LT(before, manifest.weightsSize / 2);
  opened.mapAhead(manifest);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  size_t resident = before;
  while (resident < manifest.weightsSize && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    resident = residentBytes(opened.data());
  }
  if (madvise(const_cast<unsigned char *>(opened.data()), 4096, 22 /* MADV_POPULATE_READ */) != 0)
    GTEST_SKIP() << "this system cannot enter pages ahead of their use";
  EXPECT_GE(resident, manifest.weightsSize);
  // Ends where it is, before the file is unmapped.
  moe::rt::Weights again = moe::rt::Weights::open(weights, weights, manifest);
  again.mapAhead(manifest);
}

TEST_F(Weights, AreFoundAtTheEndOfAnyFile) {
  EXPECT_NO_THROW(open(fake::weightsFile("")));
  EXPECT_NO_THROW(open(fake::weightsFile(std::string(10000, 'x'))));
}

TEST_F(Weights, OfOtherFilesAreRefused) {
  std::string good = fake::weightsFile("");
  EXPECT_EQ(errorFor(std::string(63, 'x')), "FILE: weights trailer: expected 64 bytes but got a file of 63");
  EXPECT_EQ(errorFor(std::string(64, 'x')),
            "FILE: weights trailer: expected 'MOEWGT01' at the end of the file but got something else (not a weights "
            "file, or cut off)");
  EXPECT_EQ(errorFor(fake::weightsFile("", 0xabc)),
            "FILE: fingerprint of the weights: expected 00000000c0ffee11 but got 0000000000000abc");
  auto edited = [&](size_t field, uint64_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + bytes.size() - 64 + field, &value, sizeof value);
    return errorFor(bytes);
  };
  EXPECT_EQ(edited(16, 1000), "FILE: size of the weights: expected 1092 but got 1000");
  EXPECT_EQ(edited(8, 64), "FILE: offset of the weights: expected a multiple of 4096 but got 64");
  EXPECT_EQ(edited(8, 4096), "FILE: weights: expected 1092 bytes at offset 4096 but got a file of 1156");
  EXPECT_EQ(edited(8, ~uint64_t(4095)),
            "FILE: weights: expected 1092 bytes at offset 18446744073709547520 but got a file of 1156");
}

TEST_F(Weights, ThatAreMissingAreNamed) {
  try {
    Model(linkedModel(), {"/nowhere/weights", ""});
    FAIL();
  } catch (const InputError &error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/weights"), std::string::npos) << error.what();
  }
}

TEST_F(Weights, OfThisProgramAreAskedForByItsName) {
  // The test program itself carries none.
  try {
    Model(linkedModel(), {});
    FAIL();
  } catch (const InputError &error) {
    EXPECT_NE(std::string(error.what()).find("Tests: weights trailer"), std::string::npos) << error.what();
  }
}

TEST_F(ModelTest, GivesResultsOfEveryForm) {
  Model model = open();
  Tensor x = Tensor::zeros("x", DType::F32, {3, 4});
  std::iota(x.as<float>(), x.as<float>() + 12, 1.0f);
  auto results = model.call(model.manifest().entry("edges"), {&x, 1});
  ASSERT_EQ(results.size(), 7u);
  for (int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(results[0].as<float>()[i], 2.0f * float(i + 1));
    EXPECT_EQ(results[1].as<float>()[i % 4 * 3 + i / 4], 2.0f * float(i + 1));
    EXPECT_EQ(results[2].as<float>()[i], float(i + 1));
  }
  EXPECT_EQ(results[1].shape, (std::vector<int64_t>{4, 3}));
  EXPECT_NE(results[2].data, x.data); // a copy: results are the caller's own
  EXPECT_EQ(results[3].shape, (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(results[3].as<float>()[0], 10);
  EXPECT_EQ(results[4].as<float>()[1], -2.5f);
  EXPECT_EQ(results[5].as<int64_t>()[0], -7);
  EXPECT_EQ(results[6].as<bool>()[0], true);
  // Memory that results share lives until the last of them goes.
  Tensor half = results[3];
  results.clear();
  EXPECT_EQ(half.as<float>()[3], 16);
}

TEST_F(ModelTest, RunsWithoutRows) {
  Model model = open();
  Tensor x = Tensor::zeros("x", DType::F32, {0, 4});
  auto results = model.call(model.manifest().entry("edges"), {&x, 1});
  EXPECT_EQ(results[0].shape, (std::vector<int64_t>{0, 4}));
  EXPECT_EQ(results[1].shape, (std::vector<int64_t>{4, 0}));
}

TEST_F(ModelTest, InputsOfOtherShapesAreRefused) {
  Model model = open();
  Tensor x = Tensor::zeros("x", DType::F32, {3, 5});
  EXPECT_THROW(model.call(model.manifest().entry("edges"), {&x, 1}), InternalError);
  EXPECT_THROW(model.call(model.manifest().entry("edges"), {}), InternalError);
}

TEST_F(ModelTest, LevelsAreChosen) {
  Model plain(linkedModel(), {weights, "x86-64"});
  EXPECT_EQ(plain.isa(), "x86-64");
  EXPECT_THROW(Model(linkedModel(), {weights, "vax"}), UsageError);
}

TEST_F(ModelTest, ACacheMakesChunksEqualToTheWhole) {
  Model model = open();
  LanguageModel languageModel(model, model.manifest().entry("main"));
  std::vector<int32_t> ids(24);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = int32_t(i * i % 251);
  Cache whole = languageModel.makeCache(2, 12);
  Tensor expected = languageModel.forward(ids, 12, 12, whole)[0];
  EXPECT_EQ(expected.shape, (std::vector<int64_t>{2, 12, fake::vocabulary}));
  for (int64_t chunk : {1, 5, 12}) {
    Cache cache = languageModel.makeCache(2, 12);
    for (int64_t at = 0; at < 12; at += chunk) {
      int64_t part = std::min(chunk, 12 - at);
      std::vector<int32_t> fed(ids.begin() + at, ids.begin() + at + part);
      fed.insert(fed.end(), ids.begin() + 12 + at, ids.begin() + 12 + at + part);
      Tensor logits = languageModel.forward(fed, part, part, cache)[0];
      for (int64_t row = 0; row < 2; ++row)
        EXPECT_EQ(std::memcmp(logits.as<float>() + row * part * fake::vocabulary,
                              expected.as<float>() + (row * 12 + at) * fake::vocabulary,
                              size_t(part * fake::vocabulary) * sizeof(float)),
                  0)
            << chunk;
    }
    EXPECT_EQ(cache.length, 12);
    EXPECT_THROW(languageModel.forward(std::vector<int32_t>(2), 1, 1, cache), InputError); // full
  }
}

TEST_F(ModelTest, EmptyBatchesAndSequencesGiveEmptyLogits) {
  Model model = open();
  LanguageModel languageModel(model, model.manifest().entry("main"));
  Cache nobody = languageModel.makeCache(0, 3);
  EXPECT_EQ(languageModel.forward({}, 3, 3, nobody)[0].shape, (std::vector<int64_t>{0, 3, fake::vocabulary}));
  Cache nothing = languageModel.makeCache(2, 0);
  auto results = languageModel.forward({}, 0, 0, nothing);
  EXPECT_EQ(results[0].shape, (std::vector<int64_t>{2, 0, fake::vocabulary}));
  EXPECT_EQ(results[1].as<int32_t>()[0], 0);
}

TEST_F(ModelTest, PositionsAndIdsHaveLimits) {
  Model model = open();
  LanguageModel languageModel(model, model.manifest().entry("main"));
  EXPECT_THROW(languageModel.makeCache(1, fake::maxPositions + 1), InputError);
  Cache cache = languageModel.makeCache(1, 1);
  for (int32_t id : {-1, 257, 1 << 30})
    EXPECT_THROW(languageModel.forward({&id, 1}, 1, 1, cache), InputError);
  EXPECT_EQ(cache.length, 0);
  EXPECT_THROW(LanguageModel(model, model.manifest().entry("edges")), InputError);
}

} // namespace

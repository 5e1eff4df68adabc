//===- CApiTest.cpp - C interface of compiled models ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Program.h"
#include "moe/Runtime/MoeModel.h"

#include <gtest/gtest.h>

namespace {

struct CApi : testing::Test {
  Scratch scratch;
  std::string weights = scratch / "weights";
  MoeModel *model = nullptr;
  char *error = nullptr;
  MoeTensor *results = nullptr;
  size_t count = 0;

  void SetUp() override {
    writeFile(weights, fake::weightsFile(""));
    model = moe_open(weights.c_str(), nullptr, &error);
    ASSERT_NE(model, nullptr) << error;
  }
  void TearDown() override {
    moe_free_results(results, count);
    moe_free_string(error);
    moe_close(model);
  }
};

TEST_F(CApi, ListsTheEntries) {
  EXPECT_STREQ(moe_entry_name(model, 0), "main");
  EXPECT_STREQ(moe_entry_name(model, 4), "missing");
  EXPECT_EQ(moe_entry_name(model, 5), nullptr);
  EXPECT_NE(std::string(moe_manifest()).find("\"family\": \"toy\""), std::string::npos);
}

TEST_F(CApi, RunsABlockAndConverts) {
  int64_t shape[] = {2, 4};
  double hidden[] = {1, 2, 3, 4, 5, 6, 7, 8};
  MoeTensor input{"hidden", MOE_F64, 2, shape, hidden};
  ASSERT_EQ(moe_run(model, "moe.0", &input, 1, &results, &count, &error), MOE_OK) << error;
  ASSERT_EQ(count, 2u);
  EXPECT_STREQ(results[0].name, "hidden");
  EXPECT_EQ(results[0].type, MOE_F32);
  EXPECT_EQ(results[0].shape[1], 4);
  EXPECT_EQ(static_cast<const float *>(results[0].data)[7], 9);
  EXPECT_EQ(results[1].type, MOE_I32);
  EXPECT_EQ(static_cast<const int32_t *>(results[1].data)[1], 1);
}

TEST_F(CApi, RunsAModelFromAnEmptyCache) {
  int64_t shape[] = {1, 3}, ids[] = {1, 2, 3};
  MoeTensor input{nullptr, MOE_I64, 2, shape, ids};
  ASSERT_EQ(moe_run(model, nullptr, &input, 1, &results, &count, &error), MOE_OK) << error;
  EXPECT_EQ(results[0].shape[1], 3);
  EXPECT_EQ(results[0].shape[2], fake::vocabulary);
}

TEST_F(CApi, ReportsWhatIsWrong) {
  int64_t shape[] = {1, 3}, ids[] = {1, 2, 300};
  MoeTensor input{"input_ids", MOE_I64, 2, shape, ids};
  EXPECT_EQ(moe_run(model, "main", &input, 1, &results, &count, &error), MOE_BAD_INPUT);
  EXPECT_STREQ(error, "inputs: tensor 'input_ids': expected token ids in [0, 257) but got 300 at position 2");
  moe_free_string(error);
  EXPECT_EQ(moe_run(model, "missing", nullptr, 0, &results, &count, &error), MOE_INTERNAL);
  EXPECT_NE(std::string(error).find("entry 'missing' has no code"), std::string::npos);
  moe_free_string(error);
  input.rank = -1;
  EXPECT_EQ(moe_run(model, "main", &input, 1, &results, &count, nullptr), MOE_BAD_INPUT);
  EXPECT_EQ(moe_set_threads(0, &error), MOE_BAD_INPUT);
  EXPECT_STREQ(error, "threads: expected 1 to 1024 but got 0");
  moe_free_string(error);
  EXPECT_EQ(moe_open("/nowhere", nullptr, &error), nullptr);
  EXPECT_NE(std::string(error).find("/nowhere"), std::string::npos);
}

} // namespace

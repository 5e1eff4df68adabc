//===- CheckpointTest.cpp - single files, indices and shards --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/Frontend/HuggingFace/Checkpoint.h"
#include "TempFolder.h"

#include "gtest/gtest.h"

using namespace moe;
using namespace moe::frontend;

namespace {

class CheckpointTest : public testing::Test {
protected:
  std::unique_ptr<Checkpoint> open() {
    llvm::Expected<std::unique_ptr<Checkpoint>> checkpoint = Checkpoint::open(folder.path());
    if (checkpoint)
      return std::move(*checkpoint);
    ADD_FAILURE() << llvm::toString(checkpoint.takeError());
    std::abort();
  }

  /// Why the folder is refused, or tensor `name` of shape [2,2] in it; empty if neither is.
  std::string refused(llvm::StringRef name = "a") {
    llvm::Expected<std::unique_ptr<Checkpoint>> checkpoint = Checkpoint::open(folder.path());
    if (!checkpoint)
      return folder.message(checkpoint.takeError());
    llvm::Expected<rt::DType> dtype = (*checkpoint)->declare(name, {2, 2}, Init::Normal);
    return dtype ? "" : folder.message(dtype.takeError());
  }

  TempFolder folder;
};

TEST_F(CheckpointTest, singleFile) {
  folder.writeTensors("model.safetensors", {"a", "b"}, rt::DType::BF16);
  std::unique_ptr<Checkpoint> checkpoint = open();
  EXPECT_TRUE(checkpoint->contains("a"));
  EXPECT_FALSE(checkpoint->contains("c"));
  EXPECT_EQ(checkpoint->storedType("b"), rt::DType::BF16);
  EXPECT_FALSE(checkpoint->storedType("c"));

  EXPECT_EQ(folder.message(checkpoint->get("a").takeError()),
            "model.safetensors: tensor 'a' is no parameter of the model");
  EXPECT_EQ(llvm::cantFail(checkpoint->declare("a", {2, 2}, Init::Normal)), rt::DType::BF16);
  ParameterData data = llvm::cantFail(checkpoint->get("a"));
  EXPECT_EQ(data.dtype, "BF16");
  EXPECT_EQ(data.shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(data.bytes.size(), 8u);

  EXPECT_EQ(refused("c"), "model.safetensors: tensor 'c' is missing");
  EXPECT_EQ(folder.message(checkpoint->declare("a", {4}, Init::Normal).takeError()),
            "model.safetensors: tensor 'a': expected shape [4] but got [2,2]");
}

TEST_F(CheckpointTest, typesOfWeights) {
  for (rt::DType dtype : {rt::DType::F32, rt::DType::F16}) {
    folder.writeTensors("model.safetensors", {"a"}, dtype);
    EXPECT_EQ(refused(), "");
  }
  for (const auto &[dtype, name] : {std::pair(rt::DType::F64, "F64"), {rt::DType::I64, "I64"}, {rt::DType::U8, "U8"}}) {
    folder.writeTensors("model.safetensors", {"a"}, dtype);
    EXPECT_EQ(refused(), "model.safetensors: tensor 'a': expected F32, BF16 or F16 but got " + std::string(name));
  }
}

TEST_F(CheckpointTest, nothingThere) {
  EXPECT_EQ(refused(), "expected model.safetensors or model.safetensors.index.json but there is neither");
}

TEST_F(CheckpointTest, shards) {
  folder.writeTensors("one.safetensors", {"a"});
  folder.writeTensors("two.safetensors", {"b", "hidden"});
  folder.write("model.safetensors.index.json",
               R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors",
                                  "d": "three.safetensors"}})");
  EXPECT_EQ(refused("a"), "");
  EXPECT_EQ(refused("b"), "");
  EXPECT_EQ(refused("c"), "two.safetensors: tensor 'c' is missing, but model.safetensors.index.json says it is here");
  EXPECT_EQ(refused("d"), "three.safetensors: expected a shard with tensor 'd', as model.safetensors.index.json says, "
                          "but there is no such file");
  EXPECT_EQ(refused("hidden"), "model.safetensors.index.json: tensor 'hidden' is missing");
}

TEST_F(CheckpointTest, brokenIndex) {
  auto index = [&](llvm::StringRef text) {
    folder.write("model.safetensors.index.json", text);
    return refused();
  };
  EXPECT_EQ(index("{}"), "model.safetensors.index.json: key 'weight_map' is missing");
  EXPECT_EQ(index(R"({"weight_map": []})"), "model.safetensors.index.json: key 'weight_map': expected an object");
  EXPECT_EQ(index(R"({"weight_map": {"a": 1}})"),
            "model.safetensors.index.json: tensor 'a': expected the name of a file in the same folder");
  for (const char *name : {"../x", "/x", "..", ".", "a\\\\b", ""})
    EXPECT_TRUE(llvm::StringRef(index(R"({"weight_map": {"a": ")" + std::string(name) + "\"}}"))
                    .starts_with("model.safetensors.index.json: tensor 'a': expected the name of a file in the same "
                                 "folder but got '"))
        << name;
}

} // namespace

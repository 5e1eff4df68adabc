//===- ConfigTest.cpp - getters and messages of config.json ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/Frontend/HuggingFace/Config.h"
#include "TempFolder.h"
#include "lib/Frontend/HuggingFace/Families/Families.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moe;
using namespace moe::frontend;
using testing::ElementsAre;

namespace {

class ConfigTest : public testing::Test {
protected:
  Config read(llvm::StringRef text) {
    llvm::Expected<Config> config = Config::open(folder.write("config.json", text));
    if (config)
      return std::move(*config);
    ADD_FAILURE() << llvm::toString(config.takeError());
    std::abort();
  }

  /// Why `text` is refused as a file.
  std::string refused(llvm::StringRef text) {
    llvm::Expected<Config> config = Config::open(folder.write("config.json", text));
    return config ? "read" : folder.message(config.takeError());
  }

  /// What is wrong after `get` on `text`; empty if nothing is.
  template <typename Get> std::string wrong(llvm::StringRef text, Get get) {
    Config config = read(text);
    get(config);
    return folder.message(config.takeError());
  }

  TempFolder folder;
};

TEST_F(ConfigTest, readsEachType) {
  Config config = read(R"({"n": 3, "x": 2.5, "whole": 4.0, "on": true, "name": "a", "list": [1, 2], "in": {"n": 7}})");
  EXPECT_EQ(config.size("n"), 3);
  EXPECT_EQ(config.size("whole"), 4);
  EXPECT_EQ(config.positive("x"), 2.5);
  EXPECT_TRUE(config.flag("on"));
  EXPECT_EQ(config.text("name"), "a");
  EXPECT_THAT(config.integers("list", 0, 9), ElementsAre(1, 2));
  EXPECT_THAT(config.integers("n", 0, 9), ElementsAre(3));
  EXPECT_EQ(config.size("in.n"), 7);
  EXPECT_FALSE(config.has("in.m"));
  EXPECT_FALSE(config.has("n.m"));
  EXPECT_FALSE(config.failed());
}

TEST_F(ConfigTest, fallsBackWhereMissingOrNull) {
  Config config = read(R"({"n": null})");
  EXPECT_EQ(config.size("n", 5), 5);
  EXPECT_EQ(config.size("m", 6), 6);
  EXPECT_EQ(config.positive("x", 0.5), 0.5);
  EXPECT_TRUE(config.flag("on", true));
  EXPECT_EQ(config.text("name", "b"), "b");
  EXPECT_TRUE(config.integers("list", 0, 9).empty());
  EXPECT_FALSE(config.dtype("dtype"));
  EXPECT_FALSE(config.failed());
}

TEST_F(ConfigTest, namesKeyRangeAndValue) {
  auto size = [](Config &config) { EXPECT_EQ(config.size({"n", "m"}), 1); };
  EXPECT_EQ(wrong("{}", size), "config.json: key 'n' is missing (nor is 'm' there)");
  EXPECT_EQ(wrong(R"({"m": -8})", size),
            "config.json: key 'm': expected an integer between 1 and 2147483647 but got -8");
  EXPECT_EQ(wrong(R"({"n": 4611686018427387904})", size),
            "config.json: key 'n': expected an integer between 1 and 2147483647 but got 4611686018427387904");
  EXPECT_EQ(wrong(R"({"n": 2.5})", size),
            "config.json: key 'n': expected an integer between 1 and 2147483647 but got 2.5");
  EXPECT_EQ(wrong(R"({"n": "4\n"})", size),
            R"(config.json: key 'n': expected an integer between 1 and 2147483647 but got "4\n")");
  EXPECT_EQ(wrong(R"({"n": [4]})", size),
            "config.json: key 'n': expected an integer between 1 and 2147483647 but got [4]");
  EXPECT_EQ(wrong(R"({"x": 0})", [](Config &config) { config.positive("x"); }),
            "config.json: key 'x': expected a number greater than 0 but got 0");
  EXPECT_EQ(wrong(R"({"x": 1})", [](Config &config) { config.flag("x"); }),
            "config.json: key 'x': expected true or false but got 1");
  EXPECT_EQ(wrong(R"({"x": {"y": 1}})", [](Config &config) { config.text("x"); }),
            "config.json: key 'x': expected a string but got an object");
  EXPECT_EQ(wrong(R"({"x": [1, 10]})", [](Config &config) { config.integers("x", 0, 9); }),
            "config.json: key 'x': expected an integer between 0 and 9 or a list of them but got 10");
  EXPECT_EQ(wrong(R"({"x": "int8"})", [](Config &config) { config.dtype("x"); }),
            "config.json: key 'x': 'int8' is not supported (known: 'float32', 'bfloat16', 'float16')");
}

TEST_F(ConfigTest, aliasesMustAgree) {
  Config config = read(R"({"n": 4, "m": 4})");
  EXPECT_EQ(config.size({"n", "m"}), 4);
  EXPECT_FALSE(config.failed());
  EXPECT_EQ(wrong(R"({"n": 4, "m": 8})", [](Config &config) { config.size({"n", "m"}); }),
            "config.json: key 'm': expected 4 as in key 'n' but got 8");
}

TEST_F(ConfigTest, keepsTheFirstError) {
  EXPECT_EQ(wrong("{}",
                  [](Config &config) {
                    config.size("first");
                    config.size("second");
                  }),
            "config.json: key 'first' is missing");
}

TEST_F(ConfigTest, refusesWhatIsNotAnObject) {
  EXPECT_EQ(refused("[1]"), "config.json: expected a JSON object but got [1]");
  EXPECT_EQ(refused(""), "config.json: not valid JSON at [1:0, byte=0]: Unexpected EOF");
  EXPECT_EQ(refused("{\n \"a\": 1,\n"), "config.json: not valid JSON at [3:0, byte=11]: Expected object key");
  EXPECT_EQ(refused("{\"a\": \"\xff\"}"), "config.json: not valid JSON at [1:7, byte=7]: Invalid UTF-8 sequence");
  EXPECT_EQ(refused("{\"a\": " + std::string(200000, '[')),
            "config.json: expected JSON nested at most 100 levels deep but got more");
  EXPECT_EQ(refused("{\"a\": \"" + std::string(200, '[') + "\"}"), "read");
}

TEST_F(ConfigTest, rope) {
  auto theta = [&](llvm::StringRef text) {
    Config config = read(text);
    double result = readRopeTheta(config, 7);
    EXPECT_FALSE(config.failed()) << folder.message(config.takeError());
    return result;
  };
  EXPECT_EQ(theta("{}"), 7);
  EXPECT_EQ(theta(R"({"rope_theta": 10000.0, "rope_scaling": null})"), 10000);
  EXPECT_EQ(theta(R"({"rope_theta": 5, "rope_scaling": {"type": "default"}})"), 5);
  EXPECT_EQ(theta(R"({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}})"), 1e6);

  auto refuse = [&](llvm::StringRef text) { return wrong(text, [](Config &config) { readRopeTheta(config, 7); }); };
  EXPECT_EQ(refuse(R"({"rope_parameters": {"rope_theta": 5, "rope_type": "yarn"}})"),
            "config.json: key 'rope_parameters.rope_type': 'yarn' is not supported (known: 'default')");
  EXPECT_EQ(refuse(R"({"rope_scaling": {"type": "linear", "factor": 2}})"),
            "config.json: key 'rope_scaling.type': 'linear' is not supported (known: 'default')");
  EXPECT_EQ(refuse(R"({"rope_scaling": 2})"), "config.json: key 'rope_scaling': expected an object or null");
  EXPECT_EQ(refuse(R"({"rope_parameters": {"partial_rotary_factor": 0.5}})"),
            "config.json: key 'rope_parameters.partial_rotary_factor': rotating a part of each head is not supported");
  EXPECT_EQ(refuse(R"({"rope_theta": 5, "rope_parameters": {"rope_theta": 6}})"),
            "config.json: key 'rope_theta': expected 6 as in key 'rope_parameters.rope_theta' but got 5");
}

TEST(Families, tableIsSorted) {
  EXPECT_TRUE(llvm::is_sorted(families(), [](const Family &a, const Family &b) { return a.modelType < b.modelType; }));
}

} // namespace

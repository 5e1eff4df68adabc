//===- RandomParametersTest.cpp - parameters from a seed ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/Frontend/Model/Parameters.h"
#include "moe/Runtime/Convert.h"
#include "moe/Runtime/ThreadPool.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/APInt.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace moe;
using namespace moe::frontend;

namespace {

/// Elements of a random tensor `name` of `count` elements.
std::vector<float> values(uint64_t seed, rt::DType dtype, llvm::StringRef name, int64_t count,
                          Init init = Init::Normal) {
  RandomParameters parameters("config.json", seed, dtype);
  EXPECT_EQ(llvm::cantFail(parameters.declare(name, {count}, init)), dtype);
  ParameterData data = llvm::cantFail(parameters.get(name));
  std::vector<float> result(count);
  if (dtype == rt::DType::F32) {
    EXPECT_EQ(data.bytes.size(), count * sizeof(float));
    std::memcpy(result.data(), data.bytes.data(), data.bytes.size());
  } else {
    std::vector<uint16_t> raw(count);
    EXPECT_EQ(data.bytes.size(), count * sizeof(uint16_t));
    std::memcpy(raw.data(), data.bytes.data(), data.bytes.size());
    for (int64_t i = 0; i < count; ++i)
      result[i] = dtype == rt::DType::BF16 ? rt::bf16ToFloat(raw[i]) : rt::f16ToFloat(raw[i]);
  }
  return result;
}

TEST(RandomParameters, normalWithDeviation002) {
  constexpr int64_t count = 100000;
  double sum = 0, squares = 0;
  for (float value : values(1, rt::DType::F32, "w", count)) {
    sum += value;
    squares += double(value) * value;
  }
  EXPECT_NEAR(sum / count, 0, 3e-4);
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 2e-4);
}

TEST(RandomParameters, codesOfNormalNumbers) {
  RandomParameters parameters("config.json", 1, rt::DType::BF16, /*withCodes=*/true);
  for (llvm::StringRef name : {"layers.0.self_attn.q_proj.weight", "layers.0.block_sparse_moe.experts.3.w1.weight"})
    EXPECT_TRUE(parameters.hasCodes(name)) << name.str();
  for (llvm::StringRef name : {"lm_head.weight", "model.embed_tokens.weight", "layers.0.mlp.gate.weight"})
    EXPECT_FALSE(parameters.hasCodes(name)) << name.str();
  constexpr int64_t count = 100000;
  EXPECT_EQ(llvm::cantFail(parameters.declare("w", {count}, Init::Codes)), rt::DType::F8E4M3);
  EXPECT_EQ(llvm::cantFail(parameters.declare("s", {count}, Init::Scales)), rt::DType::F32);
  EXPECT_EQ(llvm::cantFail(parameters.declare("v", {count}, Init::Normal)), rt::DType::BF16);
  ParameterData codes = llvm::cantFail(parameters.get("w")), scales = llvm::cantFail(parameters.get("s"));
  ASSERT_EQ(codes.bytes.size(), size_t(count));
  ASSERT_EQ(scales.bytes.size(), count * sizeof(float));
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    auto code = static_cast<uint8_t>(codes.bytes[i]);
    EXPECT_NE(code & 0x7f, 0x7f) << "no NaN";
    float scale;
    std::memcpy(&scale, &scales.bytes[i * sizeof(float)], sizeof(float));
    EXPECT_GT(scale, 0);
    double value = llvm::APFloat(llvm::APFloat::Float8E4M3FN(), llvm::APInt(8, code)).convertToDouble() * scale;
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / count, 0, 3e-4);
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 4e-4);
}

TEST(RandomParameters, functionOfSeedAndName) {
  std::vector<float> first = values(1, rt::DType::F32, "w", 64);
  EXPECT_EQ(values(1, rt::DType::F32, "w", 64), first);
  EXPECT_NE(values(2, rt::DType::F32, "w", 64), first);
  EXPECT_NE(values(1, rt::DType::F32, "v", 64), first);
  // The same bits on every machine and in every release: executables with random weights are compared by them.
  EXPECT_EQ(first[0], 0x1.ec2988p-7f);
  EXPECT_EQ(first[63], -0x1.e5377ap-8f);
}

TEST(RandomParameters, theSameHoweverItIsCut) {
  int before = rt::threadCount();
  for (rt::DType dtype : {rt::DType::F32, rt::DType::BF16, rt::DType::F16}) {
    rt::setThreadCount(1);
    std::vector<float> alone = values(3, dtype, "w", 300001);
    rt::setThreadCount(3);
    EXPECT_EQ(values(3, dtype, "w", 300001), alone);
    // The ends of loops, where elements are made one by one.
    for (int64_t count = 1; count < 70; ++count)
      EXPECT_EQ(values(3, dtype, "w", count), std::vector<float>(alone.begin(), alone.begin() + count));
    EXPECT_EQ(values(3, dtype, "one", 100000, Init::One), std::vector<float>(100000, 1.0f));
  }
  rt::setThreadCount(before);
}

TEST(RandomParameters, narrowTypesAreRounded) {
  std::vector<float> wide = values(1, rt::DType::F32, "w", 1000);
  std::vector<float> bf16 = values(1, rt::DType::BF16, "w", 1000), f16 = values(1, rt::DType::F16, "w", 1000);
  for (size_t i = 0; i < wide.size(); ++i) {
    EXPECT_EQ(bf16[i], rt::bf16ToFloat(rt::floatToBf16(wide[i])));
    EXPECT_EQ(f16[i], rt::f16ToFloat(rt::floatToF16(wide[i])));
  }
}

TEST(RandomParameters, normsAndBiases) {
  EXPECT_EQ(values(1, rt::DType::BF16, "norm", 3, Init::One), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(values(1, rt::DType::BF16, "bias", 3, Init::Zero), (std::vector<float>{0, 0, 0}));
}

TEST(RandomParameters, refusesWhatIsTooLarge) {
  RandomParameters parameters("config.json", 1, rt::DType::F32);
  EXPECT_EQ(llvm::toString(parameters.declare("w", {int64_t(1) << 31, int64_t(1) << 31}, Init::Normal).takeError()),
            "config.json: with tensor 'w' of shape [2147483648,2147483648] the model has more than 1152921504606846976 "
            "bytes");
  EXPECT_EQ(llvm::toString(parameters.get("x").takeError()), "config.json: tensor 'x' is no parameter of the model");
}

} // namespace

//===- ImportTest.cpp - facts about imported models -----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the module looks like is tested by test/Frontend with FileCheck.
//
//===----------------------------------------------------------------------===//
#include "TempFolder.h"
#include "moe/Frontend/HuggingFace.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/SmallVector.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <chrono>

using namespace moe;
using namespace moe::frontend;
using testing::ElementsAre;

namespace {

/// A model of mixtral's shape; `more` are further keys, with a comma after each.
std::string mixtral(llvm::StringRef more = "", llvm::StringRef sizes = R"("hidden_size": 8, "intermediate_size": 6)") {
  return (R"({"model_type": "mixtral", "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
              "head_dim": 4, "vocab_size": 11, "num_local_experts": 4, "num_experts_per_tok": 3, )" +
          more + sizes + "}")
      .str();
}

class ImportTest : public testing::Test {
protected:
  ImportTest() : context(mlir::MLIRContext::Threading::DISABLED) { options.randomSeed = 1; }

  ImportedModel import(llvm::StringRef config) {
    folder.write("config.json", config);
    llvm::Expected<ImportedModel> model = importHuggingFace(context, folder.path(), options);
    if (model)
      return std::move(*model);
    ADD_FAILURE() << llvm::toString(model.takeError());
    std::abort();
  }

  std::string refused(llvm::StringRef config) {
    folder.write("config.json", config);
    llvm::Expected<ImportedModel> model = importHuggingFace(context, folder.path(), options);
    return model ? "imported" : folder.message(model.takeError());
  }

  mlir::MLIRContext context;
  ImportOptions options;
  TempFolder folder;
};

// V = 11, H = 8, I = 6, E = 4, k = 3, two heads of 4, one of keys and values.
constexpr int64_t embedding = 11 * 8, attention = 8 * 8 + 2 * 4 * 8 + 8 * 8, router = 4 * 8, oneExpert = 3 * 6 * 8,
                  norms = 16;

TEST_F(ImportTest, countsParametersAndWork) {
  ModelInfo info = import(mixtral(R"("dtype": "bfloat16", "eos_token_id": [7, 5], )")).info;
  EXPECT_EQ(info.family, "mixtral");
  EXPECT_EQ(info.layers, 2);
  EXPECT_EQ(info.experts, 4);
  EXPECT_EQ(info.expertsPerToken, 3);
  EXPECT_EQ(info.maxPositions, 131072);
  EXPECT_EQ(info.parameters, 2 * embedding + 8 + 2 * (attention + router + 4 * oneExpert + norms));
  EXPECT_EQ(info.activeParameters, info.parameters - 2 * oneExpert);
  EXPECT_THAT(info.dtypes, ElementsAre("BF16"));
  EXPECT_THAT(info.eosTokenIds, ElementsAre(5, 7));
  ASSERT_EQ(info.costs.size(), 1u);
  EXPECT_EQ(info.costs[0].entry, "main");
  EXPECT_EQ(info.costs[0].flopsPerToken, 2 * (embedding + 2 * (attention + router + 3 * oneExpert)));
  EXPECT_EQ(info.costs[0].denseBytes, 2 * (embedding + 8 + 2 * (attention + router + norms)));
  EXPECT_EQ(info.costs[0].expertBytes, 2 * oneExpert);
  EXPECT_EQ(info.costs[0].moeLayers, 2);
}

TEST_F(ImportTest, f32NumericsKeepTheParametersType) {
  options.numerics = Numerics::F32;
  ImportedModel model = import(mixtral(R"("torch_dtype": "bfloat16", "tie_word_embeddings": true, )"));
  EXPECT_THAT(model.info.dtypes, ElementsAre("BF16"));
  EXPECT_EQ(llvm::cantFail(model.parameters->get("model.norm.weight")).dtype, "BF16");
  EXPECT_EQ(model.info.costs[0].expertBytes, 4 * oneExpert);
  EXPECT_EQ(model.info.parameters, embedding + 8 + 2 * (attention + router + 4 * oneExpert + norms));
}

TEST_F(ImportTest, blocksOnly) {
  options.layers = {1, 0, 1};
  ImportedModel model = import(mixtral());
  ASSERT_EQ(model.info.costs.size(), 2u);
  EXPECT_EQ(model.info.costs[0].entry, "moe.1");
  EXPECT_EQ(model.info.costs[1].entry, "moe.0");
  EXPECT_EQ(model.info.costs[1].flopsPerToken, 2 * (router + 3 * oneExpert));
  EXPECT_EQ(model.info.costs[1].denseBytes, 4 * router);
  EXPECT_EQ(model.info.parameters, 2 * (router + 4 * oneExpert));
  EXPECT_EQ(llvm::toString(model.parameters->get("model.norm.weight").takeError()),
            folder.path("config.json") + ": tensor 'model.norm.weight' is no parameter of the model");
  options.layers = {2};
  EXPECT_EQ(refused(mixtral()), "config.json: expected a layer between 0 and 1 (num_hidden_layers = 2) but got 2");
}

TEST_F(ImportTest, endOfTextIdsOfBothFiles) {
  folder.write("generation_config.json", R"({"eos_token_id": [9, 2]})");
  EXPECT_THAT(import(mixtral(R"("eos_token_id": 2, )")).info.eosTokenIds, ElementsAre(2, 9));
  folder.write("generation_config.json", R"({"eos_token_id": "</s>"})");
  EXPECT_EQ(refused(mixtral()), "generation_config.json: key 'eos_token_id': expected an integer between 0 and "
                                "2147483647 or a list of them but got \"</s>\"");
}

TEST_F(ImportTest, quantizationThatIsUnknown) {
  auto quantized = [&](const std::string &keys) {
    return refused(mixtral(R"("quantization_config": {)" + keys + "}, "));
  };
  const std::string blocks = R"("weight_block_size": [128, 128])";
  EXPECT_EQ(quantized(R"("quant_method": "gptq")"),
            "config.json: key 'quantization_config.quant_method': 'gptq' is not supported (known: 'fp8')");
  EXPECT_EQ(quantized(blocks), "config.json: key 'quantization_config.quant_method' is missing");
  EXPECT_EQ(quantized(R"("quant_method": "fp8")"),
            "config.json: key 'quantization_config.weight_block_size': expected [128,128] but there is no such key");
  EXPECT_EQ(quantized(R"("quant_method": "fp8", "weight_block_size": [128, 64])"),
            "config.json: key 'quantization_config.weight_block_size': expected [128,128] but got [128,64]");
  EXPECT_EQ(quantized(R"("quant_method": "fp8", "activation_scheme": "static", )" + blocks),
            "config.json: key 'quantization_config.activation_scheme': 'static' is not supported (known: 'dynamic')");
  EXPECT_EQ(quantized(R"("quant_method": "fp8", "fmt": "e5m2", )" + blocks),
            "config.json: key 'quantization_config.fmt': 'e5m2' is not supported (known: 'e4m3')");
}

TEST_F(ImportTest, randomCodesWhereTheConfigHasThem) {
  ImportedModel model = import(mixtral(
      R"("torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}, )"));
  EXPECT_THAT(model.info.dtypes, ElementsAre("BF16", "F32", "F8_E4M3"));
  EXPECT_EQ(llvm::cantFail(model.parameters->get("model.layers.1.block_sparse_moe.experts.0.w2.weight")).dtype,
            "F8_E4M3");
  EXPECT_EQ(llvm::cantFail(model.parameters->get("model.layers.1.block_sparse_moe.gate.weight")).dtype, "BF16");
}

TEST_F(ImportTest, sizesThatDoNotFit) {
  EXPECT_EQ(refused(mixtral(R"("num_attention_heads": 3, "num_key_value_heads": 2, )")),
            "config.json: key 'num_attention_heads': expected a multiple of num_key_value_heads = 2 but got 3");
  EXPECT_EQ(refused(mixtral(R"("head_dim": 3, )")),
            "config.json: key 'head_dim': expected an even number, for rotary embeddings, but got 3");
  EXPECT_EQ(refused(mixtral(R"("head_dim": null, "num_attention_heads": 5, )")),
            "config.json: key 'hidden_size': expected a multiple of num_attention_heads = 5 (there is no head_dim) but "
            "got 8");
  // Products of sizes that fit 31 bits each.
  EXPECT_THAT(refused(mixtral("", R"("hidden_size": 2147483647, "intermediate_size": 2147483647)")),
              testing::HasSubstr("the model has more than 1152921504606846976 bytes"));
  EXPECT_THAT(refused(mixtral(R"("num_local_experts": 65536, "num_hidden_layers": 4096, )")),
              testing::HasSubstr("key 'num_local_experts': expected an integer between 1 and 256 but got 65536"));
}

TEST_F(ImportTest, qwen3DenseLayersInBetween) {
  std::string config = R"({"model_type": "qwen3_moe", "num_hidden_layers": 4, "num_attention_heads": 2,
      "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 11, "num_experts": 4, "num_experts_per_tok": 3,
      "hidden_size": 8, "moe_intermediate_size": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3])";
  EXPECT_EQ(refused(config + "}"), "config.json: key 'intermediate_size' is missing");
  config += R"(, "intermediate_size": 10, "attention_bias": true})";
  ImportedModel model = import(config);
  EXPECT_EQ(model.info.costs[0].moeLayers, 1);
  EXPECT_EQ(llvm::cantFail(model.parameters->get("model.layers.3.mlp.up_proj.weight")).shape,
            (std::vector<int64_t>{10, 8}));
  EXPECT_EQ(llvm::cantFail(model.parameters->get("model.layers.0.self_attn.q_proj.bias")).shape,
            (std::vector<int64_t>{8}));
  options.layers = {0};
  EXPECT_EQ(refused(config), "config.json: layer 0 has no experts (layers with experts: 1)");
}

TEST_F(ImportTest, goldensHaveWhatTheirConfigsAsk) {
  options.randomSeed.reset();
  for (const char *name : {"mixtral", "mixtral_bf16", "mixtral_sharded", "qwen3_moe", "qwen3_moe_bf16",
                           "qwen3_moe_fused", "qwen3_moe_mixed"}) {
    std::string path = std::string(MOE_TEST_INPUTS) + "/goldens/" + name;
    llvm::Expected<ImportedModel> model = importHuggingFace(context, path, options);
    ASSERT_TRUE(bool(model)) << llvm::toString(model.takeError());
    EXPECT_EQ(model->info.name, name);
    EXPECT_THAT(model->info.eosTokenIds, ElementsAre(2));
  }
}

// 48 layers of 128 experts are 18,432 tensors: building the module is linear in them (0.3 s when this was written).
TEST_F(ImportTest, manyExpertsTakeLittleTime) {
  auto start = std::chrono::steady_clock::now();
  import(R"({"model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
             "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936, "num_experts": 128,
             "num_experts_per_tok": 8, "moe_intermediate_size": 768, "dtype": "bfloat16"})");
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 20);
}

} // namespace

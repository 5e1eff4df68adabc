//===- Families.cpp - table of the families, keys they share --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Families.h"

using namespace moe;
using namespace moe::frontend;
using llvm::Twine;

llvm::ArrayRef<Family> frontend::families() {
  static constexpr Family table[] = {
      {"mixtral", readMixtral},
      {"qwen3_moe", readQwen3Moe},
  };
  return table;
}

double frontend::readRopeTheta(Config &config, double fallback) {
  // rope_scaling is the older name of what rope_parameters became.
  for (const char *key : {"rope_parameters", "rope_scaling"}) {
    std::string name = key, type = name + ".rope_type", oldType = name + ".type";
    if (config.has(key) && !config.find(key)->getAsObject())
      config.fail(key, "expected an object or null");
    config.choice({type, oldType}, {"default"}, "default");
    std::string partial = name + ".partial_rotary_factor";
    if (config.positive({partial}, 1.0) != 1)
      config.fail({partial}, "rotating a part of each head is not supported");
  }
  return config.positive({"rope_parameters.rope_theta", "rope_theta"}, fallback);
}

void frontend::readDecoder(Config &config, DecoderConfig &decoder, const Defaults &defaults) {
  constexpr int64_t maxLayers = 4096; // far beyond any model; bounds the work of what follows
  decoder.hiddenSize = config.size("hidden_size");
  decoder.layers = config.integer("num_hidden_layers", 1, maxLayers);
  decoder.vocabSize = config.size("vocab_size");
  decoder.maxPositions = config.size("max_position_embeddings", defaults.maxPositions);
  decoder.normEps = config.positive("rms_norm_eps", defaults.normEps);
  decoder.tiedEmbeddings = config.flag("tie_word_embeddings", false);
  config.choice({"hidden_act", "hidden_activation"}, {"silu"}, "silu");

  decoder.heads = config.size("num_attention_heads");
  decoder.kvHeads = config.size("num_key_value_heads", decoder.heads);
  if (decoder.heads % decoder.kvHeads != 0)
    config.fail("num_attention_heads", "expected a multiple of num_key_value_heads = " + Twine(decoder.kvHeads) +
                                           " but got " + Twine(decoder.heads));
  if (!config.has("head_dim") && decoder.hiddenSize % decoder.heads != 0)
    config.fail("hidden_size", "expected a multiple of num_attention_heads = " + Twine(decoder.heads) +
                                   " (there is no head_dim) but got " + Twine(decoder.hiddenSize));
  decoder.headDim = config.size("head_dim", decoder.hiddenSize / decoder.heads);
  if (decoder.headDim % 2 != 0)
    config.fail("head_dim", "expected an even number, for rotary embeddings, but got " + Twine(decoder.headDim));
  decoder.ropeTheta = readRopeTheta(config, defaults.ropeTheta);
}

void frontend::readExperts(Config &config, DecoderConfig &decoder, const Keys &experts) {
  // Each expert is a few operations and symbols, so this bounds time and memory too.
  constexpr int64_t maxExperts = int64_t(1) << 20;
  decoder.experts = config.integer(experts, 1, maxExperts / decoder.layers);
  decoder.expertsPerToken = config.size("num_experts_per_tok");
  if (decoder.expertsPerToken > decoder.experts)
    config.fail("num_experts_per_tok", "expected at most " + config.nameOf(experts) + " = " + Twine(decoder.experts) +
                                           " but got " + Twine(decoder.expertsPerToken));
}

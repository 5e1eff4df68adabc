//===- Qwen3Moe.cpp - model_type qwen3_moe --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Queries and keys are normalised per head; layers without experts may lie in between; combine weights are renormalised
// if norm_topk_prob says so. The sliding window has a switch of its own and holds for all layers: max_window_layers is
// in the config, but transformers does not read it in this family (see the golden qwen3_moe_window).
//
//===----------------------------------------------------------------------===//
#include "Families.h"

using namespace moe::frontend;

namespace {

class Qwen3Moe : public Decoder {
public:
  int64_t sparseStep = 1;
  std::vector<int64_t> denseLayers;
  std::optional<int64_t> slidingWindow;

  bool isMoeLayer(int64_t layer) const override {
    return (layer + 1) % sparseStep == 0 && !llvm::is_contained(denseLayers, layer);
  }

protected:
  std::optional<int64_t> window(int64_t) const override { return slidingWindow; }
};

} // namespace

std::unique_ptr<Decoder> moe::frontend::readQwen3Moe(Config &config) {
  auto model = std::make_unique<Qwen3Moe>();
  DecoderConfig &c = model->config;
  readDecoder(config, c, {/*normEps=*/1e-6, /*ropeTheta=*/1e4, /*maxPositions=*/32768});
  readExperts(config, c, {"num_experts", "num_local_experts"});
  c.expertWidth = config.size("moe_intermediate_size");
  c.renormalise = config.flag("norm_topk_prob", false);
  c.qkNorm = true;
  c.qkvBias = c.outputBias = config.flag("attention_bias", false);

  model->sparseStep = config.size("decoder_sparse_step", 1);
  model->denseLayers = config.integers("mlp_only_layers", 0, Config::maxSize);
  for (int64_t layer = 0; layer < c.layers && c.denseWidth == 0; ++layer)
    if (!model->isMoeLayer(layer))
      c.denseWidth = config.size("intermediate_size");
  if (config.flag("use_sliding_window", false) && config.has("sliding_window"))
    model->slidingWindow = config.size("sliding_window");
  return model;
}

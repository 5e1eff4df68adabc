//===- Mixtral.cpp - model_type mixtral -----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every layer has experts; combine weights are always renormalised; a sliding window, where there is one, holds for all
// layers.
//
//===----------------------------------------------------------------------===//
#include "Families.h"

using namespace moe::frontend;

namespace {

class Mixtral : public Decoder {
public:
  std::optional<int64_t> slidingWindow;

protected:
  std::optional<int64_t> window(int64_t) const override { return slidingWindow; }
};

} // namespace

std::unique_ptr<Decoder> moe::frontend::readMixtral(Config &config) {
  auto model = std::make_unique<Mixtral>();
  DecoderConfig &c = model->config;
  readDecoder(config, c, {/*normEps=*/1e-5, /*ropeTheta=*/1e6, /*maxPositions=*/131072});
  readExperts(config, c, {"num_local_experts", "num_experts"});
  c.expertWidth = config.size("intermediate_size");
  c.renormalise = true;
  c.block = "block_sparse_moe";
  c.gate = "w1";
  c.up = "w3";
  c.down = "w2";
  if (config.has("sliding_window"))
    model->slidingWindow = config.size("sliding_window");
  return model;
}

//===- Decoder.h - decoder-only models ------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What decoder-only MoE models have in common: embedding, layers of attention and an MLP or MoE block with a norm
// before each, final norm, LM head. A family fills in `config` and overrides the parts in which it differs, each of
// which is a few calls of ModelBuilder.
//
// Tensor names are those of Hugging Face files ("model.layers.0.self_attn.q_proj.weight").
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_FRONTEND_MODEL_DECODER_H
#define MOE_LIB_FRONTEND_MODEL_DECODER_H

#include "ModelBuilder.h"

#include <optional>

namespace moe::frontend {

/// Sizes and switches of a decoder.
struct DecoderConfig {
  int64_t vocabSize = 0, hiddenSize = 0, layers = 0, maxPositions = 0;
  double normEps = 0;
  /// The LM head is the embedding.
  bool tiedEmbeddings = false;

  int64_t heads = 0, kvHeads = 0, headDim = 0;
  double ropeTheta = 0;
  /// RMSNorm of each head's query and key before the rotation.
  bool qkNorm = false;
  /// q_proj, k_proj, v_proj have a bias; o_proj has one.
  bool qkvBias = false, outputBias = false;

  /// Width of the MLP of layers without experts.
  int64_t denseWidth = 0;

  int64_t experts = 0, expertsPerToken = 0, expertWidth = 0;
  /// Combine weights are divided by their sum.
  bool renormalise = false;
  /// Parts of tensor names: "model.layers.0.<block>.experts.3.<gate>.weight". Files with one tensor for all experts
  /// call the block "mlp" in every family.
  std::string block = "mlp", gate = "gate_proj", up = "up_proj", down = "down_proj";
};

/// What a router says about T tokens.
struct Routing {
  mlir::Value logits;  // [T, E] f32
  mlir::Value weights; // [T, k] f32
  mlir::Value experts; // [T, k] i32
};

/// What an MoE block returns.
struct MoeResult {
  mlir::Value hidden; // [T, H] f32
  Routing routing;
  mlir::Value offsets; // [E + 1] i32
};

/// Values that all layers share, and the cache of one.
struct LayerState {
  int64_t layer;
  mlir::Value batch, length, past; // index
  RotaryTables rotary;
  mlir::Value keys, values; // [B, capacity, kvHeads, headDim]; `attention` replaces them by the updated ones
};

class Decoder {
public:
  virtual ~Decoder() = default;

  DecoderConfig config;

  virtual bool isMoeLayer(int64_t layer) const { return true; }

  /// Emits @main and a private function per layer.
  void emitModel(ModelBuilder &b);
  /// Emits the public function @moe.<layer>.
  void emitMoeBlock(ModelBuilder &b, int64_t layer);

  /// Scalars of experts that a token does not meet, over the layers emitted so far.
  int64_t idleScalars() const { return idle; }
  /// Costs of the entries emitted so far.
  std::vector<EntryCost> costs;

protected:
  /// How many positions a token sees in `layer`, its own included; nothing: all.
  virtual std::optional<int64_t> window(int64_t layer) const { return std::nullopt; }
  /// Attention with its projections: x [T, H] is normalised, the result [T, H] f32.
  virtual mlir::Value attention(ModelBuilder &b, LayerState &state, mlir::Value x);
  /// MLP of a layer without experts: [T, H] f32.
  virtual mlir::Value denseBlock(ModelBuilder &b, int64_t layer, mlir::Value x);
  /// Scores and choice of experts for x [T, H].
  virtual Routing route(ModelBuilder &b, int64_t layer, mlir::Value x);
  /// The experts' weights, [E, out, in] each, in the order in which `expert` takes them.
  virtual llvm::SmallVector<mlir::Value> expertWeights(ModelBuilder &b, int64_t layer);
  /// One expert's network on its rows x [R, H]: [R, H] f32.
  virtual mlir::Value expert(ModelBuilder &b, mlir::Value x, mlir::ValueRange weights);
  /// Router, experts and whatever else the block adds up.
  virtual MoeResult moeBlock(ModelBuilder &b, int64_t layer, mlir::Value x);

  /// "model.layers.<layer>.<part>.weight"
  static std::string tensorName(int64_t layer, const llvm::Twine &part, llvm::StringRef suffix = ".weight");
  /// Whether the experts of `layer` are in one tensor each for gate and up, and for down.
  bool isFused(ModelBuilder &b, int64_t layer) const;

private:
  void emitLayer(ModelBuilder &b, int64_t layer, llvm::ArrayRef<Port> arguments, llvm::ArrayRef<Port> results);
  mlir::Value moeCounts(ModelBuilder &b, mlir::Value offsets);
  void beginCost(ModelBuilder &b, llvm::StringRef entry);

  int64_t idle = 0;
};

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_MODEL_DECODER_H

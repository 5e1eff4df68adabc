//===- Decoder.cpp - decoder-only models ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Decoder.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <cmath>

using namespace mlir;
using namespace moe;
using namespace moe::frontend;

static constexpr int64_t dynamic = ShapedType::kDynamic;
static const char embeddingName[] = "model.embed_tokens.weight";

std::string Decoder::tensorName(int64_t layer, const Twine &part, StringRef suffix) {
  return ("model.layers." + Twine(layer) + "." + part + suffix).str();
}

//===----------------------------------------------------------------------===//
// Attention and dense MLP
//===----------------------------------------------------------------------===//

Value Decoder::attention(ModelBuilder &b, LayerState &state, Value x) {
  int64_t hidden = config.hiddenSize, headDim = config.headDim;
  OpFoldResult batch = state.batch, length = state.length;

  /// Projects x to heads: [B, S, heads, D] f32.
  auto project = [&](StringRef name, int64_t heads) {
    std::string part = ("self_attn." + name + "_proj").str();
    b.at(tensorName(state.layer, part, ""));
    Value result = b.linear(x, b.weight(tensorName(state.layer, part), {heads * headDim, hidden}));
    if (config.qkvBias)
      result = b.add(result, b.vector(tensorName(state.layer, part, ".bias"), {heads * headDim}, Init::Zero));
    return b.expand(b.round(result), {{0, 1}, {2, 3}}, {batch, length, b.size(heads), b.size(headDim)});
  };
  auto normalised = [&](StringRef name, Value heads) {
    std::string part = ("self_attn." + name + "_norm").str();
    b.at(tensorName(state.layer, part, ""));
    return config.qkNorm ? b.rmsNorm(heads, b.vector(tensorName(state.layer, part), {headDim}), config.normEps) : heads;
  };
  Value query = b.rotateHalves(normalised("q", project("q", config.heads)), state.rotary);
  Value key = b.rotateHalves(normalised("k", project("k", config.kvHeads)), state.rotary);
  Value value = project("v", config.kvHeads);

  b.at("layer." + Twine(state.layer) + ".attention");
  Sizes place{b.size(0), state.past, b.size(0), b.size(0)}, extent = b.sizes(key);
  state.keys = b.insert(key, state.keys, place, extent);
  state.values = b.insert(value, state.values, place, extent);
  std::optional<int64_t> visible = window(state.layer);
  IntegerAttr windowAttr = visible ? b.ops().getI64IntegerAttr(*visible) : IntegerAttr();
  FloatAttr scale = b.ops().getF32FloatAttr(static_cast<float>(1 / std::sqrt(static_cast<double>(headDim))));
  Value mixed = AttentionOp::create(b.ops(), b.loc(), b.tensor({dynamic, dynamic, config.heads, headDim}, b.f32()),
                                    query, state.keys, state.values, state.past, /*init=*/Value(), scale, windowAttr)
                    .getResult();
  Value rows = b.collapse(mixed, {{0, 1}, {2, 3}}, {b.sizes(x)[0], b.size(config.heads * headDim)});
  b.at(tensorName(state.layer, "self_attn.o_proj", ""));
  Value weight = b.weight(tensorName(state.layer, "self_attn.o_proj"), {hidden, config.heads * headDim});
  Value result = b.linear(b.round(rows), weight);
  if (config.outputBias)
    result = b.add(result, b.vector(tensorName(state.layer, "self_attn.o_proj", ".bias"), {hidden}, Init::Zero));
  return result;
}

Value Decoder::denseBlock(ModelBuilder &b, int64_t layer, Value x) {
  int64_t hidden = config.hiddenSize, width = config.denseWidth;
  b.at(tensorName(layer, "mlp", ""));
  Value gate = b.linear(x, b.weight(tensorName(layer, "mlp.gate_proj"), {width, hidden}));
  Value up = b.linear(x, b.weight(tensorName(layer, "mlp.up_proj"), {width, hidden}));
  return b.linear(b.round(b.swiGlu(gate, up)), b.weight(tensorName(layer, "mlp.down_proj"), {hidden, width}));
}

//===----------------------------------------------------------------------===//
// MoE block
//===----------------------------------------------------------------------===//

bool Decoder::isFused(ModelBuilder &b, int64_t layer) const {
  return b.hasParameter(tensorName(layer, "mlp.experts.gate_up_proj", ""));
}

Routing Decoder::route(ModelBuilder &b, int64_t layer, Value x) {
  std::string part = (isFused(b, layer) ? "mlp" : config.block) + ".gate";
  b.at(tensorName(layer, part, ""));
  Routing routing;
  routing.logits = b.linear(x, b.weight(tensorName(layer, part), {config.experts, config.hiddenSize}));
  Sizes scores = b.sizes(routing.logits);
  Value probabilities = linalg::SoftmaxOp::create(b.ops(), b.loc(), TypeRange(routing.logits.getType()), routing.logits,
                                                  b.empty(scores, b.f32()), /*dimension=*/1)
                            .getResult()[0];
  // The keys are the logits: probabilities that underflow to the same value would lose the order.
  int64_t k = config.expertsPerToken;
  auto topK = TopKOp::create(b.ops(), b.loc(), b.tensor({dynamic, k}, b.f32()),
                             b.tensor({dynamic, k}, b.ops().getI32Type()), probabilities, routing.logits,
                             /*dynamicK=*/Value(), b.ops().getI64IntegerAttr(k), /*groups=*/GroupsAttr());
  routing.weights = b.sized(topK.getSelected(), {scores[0], b.size(k)});
  routing.experts = topK.getIndex();
  if (config.renormalise) {
    Value sum = b.sumLast(routing.weights, [](OpBuilder &, Location, Value weight) { return weight; });
    routing.weights = b.map({routing.weights, Operand(sum, {0u})}, {scores[0], b.size(k)}, b.f32(),
                            [](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
                              return arith::DivFOp::create(nested, loc, elements[0], elements[1]);
                            });
  }
  return routing;
}

SmallVector<Value> Decoder::expertWeights(ModelBuilder &b, int64_t layer) {
  int64_t experts = config.experts, hidden = config.hiddenSize, width = config.expertWidth;
  b.at(tensorName(layer, config.block + ".experts", ""));
  if (isFused(b, layer)) {
    Value both = b.expertWeight(tensorName(layer, "mlp.experts.gate_up_proj", ""), {experts, 2 * width, hidden});
    auto half = [&](int64_t from) {
      return b.slice(both, {b.size(0), b.size(from), b.size(0)}, {b.size(experts), b.size(width), b.size(hidden)});
    };
    Value gate = half(0), up = half(width);
    return {gate, up, b.expertWeight(tensorName(layer, "mlp.experts.down_proj", ""), {experts, hidden, width})};
  }
  auto stacked = [&](StringRef part, ArrayRef<int64_t> shape) {
    return b.stackedExpertWeights(
        experts, [&](int64_t e) { return tensorName(layer, config.block + ".experts." + Twine(e) + "." + part); },
        shape);
  };
  Value gate = stacked(config.gate, {width, hidden}), up = stacked(config.up, {width, hidden});
  return {gate, up, stacked(config.down, {hidden, width})};
}

Value Decoder::expert(ModelBuilder &b, Value x, ValueRange weights) {
  Value gate = b.linear(x, weights[0]), up = b.linear(x, weights[1]);
  return b.linear(b.round(b.swiGlu(gate, up)), weights[2]);
}

MoeResult Decoder::moeBlock(ModelBuilder &b, int64_t layer, Value x) {
  OpBuilder &ops = b.ops();
  int64_t experts = config.experts, k = config.expertsPerToken;
  Routing routing = route(b, layer, x);
  SmallVector<Value> weights = expertWeights(b, layer);

  b.at("layer." + Twine(layer) + ".experts");
  Type i32 = ops.getI32Type();
  auto plan = PlanOp::create(ops, b.loc(), b.tensor({experts + 1}, i32), b.tensor({dynamic}, i32),
                             b.tensor({dynamic, k}, i32), routing.experts, ops.getI64IntegerAttr(experts));
  RankedTensorType rowsType = b.tensor({dynamic, config.hiddenSize}, b.storageType());
  Value rows = DispatchOp::create(ops, b.loc(), rowsType, x, plan.getChoices(), ops.getI64IntegerAttr(k));

  auto network = ExpertsOp::create(ops, b.loc(), TypeRange(b.tensor(rowsType.getShape(), b.f32())), ValueRange(rows),
                                   plan.getOffsets(), ValueRange(weights));
  double scalars = 0;
  b.aside([&] {
    Block &body = network.getBody().emplaceBlock();
    body.addArgument(rowsType, b.loc());
    for (Value weight : weights) {
      auto type = cast<RankedTensorType>(weight.getType());
      body.addArgument(b.tensor(type.getShape().drop_front(), type.getElementType()), b.loc());
      scalars += static_cast<double>(type.getNumElements() / experts);
    }
    ops.setInsertionPointToEnd(&body);
    b.repeats = k; // a token meets k experts
    Value result = expert(b, body.getArgument(0), body.getArguments().drop_front());
    b.repeats = 1;
    YieldOp::create(ops, b.loc(), result);
  });
  Value sum = CombineOp::create(ops, b.loc(), b.tensor(rowsType.getShape(), b.f32()), network.getResult(0),
                                plan.getSlots(), routing.weights);

  b.cost.expertBytes = scalars * (b.storageType().getIntOrFloatBitWidth() / 8);
  ++b.cost.moeLayers;
  idle += (experts - k) * static_cast<int64_t>(scalars);
  return {sum, routing, plan.getOffsets()};
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

void Decoder::beginCost(ModelBuilder &b, StringRef entry) {
  b.cost = EntryCost();
  b.cost.entry = entry.str();
}

void Decoder::emitMoeBlock(ModelBuilder &b, int64_t layer) {
  std::string name = ("moe." + Twine(layer)).str();
  beginCost(b, name);
  Type i32 = b.ops().getI32Type();
  RankedTensorType hidden = b.tensor({dynamic, config.hiddenSize}, b.storageType());
  int64_t k = config.expertsPerToken;
  Port results[] = {{"hidden", hidden, ""},
                    {"topk_index", b.tensor({dynamic, k}, i32), ""},
                    {"topk_weight", b.tensor({dynamic, k}, b.f32()), ""},
                    {"router_logits", b.tensor({dynamic, config.experts}, b.f32()), ""}};
  auto function = b.beginFunction(name, Port{"hidden", hidden, ""}, results, /*isPublic=*/true);
  MoeResult block = moeBlock(b, layer, function.getArgument(0));
  Value rounded = b.round(block.hidden);
  b.endFunction({rounded, block.routing.experts, block.routing.weights, block.routing.logits});
  costs.push_back(b.cost);
}

Value Decoder::moeCounts(ModelBuilder &b, Value offsets) {
  OpFoldResult experts = b.size(config.experts);
  Value begins = b.slice(offsets, {b.size(0)}, {experts}), ends = b.slice(offsets, {b.size(1)}, {experts});
  return b.map({begins, ends}, {experts}, b.ops().getI32Type(),
               [](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
                 return arith::SubIOp::create(nested, loc, elements[1], elements[0]);
               });
}

void Decoder::emitLayer(ModelBuilder &b, int64_t layer, ArrayRef<Port> arguments, ArrayRef<Port> results) {
  auto function = b.beginFunction(("layer." + Twine(layer)).str(), arguments, results, /*isPublic=*/false);
  auto argument = [&](unsigned i) -> Value { return function.getArgument(i); };
  Value hidden = argument(0);
  LayerState state{layer, argument(1), argument(2), argument(3), {argument(4), argument(5)}, argument(6), argument(7)};
  auto norm = [&](StringRef part) {
    b.at(tensorName(layer, part, ""));
    return b.rmsNorm(hidden, b.vector(tensorName(layer, part), {config.hiddenSize}), config.normEps);
  };
  auto addResidual = [&](Value branch) {
    b.at("layer." + Twine(layer) + ".residual");
    hidden = b.round(b.add(hidden, branch));
  };
  addResidual(attention(b, state, norm("input_layernorm")));
  Value x = norm("post_attention_layernorm");
  SmallVector<Value> returned;
  if (isMoeLayer(layer)) {
    MoeResult block = moeBlock(b, layer, x);
    addResidual(block.hidden);
    returned = {hidden, state.keys, state.values, moeCounts(b, block.offsets)};
  } else {
    addResidual(denseBlock(b, layer, x));
    returned = {hidden, state.keys, state.values};
  }
  b.endFunction(returned);
}

void Decoder::emitModel(ModelBuilder &b) {
  beginCost(b, "main");
  OpBuilder &ops = b.ops();
  Type i32 = ops.getI32Type(), index = ops.getIndexType();
  auto scalar = b.tensor({}, ops.getI64Type());
  auto hiddenType = b.tensor({dynamic, config.hiddenSize}, b.storageType());
  auto tableType = b.tensor({dynamic, config.headDim / 2}, b.f32());
  auto cacheType = b.tensor({dynamic, dynamic, config.kvHeads, config.headDim}, b.storageType());
  auto countsType = b.tensor({config.experts}, i32);
  int64_t moeLayers = llvm::count_if(llvm::seq(config.layers), [&](int64_t layer) { return isMoeLayer(layer); });

  SmallVector<Port> arguments{
      {"input_ids", b.tensor({dynamic, dynamic}, i32), ""}, {"past", scalar, "past"}, {"keep", scalar, "keep"}};
  SmallVector<Port> results{{"logits", b.tensor({dynamic, dynamic, config.vocabSize}, b.f32()), ""},
                            {"expert_counts", b.tensor({moeLayers, config.experts}, i32), ""}};
  for (int64_t layer = 0; layer < config.layers; ++layer)
    for (StringRef cache : {"key_cache.", "value_cache."}) {
      Port port{(cache + Twine(layer)).str(), cacheType, "state"};
      arguments.push_back(port);
      results.push_back(port);
    }
  auto function = b.beginFunction("main", arguments, results, /*isPublic=*/true);
  Value ids = function.getArgument(0);

  b.at("positions");
  Value batch = b.index(b.sizes(ids)[0]), length = b.index(b.sizes(ids)[1]);
  Value tokens = arith::MulIOp::create(ops, b.loc(), batch, length);
  Value past = b.indexFrom(function.getArgument(1)), keep = b.indexFrom(function.getArgument(2));
  SmallVector<float> frequencies;
  for (int64_t i = 0; i < config.headDim / 2; ++i)
    frequencies.push_back(static_cast<float>(std::pow(config.ropeTheta, -2.0 * i / config.headDim)));
  RotaryTables rotary = b.rotaryTables(past, length, frequencies);

  b.at(embeddingName);
  Value flatIds = b.collapse(ids, {{0, 1}}, {tokens});
  Value table = b.parameter(embeddingName, {config.vocabSize, config.hiddenSize});
  Value embedded = DispatchOp::create(ops, b.loc(), b.tensor({dynamic, config.hiddenSize}, getElementTypeOrSelf(table)),
                                      table, flatIds, ops.getI64IntegerAttr(1));
  Value hidden = b.round(b.sized(embedded, {tokens, b.size(config.hiddenSize)}));

  Value counts = b.empty({b.size(moeLayers), b.size(config.experts)}, i32);
  SmallVector<Value> caches;
  int64_t moeLayer = 0;
  for (int64_t layer = 0; layer < config.layers && !b.failed(); ++layer) {
    Value keys = function.getArgument(3 + 2 * layer), values = function.getArgument(4 + 2 * layer);
    Port layerArguments[] = {{"hidden", hiddenType, ""}, {"batch", index, ""},     {"length", index, ""},
                             {"past", index, ""},        {"cos", tableType, ""},   {"sin", tableType, ""},
                             {"keys", cacheType, ""},    {"values", cacheType, ""}};
    SmallVector<Port> layerResults{{"hidden", hiddenType, ""}, {"keys", cacheType, ""}, {"values", cacheType, ""}};
    if (isMoeLayer(layer))
      layerResults.push_back({"counts", countsType, ""});
    b.aside([&] { emitLayer(b, layer, layerArguments, layerResults); });

    b.at("layer." + Twine(layer));
    auto types = llvm::map_to_vector(layerResults, [](const Port &port) { return port.type; });
    auto call = func::CallOp::create(ops, b.loc(), ("layer." + Twine(layer)).str(), types,
                                     ValueRange{hidden, batch, length, past, rotary.cos, rotary.sin, keys, values});
    hidden = call.getResult(0);
    caches.append({call.getResult(1), call.getResult(2)});
    if (isMoeLayer(layer))
      counts =
          b.insert(call.getResult(3), counts, {b.size(moeLayer++), b.size(0)}, {b.size(1), b.size(config.experts)});
  }

  // Only the last `keep` positions of each sequence get logits.
  b.at("model.norm");
  OpFoldResult width = b.size(config.hiddenSize), vocabulary = b.size(config.vocabSize), zero = b.size(0);
  Value sequences = b.expand(hidden, {{0, 1}, {2}}, {batch, length, width});
  Value first = arith::SubIOp::create(ops, b.loc(), length, keep);
  Value kept = b.slice(sequences, {zero, first, zero}, {batch, keep, width});
  Value rows = b.collapse(kept, {{0, 1}, {2}}, {arith::MulIOp::create(ops, b.loc(), batch, keep).getResult(), width});
  Value normed = b.rmsNorm(rows, b.vector("model.norm.weight", {config.hiddenSize}), config.normEps);
  StringRef head = config.tiedEmbeddings ? embeddingName : "lm_head.weight";
  b.at(head);
  Value scores = b.linear(normed, b.weight(head, {config.vocabSize, config.hiddenSize}));
  Value logits = b.expand(scores, {{0, 1}, {2}}, {batch, keep, vocabulary});
  SmallVector<Value> returned{logits, counts};
  returned.append(caches);
  b.endFunction(returned);
  costs.push_back(b.cost);
}

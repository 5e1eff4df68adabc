//===- ScoreCommand.cpp - likelihood of texts ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "../Host/Progress.h"
#include "Commands.h"
#include "StableMath.h"
#include "TextCodec.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/LanguageModel.h"
#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace moe::rt {
namespace {

using Json = nlohmann::ordered_json;

/// What one file, or several together, came to.
struct Score {
  std::string file;
  int64_t tokens = 0; // scored
  double sum = 0;     // negative log-likelihood in nats, added token by token
  double seconds = 0;
  std::vector<std::vector<int64_t>> expertCounts; // [MoE layer][expert]

  double mean() const { return sum / double(tokens); }
};

class Scorer {
public:
  Scorer(const LanguageModel &model, int64_t window, int64_t chunk)
      : model(model), window(window), chunk(chunk), countsAt(model.resultIndex("expert_counts")) {}

  Score score(const std::string &file, const std::vector<int32_t> &ids) {
    Score result;
    result.file = file;
    auto start = std::chrono::steady_clock::now();
    Progress progress(file, int64_t(ids.size()));
    int64_t count = int64_t(ids.size());
    for (int64_t begin = 0; begin < count;) {
      int64_t length = std::min(window, count - begin);
      // Whole windows go together: a sequence's numbers do not depend on its neighbours in the batch.
      int64_t batch = length < window || chunk > 0 ? 1 : std::min(batchSize(), (count - begin) / window);
      if (length > 1)
        scoreWindows(ids.data() + begin, batch, length, result);
      begin += batch * length;
      progress.advance(batch * length);
    }
    if (result.tokens == 0)
      throw InputError(file + ": expected at least 2 tokens to score but got " + std::to_string(count));
    result.seconds = secondsSince(start);
    return result;
  }

private:
  /// Windows per call: enough to keep the experts busy, with logits of at most a quarter of a gigabyte.
  int64_t batchSize() const {
    int64_t bytes = window * std::max<int64_t>(model.manifest().vocabSize, 1) * int64_t(sizeof(float));
    return std::clamp<int64_t>((int64_t(256) << 20) / std::max<int64_t>(bytes, 1), 1, 8);
  }

  /// Scores `batch` windows of `length` tokens each, which lie one after the other.
  void scoreWindows(const int32_t *ids, int64_t batch, int64_t length, Score &result) {
    Cache cache = model.makeCache(batch, length);
    std::vector<double> losses(size_t(batch * length), 0.0); // of predicting token i from the ones before it
    int64_t step = chunk > 0 ? std::min(chunk, length) : length;
    for (int64_t at = 0; at < length; at += step) {
      int64_t part = std::min(step, length - at);
      std::vector<int32_t> fed;
      for (int64_t row = 0; row < batch; ++row)
        fed.insert(fed.end(), ids + row * length + at, ids + row * length + at + part);
      std::vector<Tensor> outputs = model.forward(fed, part, part, cache, result.file);
      const float *logits = outputs[0].as<float>();
      int64_t vocabulary = outputs[0].shape[2];
      if (outputs[0].shape[0] != batch || outputs[0].shape[1] != part)
        throw InternalError("logits: expected [" + std::to_string(batch) + "," + std::to_string(part) + ",?] but got " +
                            shapeToString(outputs[0].shape));
      parallelFor(batch * part, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          int64_t next = (i / part) * length + at + i % part + 1;
          if (next % length == 0)
            continue; // the last token of a window predicts nothing
          const float *row = logits + i * vocabulary;
          auto [top, sum] = sumOfExponentials(row, vocabulary);
          losses[size_t(next)] = std::log(sum) - (double(row[ids[next]]) - double(top));
        }
      });
      if (countsAt)
        addCounts(outputs[*countsAt], result.expertCounts);
    }
    for (int64_t i = 0; i < batch * length; ++i)
      if (i % length != 0) {
        if (!std::isfinite(losses[size_t(i)]))
          throw InputError(result.file + ": the model gives no probability to token " + std::to_string(i) +
                           " of a window (logits are not finite)");
        result.sum += losses[size_t(i)];
      }
    result.tokens += batch * (length - 1);
  }

  static void addCounts(const Tensor &counts, std::vector<std::vector<int64_t>> &sum) {
    if (counts.shape.size() != 2)
      throw InternalError("expert_counts: expected two dimensions but got " + shapeToString(counts.shape));
    int64_t layers = counts.shape[0], experts = counts.shape[1];
    sum.resize(size_t(layers), std::vector<int64_t>(size_t(experts)));
    for (int64_t layer = 0; layer < layers; ++layer)
      for (int64_t expert = 0; expert < experts; ++expert)
        sum[size_t(layer)][size_t(expert)] += counts.as<int32_t>()[layer * experts + expert];
  }

  const LanguageModel &model;
  int64_t window, chunk;
  std::optional<size_t> countsAt;
};

void add(Score &total, const Score &score) {
  total.tokens += score.tokens;
  total.sum += score.sum;
  total.seconds += score.seconds;
  total.expertCounts.resize(score.expertCounts.size());
  for (size_t layer = 0; layer < score.expertCounts.size(); ++layer) {
    total.expertCounts[layer].resize(score.expertCounts[layer].size());
    for (size_t expert = 0; expert < score.expertCounts[layer].size(); ++expert)
      total.expertCounts[layer][expert] += score.expertCounts[layer][expert];
  }
}

Json describe(const Score &score) {
  return {{"file", score.file},
          {"tokens", score.tokens},
          {"nll", score.mean()},
          {"perplexity", std::exp(score.mean())},
          {"expert_counts", score.expertCounts},
          {"seconds", score.seconds}};
}

std::string table(const std::vector<Score> &scores) {
  size_t width = 5;
  for (const Score &score : scores)
    width = std::max(width, score.file.size());
  std::string text =
      format("%-*s %10s %10s %12s %10s\n", int(width), "file", "tokens", "nll", "perplexity", "tokens/s");
  for (const Score &score : scores)
    text += format("%-*s %10lld %10.4f %12.3f %10.0f\n", int(width), score.file.c_str(), (long long)score.tokens,
                   score.mean(), std::exp(score.mean()), double(score.tokens) / score.seconds);
  return text;
}

/// Each expert's share of a layer's choices, in percent.
std::string loads(const Score &score) {
  std::string text;
  for (size_t layer = 0; layer < score.expertCounts.size(); ++layer) {
    int64_t sum = 0;
    for (int64_t count : score.expertCounts[layer])
      sum += count;
    text += format("MoE layer %zu:", layer);
    for (int64_t count : score.expertCounts[layer])
      text += format(" %4.1f", sum > 0 ? 100.0 * double(count) / double(sum) : 0.0);
    text += "\n";
  }
  return text.empty() ? text : "experts' load, % of choices\n" + text;
}

} // namespace

void scoreCommand(const Model &model, const ScoreOptions &options) {
  if (options.files.empty())
    throw UsageError("score: expected at least one file but got none");
  LanguageModel languageModel(model, model.manifest().entry("main"));
  TextCodec codec(model.tokenizerJson());
  if (!codec.available())
    throw InputError("score: expected a tokenizer in this program but it was compiled without tokenizer.json");
  int64_t limit = languageModel.maxPositions();
  if (options.window > limit)
    throw InputError("--window: expected at most " + std::to_string(limit) +
                     " positions (max_positions of the model) but got " + std::to_string(options.window));
  int64_t window = options.window > 0 ? options.window : std::min<int64_t>(256, limit);

  Scorer scorer(languageModel, window, options.chunk);
  std::vector<Score> scores;
  for (const std::string &file : options.files)
    scores.push_back(scorer.score(file, codec.encode(readTextFile(file), file)));

  if (options.json) {
    Json files = Json::array();
    for (const Score &score : scores)
      files.push_back(describe(score));
    writeOutput(Json{{"files", files}, {"window", window}}.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    return;
  }
  Score total;
  total.file = "all";
  for (const Score &score : scores)
    add(total, score);
  std::vector<Score> rows = scores;
  if (scores.size() > 1)
    rows.push_back(total);
  writeOutput(table(rows) + loads(total));
}

} // namespace moe::rt

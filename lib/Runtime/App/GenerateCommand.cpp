//===- GenerateCommand.cpp - text from a prompt --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "../Host/Progress.h"
#include "Commands.h"
#include "Sampler.h"
#include "TextCodec.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/LanguageModel.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

namespace moe::rt {
namespace {

using Json = nlohmann::ordered_json;

std::vector<int32_t> readPrompt(const GenerateOptions &options, const TextCodec &codec) {
  if (options.hasPrompt == options.hasPromptIds)
    throw UsageError(options.hasPrompt ? "generate: expected a prompt or --prompt-ids but got both"
                                       : "generate: expected a prompt or --prompt-ids but got neither");
  std::vector<int32_t> ids;
  if (options.hasPromptIds) {
    for (int64_t id : options.promptIds) {
      if (id < 0 || id > std::numeric_limits<int32_t>::max())
        throw InputError("--prompt-ids: expected token ids but got " + std::to_string(id));
      ids.push_back(int32_t(id));
    }
  } else {
    if (!codec.available())
      throw InputError("prompt: expected --prompt-ids, because this program was compiled without tokenizer.json, but "
                       "got text");
    ids = codec.encode(options.prompt, "prompt");
  }
  if (ids.empty())
    throw InputError(std::string(options.hasPrompt ? "prompt" : "--prompt-ids") +
                     ": expected at least one token but got none");
  return ids;
}

} // namespace

void generateCommand(const Model &model, const GenerateOptions &options) {
  const Manifest &manifest = model.manifest();
  LanguageModel languageModel(model, manifest.entry("main"));
  TextCodec codec(model.tokenizerJson());
  std::vector<int32_t> prompt = readPrompt(options, codec);
  std::string where = options.hasPrompt ? "prompt" : "--prompt-ids";

  int64_t room = languageModel.maxPositions() - int64_t(prompt.size());
  if (room < 0)
    throw InputError(where + ": expected at most " + std::to_string(languageModel.maxPositions()) +
                     " tokens (max_positions of the model) but got " + std::to_string(prompt.size()));
  // The last token needs no position: it is not fed back.
  int64_t wanted = std::min(options.maxNewTokens, room + 1);
  Cache cache = languageModel.makeCache(1, int64_t(prompt.size()) + std::max<int64_t>(wanted - 1, 0));
  std::optional<Sampler> sampler;
  if (options.temperature > 0)
    sampler.emplace(options.temperature, options.topK, options.topP, options.seed);

  std::vector<int32_t> generated, fed = prompt;
  double promptSeconds = 0, decodeSeconds = 0;
  const char *stopped = wanted < options.maxNewTokens ? "max_positions" : "length";
  TextStream stream(codec);
  {
    Progress progress("generate", options.json ? wanted : 0);
    while (int64_t(generated.size()) < wanted) {
      auto start = std::chrono::steady_clock::now();
      std::vector<Tensor> outputs = languageModel.forward(fed, int64_t(fed.size()), 1, cache, where);
      int64_t vocabulary = outputs[0].shape[2];
      if (manifest.vocabSize > 0)
        vocabulary = std::min(vocabulary, manifest.vocabSize); // a padded head has rows that stand for no token
      const float *logits = outputs[0].as<float>();
      int32_t next = int32_t(sampler ? sampler->choose(logits, vocabulary) : greedyChoice(logits, vocabulary));
      (generated.empty() ? promptSeconds : decodeSeconds) += secondsSince(start);
      generated.push_back(next);
      fed = {next};
      if (options.json)
        progress.advance(1);
      else if (codec.available())
        writeOutput(stream.push(next));
      else // ids are all there is to show
        writeOutput((generated.size() > 1 ? "," : "") + std::to_string(next));
      if (!options.ignoreEos &&
          std::find(manifest.eosTokenIds.begin(), manifest.eosTokenIds.end(), next) != manifest.eosTokenIds.end()) {
        stopped = "eos";
        break;
      }
    }
  }

  if (options.json) {
    Json out = {{"prompt_ids", prompt},
                {"generated_ids", generated},
                {"text", codec.decode(generated)},
                {"prompt_seconds", promptSeconds},
                {"decode_seconds", decodeSeconds},
                {"stopped", stopped}};
    writeOutput(out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  } else {
    writeOutput(stream.flush() + "\n");
  }
  if (std::string_view(stopped) == "max_positions")
    fprintf(stderr, "note: stopped at the %lld positions that the model allows\n",
            (long long)languageModel.maxPositions());
  if (!options.json)
    fprintf(stderr, "prompt: %zu tokens in %.3f s; generated: %zu tokens, %.1f tokens/s\n", prompt.size(),
            promptSeconds, generated.size(), decodeSeconds > 0 ? double(generated.size() - 1) / decodeSeconds : 0.0);
}

} // namespace moe::rt

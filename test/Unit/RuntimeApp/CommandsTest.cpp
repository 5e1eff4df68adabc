//===- CommandsTest.cpp - the commands of a compiled model ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Program.h"
#include "moe/Runtime/CostModel.h"
#include "moe/Runtime/TensorFile.h"
#include "moe/Runtime/ThreadPool.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

using namespace moe::rt;
using nlohmann::json;

namespace {

struct Commands : testing::Test {
  Scratch scratch;
  std::string program = makeProgram(scratch);

  Outcome run(const std::vector<std::string> &arguments, const std::vector<std::string> &environment = {}) {
    return runProgram(program, arguments, environment);
  }
  json runJson(const std::vector<std::string> &arguments, const std::vector<std::string> &environment = {}) {
    Outcome outcome = run(arguments, environment);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return json::parse(outcome.out);
  }
  template <typename T>
  std::string writeTensor(const std::string &name, DType dtype, std::vector<int64_t> shape,
                          const std::vector<T> &values) {
    std::string path = scratch / "in.safetensors", error;
    TensorView other{"unused", DType::U8, {0}, nullptr, 0};
    TensorView view{name, dtype, shape, reinterpret_cast<const unsigned char *>(values.data()),
                    values.size() * sizeof(T)};
    EXPECT_TRUE(writeSafetensors(path, {other, view}, {}, error)) << error;
    return path;
  }
  TensorFile readTensors(const std::string &path) {
    std::string error;
    auto file = TensorFile::open(path, error);
    EXPECT_TRUE(file.has_value()) << error;
    return std::move(*file);
  }
};
/// The environment of a user who never calibrated.
struct BenchCommand : Commands {
  std::vector<std::string> noCalibration() { return {"XDG_CACHE_HOME=" + scratch / "empty"}; }
};

using InfoCommand = Commands;
using RunCommand = Commands;
using GenerateCommand = Commands;
using ScoreCommand = Commands;

std::vector<float> floats(const TensorView &view) {
  EXPECT_EQ(view.dtype, DType::F32);
  std::vector<float> values(view.size / sizeof(float));
  if (view.size)
    std::memcpy(values.data(), view.data, view.size);
  return values;
}

TEST_F(InfoCommand, SaysWhatTheProgramIs) {
  json info = runJson({"info", "--json"});
  EXPECT_EQ(info["family"], "toy");
  EXPECT_EQ(info["layers"], 3);
  EXPECT_EQ(info["experts"], 4);
  EXPECT_EQ(info["experts_per_token"], 2);
  EXPECT_EQ(info["parameters"], 1000);
  EXPECT_EQ(info["active_parameters"], 600);
  EXPECT_EQ(info["entries"], json({"main", "edges", "moe.0", "failing", "missing"}));
  EXPECT_EQ(info["isa"], info["isa_available"][0]);
  EXPECT_EQ(info["isa_levels"], json({"avx512", "avx2", "x86-64"}));
  EXPECT_EQ(info["entry_details"][2]["inputs"][0]["shape"], json({-1, 4}));
  Outcome human = run({"info"});
  EXPECT_EQ(human.status, 0);
  EXPECT_NE(human.out.find("family             toy\n"), std::string::npos) << human.out;
  EXPECT_NE(human.out.find("main: input_ids I32[?,?] -> logits F32[?,?,257], expert_counts I32[2,4]\n"),
            std::string::npos);
}

TEST_F(InfoCommand, NeedsNoWeights) { EXPECT_EQ(runProgram(MOE_FAKE_MODEL, {"info"}).status, 0); }

TEST_F(InfoCommand, TakesCommonOptionsFromFlagsAndEnvironment) {
  EXPECT_EQ(runJson({"info", "--json"}, {"MOE_THREADS=3"})["threads"], 3);
  EXPECT_EQ(runJson({"info", "--json", "--threads", "5"}, {"MOE_THREADS=3"})["threads"], 5);
  EXPECT_EQ(runJson({"--threads=6", "info", "--json"}, {"MOE_THREADS=oops"})["threads"], 6);
  EXPECT_EQ(runJson({"info", "--json"}, {"MOE_ISA=x86-64"})["isa"], "x86-64");
  EXPECT_EQ(runJson({"info", "--isa", "x86-64", "--json"}, {"MOE_ISA=vax"})["isa"], "x86-64");
}

TEST_F(RunCommand, CallsAnEntryOnConvertedTensors) {
  std::string in = writeTensor<double>("x", DType::F64, {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), out = scratch / "out";
  Outcome outcome = run({"run", "--entry", "edges", "--input", in, "--output", out, "--repeat", "3"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("edges: 3 runs, median "), std::string::npos) << outcome.err;
  TensorFile file = readTensors(out);
  EXPECT_EQ(file.tensors().size(), 7u);
  EXPECT_EQ(floats(*file.find("t")), (std::vector<float>{2, 10, 4, 12, 6, 14, 8, 16}));
  EXPECT_EQ(file.find("wide")->dtype, DType::I32);
  EXPECT_EQ(file.find("flag")->dtype, DType::I32);
}

TEST_F(RunCommand, GivesLogitsOfAllPositions) {
  std::string out = scratch / "out";
  std::string in = writeTensor<int64_t>("input_ids", DType::I64, {2, 3}, {1, 2, 3, 4, 5, 6});
  ASSERT_EQ(run({"run", "--input", in, "--output", out, "--huge-pages"}).status, 0);
  TensorFile both = readTensors(out);
  EXPECT_EQ(both.find("logits")->shape, (std::vector<int64_t>{2, 3, fake::vocabulary}));
  EXPECT_EQ(both.find("expert_counts")->shape, (std::vector<int64_t>{2, 4}));
  std::vector<float> batch = floats(*both.find("logits"));

  in = writeTensor<float>("input_ids", DType::F32, {1, 3}, {4, 5, 6});
  ASSERT_EQ(run({"run", "--input", in, "--output", out, "--threads", "1"}).status, 0);
  std::vector<float> alone = floats(*readTensors(out).find("logits"));
  EXPECT_EQ(alone, std::vector<float>(batch.begin() + ptrdiff_t(alone.size()), batch.end()));
}

TEST_F(RunCommand, EmptyInputsGiveEmptyOutputs) {
  std::string out = scratch / "out";
  for (std::vector<int64_t> shape : {std::vector<int64_t>{0, 5}, {2, 0}, {0, 0}}) {
    std::string in = writeTensor<int32_t>("input_ids", DType::I32, shape, {});
    Outcome outcome = run({"run", "--input", in, "--output", out});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(readTensors(out).find("logits")->shape, (std::vector<int64_t>{shape[0], shape[1], fake::vocabulary}));
  }
  std::string in = writeTensor<float>("hidden", DType::F32, {0, 4}, {});
  EXPECT_EQ(run({"run", "--entry", "moe.0", "--input", in, "--output", out}).status, 0);
  EXPECT_EQ(readTensors(out).find("hidden")->shape, (std::vector<int64_t>{0, 4}));
}

TEST_F(RunCommand, AnNpyFileFeedsTheOnlyInput) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }";
  header.resize(117, ' ');
  header += '\n';
  std::string npy = std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header;
  float values[] = {1, 2, 3, 4};
  npy.append(reinterpret_cast<char *>(values), sizeof values);
  writeFile(scratch / "in.npy", npy);
  Outcome outcome = run({"run", "--entry", "moe.0", "--input", scratch / "in.npy", "--output", scratch / "out"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(floats(*readTensors(scratch / "out").find("hidden")), (std::vector<float>{2, 3, 4, 5}));
}

TEST_F(GenerateCommand, ContinuesGreedily) {
  json one = runJson({"generate", "--prompt-ids", "1,2,3", "--max-new-tokens", "8", "--ignore-eos", "--json"});
  EXPECT_EQ(one["prompt_ids"], json({1, 2, 3}));
  EXPECT_EQ(one["generated_ids"].size(), 8u);
  EXPECT_GE(one["prompt_seconds"].get<double>(), 0);
  EXPECT_GE(one["decode_seconds"].get<double>(), 0);
  // What follows a longer prompt is the rest of the same text.
  std::string ids = "1,2,3";
  for (int i = 0; i < 4; ++i)
    ids += "," + one["generated_ids"][i].dump();
  json rest = runJson({"generate", "--prompt-ids", ids, "--max-new-tokens", "4", "--ignore-eos", "--json"});
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(rest["generated_ids"][i], one["generated_ids"][i + 4]);
}

TEST_F(GenerateCommand, TextAndIdsAreTheSamePrompt) {
  json text = runJson({"generate", "Hi", "--max-new-tokens", "5", "--ignore-eos", "--json"});
  EXPECT_EQ(text["prompt_ids"], json({72, 105}));
  json ids = runJson({"generate", "--prompt-ids", " 72, 105", "--max-new-tokens", "5", "--ignore-eos", "--json"});
  EXPECT_EQ(text["generated_ids"], ids["generated_ids"]);
  EXPECT_EQ(text["text"], ids["text"]);
  for (std::string odd : {"[a,b]", "run", "info", "-x", "--"})
    EXPECT_EQ(runJson({"generate", "--json", "--", odd})["prompt_ids"].size(), odd.size()) << odd;
}

TEST_F(GenerateCommand, StreamsTheTextOfTheJson) {
  std::vector<std::string> words{"generate", "Hello", "--max-new-tokens", "20", "--ignore-eos"};
  Outcome plain = run(words);
  EXPECT_EQ(plain.status, 0);
  words.push_back("--json");
  EXPECT_EQ(plain.out, runJson(words)["text"].get<std::string>() + "\n");
}

TEST_F(GenerateCommand, StopsAtEndOfText) {
  // The toy says <|end|> whenever its state is 5: some prompt of one byte gets there.
  int stopped = 0;
  for (int id = 0; id < 17; ++id) {
    json out = runJson({"generate", "--prompt-ids", std::to_string(id), "--max-new-tokens", "20", "--json"});
    if (out["stopped"] != "eos")
      continue;
    ++stopped;
    EXPECT_EQ(out["generated_ids"].back(), fake::endOfText);
    size_t length = out["generated_ids"].size();
    json on =
        runJson({"generate", "--prompt-ids", std::to_string(id), "--max-new-tokens", "20", "--json", "--ignore-eos"});
    EXPECT_EQ(on["generated_ids"].size(), 20u);
    EXPECT_EQ(on["generated_ids"][length - 1], fake::endOfText);
  }
  EXPECT_GT(stopped, 0);
}

TEST_F(GenerateCommand, StopsWhereTheModelEnds) {
  std::vector<std::string> words{"generate", "--prompt-ids", "1,2,3", "--max-new-tokens",
                                 "1000",     "--ignore-eos", "--json"};
  Outcome outcome = run(words);
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.err, "note: stopped at the 40 positions that the model allows\n");
  json out = json::parse(outcome.out);
  EXPECT_EQ(out["stopped"], "max_positions");
  EXPECT_EQ(out["generated_ids"].size(), 38u); // the last one is not fed back
}

TEST_F(GenerateCommand, SamplesBySeed) {
  auto sample = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"generate", "abc", "--max-new-tokens", "12", "--ignore-eos", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return runJson(words)["generated_ids"];
  };
  json greedy = sample({});
  EXPECT_EQ(sample({"--seed", "4"}), sample({"--seed", "4", "--temperature", "1", "--threads", "2"}));
  EXPECT_NE(sample({"--seed", "4"}), sample({"--seed", "5"}));
  EXPECT_NE(sample({"--temperature", "2"}), greedy);
  EXPECT_EQ(sample({"--temperature", "2", "--top-k", "1"}), greedy);
  EXPECT_EQ(sample({"--top-p", "0.000001"}), greedy);
  EXPECT_EQ(sample({"--temperature", "0", "--seed", "9"}), greedy);
}

TEST_F(GenerateCommand, WithoutATokenizerIdsAreAllThereIs) {
  std::vector<std::string> words{"generate", "--prompt-ids", "1,2", "--max-new-tokens", "3", "--ignore-eos"};
  Outcome plain = run(words, {"FAKE_TOKENIZER=none"});
  words.push_back("--json");
  json out = runJson(words, {"FAKE_TOKENIZER=none"});
  EXPECT_EQ(out["text"], "");
  json ids = out["generated_ids"];
  EXPECT_EQ(plain.out, ids[0].dump() + "," + ids[1].dump() + "," + ids[2].dump() + "\n");
}

TEST_F(ScoreCommand, IsTheMeanOfTheWindows) {
  std::string text;
  for (int i = 0; i < 51; ++i)
    text += char(32 + i * i % 90);
  writeFile(scratch / "text", text);
  json file = runJson({"score", scratch / "text", "--window", "10", "--json"})["files"][0];
  EXPECT_EQ(file["file"], scratch / "text");
  EXPECT_EQ(file["tokens"], 45); // five windows; the sixth has one token
  EXPECT_NEAR(file["perplexity"].get<double>(), std::exp(file["nll"].get<double>()), 1e-9);
  ASSERT_EQ(file["expert_counts"].size(), 2u);
  for (const json &layer : file["expert_counts"])
    EXPECT_EQ(layer[0].get<int>() + layer[1].get<int>() + layer[2].get<int>() + layer[3].get<int>(), 100);

  // The same from the logits that run gives.
  std::string in =
      writeTensor<int32_t>("input_ids", DType::I32, {5, 10}, std::vector<int32_t>(text.begin(), text.begin() + 50));
  ASSERT_EQ(run({"run", "--input", in, "--output", scratch / "out"}).status, 0);
  std::vector<float> logits = floats(*readTensors(scratch / "out").find("logits"));
  double sum = 0;
  for (int i = 0; i < 50; ++i) {
    if (i % 10 == 9)
      continue;
    double exponentials = 0;
    for (int v = 0; v < fake::vocabulary; ++v)
      exponentials += std::exp(double(logits[size_t(i * fake::vocabulary + v)]));
    sum += std::log(exponentials) - logits[size_t(i * fake::vocabulary + text[size_t(i) + 1])];
  }
  EXPECT_NEAR(file["nll"].get<double>(), sum / 45, 1e-12);
}

TEST_F(ScoreCommand, ChunksAndThreadsChangeNoBit) {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += char(32 + i * i % 90);
  writeFile(scratch / "text", text);
  auto score = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"score", scratch / "text", "--window", "30", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    json file = runJson(words)["files"][0];
    return file["nll"].dump() + file["expert_counts"].dump() + file["tokens"].dump();
  };
  std::string whole = score({});
  EXPECT_EQ(whole, score({"--chunk", "1"}));
  EXPECT_EQ(whole, score({"--chunk", "7", "--threads", "2"}));
  EXPECT_EQ(whole, score({"--chunk", "100", "--threads", "3"}));
}

TEST_F(ScoreCommand, DefaultWindowIsWhatTheModelAllows) {
  writeFile(scratch / "text", std::string(100, 'x'));
  json out = runJson({"score", scratch / "text", scratch / "text", "--json"});
  EXPECT_EQ(out["window"], 40);
  EXPECT_EQ(out["files"].size(), 2u);
  EXPECT_EQ(out["files"][1]["tokens"], 97);
  Outcome human = run({"score", scratch / "text", scratch / "text"});
  EXPECT_NE(human.out.find("\nall "), std::string::npos) << human.out;
  EXPECT_NE(human.out.find("MoE layer 1:"), std::string::npos) << human.out;
}

TEST_F(ScoreCommand, FilesAreBytes) {
  writeFile(scratch / "text", std::string("a\0b\xff\r\n", 6));
  EXPECT_EQ(runJson({"score", scratch / "text", "--json"})["files"][0]["tokens"], 7); // U+FFFD has three bytes
}

TEST_F(BenchCommand, MeasuresEveryCell) {
  json out = runJson({"bench", "--tokens", "1,4", "--threads", "1,2", "--json"}, noCalibration());
  ASSERT_EQ(out["results"].size(), 4u);
  for (const json &cell : out["results"]) {
    EXPECT_EQ(cell["entry"], "main");
    EXPECT_GT(cell["min_ms"].get<double>(), 0);
    EXPECT_GE(cell["median_ms"].get<double>(), cell["min_ms"].get<double>());
    EXPECT_GT(cell["gflops"].get<double>(), 0);
    EXPECT_GT(cell["gbytes_per_s"].get<double>(), 0);
    EXPECT_GT(cell["roofline"].get<double>(), 0);
    EXPECT_GE(cell["repetitions"].get<int>(), 5);
    EXPECT_TRUE(cell["isa"].is_string());
  }
  EXPECT_EQ(out["results"][0]["tokens"], 1);
  EXPECT_EQ(out["results"][3]["threads"], 2);
  json block = runJson({"bench", "--tokens", "8", "--entry", "moe.0", "--json"})["results"];
  EXPECT_EQ(block[0]["entry"], "moe.0");
  EXPECT_FALSE(block[0].contains("predicted_ms")); // a manifest without stages
}

TEST_F(BenchCommand, PredictsEveryStage) {
  json out = runJson({"bench", "--tokens", "1,4", "--threads", "1", "--json"}, noCalibration());
  EXPECT_EQ(out["machine"][0]["source"], "measured");
  EXPECT_GT(out["machine"][0]["peak_gflops"].get<double>(), 0);
  EXPECT_GT(out["machine"][0]["peak_gbytes_per_s"].get<double>(), 0);
  for (const json &cell : out["results"]) {
    ASSERT_EQ(cell["stages"].size(), 4u);
    double sum = 0;
    for (const json &stage : cell["stages"]) {
      EXPECT_GT(stage["predicted_ms"].get<double>(), 0) << stage;
      sum += stage["predicted_ms"].get<double>();
    }
    EXPECT_NEAR(cell["predicted_ms"].get<double>(), sum, 1e-9);
  }
  const json &stages = out["results"][0]["stages"];
  EXPECT_EQ(stages[0]["name"], "router");
  EXPECT_EQ(stages[0]["weight_bytes"], 1024);
  EXPECT_EQ(stages[3]["flops"], 40000);
  EXPECT_EQ(stages[1]["weight_bytes"], 2 * 2 * 10000);
  // The model says which experts the tokens of bench's generator met: those are counted, not the expected number.
  std::mt19937_64 generator(1);
  std::set<std::pair<uint64_t, uint64_t>> met;
  for (int token = 0; token < 4; ++token) {
    uint64_t id = generator() % 257;
    for (uint64_t layer = 0; layer < 2; ++layer)
      met.insert({{layer, (id + layer) % 4}, {layer, (id + layer + 1) % 4}});
  }
  EXPECT_EQ(out["results"][1]["stages"][1]["weight_bytes"], 10000 * met.size());

  EXPECT_FALSE(stages[0].contains("measured_ms"));

  Outcome text = run({"bench", "--tokens", "2", "--stages"}, noCalibration());
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("predicted ms"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("measured now"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("\n  gate/up "), std::string::npos) << text.out;
}

TEST_F(BenchCommand, MeasuresStages) {
  json cell =
      runJson({"bench", "--tokens", "4", "--threads", "1", "--stages", "--json"}, noCalibration())["results"][0];
  ASSERT_EQ(cell["stages"].size(), 5u);
  EXPECT_EQ(cell["stages"][0]["name"], "router");
  EXPECT_GT(cell["stages"][0]["measured_ms"].get<double>(), 0);
  EXPECT_LT(cell["stages"][0]["measured_ms"].get<double>(), 10 * cell["median_ms"].get<double>());
  EXPECT_FALSE(cell["stages"][1].contains("measured_ms")); // never began
  EXPECT_EQ(cell["stages"][4]["name"], "other");
  EXPECT_EQ(cell["stages"][4]["flops"], 0);
  EXPECT_GT(cell["stages"][4]["measured_ms"].get<double>(), 0);
}

TEST_F(BenchCommand, CalibratesThisMachine) {
  std::string folder = scratch / "cache", path = folder + "/moe-mlir/machine.json";
  std::vector<std::string> environment{"XDG_CACHE_HOME=" + folder};
  json calibrated = runJson({"bench", "--calibrate", "--json"}, environment);
  EXPECT_EQ(calibrated["file"], path);
  EXPECT_EQ(calibrated["calibration"]["cpu"], cpuModel());
  std::string error;
  auto stored = loadMachine(path, cpuModel(), usableCores(), error);
  ASSERT_TRUE(stored) << error;
  EXPECT_GT(stored->peak("x86-64", Arithmetic::F32, 1) + stored->peak("aarch64", Arithmetic::F32, 1), 0);
  EXPECT_GE(stored->bandwidth.size(), 4u);
  // A later run uses it; a broken one is named, and measured anew.
  EXPECT_EQ(runJson({"bench", "--tokens", "1", "--json"}, environment)["machine"][0]["source"], "stored");
  writeFile(path, "{");
  Outcome broken = run({"bench", "--tokens", "1", "--json"}, environment);
  EXPECT_EQ(broken.status, 0);
  EXPECT_EQ(broken.err, "note: '" + path +
                            "': not valid JSON; measuring this machine now (bench --calibrate replaces "
                            "the file)\n");
  EXPECT_EQ(json::parse(broken.out)["machine"][0]["source"], "measured");
}

TEST_F(BenchCommand, CalibrationThatCannotBeStored) {
  writeFile(scratch / "file", "");
  Outcome blocked = run({"bench", "--calibrate"}, {"XDG_CACHE_HOME=" + scratch / "file"});
  EXPECT_EQ(blocked.status, 1);
  EXPECT_NE(blocked.err.find("cannot be written"), std::string::npos) << blocked.err;
}

} // namespace

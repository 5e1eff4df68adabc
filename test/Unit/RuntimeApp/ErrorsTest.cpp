//===- ErrorsTest.cpp - what the program says to bad input ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Program.h"
#include "moe/Runtime/Safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace moe::rt;

namespace {

struct Errors : testing::Test {
  Scratch scratch;
  std::string program = makeProgram(scratch), out = scratch / "out";

  /// The message of a command that must fail with `status`, one line and nothing on standard output.
  std::string message(int status, const std::vector<std::string> &arguments,
                      const std::vector<std::string> &environment = {}) {
    Outcome outcome = runProgram(program, arguments, environment);
    EXPECT_EQ(outcome.status, status) << outcome.out << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.rfind("error: ", 0), 0u) << outcome.err;
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
    EXPECT_NE(access(out.c_str(), F_OK), 0) << "a failed command left its output file";
    std::string text = outcome.err.substr(std::min<size_t>(7, outcome.err.size()));
    if (!text.empty())
      text.pop_back();
    for (size_t at; (at = text.find(scratch / "")) != std::string::npos;)
      text.erase(at, (scratch / "").size());
    return text;
  }

  std::string ids(std::vector<int64_t> shape, std::vector<int64_t> values, const std::string &name = "input_ids") {
    std::string path = scratch / "in", error;
    TensorView view{name, DType::I64, shape, reinterpret_cast<const unsigned char *>(values.data()), values.size() * 8};
    EXPECT_TRUE(writeSafetensors(path, {view}, {}, error)) << error;
    return path;
  }
};

TEST_F(Errors, OfUsageHaveStatusTwo) {
  message(2, {});
  message(2, {"dance"});
  message(2, {"info", "--colour"});
  EXPECT_NE(message(2, {"run", "--outputs", "x"}).find("--outputs"), std::string::npos);
  EXPECT_EQ(message(2, {"run", "--input", "x"}), "--output: expected a file to write but got nothing (see --help)");
  EXPECT_EQ(message(2, {"score"}), "score: expected at least one file but got none (see --help)");
  EXPECT_EQ(message(2, {"generate"}), "generate: expected a prompt or --prompt-ids but got neither (see --help)");
  EXPECT_EQ(message(2, {"generate", "a", "--prompt-ids", "1"}),
            "generate: expected a prompt or --prompt-ids but got both (see --help)");
  EXPECT_EQ(message(2, {"generate", "--prompt-ids", "1,x"}),
            "--prompt-ids: expected a whole number of at least -9223372036854775808 but got 'x' (see --help)");
  EXPECT_EQ(message(2, {"generate", "a", "--max-new-tokens", "0"}),
            "--max-new-tokens: expected a whole number of at least 1 but got '0' (see --help)");
  EXPECT_EQ(message(2, {"generate", "a", "--top-p", "1.5"}),
            "--top-p: expected a number above 0 to 1 but got '1.5' (see --help)");
  EXPECT_EQ(message(2, {"generate", "a", "--temperature", "nan"}),
            "--temperature: expected a number from 0 but got 'nan' (see --help)");
  EXPECT_EQ(message(2, {"--threads", "0", "info"}),
            "--threads: expected a whole number from 1 to 1024 but got '0' (see --help)");
  EXPECT_EQ(message(2, {"info"}, {"MOE_THREADS=many"}),
            "MOE_THREADS: expected a whole number from 1 to 1024 but got 'many' (see --help)");
  EXPECT_EQ(message(2, {"info"}, {"MOE_ISA=vax"}),
            "instruction set: expected one of avx512, avx2, x86-64 but got 'vax' (see --help)");
  EXPECT_EQ(message(2, {"bench", "--tokens", "1,,2"}),
            "--tokens: expected a whole number from 1 to 1073741824 but got '' (see --help)");
  EXPECT_EQ(message(2, {"run", "--output", out}),
            "--input: expected a file with the inputs of entry 'main' but got nothing (see --help)");
}

TEST_F(Errors, HelpAndVersionAreNone) {
  for (std::vector<std::string> words :
       {std::vector<std::string>{"--help"}, {"--version"}, {"run", "--help"}, {"generate", "-h"}}) {
    Outcome outcome = runProgram(program, words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.out, "");
    EXPECT_EQ(outcome.err, "");
  }
  EXPECT_NE(runProgram(program, {"run", "--help"}).out.find("--repeat"), std::string::npos);
}

TEST_F(Errors, OfWeightsNameTheFile) {
  std::string in = ids({1, 1}, {1});
  EXPECT_NE(message(1, {"run", "--input", in, "--output", out, "--weights", scratch / "none"}).find("none"),
            std::string::npos);
  writeFile(scratch / "other", fake::weightsFile("", 0xabc));
  EXPECT_EQ(message(1, {"run", "--input", in, "--output", out, "--weights", scratch / "other"}),
            "other: fingerprint of the weights: expected 00000000c0ffee11 but got 0000000000000abc");
  // A program whose weights were cut off says so of itself.
  program = scratch / "cut";
  writeFile(program, readFile(MOE_FAKE_MODEL));
  ASSERT_EQ(chmod(program.c_str(), 0700), 0);
  EXPECT_EQ(message(1, {"run", "--input", in, "--output", out}),
            "cut: weights trailer: expected 'MOEWGT01' at the end of the file but got something else (not a weights "
            "file, or cut off)");
}

TEST_F(Errors, ExternalWeightsAreLookedForBesideTheProgram) {
  std::string in = ids({1, 1}, {1}), manifest(fake::manifest());
  size_t at = manifest.find("\"embed\"");
  manifest.replace(at, 7, "\"external\"");
  writeFile(scratch / "manifest", manifest);
  std::vector<std::string> environment{"FAKE_MANIFEST=" + (scratch / "manifest")};
  EXPECT_EQ(message(1, {"run", "--input", in, "--output", out}, environment),
            "the weights are in a file of their own: expected --weights FILE or fake.weights but got neither");
  writeFile(scratch / "fake.weights", fake::weightsFile(""));
  EXPECT_EQ(runProgram(program, {"run", "--input", in, "--output", out}, environment).status, 0);
}

TEST_F(Errors, OfRunNameTheTensor) {
  auto run = [&](const std::string &in, const std::string &entry = "main") {
    return message(1, {"run", "--entry", entry, "--input", in, "--output", out});
  };
  EXPECT_NE(run(scratch / "nothing").find("nothing"), std::string::npos);
  EXPECT_NE(run(program).find("fake"), std::string::npos); // not a tensor file
  EXPECT_EQ(run(ids({1, 1}, {1}), "nope"),
            "--entry: expected one of main, edges, moe.0, failing, missing but got 'nope'");
  EXPECT_EQ(run(ids({1, 1}, {1}, "ids")), "in: expected a tensor 'input_ids' I32[?,?] for entry 'main' but got none");
  EXPECT_EQ(run(ids({2}, {1, 2})), "in: tensor 'input_ids': expected shape [?,?] but got [2]");
  EXPECT_EQ(run(ids({1, 2}, {1, 2}, "hidden"), "moe.0"), "in: tensor 'hidden': expected shape [?,4] but got [1,2]");
  EXPECT_EQ(run(ids({1, 3}, {1, 257, 2})),
            "in: tensor 'input_ids': expected token ids in [0, 257) but got 257 at position 1");
  EXPECT_EQ(run(ids({1, 1}, {-1})), "in: tensor 'input_ids': expected token ids in [0, 257) but got -1 at position 0");
  EXPECT_NE(run(ids({1, 1}, {1ll << 40})).find("in: tensor 'input_ids': "), std::string::npos);
  EXPECT_EQ(run(ids({1, 41}, std::vector<int64_t>(41))),
            "in: tensor 'input_ids': expected at most 40 positions (max_positions of the model) but got 41");
  EXPECT_NE(message(1, {"run", "--input", ids({1, 1}, {1}), "--output", scratch / "no/where"}).find("no/where"),
            std::string::npos);
}

TEST_F(Errors, OfGenerateAndScoreAreClear) {
  EXPECT_EQ(message(1, {"generate", ""}), "prompt: expected at least one token but got none");
  EXPECT_EQ(message(1, {"generate", "--prompt-ids", "1,257"}),
            "--prompt-ids: expected token ids in [0, 257) but got 257 at position 1");
  EXPECT_EQ(message(1, {"generate", "--prompt-ids", "-1"}), "--prompt-ids: expected token ids but got -1");
  EXPECT_EQ(message(1, {"generate", std::string(41, 'x')}),
            "prompt: expected at most 40 tokens (max_positions of the model) but got 41");
  EXPECT_EQ(message(1, {"generate", "x"}, {"FAKE_TOKENIZER=none"}),
            "prompt: expected --prompt-ids, because this program was compiled without tokenizer.json, but got text");
  EXPECT_EQ(message(1, {"score", scratch / "none"}),
            "none: expected a readable file but got: No such file or directory");
  EXPECT_EQ(message(1, {"score", scratch / ""}), ": expected a readable file but got: Is a directory");
  writeFile(scratch / "short", "x");
  EXPECT_EQ(message(1, {"score", scratch / "short"}), "short: expected at least 2 tokens to score but got 1");
  EXPECT_EQ(message(1, {"score", scratch / "short"}, {"FAKE_TOKENIZER=none"}),
            "score: expected a tokenizer in this program but it was compiled without tokenizer.json");
  EXPECT_EQ(message(1, {"score", scratch / "short", "--window", "41"}),
            "--window: expected at most 40 positions (max_positions of the model) but got 41");
  EXPECT_EQ(message(1, {"bench", "--tokens", "41"}),
            "--tokens: expected at most 40 (max_positions of the model) but got 41");
}

TEST_F(Errors, OfTheProgramItselfHaveStatusThree) {
  EXPECT_EQ(message(3, {"run", "--entry", "failing", "--output", out}), "fake model: expert index out of range");
  EXPECT_NE(message(3, {"run", "--entry", "missing", "--output", out}).find("entry 'missing' has no code"),
            std::string::npos);
  writeFile(scratch / "manifest", "{\"version\": 1,");
  EXPECT_NE(message(3, {"info"}, {"FAKE_MANIFEST=" + (scratch / "manifest")}).find("manifest: not valid JSON"),
            std::string::npos);
}

TEST_F(Errors, AFullDiskIsReported) {
  if (access("/dev/full", W_OK) != 0)
    GTEST_SKIP() << "no /dev/full";
  Outcome outcome = runProgram("/bin/sh", {"-c", program + " info --json > /dev/full"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err, "error: standard output: write failed: No space left on device\n");
}

} // namespace

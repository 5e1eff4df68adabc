//===- AppMain.cpp - the command line of compiled models -----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Commands.h"
#include "moe/Runtime/App.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/ThreadPool.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <limits>

#ifndef MOE_VERSION
#error "the build defines MOE_VERSION"
#endif

namespace moe::rt {
namespace {

/// Options of every command.
struct CommonOptions {
  std::string threads, weights, isa;
  bool hugePages = false;
};

struct CommandLine {
  CommonOptions common;
  InfoOptions info;
  RunOptions run;
  GenerateOptions generate;
  ScoreOptions score;
  BenchOptions bench;
  std::string benchThreads;
};

/// A whole number in [least, most] from `text`; throws UsageError that begins with `what`.
int64_t parseNumber(const std::string &text, const std::string &what, int64_t least, int64_t most) {
  char *end = nullptr;
  errno = 0;
  long long value = strtoll(text.c_str(), &end, 10);
  bool digits = !text.empty() && (isdigit((unsigned char)text[0]) || text[0] == '-') && *end == '\0' && errno == 0;
  if (!digits || value < least || value > most)
    throw UsageError(what + ": expected a whole number" +
                     (most < std::numeric_limits<int64_t>::max()
                          ? " from " + std::to_string(least) + " to " + std::to_string(most)
                          : " of at least " + std::to_string(least)) +
                     " but got '" + text + "'");
  return value;
}

/// Numbers separated by commas.
std::vector<int64_t> parseNumbers(const std::string &text, const std::string &what, int64_t least, int64_t most) {
  std::vector<int64_t> numbers;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    std::string word = text.substr(begin, end - begin);
    word.erase(0, word.find_first_not_of(' '));
    word.erase(word.find_last_not_of(' ') + 1);
    numbers.push_back(parseNumber(word, what, least, most));
    begin = end + 1;
  }
  return numbers;
}

constexpr int64_t noLimit = std::numeric_limits<int64_t>::max();

/// An option that takes a whole number.
void addNumber(CLI::App *command, const std::string &name, int64_t &value, int64_t least, int64_t most,
               const std::string &help) {
  command
      ->add_option_function<std::string>(
          name, [&value, name, least, most](const std::string &text) { value = parseNumber(text, name, least, most); },
          help)
      ->type_name("N");
}

void addReal(CLI::App *command, const std::string &name, double &value, bool zero, double most,
             const std::string &help) {
  command
      ->add_option_function<std::string>(
          name,
          [&value, name, zero, most](const std::string &text) {
            char *end = nullptr;
            double number = strtod(text.c_str(), &end);
            if (text.empty() || *end != '\0' || !(number <= most) || !(zero ? number >= 0 : number > 0))
              throw UsageError(name + ": expected a number " + (zero ? "from 0" : "above 0") +
                               (most < 1e6 ? " to " + std::to_string(int(most)) : "") + " but got '" + text + "'");
            value = number;
          },
          help)
      ->type_name("X");
}

void addCommands(CLI::App &app, CommandLine &line) {
  app.add_option("--threads", line.common.threads,
                 "threads to use; default: all cores this process may use (also "
                 "MOE_THREADS)")
      ->type_name("N");
  app.add_option("--weights", line.common.weights, "file that holds the weights, instead of this program itself")
      ->type_name("FILE");
  app.add_option("--isa", line.common.isa, "instruction-set level; default: the best of this machine (also MOE_ISA)")
      ->type_name("LEVEL");
  app.add_flag("--huge-pages", line.common.hugePages,
               "copy the weights to memory of large pages: slower to start, faster to read (also MOE_HUGE_PAGES=1)");

  CLI::App *info = app.add_subcommand("info", "say what this program is");
  info->add_flag("--json", line.info.json, "one JSON object on standard output");

  CLI::App *run = app.add_subcommand("run", "call an entry function on tensors from a file");
  run->add_option("--input", line.run.input, "safetensors with the inputs by name, or .npy for an only input")
      ->type_name("FILE");
  run->add_option("--entry", line.run.entry, "entry function; default: main, or the only one")->type_name("NAME");
  run->add_option("--output", line.run.output, "safetensors to write")->type_name("FILE");
  addNumber(run, "--repeat", line.run.repeat, 1, noLimit, "call it N times and print the times");

  GenerateOptions &generateOptions = line.generate;
  CLI::App *generate = app.add_subcommand("generate", "continue a text");
  generate->add_option_function<std::string>(
      "prompt",
      [&](const std::string &text) {
        generateOptions.prompt = text;
        generateOptions.hasPrompt = true;
      },
      "the text to continue");
  generate
      ->add_option_function<std::string>(
          "--prompt-ids",
          [&](const std::string &text) {
            generateOptions.hasPromptIds = true;
            generateOptions.promptIds =
                parseNumbers(text, "--prompt-ids", std::numeric_limits<int64_t>::min(), noLimit);
          },
          "token ids instead of a text: 1,2,3")
      ->type_name("IDS");
  addNumber(generate, "--max-new-tokens", generateOptions.maxNewTokens, 1, noLimit, "most tokens to add; default 128");
  addReal(generate, "--temperature", generateOptions.temperature, /*zero=*/true, 1e30,
          "divides the logits; 0: greedy, the default (1 if another sampling option is given)");
  addNumber(generate, "--top-k", generateOptions.topK, 0, noLimit, "sample among the K likeliest tokens; 0: all");
  addReal(generate, "--top-p", generateOptions.topP, /*zero=*/false, 1,
          "sample among the likeliest tokens that make up this probability");
  generate
      ->add_option_function<std::string>(
          "--seed",
          [&](const std::string &text) { generateOptions.seed = uint64_t(parseNumber(text, "--seed", 0, noLimit)); },
          "of the random numbers; default 0")
      ->type_name("N");
  generate->add_flag("--ignore-eos", generateOptions.ignoreEos, "go on after an end-of-text token");
  generate->add_flag("--json", generateOptions.json, "one JSON object on standard output");
  generate->final_callback([&generateOptions, generate] {
    bool sampling = generate->count("--top-k") + generate->count("--top-p") + generate->count("--seed") > 0;
    if (sampling && generate->count("--temperature") == 0)
      generateOptions.temperature = 1;
  });

  CLI::App *score = app.add_subcommand("score", "negative log-likelihood and perplexity of text files");
  score->add_option("files", line.score.files, "text files")->type_name("FILE");
  addNumber(score, "--window", line.score.window, 2, noLimit, "tokens per window; default 256");
  addNumber(score, "--chunk", line.score.chunk, 1, noLimit, "tokens per call, fed through the cache");
  score->add_flag("--json", line.score.json, "one JSON object on standard output");

  CLI::App *bench = app.add_subcommand("bench", "measure time, arithmetic and memory traffic");
  bench
      ->add_option_function<std::string>(
          "--tokens",
          [&line](const std::string &text) { line.bench.tokens = parseNumbers(text, "--tokens", 1, 1 << 30); },
          "token counts; default 1,16,256 (as many as the model allows)")
      ->type_name("LIST");
  bench->add_option("--threads", line.benchThreads, "thread counts: 1,2")->type_name("LIST");
  bench->add_option("--entry", line.bench.entry, "entry function; default: main, or all")->type_name("NAME");
  bench->add_flag("--stages", line.bench.stages, "list the time of each stage, predicted and measured");
  bench->add_flag("--counters", line.bench.counters,
                  "count what kernels do on the emulator (--run-on=host) instead of measuring time");
  bench->add_flag("--calibrate", line.bench.calibrate,
                  "measure this machine's limits, store them for this user, and leave");
  bench->add_flag("--json", line.bench.json, "one JSON object on standard output");

  // The common options may also stand behind the command.
  for (CLI::App *command : {info, run, generate, score, bench})
    command->fallthrough();
  app.require_subcommand(1);
}

/// Threads and level from flags and environment; flags win.
Model::Options applyCommon(const CommonOptions &common) {
  const char *threadsVariable = getenv("MOE_THREADS"), *isaVariable = getenv("MOE_ISA"),
             *pagesVariable = getenv("MOE_HUGE_PAGES");
  if (!common.threads.empty())
    setThreadCount(int(parseNumber(common.threads, "--threads", 1, maxThreads)));
  else if (threadsVariable && *threadsVariable)
    setThreadCount(int(parseNumber(threadsVariable, "MOE_THREADS", 1, maxThreads)));
  Model::Options options;
  options.weightsFile = common.weights;
  options.hugePages = common.hugePages || (pagesVariable && std::string_view(pagesVariable) == "1");
  options.isa = !common.isa.empty() ? common.isa : isaVariable ? isaVariable : "";
  return options;
}

void runCommandLine(const ModelImage &image, CLI::App &app, CommandLine &line) {
  if (!line.benchThreads.empty())
    line.bench.threads = parseNumbers(line.benchThreads, "--threads", 1, maxThreads);
  Model::Options options = applyCommon(line.common);
  if (app.got_subcommand("info")) {
    line.info.isa = options.isa;
    return infoCommand(image, line.info);
  }
  if (app.got_subcommand("bench") && line.bench.calibrate)
    return calibrateCommand(line.bench);
  Model model(image, options);
  if (app.got_subcommand("run"))
    return runCommand(model, line.run);
  if (app.got_subcommand("generate"))
    return generateCommand(model, line.generate);
  if (app.got_subcommand("score"))
    return scoreCommand(model, line.score);
  benchCommand(model, line.bench);
}

/// Prints one line and returns the status.
int report(const std::string &message, int status) {
  std::string text = message;
  std::replace(text.begin(), text.end(), '\n', ' ');
  fprintf(stderr, "error: %s\n", text.c_str());
  return status;
}

} // namespace

int runApp(const ModelImage &image, int argc, char **argv) {
  try {
    CommandLine line;
    CLI::App app("A compiled model: runs without any framework.");
    app.set_version_flag("--version", "moe-mlir " MOE_VERSION);
    addCommands(app, line);
    try {
      app.parse(argc, argv);
    } catch (const CLI::CallForHelp &) {
      const CLI::App *command = &app;
      if (!app.get_subcommands().empty())
        command = app.get_subcommands().front();
      writeOutput(command == &app ? app.help()
                                  : command->help() + "\nCommon options: --threads, --weights, --isa, --huge-pages\n");
      return 0;
    } catch (const CLI::Success &success) { // --version
      writeOutput(std::string(success.what()) + "\n");
      return 0;
    } catch (const CLI::ParseError &error) {
      return report(std::string(error.what()) + " (see --help)", 2);
    }
    runCommandLine(image, app, line);
    return 0;
  } catch (const InputError &error) {
    return report(error.what(), 1);
  } catch (const UsageError &error) {
    return report(std::string(error.what()) + " (see --help)", 2);
  } catch (const std::bad_alloc &) {
    return report("out of memory", 3);
  } catch (const std::exception &error) {
    return report(std::string("internal error: ") + error.what(), 3);
  }
}

} // namespace moe::rt

int moeAppMain(int argc, char **argv) { return moe::rt::runApp(moe::rt::linkedModel(), argc, argv); }

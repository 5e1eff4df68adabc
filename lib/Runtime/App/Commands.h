//===- Commands.h - the commands of a compiled model ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One function per command; AppMain.cpp reads the command line into these structs. All throw the errors of Error.h.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_APP_COMMANDS_H
#define MOE_LIB_RUNTIME_APP_COMMANDS_H

#include "moe/Runtime/Model.h"

#include <chrono>
#include <string>
#include <vector>

namespace moe::rt {

struct InfoOptions {
  std::string isa; // empty: the best of this machine
  bool json = false;
};

struct RunOptions {
  std::string input, entry, output;
  int64_t repeat = 1;
};

struct GenerateOptions {
  std::string prompt;
  std::vector<int64_t> promptIds;
  bool hasPrompt = false, hasPromptIds = false;
  int64_t maxNewTokens = 128;
  double temperature = 0; // 0: greedy
  int64_t topK = 0;       // 0: all
  double topP = 1;
  uint64_t seed = 0;
  bool ignoreEos = false, json = false;
};

struct ScoreOptions {
  std::vector<std::string> files;
  int64_t window = 0; // 0: 256 or what the model has room for
  int64_t chunk = 0;  // 0: the whole window
  bool json = false;
};

struct BenchOptions {
  std::vector<int64_t> tokens;  // empty: 1, 16, 256 as far as the model allows
  std::vector<int64_t> threads; // empty: the number in force
  std::string entry;            // empty: main, or all entries
  bool calibrate = false;       // measure the machine and leave
  bool stages = false;          // list what is predicted of each stage, and measure it
  bool counters = false;        // count what kernels do instead of measuring time
  bool json = false;
};

void infoCommand(const ModelImage &image, const InfoOptions &options);
void runCommand(const Model &model, const RunOptions &options);
void generateCommand(const Model &model, const GenerateOptions &options);
void scoreCommand(const Model &model, const ScoreOptions &options);
void benchCommand(const Model &model, const BenchOptions &options);
/// `bench --calibrate`: measures this machine for the cost model and stores the result for this user.
void calibrateCommand(const BenchOptions &options);

/// Writes to standard output at once. Throws InputError if that fails (a full disk).
void writeOutput(const std::string &text);

/// Seconds since `start`.
inline double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// printf into a string.
std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_COMMANDS_H

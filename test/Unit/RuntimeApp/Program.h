//===- Program.h - runs the fake program and looks at what it does -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_TEST_UNIT_RUNTIMEAPP_PROGRAM_H
#define MOE_TEST_UNIT_RUNTIMEAPP_PROGRAM_H

#include "FakeModel.h"

#include <string>
#include <vector>

/// A folder of its own that goes with the object.
class Scratch {
public:
  Scratch();
  ~Scratch();
  std::string operator/(const std::string &name) const { return path + "/" + name; }

private:
  std::string path;
};

struct Outcome {
  int status; // of exit; -1 if a signal ended it
  std::string out, err;
};

void writeFile(const std::string &path, const std::string &bytes);
std::string readFile(const std::string &path);

/// A copy of the fake program with its weights appended.
std::string makeProgram(const Scratch &scratch);

/// Runs `program` with `arguments` and, for instance, {"MOE_THREADS=2"} added to the environment.
Outcome runProgram(const std::string &program, const std::vector<std::string> &arguments,
                   const std::vector<std::string> &environment = {});

#endif // MOE_TEST_UNIT_RUNTIMEAPP_PROGRAM_H

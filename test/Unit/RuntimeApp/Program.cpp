//===- Program.cpp - runs the fake program and looks at what it does -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Program.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

Scratch::Scratch() {
  std::string pattern = (std::filesystem::temp_directory_path() / "moe-test-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    throw std::runtime_error("no scratch folder");
  path = pattern;
}

Scratch::~Scratch() { std::filesystem::remove_all(path); }

void writeFile(const std::string &path, const std::string &bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string makeProgram(const Scratch &scratch) {
  std::string program = scratch / "fake";
  writeFile(program, fake::weightsFile(readFile(MOE_FAKE_MODEL)));
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  return program;
}

Outcome runProgram(const std::string &program, const std::vector<std::string> &arguments,
                   const std::vector<std::string> &environment) {
  Scratch scratch;
  std::string out = scratch / "out", err = scratch / "err";
  std::vector<std::string> words{program}, settings = environment;
  words.insert(words.end(), arguments.begin(), arguments.end());
  // What the tests are run with must not change them.
  for (char **variable = environ; *variable; ++variable)
    if (std::string(*variable).compare(0, 4, "MOE_") != 0)
      settings.push_back(*variable);
  std::vector<char *> argv, envp;
  for (std::string &word : words)
    argv.push_back(word.data());
  for (std::string &setting : settings)
    envp.push_back(setting.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t child = 0;
  int failed = posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed)
    throw std::runtime_error("cannot start " + program);
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, readFile(out), readFile(err)};
}

//===- MoeCompileMain.cpp - moe-compile -----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "Errors.h"
#include "moe/Conversion/IsaLevels.h"
#include "moe/Driver/Tools.h"
#include "moe/InitAll.h"

#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe;

char DriverError::ID = 0;

/// Tells the user, in one line; returns the exit status.
static int report(llvm::Error error) {
  int status = statusOk;
  auto say = [](llvm::StringRef message) {
    llvm::errs() << "moe-compile: error: ";
    for (char c : message)
      llvm::errs() << (c == '\n' ? ' ' : c);
    llvm::errs() << '\n';
  };
  llvm::handleAllErrors(
      std::move(error),
      [&](const DriverError &failure) {
        status = failure.status;
        if (!failure.reported)
          say(failure.message);
      },
      [&](const llvm::ErrorInfoBase &failure) {
        status = statusBadInput;
        say(failure.message());
      });
  return status;
}

int moe::moeCompileMain(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  std::vector<std::string> phases;
  for (Phase phase : {Phase::Import, Phase::Route, Phase::Distribute, Phase::Fuse, Phase::Pack, Phase::Tile,
                      Phase::Bufferize, Phase::Kernel, Phase::LLVM, Phase::Binary})
    phases.push_back(phaseName(phase).str());
  std::vector<std::vector<std::string>> levels;
  for (Architecture architecture : allArchitectures) {
    levels.emplace_back();
    for (const IsaLevel &level : knownIsaLevels(architecture))
      levels.back().push_back(level.name.str());
  }
  CommandLine command = parseCommandLine(argc, argv, phases, levels);
  if (command.status) {
    (*command.status == statusOk ? llvm::outs() : llvm::errs()) << command.text;
    return *command.status;
  }
  mlir::DialectRegistry registry;
  registerAllDialects(registry);
  registerMoePasses();
  mlir::MLIRContext context(registry);
  context.printOpOnDiagnostic(false); // models are large, and errors are one line
  return report(Compilation(command.options, context).run());
}

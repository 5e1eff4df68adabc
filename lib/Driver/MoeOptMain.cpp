//===- MoeOptMain.cpp - moe-opt and moe-lsp-server ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Driver/Tools.h"
#include "moe/InitAll.h"

#include "mlir/IR/Dialect.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"

#include <cstdlib>

static int exitStatus(llvm::LogicalResult result) { return mlir::succeeded(result) ? EXIT_SUCCESS : EXIT_FAILURE; }

int moe::moeOptMain(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  mlir::DialectRegistry registry;
  registerAllDialects(registry);
  registerTestDialects(registry);
  registerAllPasses();
  registerTestPasses();

  llvm::cl::opt<std::string> input(llvm::cl::Positional, llvm::cl::desc("<input file>"), llvm::cl::init("-"));
  llvm::cl::opt<std::string> output("o", llvm::cl::desc("Output filename"), llvm::cl::value_desc("filename"),
                                    llvm::cl::init("-"));
  std::string help = mlir::registerCLIOptions("moe-opt: runs passes on Mixture-of-Experts programs\n", registry);
  // Given a stream of its own the parser returns where it would leave with status 1, which means bad input here.
  if (!llvm::cl::ParseCommandLineOptions(argc, argv, help, &llvm::errs()))
    return 2;
  return exitStatus(mlir::MlirOptMain(argc, argv, input, output, registry));
}

int moe::moeLspServerMain(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registerAllDialects(registry);
  registerTestDialects(registry);
  return exitStatus(mlir::MlirLspServerMain(argc, argv, registry));
}

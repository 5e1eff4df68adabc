//===- Tools.h - main functions of the tools ------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each tool's main() is one call of a function here. All of them return the exit status: 0 ok, 1 bad input, 2 wrong
// usage, 3 an internal error.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_DRIVER_TOOLS_H
#define MOE_DRIVER_TOOLS_H

namespace moe {

/// moe-opt: runs any pass on an .mlir file.
int moeOptMain(int argc, char **argv);

/// moe-compile: model description in, executable out.
int moeCompileMain(int argc, char **argv);

/// moe-lsp-server: upstream's language server, with our dialects.
int moeLspServerMain(int argc, char **argv);

} // namespace moe

#endif // MOE_DRIVER_TOOLS_H

//===- moe-lsp-server.cpp - main of moe-lsp-server ----------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Driver/Tools.h"

int main(int argc, char **argv) { return moe::moeLspServerMain(argc, argv); }

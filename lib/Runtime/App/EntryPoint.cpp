//===- EntryPoint.cpp - main of compiled models --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/App.h"

int main(int argc, char **argv) { return moeAppMain(argc, argv); }

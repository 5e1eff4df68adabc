//===- App.h - the command line of compiled models --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_RUNTIME_APP_H
#define MOE_RUNTIME_APP_H

#include "moe/Runtime/Model.h"

/// The command line of the model that is linked into this program: info, run, generate, score, bench. Returns the exit
/// status: 0 ok, 1 bad input, 2 usage, more than 2 internal.
int moeAppMain(int argc, char **argv);

namespace moe::rt {

/// The same for any model.
int runApp(const ModelImage &image, int argc, char **argv);

} // namespace moe::rt

#endif // MOE_RUNTIME_APP_H

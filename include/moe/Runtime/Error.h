//===- Error.h - what the runtime throws ------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_RUNTIME_ERROR_H
#define MOE_RUNTIME_ERROR_H

#include <stdexcept>

namespace moe::rt {

/// Something that was given is wrong (a file, a tensor, a value): exit status 1. The text is one line, lower case,
/// without a final period: what, what was expected, what was found.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The command line itself is wrong: exit status 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The program is inconsistent with itself (a broken manifest, say): exit status 3.
struct InternalError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

} // namespace moe::rt

#endif // MOE_RUNTIME_ERROR_H

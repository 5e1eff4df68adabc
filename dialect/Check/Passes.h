//===- Passes.h - passes of the check dialect -----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef DIALECT_CHECK_PASSES_H
#define DIALECT_CHECK_PASSES_H

#include "mlir/Pass/Pass.h"

namespace moe::check {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "dialect/Check/Passes.h.inc"

} // namespace moe::check

#endif // DIALECT_CHECK_PASSES_H

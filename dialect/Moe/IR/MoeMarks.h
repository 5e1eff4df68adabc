//===- MoeMarks.h - what passes say about ops to later ones --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef DIALECT_MOE_IR_MOEMARKS_H
#define DIALECT_MOE_IR_MOEMARKS_H

#include "llvm/ADT/StringRef.h"

namespace moe {

/// Attribute (unit) of a moe.grouped_matmul in a gate: its sums are scores that experts are chosen by, or lead to them.
inline constexpr llvm::StringLiteral scoresAttr = "moe.scores";

} // namespace moe

#endif // DIALECT_MOE_IR_MOEMARKS_H

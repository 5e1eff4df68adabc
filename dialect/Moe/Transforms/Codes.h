//===- Codes.h - weights in groups of k -----------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef DIALECT_MOE_TRANSFORMS_CODES_H
#define DIALECT_MOE_TRANSFORMS_CODES_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace moe {

/// `value` [E, N, K] as [E, N, K/group, group]; zeros behind the end of the last group.
mlir::Value inGroups(mlir::ImplicitLocOpBuilder &b, mlir::Value value, int64_t group);

} // namespace moe

#endif // DIALECT_MOE_TRANSFORMS_CODES_H

//===- ReductionIdentity.h - what a reduction may start with --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_COMMON_REDUCTIONIDENTITY_H
#define MOE_LIB_CONVERSION_COMMON_REDUCTIONIDENTITY_H

#include "mlir/IR/BuiltinAttributeInterfaces.h"
#include "mlir/IR/Operation.h"

#include <optional>

namespace moe {

/// What leaves any other number unchanged when `combine`, a scalar op on f32, i32 or i64, takes both: what each lane of
/// a reduction that is split into lanes starts with. None for an op that is not to be split.
std::optional<mlir::TypedAttr> getReductionIdentity(mlir::Operation *combine);

} // namespace moe

#endif // MOE_LIB_CONVERSION_COMMON_REDUCTIONIDENTITY_H

//===- NarrowFloats.h - f32 from narrower types ---------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_COMMON_NARROWFLOATS_H
#define MOE_LIB_CONVERSION_COMMON_NARROWFLOATS_H

#include "mlir/IR/Builders.h"

namespace moe {

/// `value` (f32, bf16 or f16; scalar or vector) as f32.
mlir::Value extendToF32(mlir::OpBuilder &b, mlir::Location loc, mlir::Value value);

/// Whether extendToF32 takes elements of this type.
bool isExtendableToF32(mlir::Type type);

} // namespace moe

#endif // MOE_LIB_CONVERSION_COMMON_NARROWFLOATS_H

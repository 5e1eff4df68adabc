//===- Passes.h - passes from moe to moe ----------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef DIALECT_MOE_TRANSFORMS_PASSES_H
#define DIALECT_MOE_TRANSFORMS_PASSES_H

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MLProgram/IR/MLProgram.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moe {

#define GEN_PASS_DECL
#include "dialect/Moe/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "dialect/Moe/Transforms/Passes.h.inc"

/// Name of the nested module that `moe-prepare-parameters` fills.
inline constexpr llvm::StringLiteral prepareModuleName = "prepare";

/// Attributes of entry functions' arguments and results.
inline constexpr llvm::StringLiteral nameAttr = "moe.name";           // string
inline constexpr llvm::StringLiteral roleAttr = "moe.role";           // string: input, past, keep, state, parameter
inline constexpr llvm::StringLiteral parameterAttr = "moe.parameter"; // symbol of an ml_program.global

/// True if everything `value` depends on is a parameter or a constant: it can be computed at compile time.
bool isParameterOnly(mlir::Value value);

/// Lets `moe.grouped_matmul` bufferize.
void registerBufferizableOpInterfaceExternalModels(mlir::DialectRegistry &registry);

} // namespace moe

#endif // DIALECT_MOE_TRANSFORMS_PASSES_H

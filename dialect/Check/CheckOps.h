//===- CheckOps.h - the check dialect, for tests --------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Semantics are documented in CheckOps.td. Registered by moe-opt and the language server only.
//
//===----------------------------------------------------------------------===//
#ifndef DIALECT_CHECK_CHECKOPS_H
#define DIALECT_CHECK_CHECKOPS_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributeInterfaces.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"

#include "dialect/Check/CheckOpsDialect.h.inc"

#define GET_OP_CLASSES
#include "dialect/Check/CheckOps.h.inc"

#endif // DIALECT_CHECK_CHECKOPS_H

//===- MoeOps.h - the moe dialect -----------------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Dialect, attributes, interfaces and operations. Semantics are documented in MoeOps.td (rendered as
// docs/MoeDialect.md).
//
//===----------------------------------------------------------------------===//
#ifndef DIALECT_MOE_IR_MOEOPS_H
#define DIALECT_MOE_IR_MOEOPS_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/TilingInterface.h"

#include "dialect/Moe/IR/MoeInterfaces.h.inc"
#include "dialect/Moe/IR/MoeOpsDialect.h.inc"
#include "dialect/Moe/IR/MoeOpsEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialect/Moe/IR/MoeOpsAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialect/Moe/IR/MoeOps.h.inc"

#endif // DIALECT_MOE_IR_MOEOPS_H

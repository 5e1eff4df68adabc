//===- RuntimeCalls.h - calls of the GPU runtime --------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_RUNTIMECALLS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_RUNTIMECALLS_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace moe {

/// Declares what a module uses of moe/Runtime/Gpu.h.
class RuntimeCalls {
public:
  explicit RuntimeCalls(mlir::ModuleOp module) : module(module), symbols(module) {}

  /// Calls the C function `name`; its value, or null where `result` is.
  mlir::Value call(mlir::OpBuilder &b, mlir::Location loc, llvm::StringRef name, mlir::ValueRange arguments,
                   mlir::Type result = {});

  /// The address of what the runtime knows of the kernel `name`.
  mlir::Value kernel(mlir::OpBuilder &b, mlir::Location loc, llvm::StringRef name);

private:
  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_RUNTIMECALLS_H

//===- RuntimeCalls.cpp - calls of the GPU runtime ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "RuntimeCalls.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace moe;

Value RuntimeCalls::call(OpBuilder &b, Location loc, StringRef name, ValueRange arguments, Type result) {
  auto function = symbols.lookup<func::FuncOp>(name);
  if (!function) {
    auto type = b.getFunctionType(TypeRange(arguments), result ? TypeRange(result) : TypeRange());
    function = func::FuncOp::create(module.getLoc(), name, type);
    function.setPrivate();
    symbols.insert(function, module.getBody()->begin());
  }
  auto call = func::CallOp::create(b, loc, function, arguments);
  return result ? call.getResult(0) : Value();
}

Value RuntimeCalls::kernel(OpBuilder &b, Location loc, StringRef name) {
  std::string symbol = ("moe_gpu_kernel_" + name).str();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  if (!symbols.lookup(symbol)) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), {pointer, pointer, pointer, pointer, b.getI64Type()});
    auto global = LLVM::GlobalOp::create(b, module.getLoc(), type, /*isConstant=*/true, LLVM::Linkage::External, symbol,
                                         Attribute());
    symbols.insert(global);
  }
  return LLVM::AddressOfOp::create(b, loc, pointer, symbol);
}

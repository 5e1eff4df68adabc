//===- LoopCalls.h - calls that start a parallel loop ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Functions that all levels share find the bodies of their loops, and what depends on them, in a table that each level
// has one of: a row of {body, bytes of scratch memory, work} per loop.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_LOOPCALLS_H
#define MOE_LIB_CONVERSION_TILESTOCPU_LOOPCALLS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"

namespace moe {

/// The runtime's function that runs a parallel loop (moe/Runtime/Abi.h): body, context, count, scratch bytes, work.
inline constexpr llvm::StringLiteral parallelForName = "moe_rt_parallel_for";

/// Marks a function's first argument as the table of its loops; an integer, the number of rows.
inline constexpr llvm::StringLiteral loopTableAttr = "moe.loop_table";

/// Name of the function that writes the table of `level` into memory it is given.
std::string loopTableFunction(llvm::StringRef level);

/// Type of a row.
mlir::LLVM::LLVMStructType loopTableRow(mlir::MLIRContext *context);

/// A call of moe_rt_parallel_for.
struct LoopCall {
  mlir::func::CallOp call;

  /// `op` as such a call of a known body.
  static std::optional<LoopCall> from(mlir::Operation *op);

  /// The symbol of the body.
  mlir::func::ConstantOp body() { return call.getOperand(0).getDefiningOp<mlir::func::ConstantOp>(); }

  /// Whether the table holds operand `number`: the body always, scratch memory and work where they are constant.
  bool isInTable(size_t number);

  /// Whether a shared call can stand for this one and for `other`: the same operands would be in the table.
  bool matches(LoopCall other);

  /// Writes row `number` of `table`.
  void writeRow(mlir::OpBuilder &b, mlir::Value table, int32_t number);

  /// Takes what is in row `number` of `table` from there.
  void readRow(mlir::Value table, int32_t number);
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_LOOPCALLS_H

//===- LoopCalls.cpp - calls that start a parallel loop -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "LoopCalls.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace moe;

/// Operands of a call that may be in the table, in the order of a row's fields.
static constexpr int32_t tableOperands[] = {0, 3, 4};

std::string moe::loopTableFunction(StringRef level) { return ("moe_loop_table." + level).str(); }

LLVM::LLVMStructType moe::loopTableRow(MLIRContext *context) {
  auto number = IntegerType::get(context, 64);
  return LLVM::LLVMStructType::getLiteral(context, {LLVM::LLVMPointerType::get(context), number, number});
}

std::optional<LoopCall> LoopCall::from(Operation *op) {
  auto call = dyn_cast<func::CallOp>(op);
  if (!call || call.getCallee() != parallelForName || !call.getOperand(0).getDefiningOp<func::ConstantOp>())
    return std::nullopt;
  return LoopCall{call};
}

bool LoopCall::isInTable(size_t number) {
  return number == 0 || (number >= 3 && matchPattern(call.getOperand(number), m_Constant()));
}

bool LoopCall::matches(LoopCall other) {
  return llvm::all_of(tableOperands, [&](int32_t number) { return isInTable(number) == other.isInTable(number); });
}

static Value addressOf(OpBuilder &b, Location loc, Value table, int32_t row, int32_t field) {
  return LLVM::GEPOp::create(b, loc, table.getType(), loopTableRow(b.getContext()), table,
                             ArrayRef<LLVM::GEPArg>{row, field});
}

void LoopCall::writeRow(OpBuilder &b, Value table, int32_t number) {
  Location loc = call.getLoc();
  for (auto [field, operand] : llvm::enumerate(tableOperands)) {
    if (!isInTable(operand))
      continue;
    Value value = b.clone(*call.getOperand(operand).getDefiningOp())->getResult(0);
    if (operand == 0)
      value = UnrealizedConversionCastOp::create(b, loc, table.getType(), value).getResult(0);
    LLVM::StoreOp::create(b, loc, value, addressOf(b, loc, table, number, static_cast<int32_t>(field)));
  }
}

void LoopCall::readRow(Value table, int32_t number) {
  OpBuilder b(call);
  Location loc = call.getLoc();
  for (auto [field, operand] : llvm::enumerate(tableOperands)) {
    if (!isInTable(operand))
      continue;
    Type type = call.getOperand(operand).getType();
    Type stored = loopTableRow(b.getContext()).getBody()[field];
    Value value = LLVM::LoadOp::create(b, loc, stored, addressOf(b, loc, table, number, static_cast<int32_t>(field)));
    if (type != stored)
      value = UnrealizedConversionCastOp::create(b, loc, type, value).getResult(0);
    call.setOperand(operand, value);
  }
}

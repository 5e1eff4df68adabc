//===- SmallFloats.cpp - f16 and bf16 through f32 -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Additions, multiplications, divisions and square roots have the right result: f32 has more than twice the bits. A
// fused multiply-add is rounded twice, and may be off by one unit in rare cases.
//
//===----------------------------------------------------------------------===//
#include "Internal.h"

#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace moe::emulator;
using namespace llvm;

static bool isSmall(const Type *type) {
  return type->getScalarType()->isHalfTy() || type->getScalarType()->isBFloatTy();
}

/// `type` with scalars of type `scalar`.
static Type *withScalar(Type *type, Type *scalar) {
  auto *vector = dyn_cast<VectorType>(type);
  return vector ? VectorType::get(scalar, vector->getElementCount()) : scalar;
}

/// Applies a function of scalars to the elements of a vector.
static Value *callByElement(Calls &calls, StringRef name, Type *result, Value *value) {
  auto *vector = dyn_cast<FixedVectorType>(value->getType());
  if (!vector)
    return calls.callPure(name, result, {value});
  Value *results = PoisonValue::get(FixedVectorType::get(result, vector->getNumElements()));
  for (uint64_t i = 0; i < vector->getNumElements(); ++i)
    results =
        calls.CreateInsertElement(results, calls.callPure(name, result, {calls.CreateExtractElement(value, i)}), i);
  return results;
}

Value *moe::emulator::roundToBf16(IRBuilder<> &builder, Value *value) {
  Type *wide = withScalar(value->getType(), builder.getInt32Ty());
  Type *narrow = withScalar(value->getType(), builder.getInt16Ty());
  auto number = [&](uint32_t bits) { return ConstantInt::get(wide, bits); };
  Value *bits = builder.CreateBitCast(value, wide);
  Value *upper = builder.CreateLShr(bits, number(16));
  Value *bias = builder.CreateAdd(number(0x7fff), builder.CreateAnd(upper, number(1)));
  Value *rounded = builder.CreateLShr(builder.CreateAdd(bits, bias), number(16));
  Value *isNan = builder.CreateFCmpUNO(value, value);
  Value *result = builder.CreateSelect(isNan, builder.CreateOr(upper, number(0x40)), rounded);
  return builder.CreateBitCast(builder.CreateTrunc(result, narrow),
                               withScalar(value->getType(), builder.getBFloatTy()));
}

/// f16 or bf16 as f32.
static Value *extend(Calls &calls, Value *value) {
  Type *wide = withScalar(value->getType(), calls.getInt32Ty());
  Type *f32 = withScalar(value->getType(), calls.getFloatTy());
  Value *bits = calls.CreateBitCast(value, withScalar(value->getType(), calls.getInt16Ty()));
  if (value->getType()->getScalarType()->isHalfTy())
    return callByElement(calls, "moe_simt_from_f16", calls.getFloatTy(), bits);
  return calls.CreateBitCast(calls.CreateShl(calls.CreateZExt(bits, wide), ConstantInt::get(wide, 16)), f32);
}

/// f32 as `type`, f16 or bf16.
static Value *round(Calls &calls, Value *value, Type *type) {
  if (type->getScalarType()->isBFloatTy())
    return roundToBf16(calls, value);
  return calls.CreateBitCast(callByElement(calls, "moe_simt_to_f16", calls.getInt16Ty(), value), type);
}

/// What takes the place of `instruction`, built before it; null if it may stay.
static Value *expand(Calls &calls, Instruction &instruction) {
  Type *type = instruction.getType();
  auto operand = [&](unsigned i) { return instruction.getOperand(i); };
  bool hasSmallOperand = any_of(instruction.operand_values(), [](Value *value) { return isSmall(value->getType()); });
  if (!isSmall(type) && !hasSmallOperand)
    return nullptr;
  Type *f32 = withScalar(isSmall(type) ? type : operand(0)->getType(), calls.getFloatTy());
  switch (instruction.getOpcode()) {
  case Instruction::FPExt: {
    Value *value = extend(calls, operand(0));
    return type->getScalarType()->isFloatTy() ? value : calls.CreateFPExt(value, type);
  }
  case Instruction::FPTrunc: {
    Value *value = operand(0);
    return round(calls, value->getType() == f32 ? value : calls.CreateFPTrunc(value, f32), type);
  }
  case Instruction::FNeg: {
    Type *bits = withScalar(type, calls.getInt16Ty());
    return calls.CreateBitCast(calls.CreateXor(calls.CreateBitCast(operand(0), bits), ConstantInt::get(bits, 0x8000)),
                               type);
  }
  case Instruction::FAdd:
  case Instruction::FSub:
  case Instruction::FMul:
  case Instruction::FDiv:
    return round(calls,
                 calls.CreateBinOp(cast<BinaryOperator>(instruction).getOpcode(), extend(calls, operand(0)),
                                   extend(calls, operand(1))),
                 type);
  case Instruction::FCmp:
    return calls.CreateFCmp(cast<FCmpInst>(instruction).getPredicate(), extend(calls, operand(0)),
                            extend(calls, operand(1)));
  case Instruction::SIToFP:
  case Instruction::UIToFP:
    return round(calls, calls.CreateCast(cast<CastInst>(instruction).getOpcode(), operand(0), f32), type);
  case Instruction::FPToSI:
  case Instruction::FPToUI:
    return calls.CreateCast(cast<CastInst>(instruction).getOpcode(), extend(calls, operand(0)), type);
  case Instruction::Call: {
    // Of LLVM's own functions those of floats: fma, maxnum ...
    auto *call = dyn_cast<IntrinsicInst>(&instruction);
    if (!call || !isSmall(type) || call->getIntrinsicID() == Intrinsic::vector_reduce_fadd)
      return nullptr;
    SmallVector<Value *> operands;
    for (Value *value : call->args()) {
      if (!isSmall(value->getType()))
        return nullptr;
      operands.push_back(extend(calls, value));
    }
    return round(calls, calls.CreateIntrinsic(call->getIntrinsicID(), {f32}, operands), type);
  }
  default:
    return nullptr; // moves bits
  }
}

void moe::emulator::expandSmallFloats(Module &module) {
  Calls calls(module);
  for (Function &function : module)
    for (Instruction &instruction : make_early_inc_range(instructions(function))) {
      calls.SetInsertPoint(&instruction);
      if (Value *value = expand(calls, instruction)) {
        instruction.replaceAllUsesWith(value);
        instruction.eraseFromParent();
      }
    }
}

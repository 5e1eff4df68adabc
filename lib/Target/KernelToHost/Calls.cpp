//===- Calls.cpp - calls of the emulator's functions ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

using namespace moe::emulator;
using namespace llvm;

Calls::Calls(Module &module) : IRBuilder<>(module.getContext()), module(module) {}

FunctionCallee Calls::declare(StringRef name, Type *result, ArrayRef<Value *> arguments, bool isPure) {
  SmallVector<Type *> types;
  for (Value *argument : arguments)
    types.push_back(argument->getType());
  FunctionCallee callee = module.getOrInsertFunction(name, FunctionType::get(result, types, false));
  auto *function = cast<Function>(callee.getCallee());
  function->setDoesNotThrow();
  if (isPure) {
    function->setDoesNotAccessMemory();
    function->setWillReturn();
  } else {
    // Nothing may be moved into or out of a branch around it: other threads meet this one here.
    function->setConvergent();
  }
  return callee;
}

CallInst *Calls::call(StringRef name, Type *result, ArrayRef<Value *> arguments) {
  return CreateCall(declare(name, result, arguments, false), arguments);
}

CallInst *Calls::callPure(StringRef name, Type *result, ArrayRef<Value *> arguments) {
  return CreateCall(declare(name, result, arguments, true), arguments);
}

Value *Calls::readRegister(uint32_t which) { return callPure("moe_simt_register", getInt32Ty(), {getInt32(which)}); }

Value *Calls::generic(Value *pointer) {
  return pointer->getType()->getPointerAddressSpace() ? CreateAddrSpaceCast(pointer, getPtrTy()) : pointer;
}

Value *Calls::stackRoom(StringRef name, Type *type) {
  BasicBlock &entry = GetInsertBlock()->getParent()->getEntryBlock();
  for (Instruction &instruction : entry)
    if (auto *known = dyn_cast<AllocaInst>(&instruction);
        known && known->getAllocatedType() == type && known->getName().starts_with(name))
      return known;
  return new AllocaInst(type, 0, name, entry.begin());
}

Value *Calls::readWord(Value *words, unsigned index, Type *type) {
  Value *place = CreateConstInBoundsGEP1_32(getInt32Ty(), words, MoeSimtResult + index);
  if (type->isIntegerTy(1))
    return CreateICmpNE(CreateLoad(getInt32Ty(), place), getInt32(0));
  return CreateLoad(type, place);
}

Value *Calls::collective(uint32_t operation, Value *mask, uint32_t site, ArrayRef<Value *> operands, Type *result) {
  Value *lane = module.getOrInsertGlobal("moe_simt_lane", getPtrTy());
  Value *words = CreateLoad(getPtrTy(), lane);
  unsigned index = 0;
  for (Value *operand : operands) {
    Value *place = CreateConstInBoundsGEP1_32(getInt32Ty(), words, index);
    if (operand->getType()->isPointerTy())
      operand = generic(operand);
    else if (operand->getType()->isIntegerTy() && operand->getType()->getIntegerBitWidth() < 32)
      operand = CreateZExt(operand, getInt32Ty());
    // Words have the alignment of words.
    CreateAlignedStore(operand, place, Align(4));
    index += operand->getType()->isPointerTy() || operand->getType()->isIntegerTy(64) ? 2 : 1;
  }
  call("moe_simt_collective", getVoidTy(), {getInt32(operation), mask, getInt32(site)});
  if (result->isVoidTy())
    return nullptr;
  auto *fields = dyn_cast<StructType>(result);
  if (!fields)
    return readWord(words, 0, result);
  Value *value = PoisonValue::get(result);
  for (unsigned i = 0; i < fields->getNumElements(); ++i)
    value = CreateInsertValue(value, readWord(words, i, fields->getElementType(i)), i);
  return value;
}

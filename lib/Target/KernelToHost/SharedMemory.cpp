//===- SharedMemory.cpp - offsets of variables in shared memory -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/ReplaceConstant.h"

using namespace moe::emulator;
using namespace llvm;

/// The functions that `kernel` may run, itself included. A function whose address is taken counts where that is done.
static SetVector<const Function *> reachableFrom(const Function &kernel) {
  SetVector<const Function *> functions;
  functions.insert(&kernel);
  for (size_t i = 0; i < functions.size(); ++i)
    for (const Instruction &instruction : instructions(*functions[i]))
      for (const Value *operand : instruction.operand_values())
        if (auto *callee = dyn_cast<Function>(operand); callee && !callee->isDeclaration())
          functions.insert(callee);
  return functions;
}

Expected<DenseMap<const Function *, SharedLayout>> moe::emulator::layOutSharedMemory(Module &module,
                                                                                     ArrayRef<Function *> kernels) {
  const DataLayout &dataLayout = module.getDataLayout();
  SmallVector<GlobalVariable *> variables;
  for (GlobalVariable &global : module.globals())
    if (global.getAddressSpace() == 3)
      variables.push_back(&global);
  SmallVector<Constant *> constants(variables.begin(), variables.end());
  convertUsersOfConstantsToInstructions(constants);

  DenseMap<const GlobalVariable *, SmallVector<const Function *>> users;
  for (const Function *kernel : kernels) {
    SetVector<const Function *> functions = reachableFrom(*kernel);
    for (const GlobalVariable *variable : variables)
      if (any_of(variable->users(), [&](const User *user) {
            auto *instruction = dyn_cast<Instruction>(user);
            return instruction && functions.contains(instruction->getFunction());
          }))
        users[variable].push_back(kernel);
  }

  // What several kernels use comes first, at the same place in all of them.
  DenseMap<const Function *, SharedLayout> layouts;
  for (const Function *kernel : kernels)
    layouts[kernel];
  DenseMap<const GlobalVariable *, uint64_t> offsets;
  auto place = [&](const GlobalVariable &variable, uint64_t end) {
    // As ptxas does it for vectors: at least 16.
    Align alignment = std::max(variable.getAlign().valueOrOne(), Align(16));
    return offsets[&variable] = alignTo(end, alignment);
  };
  auto sizeOf = [&](const GlobalVariable &variable) { return dataLayout.getTypeAllocSize(variable.getValueType()); };
  uint64_t commonEnd = 0;
  for (bool isCommon : {true, false})
    for (GlobalVariable *variable : variables) {
      const auto &kernelsOf = users[variable];
      uint64_t size = sizeOf(*variable);
      if (size == 0 || (kernelsOf.size() > 1) != isCommon)
        continue;
      uint64_t offset = 0;
      if (isCommon) {
        offset = place(*variable, commonEnd);
        commonEnd = offset + size;
      }
      for (const Function *kernel : kernelsOf) {
        SharedLayout &layout = layouts[kernel];
        if (!isCommon)
          offset = place(*variable, std::max(layout.dynamicOffset, commonEnd));
        layout.variables.push_back({offset, size});
        layout.dynamicOffset = std::max(layout.dynamicOffset, offset + size);
      }
    }
  // Dynamic memory begins behind the kernel's own variables.
  for (GlobalVariable *variable : variables)
    if (sizeOf(*variable) == 0)
      for (const Function *kernel : users[variable]) {
        uint64_t &end = layouts[kernel].dynamicOffset;
        end = alignTo(end, std::max(variable->getAlign().valueOrOne(), Align(16)));
      }

  Calls calls(module);
  for (GlobalVariable *variable : variables) {
    DenseMap<Function *, Value *> addresses;
    for (Use &use : make_early_inc_range(variable->uses())) {
      auto *instruction = dyn_cast<Instruction>(use.getUser());
      if (!instruction)
        return createStringError("the shared variable '" + variable->getName() + "' is used by a constant");
      Value *&address = addresses[instruction->getFunction()];
      if (!address) {
        calls.SetInsertPoint(instruction->getFunction()->getEntryBlock().getFirstNonPHIOrDbgOrAlloca());
        bool isDynamic = sizeOf(*variable) == 0;
        Value *base = calls.callPure(isDynamic ? "moe_simt_dynamic_shared_memory" : "moe_simt_shared_memory",
                                     calls.getPtrTy(), {});
        Value *place = calls.CreateConstGEP1_64(calls.getInt8Ty(), base, offsets.lookup(variable));
        address = calls.CreateAddrSpaceCast(place, variable->getType(), variable->getName());
      }
      use.set(address);
    }
    variable->eraseFromParent();
  }
  return layouts;
}

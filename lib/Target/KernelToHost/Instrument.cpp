//===- Instrument.cpp - checks and counts in the kernels' code ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

#include "llvm/IR/Constants.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace moe::emulator;
using namespace llvm;

/// The address of a plain access.
static Value *addressOf(Instruction &instruction) {
  if (auto *update = dyn_cast<AtomicRMWInst>(&instruction))
    return update->getPointerOperand();
  if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(&instruction))
    return exchange->getPointerOperand();
  return getLoadStorePointerOperand(&instruction);
}

static void addChecks(Calls &calls, Instruction &instruction, uint32_t site) {
  calls.SetInsertPoint(&instruction);
  auto *move = dyn_cast<MemIntrinsic>(&instruction);
  if (!move) {
    if (Value *address = addressOf(instruction))
      calls.call("moe_simt_access", calls.getVoidTy(), {calls.generic(address), calls.getInt32(site)});
    return;
  }
  Value *bytes = calls.CreateZExtOrTrunc(move->getLength(), calls.getInt64Ty());
  auto check = [&](Value *address, uint32_t site) {
    calls.call("moe_simt_access_range", calls.getVoidTy(), {calls.generic(address), bytes, calls.getInt32(site)});
  };
  if (auto *transfer = dyn_cast<MemTransferInst>(move))
    check(transfer->getRawSource(), site + 1);
  check(move->getRawDest(), site);
}

BlockCounts moe::emulator::instrument(Module &module, const Sites &sites) {
  Calls calls(module);
  SmallVector<BasicBlock *> blocks;
  SmallVector<uint32_t> sizes;
  for (Function &function : module)
    for (BasicBlock &block : function) {
      blocks.push_back(&block);
      sizes.push_back(uint32_t(count_if(block, [](Instruction &instruction) {
        return !isa<PHINode>(instruction) && !instruction.isLifetimeStartOrEnd() && !isa<DbgInfoIntrinsic>(instruction);
      })));
    }
  for (Function &function : module)
    for (Instruction &instruction : make_early_inc_range(instructions(function)))
      if (sites.contains(instruction))
        addChecks(calls, instruction, sites.at(instruction));

  Type *counter = calls.getInt64Ty();
  ArrayType *type = ArrayType::get(counter, blocks.size());
  auto *executions = new GlobalVariable(module, type, /*isConstant=*/false, GlobalValue::PrivateLinkage,
                                        Constant::getNullValue(type), "moe.executions");
  for (auto [index, block] : enumerate(blocks)) {
    calls.SetInsertPoint(block, block->getFirstInsertionPt());
    Value *place = calls.CreateConstInBoundsGEP2_64(type, executions, 0, index);
    calls.CreateStore(calls.CreateAdd(calls.CreateLoad(counter, place), calls.getInt64(1)), place);
  }
  Constant *values = ConstantDataArray::get(module.getContext(), sizes);
  auto *instructionCounts = new GlobalVariable(module, values->getType(), /*isConstant=*/true,
                                               GlobalValue::PrivateLinkage, values, "moe.instructions");
  return {executions, instructionCounts, blocks.size()};
}

void moe::emulator::addSpins(Module &module) {
  Calls calls(module);
  for (Function &function : module)
    for (Instruction &instruction : make_early_inc_range(instructions(function))) {
      auto *load = dyn_cast<LoadInst>(&instruction);
      if (!isa<AtomicRMWInst, AtomicCmpXchgInst>(instruction) && !(load && (load->isAtomic() || load->isVolatile())))
        continue;
      calls.SetInsertPoint(&instruction);
      calls.call("moe_simt_spin", calls.getVoidTy(), {});
    }
}

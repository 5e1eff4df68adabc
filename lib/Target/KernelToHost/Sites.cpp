//===- Sites.cpp - operations that the emulator names and counts by -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/ModuleSlotTracker.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe::emulator;
using namespace llvm;

static constexpr size_t longestText = 110;

/// MoeSimtSpace of an address; nullopt for memory of the thread itself.
static std::optional<uint32_t> spaceOf(const Value *pointer) {
  switch (pointer->getType()->getPointerAddressSpace()) {
  case 1: // global
  case 4: // constant
    return MoeSimtGlobal;
  case 3:
    return MoeSimtShared;
  case 0:
    if (isa<AllocaInst>(getUnderlyingObject(pointer)))
      return std::nullopt;
    return MoeSimtGeneric;
  default:
    return std::nullopt;
  }
}

/// The first instruction of several that does more than to prepare them; `whole` of one alone.
static std::string describeAssembly(const InlineAsm &assembly, std::string whole) {
  SmallVector<StringRef> lines;
  StringRef text = assembly.getAsmString();
  if (!text.contains('{'))
    return whole;
  text.split(lines, '\n');
  for (StringRef line : lines)
    if (line = line.trim(" \t;"); line.contains('.') && !line.starts_with(".") && !line.starts_with("setp."))
      return line.str();
  return whole;
}

namespace {
struct Access {
  uint32_t access, space, bytes, alignment;
};
} // namespace

/// What a load, store or atomic does; nullopt for other instructions, and for memory of the thread itself.
static std::optional<Access> accessOf(const Instruction &instruction) {
  const DataLayout &layout = instruction.getDataLayout();
  auto make = [&](uint32_t access, const Value *pointer, Type *type, Align alignment) -> std::optional<Access> {
    if (auto space = spaceOf(pointer))
      return Access{access, *space, uint32_t(layout.getTypeStoreSize(type)), uint32_t(alignment.value())};
    return std::nullopt;
  };
  if (auto *load = dyn_cast<LoadInst>(&instruction))
    return make(load->isAtomic() ? MoeSimtAtomic : MoeSimtLoad, load->getPointerOperand(), load->getType(),
                load->getAlign());
  if (auto *store = dyn_cast<StoreInst>(&instruction))
    return make(store->isAtomic() ? MoeSimtAtomic : MoeSimtStore, store->getPointerOperand(),
                store->getValueOperand()->getType(), store->getAlign());
  if (auto *update = dyn_cast<AtomicRMWInst>(&instruction))
    return make(MoeSimtAtomic, update->getPointerOperand(), update->getType(), update->getAlign());
  if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(&instruction))
    return make(MoeSimtAtomic, exchange->getPointerOperand(), exchange->getNewValOperand()->getType(),
                exchange->getAlign());
  return std::nullopt;
}

Sites::Sites(Module &module, bool withAccesses) {
  ModuleSlotTracker slots(&module);
  for (Function &function : module) {
    if (function.isDeclaration())
      continue;
    slots.incorporateFunction(function);
    for (BasicBlock &block : function)
      for (Instruction &instruction : block) {
        auto *call = dyn_cast<CallInst>(&instruction);
        std::optional<Access> access;
        if (call && !call->isInlineAsm() &&
            (!call->getCalledFunction() || !call->getCalledFunction()->getName().starts_with("llvm.nvvm.")) &&
            !isa<MemIntrinsic>(call))
          continue;
        if (isa<MemIntrinsic>(instruction)) {
          if (!withAccesses)
            continue;
          access = Access{0, 0, 0, 1}; // one for each pointer is made below
        } else if (!call) {
          if (!withAccesses || !(access = accessOf(instruction)))
            continue;
        }
        std::string text;
        raw_string_ostream stream(text);
        instruction.print(stream, slots);
        text = StringRef(text).trim().str();
        if (call && call->isInlineAsm())
          text = describeAssembly(*cast<InlineAsm>(call->getCalledOperand()), std::move(text));
        text.resize(std::min(text.size(), longestText));
        if (const DebugLoc &location = instruction.getDebugLoc())
          text += " (" + location->getFilename().str() + ":" + std::to_string(location.getLine()) + ")";
        Row row{text, function.getName().str(), 0, 0, 0, 1};
        indices[&instruction] = uint32_t(rows.size());
        if (auto *move = dyn_cast<MemIntrinsic>(&instruction)) {
          // First what is written, then what is read.
          row.access = MoeSimtStore;
          row.space = spaceOf(move->getRawDest()).value_or(MoeSimtGeneric);
          rows.push_back(row);
          if (auto *transfer = dyn_cast<MemTransferInst>(move)) {
            row.access = MoeSimtLoad;
            row.space = spaceOf(transfer->getRawSource()).value_or(MoeSimtGeneric);
            rows.push_back(row);
          }
          continue;
        }
        if (access) {
          row.access = access->access;
          row.space = access->space;
          row.bytes = access->bytes;
          row.alignment = access->alignment;
        }
        rows.push_back(row);
      }
  }
}

Constant *Sites::emit(Module &module) const {
  LLVMContext &context = module.getContext();
  Type *number = Type::getInt32Ty(context);
  PointerType *pointer = PointerType::get(context, 0);
  StructType *type = StructType::get(pointer, pointer, number, number, number, number);
  StringMap<Constant *> texts;
  auto text = [&](StringRef string) {
    Constant *&place = texts[string];
    if (!place) {
      Constant *value = ConstantDataArray::getString(context, string);
      place = new GlobalVariable(module, value->getType(), /*isConstant=*/true, GlobalValue::PrivateLinkage, value,
                                 "moe.text");
    }
    return place;
  };
  SmallVector<Constant *> values;
  for (const Row &row : rows) {
    SmallVector<Constant *> fields = {text(row.text), text(row.function)};
    for (uint32_t field : {row.access, row.space, row.bytes, row.alignment})
      fields.push_back(ConstantInt::get(number, field));
    values.push_back(ConstantStruct::get(type, fields));
  }
  ArrayType *array = ArrayType::get(type, values.size());
  return new GlobalVariable(module, array, /*isConstant=*/true, GlobalValue::PrivateLinkage,
                            ConstantArray::get(array, values), "moe.sites");
}

//===- KernelToHost.cpp - GPU kernels as host code ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Target/KernelToHost.h"
#include "Internal.h"

#include "llvm/IR/AttributeMask.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Target/TargetMachine.h"

using namespace moe::emulator;
using namespace llvm;

namespace {

/// The steps of one conversion, on one module.
class Conversion {
public:
  Conversion(Module &module, const moe::KernelToHostOptions &options)
      : module(module), options(options), context(module.getContext()) {}

  Error run(const TargetMachine &host);

private:
  Error convertCalls(const Sites &sites);
  Expected<Value *> convertCall(Calls &calls, CallInst &call, uint32_t site);
  void becomeHostModule(const TargetMachine &host);
  Constant *emitModuleDetails(const Sites &sites, const BlockCounts &counts);
  Constant *emitRanges(ArrayRef<std::pair<Constant *, uint64_t>> ranges);
  void emitArchitecture();
  Function *emitTrampoline(Function &kernel);
  void emitKernel(Function &kernel, const SharedLayout &layout, Constant *moduleDetails);
  GlobalVariable *emitConstant(Constant *value, const Twine &name) {
    return new GlobalVariable(module, value->getType(), /*isConstant=*/true, GlobalValue::PrivateLinkage, value, name);
  }
  Constant *number(uint64_t value) { return ConstantInt::get(Type::getInt64Ty(context), value); }
  Constant *nullPointer() { return ConstantPointerNull::get(PointerType::get(context, 0)); }

  Module &module;
  const moe::KernelToHostOptions &options;
  LLVMContext &context;
  int architecture = 80;
};

} // namespace

Expected<Value *> Conversion::convertCall(Calls &calls, CallInst &call, uint32_t site) {
  StringRef function = call.getFunction()->getName();
  if (auto *assembly = dyn_cast<InlineAsm>(call.getCalledOperand())) {
    if (std::optional<Value *> value = convertHopperAssembly(calls, call, site))
      return *value;
    StringRef name = intrinsicOfAssembly(assembly->getAsmString());
    if (name.empty())
      return createStringError("the kernel emulator does not know the assembly '" + assembly->getAsmString() +
                               "' in function '" + function + "'");
    return convertIntrinsic(calls, name, call, site);
  }
  StringRef name = call.getCalledFunction()->getName();
  name.consume_front("llvm.nvvm.");
  return convertIntrinsic(calls, name, call, site);
}

/// Replaces everything that only a GPU can do; fails at what is not known.
Error Conversion::convertCalls(const Sites &sites) {
  Calls calls(module);
  for (Function &function : module)
    for (Instruction &instruction : make_early_inc_range(instructions(function))) {
      auto *call = dyn_cast<CallInst>(&instruction);
      if (!call)
        continue;
      calls.SetInsertPoint(call);
      Function *callee = call->getCalledFunction();
      bool isAssembly = call->isInlineAsm();
      if (isAssembly || (callee && callee->getName().starts_with("llvm.nvvm."))) {
        Expected<Value *> value = convertCall(calls, *call, sites.at(*call));
        if (!value)
          return value.takeError();
        if (*value)
          call->replaceAllUsesWith(*value);
        call->eraseFromParent();
      } else if (callee && callee->getIntrinsicID() == Intrinsic::trap) {
        calls.call("moe_simt_trap", calls.getVoidTy(), {calls.getInt32(~0u)});
        call->eraseFromParent();
      } else if (callee && callee->isDeclaration() && !callee->isIntrinsic() &&
                 !callee->getName().starts_with("moe_simt_")) {
        return createStringError("the kernel emulator does not know the function '" + callee->getName() +
                                 "', which is called but not defined, in function '" + function.getName() + "'");
      }
    }
  for (Function &function : make_early_inc_range(module.functions()))
    if (function.isDeclaration() && function.use_empty())
      function.eraseFromParent();
  return Error::success();
}

/// Drops what only says something to the NVPTX back end.
void Conversion::becomeHostModule(const TargetMachine &host) {
  module.setTargetTriple(host.getTargetTriple());
  module.setDataLayout(host.createDataLayout());
  if (NamedMDNode *annotations = module.getNamedMetadata("nvvm.annotations"))
    annotations->eraseFromParent();
  for (Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.setCallingConv(CallingConv::C);
    AttributeMask dropped;
    for (Attribute attribute : function.getAttributes().getFnAttrs())
      if (attribute.isStringAttribute())
        dropped.addAttribute(attribute.getKindAsString());
    function.removeFnAttrs(dropped);
    // Threads share what their pointers point to, whatever the kernel says of one thread.
    for (Argument &argument : function.args()) {
      argument.removeAttr(Attribute::NoAlias);
      argument.removeAttr(Attribute::ReadNone);
    }
    for (Instruction &instruction : instructions(function))
      if (auto *call = dyn_cast<CallBase>(&instruction))
        call->setCallingConv(CallingConv::C);
    function.setLinkage(GlobalValue::InternalLinkage);
    function.setVisibility(GlobalValue::DefaultVisibility);
    function.setDSOLocal(true);
  }
}

/// A table of MoeSimtRange; null if it is empty.
Constant *Conversion::emitRanges(ArrayRef<std::pair<Constant *, uint64_t>> ranges) {
  if (ranges.empty())
    return nullPointer();
  SmallVector<Constant *> rows;
  for (auto [base, size] : ranges)
    rows.push_back(ConstantStruct::getAnon({base, number(size)}));
  return emitConstant(ConstantArray::get(ArrayType::get(rows[0]->getType(), rows.size()), rows), "moe.ranges");
}

/// The MoeSimtModule.
Constant *Conversion::emitModuleDetails(const Sites &sites, const BlockCounts &counts) {
  SmallVector<std::pair<Constant *, uint64_t>> globals;
  PointerType *pointer = PointerType::get(context, 0);
  for (GlobalVariable &global : module.globals()) {
    unsigned space = global.getAddressSpace();
    if (!global.hasInitializer() || global.getName().starts_with("moe.") || space == 3)
      continue;
    Constant *base = &global;
    if (space)
      base = ConstantExpr::getAddrSpaceCast(base, pointer);
    globals.push_back({base, module.getDataLayout().getTypeAllocSize(global.getValueType())});
  }
  Constant *ranges = emitRanges(globals);
  return emitConstant(ConstantStruct::getAnon({sites.emit(module), number(sites.size()),
                                               counts.executions ? counts.executions : nullPointer(),
                                               counts.instructions ? counts.instructions : nullPointer(),
                                               number(counts.blocks), ranges, number(globals.size())}),
                      "moe.module");
}

/// The GPU that the kernels are for, which the emulator then says it is. Several modules of one program agree on it.
void Conversion::emitArchitecture() {
  auto *value = new GlobalVariable(module, Type::getInt32Ty(context), /*isConstant=*/true, GlobalValue::WeakODRLinkage,
                                   ConstantInt::get(Type::getInt32Ty(context), architecture), "moe_simt_architecture");
  value->setVisibility(GlobalValue::HiddenVisibility);
}

/// `void moe_kernel_K(void **params)`.
Function *Conversion::emitTrampoline(Function &kernel) {
  IRBuilder<> builder(context);
  auto *type = FunctionType::get(builder.getVoidTy(), {builder.getPtrTy()}, false);
  auto *trampoline = Function::Create(type, GlobalValue::ExternalLinkage, "moe_kernel_" + kernel.getName(), module);
  trampoline->setVisibility(GlobalValue::HiddenVisibility);
  builder.SetInsertPoint(BasicBlock::Create(context, "", trampoline));
  SmallVector<Value *> arguments;
  for (Argument &argument : kernel.args()) {
    Value *place = builder.CreateConstInBoundsGEP1_64(builder.getPtrTy(), trampoline->getArg(0), argument.getArgNo());
    Value *value = builder.CreateLoad(builder.getPtrTy(), place);
    if (!argument.hasByValAttr())
      value = builder.CreateLoad(argument.getType(), value);
    else if (argument.getType()->getPointerAddressSpace())
      value = builder.CreateAddrSpaceCast(value, argument.getType());
    arguments.push_back(value);
  }
  CallInst *call = builder.CreateCall(&kernel, arguments);
  call->setAttributes(kernel.getAttributes());
  builder.CreateRetVoid();
  return trampoline;
}

/// The MoeGpuKernel and what it points to.
void Conversion::emitKernel(Function &kernel, const SharedLayout &layout, Constant *moduleDetails) {
  PointerType *pointer = PointerType::get(context, 0);
  SmallVector<std::pair<Constant *, uint64_t>> variables;
  for (auto [offset, size] : layout.variables)
    variables.push_back({ConstantExpr::getIntToPtr(number(offset), pointer), size});
  Constant *details = emitConstant(ConstantStruct::getAnon({moduleDetails, emitRanges(variables),
                                                            number(variables.size()), number(layout.dynamicOffset)}),
                                   "moe.kernel");
  Constant *name = emitConstant(ConstantDataArray::getString(context, kernel.getName()), "moe.name");
  Constant *value = ConstantStruct::getAnon(
      {name, nullPointer(), emitTrampoline(kernel), details, number(kernel.arg_size()), nullPointer()});
  auto *descriptor = new GlobalVariable(module, value->getType(), /*isConstant=*/true, GlobalValue::ExternalLinkage,
                                        value, "moe_gpu_kernel_" + kernel.getName());
  descriptor->setVisibility(GlobalValue::HiddenVisibility);
}

Error Conversion::run(const TargetMachine &host) {
  SmallVector<Function *> kernels;
  for (Function &function : module)
    if (!function.isDeclaration() && function.getCallingConv() == CallingConv::PTX_Kernel)
      kernels.push_back(&function);
  if (kernels.empty())
    return createStringError("the module has no kernel");

  for (const Function *kernel : kernels) {
    // Marked by the part of the compiler that wrote it, as in "sm_90a".
    StringRef name = kernel->getFnAttribute("moe.arch").getValueAsString();
    int number;
    if (name.consume_front("sm_") && !name.consumeInteger(10, number))
      architecture = std::max(architecture, number);
  }

  Sites sites(module, options.instrument);
  BlockCounts counts{nullptr, nullptr, 0};
  if (options.instrument)
    counts = instrument(module, sites);
  addSpins(module);
  if (Error error = guardAccumulators(module, sites))
    return error;
  if (Error error = convertCalls(sites))
    return error;
  auto layouts = layOutSharedMemory(module, kernels);
  if (!layouts)
    return layouts.takeError();
  expandSmallFloats(module);
  becomeHostModule(host);
  emitArchitecture();
  Constant *moduleDetails = emitModuleDetails(sites, counts);
  for (Function *kernel : kernels)
    emitKernel(*kernel, layouts->lookup(kernel), moduleDetails);

  std::string message;
  raw_string_ostream stream(message);
  if (verifyModule(module, &stream))
    return createStringError("internal error: the conversion of kernels to host code made broken IR: " + message);
  return Error::success();
}

Error moe::convertKernelsToHost(Module &module, const TargetMachine &host, const KernelToHostOptions &options) {
  return Conversion(module, options).run(host);
}

//===- Kernels.cpp - kernels from the LLVM dialect to PTX -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/Target/CPU/Internal.h"
#include "moe/Conversion/IsaLevels.h"
#include "moe/Conversion/TilesToGPU.h"
#include "moe/Target/CPU.h"
#include "moe/Target/CUDA.h"
#include "moe/Target/KernelToHost.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace moe;
using namespace moe::cuda;

static const llvm::Triple &deviceTriple() {
  static const llvm::Triple triple("nvptx64-nvidia-cuda");
  return triple;
}

static const llvm::Target *deviceTarget(std::string &error) {
  static bool initialised = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)initialised;
  return llvm::TargetRegistry::lookupTarget(deviceTriple(), error);
}

static llvm::Expected<std::unique_ptr<llvm::TargetMachine>> createMachine(llvm::StringRef architecture) {
  std::string error;
  const llvm::Target *target = deviceTarget(error);
  if (!target)
    return llvm::createStringError(error);
  // Products and sums are not contracted: a fused multiply-add is written as one, as on the CPU.
  std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(deviceTriple(), architecture, "", cpu::exactFloats(), std::nullopt, std::nullopt,
                                  llvm::CodeGenOptLevel::Aggressive));
  if (!machine)
    return llvm::createStringError("no code generator for " + deviceTriple().str());
  return machine;
}

std::optional<DeviceArchitecture> cuda::parseArchitecture(llvm::StringRef name) {
  DeviceArchitecture architecture;
  architecture.name = name.str();
  llvm::StringRef digits = name;
  if (!digits.consume_front("sm_") || digits.consumeInteger(10, architecture.number) || architecture.number < 80)
    return std::nullopt;
  std::string error;
  const llvm::Target *target = deviceTarget(error);
  if (!target)
    return std::nullopt;
  std::unique_ptr<llvm::MCSubtargetInfo> info(target->createMCSubtargetInfo(deviceTriple(), "", ""));
  if (!info || !info->isCPUStringValid(name))
    return std::nullopt;
  return architecture;
}

Kernels::Kernels() = default;
Kernels::Kernels(Kernels &&) = default;
Kernels &Kernels::operator=(Kernels &&) = default;
Kernels::~Kernels() = default;

/// Makes the last `count` arguments of `kernel` tensor maps by value, which it does not write to: so it needs no copy.
static void passByValue(mlir::LLVM::LLVMFuncOp kernel, int64_t count) {
  using Dialect = mlir::LLVM::LLVMDialect;
  mlir::OpBuilder b(kernel);
  auto bytes = mlir::LLVM::LLVMArrayType::get(b.getI64Type(), gpuTensorMapBytes / 8);
  unsigned end = kernel.getNumArguments();
  for (unsigned number = end - count; number < end; ++number) {
    kernel.setArgAttr(number, Dialect::getByValAttrName(), mlir::TypeAttr::get(bytes));
    kernel.setArgAttr(number, Dialect::getAlignAttrName(), b.getI64IntegerAttr(gpuTensorMapAlignment));
    kernel.setArgAttr(number, mlir::NVVM::NVVMDialect::getGridConstantAttrName(), b.getUnitAttr());
  }
}

llvm::Expected<Kernels> Kernels::create(mlir::ModuleOp source) {
  auto device = source.lookupSymbol<mlir::gpu::GPUModuleOp>(gpuKernelModule);
  if (!device)
    return llvm::createStringError("phase llvm made no gpu.module '" + gpuKernelModule + "'");
  // Only ordinary modules are translated.
  mlir::OwningOpRef<mlir::ModuleOp> plain = mlir::ModuleOp::create(device.getLoc());
  mlir::OpBuilder b = mlir::OpBuilder::atBlockEnd(plain->getBody());
  for (mlir::Operation &op : *device.getBody()) {
    mlir::Operation *copy = b.clone(op);
    if (auto maps = op.getAttrOfType<mlir::IntegerAttr>(gpuTensorMapsAttr))
      passByValue(llvm::cast<mlir::LLVM::LLVMFuncOp>(copy), maps.getInt());
    if (auto architecture = op.getAttrOfType<mlir::StringAttr>(gpuArchitectureAttr))
      copy->setAttr("passthrough",
                    b.getArrayAttr(b.getArrayAttr({b.getStringAttr(gpuArchitectureAttr), architecture})));
  }

  auto machine = createMachine("sm_80");
  if (!machine)
    return machine.takeError();
  // The translation takes the alignment of loads and stores from it.
  plain->getOperation()->setAttr(mlir::LLVM::LLVMDialect::getDataLayoutAttrName(),
                                 b.getStringAttr((*machine)->createDataLayout().getStringRepresentation()));
  Kernels kernels;
  kernels.context = std::make_unique<llvm::LLVMContext>();
  cpu::FirstError firstError(*source.getContext());
  kernels.module = mlir::translateModuleToLLVMIR(*plain, *kernels.context, "moe_kernels");
  if (!kernels.module)
    return llvm::createStringError("the kernels cannot be translated to LLVM IR: " + firstError.text());
  kernels.module->setTargetTriple(deviceTriple());
  kernels.module->setDataLayout((*machine)->createDataLayout());
  llvm::raw_svector_ostream stream(kernels.bitcode);
  llvm::WriteBitcodeToFile(*kernels.module, stream);
  return kernels;
}

std::vector<std::string> Kernels::names() const {
  std::vector<std::string> names;
  for (const llvm::Function &function : *module)
    if (function.getCallingConv() == llvm::CallingConv::PTX_Kernel)
      names.push_back(function.getName().str());
  return names;
}

llvm::Expected<std::unique_ptr<llvm::Module>> Kernels::clone(llvm::LLVMContext &context) const {
  llvm::StringRef bytes(bitcode.data(), bitcode.size());
  return llvm::parseBitcodeFile(llvm::MemoryBufferRef(bytes, "moe_kernels"), context);
}

/// Takes the kernels away that only another architecture can run.
static void removeOthers(llvm::Module &module, llvm::StringRef architecture) {
  for (llvm::Function &function : llvm::make_early_inc_range(module)) {
    llvm::Attribute only = function.getFnAttribute(gpuArchitectureAttr);
    if (only.isStringAttribute() && only.getValueAsString() != architecture)
      function.eraseFromParent();
  }
}

llvm::Expected<std::string> Kernels::emitPTX(const DeviceArchitecture &architecture) const {
  llvm::LLVMContext context;
  auto copy = clone(context);
  if (!copy)
    return copy.takeError();
  removeOthers(**copy, architecture.name);
  auto machine = createMachine(architecture.name);
  if (!machine)
    return machine.takeError();
  cpu::optimize(**copy, **machine, llvm::OptimizationLevel::O3);
  llvm::SmallVector<char, 0> text;
  llvm::raw_svector_ostream stream(text);
  llvm::legacy::PassManager passes;
  if ((*machine)->addPassesToEmitFile(passes, stream, nullptr, llvm::CodeGenFileType::AssemblyFile))
    return llvm::createStringError("the code generator cannot write PTX");
  passes.run(**copy);
  return stream.str().str();
}

void Kernels::print(llvm::raw_ostream &stream) const { module->print(stream, nullptr); }

llvm::Expected<llvm::SmallVector<char, 0>> Kernels::emitHostObject(bool instrument) const {
  llvm::LLVMContext context;
  auto copy = clone(context);
  if (!copy)
    return copy.takeError();
  auto machine = cpu::createTargetMachine(hostArchitecture());
  if (!machine)
    return machine.takeError();
  KernelToHostOptions options;
  options.instrument = instrument;
  if (llvm::Error error = convertKernelsToHost(**copy, **machine, options))
    return error;
  llvm::SmallVector<char, 0> code;
  llvm::raw_svector_ostream stream(code);
  if (llvm::Error error = cpu::emitObject(**copy, stream))
    return error;
  return code;
}

llvm::Expected<llvm::SmallVector<char, 0>> Kernels::emitImageObject(llvm::ArrayRef<char> image) const {
  llvm::LLVMContext context;
  llvm::Module data("moe_kernels", context);
  auto machine = cpu::createTargetMachine(hostArchitecture());
  if (!machine)
    return machine.takeError();
  data.setTargetTriple((*machine)->getTargetTriple());
  data.setDataLayout((*machine)->createDataLayout());
  auto addConstant = [&](llvm::Constant *value, llvm::GlobalValue::LinkageTypes linkage, const llvm::Twine &name) {
    return new llvm::GlobalVariable(data, value->getType(), /*isConstant=*/true, linkage, value, name);
  };
  auto text = [&](llvm::StringRef bytes) { return llvm::ConstantDataArray::getString(context, bytes); };
  // PTX ends with a null.
  llvm::GlobalVariable *blob =
      addConstant(text({image.data(), image.size()}), llvm::GlobalValue::PrivateLinkage, "moe.gpu.image");
  blob->setAlignment(llvm::Align(64));
  auto *none = llvm::ConstantPointerNull::get(llvm::PointerType::get(context, 0));
  for (const llvm::Function &function : *module) {
    if (function.getCallingConv() != llvm::CallingConv::PTX_Kernel)
      continue;
    llvm::StringRef name = function.getName();
    llvm::SmallVector<uint64_t> sizes;
    for (const llvm::Argument &argument : function.args())
      sizes.push_back(module->getDataLayout().getTypeAllocSize(argument.hasByValAttr() ? argument.getParamByValType()
                                                                                       : argument.getType()));
    llvm::Constant *fields[] = {
        addConstant(text(name), llvm::GlobalValue::PrivateLinkage, "moe.gpu.name"),
        blob,
        none,
        none,
        llvm::ConstantInt::get(llvm::Type::getInt64Ty(context), function.arg_size()),
        addConstant(llvm::ConstantDataArray::get(context, sizes), llvm::GlobalValue::PrivateLinkage, "moe.gpu.sizes")};
    llvm::GlobalVariable *kernel = addConstant(llvm::ConstantStruct::getAnon(fields),
                                               llvm::GlobalValue::ExternalLinkage, "moe_gpu_kernel_" + name);
    kernel->setVisibility(llvm::GlobalValue::HiddenVisibility);
  }
  llvm::SmallVector<char, 0> code;
  llvm::raw_svector_ostream stream(code);
  if (llvm::Error error = cpu::emitObject(data, stream))
    return error;
  return code;
}

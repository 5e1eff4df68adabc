//===- Program.cpp - LLVM dialect to object code --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"
#include "moe/Conversion/IsaLevels.h"
#include "moe/Target/CPU.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

#include <thread>

using namespace moe;
using namespace moe::cpu;

llvm::Expected<std::unique_ptr<llvm::TargetMachine>> moe::cpu::createTargetMachine(Architecture architecture) {
  static bool initialised = [] {
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    return true;
  }();
  (void)initialised;
  bool isX86 = architecture == Architecture::X86_64;
  llvm::Triple triple(isX86 ? "x86_64-unknown-linux-gnu" : "aarch64-unknown-linux-gnu");
  std::string error;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return llvm::createStringError(error);
  std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(triple, isX86 ? "x86-64" : "generic", "", exactFloats(), llvm::Reloc::PIC_,
                                  llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
  if (!machine)
    return llvm::createStringError("no code generator for " + triple.str());
  return machine;
}

llvm::TargetOptions moe::cpu::exactFloats() {
  llvm::TargetOptions options;
  // The order of float operations is promised (a fused multiply-add is written as one in the IR), so nothing is
  // contracted behind our back.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  options.FunctionSections = true;
  options.DataSections = true;
  return options;
}

/// Removes the notes of our own passes from arguments and results; the translation would warn of each.
static void dropOwnAttributes(mlir::LLVM::LLVMFuncOp function) {
  auto own = [](mlir::DictionaryAttr attributes) {
    llvm::SmallVector<mlir::StringAttr> names;
    if (attributes)
      for (mlir::NamedAttribute attribute : attributes)
        if (attribute.getName().strref().starts_with("moe."))
          names.push_back(attribute.getName());
    return names;
  };
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    for (mlir::StringAttr name : own(function.getArgAttrDict(i)))
      function.removeArgAttr(i, name);
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    for (mlir::StringAttr name : own(function.getResultAttrDict(i)))
      function.removeResultAttr(i, name);
}

llvm::Expected<std::unique_ptr<llvm::Module>> moe::cpu::translate(mlir::ModuleOp module, llvm::LLVMContext &context,
                                                                  llvm::TargetMachine &machine) {
  module.walk(dropOwnAttributes);
  mlir::registerBuiltinDialectTranslation(*module.getContext());
  mlir::registerLLVMDialectTranslation(*module.getContext());
  FirstError firstError(*module.getContext());
  std::unique_ptr<llvm::Module> result = mlir::translateModuleToLLVMIR(module, context, "moe_model");
  if (!result)
    return llvm::createStringError("the module cannot be translated to LLVM IR: " + firstError.text());
  result->setTargetTriple(machine.getTargetTriple());
  result->setDataLayout(machine.createDataLayout());
  return result;
}

namespace {

/// Adds the data symbols of Abi.h to a module.
class ModelDataBuilder {
public:
  ModelDataBuilder(llvm::Module &module) : module(module), context(module.getContext()) {}

  /// `moe_model_variants`: {entry, level, code} for each pair, best levels first, then a row of null pointers.
  llvm::Error addVariants(const ModelData &data) {
    llvm::PointerType *pointer = llvm::PointerType::get(context, 0);
    llvm::StructType *rowType = llvm::StructType::get(pointer, pointer, pointer);
    std::vector<llvm::Constant *> rows;
    for (const std::string &entry : data.entries)
      for (const std::string &level : data.levels) {
        std::string name = "moe_entry_" + entry + "." + level;
        llvm::Function *function = module.getFunction(name);
        if (!function || function->isDeclaration())
          return llvm::createStringError("phase llvm made no function '" + name + "'");
        function->setLinkage(llvm::GlobalValue::ExternalLinkage);
        function->setVisibility(llvm::GlobalValue::HiddenVisibility);
        rows.push_back(llvm::ConstantStruct::get(rowType, text(entry), text(level), function));
      }
    rows.push_back(llvm::Constant::getNullValue(rowType));
    llvm::ArrayType *type = llvm::ArrayType::get(rowType, rows.size());
    add("moe_model_variants", llvm::ConstantArray::get(type, rows));
    return llvm::Error::success();
  }

  /// `moe_model_device`: the runtime's functions, or null pointers.
  void addDevice(bool onDevice) {
    llvm::PointerType *pointer = llvm::PointerType::get(context, 0);
    std::vector<llvm::Constant *> fields;
    for (const char *name : {"moe_rt_gpu_alloc", "moe_rt_gpu_free", "moe_rt_gpu_fill", "moe_rt_gpu_upload",
                             "moe_rt_gpu_release", "moe_rt_gpu_take_counters"}) {
      llvm::Constant *field = llvm::ConstantPointerNull::get(pointer);
      if (onDevice) // only its address counts
        field = llvm::cast<llvm::Constant>(
            module.getOrInsertFunction(name, llvm::FunctionType::get(llvm::Type::getVoidTy(context), false))
                .getCallee());
      fields.push_back(field);
    }
    add("moe_model_device", llvm::ConstantStruct::getAnon(fields));
  }

  /// `<name>` with the bytes and a terminating null, and `<name>_size` without counting the null.
  void addBlob(llvm::StringRef name, llvm::StringRef bytes) {
    add(name, llvm::ConstantDataArray::getString(context, bytes))->setAlignment(llvm::Align(16));
    add((name + "_size").str(), llvm::ConstantInt::get(llvm::Type::getInt64Ty(context), bytes.size()));
  }

private:
  llvm::GlobalVariable *add(llvm::StringRef name, llvm::Constant *value) {
    auto *global = new llvm::GlobalVariable(module, value->getType(), /*isConstant=*/true,
                                            llvm::GlobalValue::ExternalLinkage, value, name);
    // Two models in one process must each see their own.
    global->setVisibility(llvm::GlobalValue::HiddenVisibility);
    return global;
  }

  llvm::Constant *text(llvm::StringRef string) {
    llvm::Constant *value = llvm::ConstantDataArray::getString(context, string);
    auto *global = new llvm::GlobalVariable(module, value->getType(), /*isConstant=*/true,
                                            llvm::GlobalValue::PrivateLinkage, value, "moe.text");
    global->setUnnamedAddr(llvm::GlobalValue::UnnamedAddr::Global);
    return global;
  }

  llvm::Module &module;
  llvm::LLVMContext &context;
};

} // namespace

Program::Program() = default;
Program::Program(Program &&) = default;
Program &Program::operator=(Program &&) = default;
Program::~Program() = default;

/// The architecture that `levels` are of.
static Architecture architectureOf(llvm::ArrayRef<std::string> levels) {
  const IsaLevel *level = levels.empty() ? nullptr : findIsaLevel(levels.front());
  return level ? level->architecture : hostArchitecture();
}

llvm::Expected<Program> Program::create(mlir::ModuleOp source, const ModelData &data) {
  Program program;
  program.context = std::make_unique<llvm::LLVMContext>();
  auto machine = createTargetMachine(architectureOf(data.levels));
  if (!machine)
    return machine.takeError();
  program.machine = std::move(*machine);
  auto module = translate(source, *program.context, *program.machine);
  if (!module)
    return module.takeError();
  program.module = std::move(*module);

  // Entry functions and data are what the parts of the code know of each other; the rest of a level, where the entry
  // functions do not reach it, may go.
  for (llvm::Function &function : *program.module)
    if (!function.isDeclaration())
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
  ModelDataBuilder builder(*program.module);
  if (llvm::Error error = builder.addVariants(data))
    return error;
  builder.addDevice(data.onDevice);
  builder.addBlob("moe_model_manifest", data.manifest);
  builder.addBlob("moe_model_tokenizer", data.tokenizer);
  program.levels = data.levels;
  return program;
}

void Program::optimizeOnce() {
  if (!isOptimized)
    optimizeLoweredCode(*module, *machine);
  isOptimized = true;
}

static llvm::Error generateCode(llvm::Module &module, llvm::TargetMachine &machine, llvm::raw_pwrite_stream &stream) {
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, llvm::CodeGenFileType::ObjectFile))
    return llvm::createStringError("the code generator cannot write object files");
  passes.run(module);
  return llvm::Error::success();
}

llvm::Error moe::cpu::emitObject(llvm::Module &module, llvm::raw_pwrite_stream &stream) {
  auto machine = createTargetMachine(hostArchitecture());
  if (!machine)
    return machine.takeError();
  optimize(module, **machine, llvm::OptimizationLevel::O2);
  return generateCode(module, **machine, stream);
}

llvm::Error Program::emitObject(llvm::raw_pwrite_stream &stream) {
  optimizeOnce();
  return generateCode(*module, *machine, stream);
}

/// Leaves of `module` what belongs to `level`: its functions, and the data if it is the first level. What belongs to no
/// level is internal, and every level gets its own. Bodies may still be in the bitcode.
static void keepLevel(llvm::Module &module, llvm::ArrayRef<std::string> levels, llvm::StringRef level) {
  for (llvm::Function &function : module) {
    llvm::StringRef own = function.getFnAttribute(moe::isaAttr).getValueAsString();
    if (function.isDeclaration() || own.empty() || own == level)
      continue;
    function.deleteBody(); // also makes it external
    function.setVisibility(llvm::GlobalValue::HiddenVisibility);
  }
  if (level == levels.front())
    return;
  for (llvm::GlobalVariable &global : llvm::make_early_inc_range(module.globals()))
    if (!global.hasLocalLinkage() && global.hasInitializer())
      global.eraseFromParent();
}

/// The object file of one level, from the bitcode of all.
static llvm::Error emitLevel(llvm::StringRef bitcode, llvm::ArrayRef<std::string> levels, llvm::StringRef level,
                             llvm::SmallVectorImpl<char> &object) {
  llvm::LLVMContext context;
  auto machine = createTargetMachine(architectureOf(levels));
  if (!machine)
    return machine.takeError();
  auto module = llvm::getLazyBitcodeModule(llvm::MemoryBufferRef(bitcode, "moe_model"), context);
  if (!module)
    return module.takeError();
  keepLevel(**module, levels, level);
  if (llvm::Error error = (*module)->materializeAll())
    return error;
  optimizeLoweredCode(**module, **machine);
  llvm::raw_svector_ostream stream(object);
  return generateCode(**module, **machine, stream);
}

/// Makes the functions visible that functions of other levels refer to: each level becomes an object file.
static void showToOtherLevels(llvm::Module &module) {
  auto levelOf = [](llvm::Function &function) { return function.getFnAttribute(moe::isaAttr).getValueAsString(); };
  for (llvm::Function &function : module)
    for (llvm::Instruction &instruction : llvm::instructions(function))
      for (llvm::Value *operand : instruction.operands())
        if (auto *used = llvm::dyn_cast<llvm::Function>(operand);
            used && !used->isDeclaration() && levelOf(*used) != levelOf(function)) {
          used->setLinkage(llvm::GlobalValue::ExternalLinkage);
          used->setVisibility(llvm::GlobalValue::HiddenVisibility);
        }
}

llvm::Expected<std::vector<llvm::SmallVector<char, 0>>> Program::emitObjects() {
  showToOtherLevels(*module);
  // Each thread needs a context of its own, and bitcode is the way from one to another.
  llvm::SmallVector<char, 0> bitcode;
  llvm::raw_svector_ostream stream(bitcode);
  llvm::WriteBitcodeToFile(*module, stream);
  std::vector<llvm::SmallVector<char, 0>> objects(levels.size());
  std::vector<std::string> messages(levels.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < levels.size(); ++i)
    threads.emplace_back([&, i] {
      if (llvm::Error error = emitLevel(stream.str(), levels, levels[i], objects[i]))
        messages[i] = llvm::toString(std::move(error));
    });
  for (std::thread &thread : threads)
    thread.join();
  for (const std::string &message : messages)
    if (!message.empty())
      return llvm::createStringError(message);
  return objects;
}

void Program::print(llvm::raw_ostream &stream) {
  optimizeOnce();
  module->print(stream, nullptr);
}

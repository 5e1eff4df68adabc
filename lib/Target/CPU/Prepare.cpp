//===- Prepare.cpp - runs @prepare at compile time ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Target/Prepare.h"
#include "Internal.h"

#include "moe/Runtime/Abi.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"
#include "llvm/Target/TargetMachine.h"

#include <cstdlib>
#include <cstring>

using namespace moe;
using namespace moe::cpu;

struct PrepareRunner::Impl {
  /// Details of failed lookups.
  std::string said;
  /// Gives back what the functions allocate.
  void (*release)(void *) = nullptr;
  std::unique_ptr<llvm::orc::LLJIT> jit; // last: it may still talk while it is torn down
};

PrepareRunner::PrepareRunner(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
PrepareRunner::~PrepareRunner() = default;

/// For each C interface `_mlir_ciface_<f>(result, arguments...)` a function `moe_call_<f>(pointers)` that can be called
/// without knowing the number of arguments.
static void addCallers(llvm::Module &module) {
  llvm::LLVMContext &context = module.getContext();
  llvm::PointerType *pointer = llvm::PointerType::get(context, 0);
  llvm::FunctionType *type = llvm::FunctionType::get(llvm::Type::getVoidTy(context), {pointer}, false);
  std::vector<llvm::Function *> interfaces;
  for (llvm::Function &function : module)
    if (!function.isDeclaration() && function.getName().starts_with("_mlir_ciface_"))
      interfaces.push_back(&function);
  for (llvm::Function *function : interfaces) {
    llvm::StringRef name = function->getName().drop_front(strlen("_mlir_ciface_"));
    auto *caller = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, "moe_call_" + name, module);
    llvm::IRBuilder<> builder(llvm::BasicBlock::Create(context, "", caller));
    std::vector<llvm::Value *> arguments;
    for (unsigned i = 0; i < function->arg_size(); ++i) {
      llvm::Value *place = builder.CreateConstInBoundsGEP1_64(pointer, caller->getArg(0), i);
      arguments.push_back(builder.CreateLoad(pointer, place));
    }
    builder.CreateCall(function, arguments);
    builder.CreateRetVoid();
  }
}

/// Lowers a copy of `prepare`; the first error the passes report becomes the error's text.
static llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
lower(mlir::ModuleOp prepare, llvm::function_ref<void(mlir::OpPassManager &)> pipeline) {
  mlir::OwningOpRef<mlir::ModuleOp> copy(prepare.clone());
  mlir::MLIRContext *context = prepare.getContext();
  for (auto function : copy->getOps<mlir::func::FuncOp>()) {
    function.setPublic();
    function->setAttr(mlir::LLVM::LLVMDialect::getEmitCWrapperAttrName(), mlir::UnitAttr::get(context));
  }
  FirstError firstError(*context);
  mlir::PassManager passes(context);
  passes.enableVerifier(false); // after each pass, that is
  pipeline(passes);
  if (mlir::failed(passes.run(*copy)) || mlir::failed(mlir::verify(*copy)))
    return llvm::createStringError("@prepare cannot be lowered: " + firstError.text());
  return std::move(copy);
}

/// The functions that generated code calls, as this process has them; the rest (memcpy, math) comes from libc.
static llvm::Error defineRuntime(llvm::orc::LLJIT &jit) {
  llvm::orc::SymbolMap symbols;
  auto define = [&](llvm::StringRef name, auto *function) {
    symbols[jit.mangleAndIntern(name)] = {llvm::orc::ExecutorAddr::fromPtr(function),
                                          llvm::JITSymbolFlags::Exported | llvm::JITSymbolFlags::Callable};
  };
  define("_mlir_memref_to_llvm_alloc", &_mlir_memref_to_llvm_alloc);
  define("_mlir_memref_to_llvm_aligned_alloc", &_mlir_memref_to_llvm_aligned_alloc);
  define("_mlir_memref_to_llvm_free", &_mlir_memref_to_llvm_free);
  define("moe_rt_parallel_for", &moe_rt_parallel_for);
  define("moe_rt_stage", &moe_rt_stage);
  define("moe_rt_fail", &moe_rt_fail);
  if (llvm::Error error = jit.getMainJITDylib().define(llvm::orc::absoluteSymbols(std::move(symbols))))
    return error;
  auto process = llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(jit.getDataLayout().getGlobalPrefix());
  if (!process)
    return process.takeError();
  jit.getMainJITDylib().addGenerator(std::move(*process));
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<PrepareRunner>>
PrepareRunner::create(mlir::ModuleOp prepare, llvm::function_ref<void(mlir::OpPassManager &)> pipeline) {
  auto lowered = lower(prepare, pipeline);
  if (!lowered)
    return lowered.takeError();

  // Also readies the code generator, which the detection of this machine's features needs.
  if (auto generic = createTargetMachine(hostArchitecture()); !generic)
    return generic.takeError();
  auto host = llvm::orc::JITTargetMachineBuilder::detectHost();
  if (!host)
    return host.takeError();
  host->setOptions(exactFloats());
  auto machine = host->createTargetMachine();
  if (!machine)
    return machine.takeError();

  auto context = std::make_unique<llvm::LLVMContext>();
  auto module = translate(**lowered, *context, **machine);
  if (!module)
    return module.takeError();
  addCallers(**module);
  auto impl = std::make_unique<Impl>();
  bool ownAllocator = (*module)->getFunction("_mlir_memref_to_llvm_alloc") ||
                      (*module)->getFunction("_mlir_memref_to_llvm_aligned_alloc");
  impl->release = ownAllocator ? &_mlir_memref_to_llvm_free : &free;
  // Layouts are moved about once: more optimisation costs more than it gains.
  optimizeLoweredCode(**module, **machine);

  auto jit = llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(std::move(*host)).create();
  if (!jit)
    return jit.takeError();
  if (llvm::Error error = defineRuntime(**jit))
    return std::move(error);
  if (llvm::Error error = (*jit)->addIRModule(llvm::orc::ThreadSafeModule(std::move(*module), std::move(context))))
    return std::move(error);
  impl->jit = std::move(*jit);
  // What is said here comes back as the error of a lookup too, which callers report.
  impl->jit->getExecutionSession().setErrorReporter(
      [said = &impl->said](llvm::Error error) { *said += llvm::toString(std::move(error)) + " "; });
  return std::unique_ptr<PrepareRunner>(new PrepareRunner(std::move(impl)));
}

namespace {

/// A memref descriptor as MLIR lays it out: two pointers, the offset, sizes, strides; all of 8 bytes.
class Descriptor {
public:
  /// Describes `tensor`.
  Descriptor(const TensorView &tensor) : Descriptor(tensor.shape.size()) {
    words[0] = words[1] = reinterpret_cast<intptr_t>(tensor.bytes.data());
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0;) {
      words[3 + i] = tensor.shape[i];
      words[3 + rank + i] = stride;
      stride *= tensor.shape[i];
    }
  }

  /// Room for a result.
  explicit Descriptor(size_t rank) : rank(rank), words(3 + 2 * rank, 0) {}

  void *data() { return words.data(); }
  void *allocated() const { return reinterpret_cast<void *>(words[0]); }
  llvm::ArrayRef<int64_t> shape() const { return llvm::ArrayRef(words).slice(3, rank); }
  llvm::ArrayRef<int64_t> strides() const { return llvm::ArrayRef(words).slice(3 + rank, rank); }
  const char *begin(unsigned elementBytes) const {
    return reinterpret_cast<const char *>(words[1]) + words[2] * int64_t(elementBytes);
  }

  /// Whether the elements lie row-major without gaps.
  bool isDense() const {
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0; stride *= shape()[i])
      if (shape()[i] != 1 && strides()[i] != stride)
        return false;
    return true;
  }

private:
  size_t rank;
  std::vector<int64_t> words;
};

/// Copies dimension `dim` and those below it, gathering by strides; returns where the copy ends.
char *gather(const Descriptor &from, const char *begin, char *to, size_t dim, unsigned elementBytes) {
  if (dim == from.shape().size()) {
    memcpy(to, begin, elementBytes);
    return to + elementBytes;
  }
  for (int64_t i = 0; i < from.shape()[dim]; ++i)
    to = gather(from, begin + i * from.strides()[dim] * int64_t(elementBytes), to, dim + 1, elementBytes);
  return to;
}

} // namespace

llvm::Error PrepareRunner::run(llvm::StringRef function, llvm::ArrayRef<TensorView> inputs,
                               llvm::ArrayRef<int64_t> shape, unsigned elementBytes,
                               llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> take) {
  auto address = impl->jit->lookup(("moe_call_" + function).str());
  if (!address)
    return llvm::createStringError(impl->said + llvm::toString(address.takeError()));

  Descriptor result(shape.size());
  std::vector<Descriptor> descriptors(inputs.begin(), inputs.end());
  std::vector<void *> pointers = {result.data()};
  for (Descriptor &descriptor : descriptors)
    pointers.push_back(descriptor.data());
  address->toPtr<void (*)(void **)>()(pointers.data());

  // A result may be an argument passed through, or a constant, which MLIR marks by an impossible address.
  const auto constantMark = reinterpret_cast<void *>(uintptr_t(0xdeadbeef));
  bool owned = result.allocated() && result.allocated() != constantMark &&
               llvm::none_of(descriptors, [&](const Descriptor &d) { return d.allocated() == result.allocated(); });
  llvm::Error error = llvm::Error::success();
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  if (result.shape() != shape) {
    error = llvm::joinErrors(std::move(error),
                             llvm::createStringError("@prepare::@" + function + " returned a tensor of another shape"));
  } else if (result.isDense()) {
    error = llvm::joinErrors(std::move(error), take(llvm::ArrayRef(result.begin(elementBytes), count * elementBytes)));
  } else {
    std::vector<char> dense(count * elementBytes);
    gather(result, result.begin(elementBytes), dense.data(), 0, elementBytes);
    error = llvm::joinErrors(std::move(error), take(dense));
  }
  if (owned)
    impl->release(result.allocated());
  return error;
}

//===- EmulateKernels.cpp - runs the kernels of a test on the host --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// moe-emulate-kernels FILE: lowers the `gpu.module` of an MLIR file (dialects gpu, nvgpu, nvvm, llvm and what lies
// under them) to LLVM IR, or takes LLVM IR (--llvm-ir), converts it to host code, and runs the script in the file's
// comments (Script.h) on the kernel emulator. Test only.
//
//===----------------------------------------------------------------------===//
#include "Script.h"
#include "moe/Runtime/Emulator.h"
#include "moe/Target/KernelToHost.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/Module.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/WithColor.h"
#include "llvm/Target/TargetMachine.h"

static llvm::cl::opt<std::string> inputFile(llvm::cl::Positional, llvm::cl::desc("<file, or - >"), llvm::cl::init("-"));
static llvm::cl::list<uint64_t> seeds("seeds", llvm::cl::CommaSeparated,
                                      llvm::cl::desc("Runs the script once for each of these schedules"));
static llvm::cl::opt<std::string> bug("bug", llvm::cl::desc("Plants the bug of this name"));
static llvm::cl::opt<bool> isPlain("no-instrument", llvm::cl::desc("Does not check and count accesses to memory"));
static llvm::cl::opt<bool> isLlvmIr("llvm-ir", llvm::cl::desc("The file is LLVM IR"));
static llvm::cl::opt<bool> printIr("print-ir",
                                   llvm::cl::desc("Prints the host code, not optimised, and does not run it"));
static llvm::cl::opt<bool> showTimes("times", llvm::cl::desc("Prints how long each launch takes"));

/// From the dialects kernels are written in to the LLVM dialect. Arguments are plain pointers.
static constexpr const char *pipeline =
    "gpu.module(convert-scf-to-cf,convert-nvgpu-to-nvvm,convert-vector-to-llvm,"
    "convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=1},expand-strided-metadata,lower-affine,convert-arith-to-llvm,"
    "convert-index-to-llvm,convert-nvvm-to-llvm,reconcile-unrealized-casts),convert-cf-to-llvm,"
    "reconcile-unrealized-casts";

/// The kernels of an MLIR file as LLVM IR for NVPTX.
static llvm::Expected<std::unique_ptr<llvm::Module>> translateMlir(const llvm::MemoryBuffer &file,
                                                                   llvm::LLVMContext &llvmContext) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerAllToLLVMIRTranslations(registry);
  mlir::registerAllPasses();
  mlir::MLIRContext context(registry);
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(llvm::MemoryBuffer::getMemBuffer(file), llvm::SMLoc());
  mlir::SourceMgrDiagnosticHandler handler(sources, &context);
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(sources, &context);
  if (!module)
    return llvm::createStringError("the file cannot be read");
  mlir::PassManager passes(&context);
  if (mlir::failed(mlir::parsePassPipeline(pipeline, passes)) || mlir::failed(passes.run(*module)))
    return llvm::createStringError("the kernels cannot be lowered");
  auto kernels = module->getOps<mlir::gpu::GPUModuleOp>();
  if (!llvm::hasSingleElement(kernels))
    return llvm::createStringError("expected one gpu.module");
  std::unique_ptr<llvm::Module> result = mlir::translateModuleToLLVMIR(*kernels.begin(), llvmContext, "kernels");
  if (!result)
    return llvm::createStringError("the kernels cannot be translated to LLVM IR");
  // As the NVPTX back end has it for 64-bit pointers.
  result->setTargetTriple(llvm::Triple("nvptx64-nvidia-cuda"));
  result->setDataLayout("e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-n16:32:64");
  return result;
}

static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(callGraph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, callGraph, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O1).run(module, modules);
}

static llvm::Error run() {
  auto file = llvm::MemoryBuffer::getFileOrSTDIN(inputFile, /*IsText=*/true);
  if (!file)
    return llvm::createStringError(inputFile + ": " + file.getError().message());
  if (!bug.empty()) {
    auto text = moe::test::plantBug((*file)->getBuffer(), bug);
    if (!text)
      return text.takeError();
    *file = llvm::MemoryBuffer::getMemBufferCopy(*text, inputFile);
  }
  auto context = std::make_unique<llvm::LLVMContext>();
  std::unique_ptr<llvm::Module> module;
  if (isLlvmIr) {
    llvm::SMDiagnostic diagnostic;
    module = llvm::parseIR((*file)->getMemBufferRef(), diagnostic, *context);
    if (!module)
      return llvm::createStringError(inputFile + ": " + diagnostic.getMessage());
  } else {
    auto translated = translateMlir(**file, *context);
    if (!translated)
      return translated.takeError();
    module = std::move(*translated);
  }

  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  auto host = llvm::orc::JITTargetMachineBuilder::detectHost();
  if (!host)
    return host.takeError();
  auto machine = host->createTargetMachine();
  if (!machine)
    return machine.takeError();
  if (llvm::Error error = moe::convertKernelsToHost(*module, **machine, {/*instrument=*/!isPlain}))
    return error;
  if (printIr) {
    module->print(llvm::outs(), nullptr);
    return llvm::Error::success();
  }
  optimize(*module, **machine);

  auto jit = llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(std::move(*host)).create();
  if (!jit)
    return jit.takeError();
  auto process =
      llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess((*jit)->getDataLayout().getGlobalPrefix());
  if (!process)
    return process.takeError();
  (*jit)->getMainJITDylib().addGenerator(std::move(*process));
  if (llvm::Error error = (*jit)->addIRModule(llvm::orc::ThreadSafeModule(std::move(module), std::move(context))))
    return error;

  std::vector<llvm::StringRef> script = moe::test::findScript((*file)->getBuffer());
  if (script.empty())
    return llvm::createStringError("the file has no line with 'EMULATE:'");
  auto lookup = [&](llvm::StringRef name) -> llvm::Expected<const MoeGpuKernel *> {
    // Hidden symbols are found from inside only.
    auto &session = (*jit)->getExecutionSession();
    auto symbol = session.lookup(
        llvm::orc::makeJITDylibSearchOrder(&(*jit)->getMainJITDylib(), llvm::orc::JITDylibLookupFlags::MatchAllSymbols),
        (*jit)->mangleAndIntern(("moe_gpu_kernel_" + name).str()));
    if (!symbol)
      return symbol.takeError();
    return symbol->getAddress().toPtr<const MoeGpuKernel *>();
  };
  if (seeds.empty())
    seeds.push_back(0);
  for (uint64_t seed : seeds) {
    moe::rt::setEmulatorSeed(seed);
    llvm::outs() << "seed " << seed << "\n";
    if (llvm::Error error = moe::test::runScript(script, lookup, {showTimes}))
      return error;
  }
  return llvm::Error::success();
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  llvm::cl::ParseCommandLineOptions(argc, argv, "runs the kernels of a test on the kernel emulator\n");
  if (llvm::Error error = run()) {
    llvm::WithColor::error(llvm::errs(), "moe-emulate-kernels") << llvm::toString(std::move(error)) << "\n";
    return 1;
  }
  return 0;
}

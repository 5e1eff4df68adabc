//===- Optimize.cpp - LLVM's passes over our code -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

#include "llvm/IR/Module.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/IPO/GlobalDCE.h"
#include "llvm/Transforms/IPO/ModuleInliner.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/GVN.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/LoopRotation.h"
#include "llvm/Transforms/Scalar/SROA.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "llvm/Transforms/Vectorize/LoopVectorize.h"

using namespace moe;

namespace {

/// Runs pipelines of LLVM's new pass manager for one machine.
class Optimizer {
public:
  /// The kernels choose their own blocks and vectors. Unrolling the loops around them, or looking for more vectors in
  /// straight-line code, would double the code and the time it takes to generate it, for nothing.
  Optimizer(llvm::TargetMachine &machine) : builder(&machine, tuning()) {
    builder.registerModuleAnalyses(modules);
    builder.registerCGSCCAnalyses(callGraph);
    builder.registerFunctionAnalyses(functions);
    builder.registerLoopAnalyses(loops);
    builder.crossRegisterProxies(loops, functions, callGraph, modules);
  }

  static llvm::PipelineTuningOptions tuning() {
    llvm::PipelineTuningOptions options;
    options.LoopUnrolling = false;
    options.LoopInterleaving = false;
    options.LoopVectorization = true;
    options.SLPVectorization = false;
    return options;
  }

  void runStandard(llvm::Module &module, llvm::OptimizationLevel level) {
    builder.buildPerModuleDefaultPipeline(level).run(module, modules);
  }

  void run(llvm::Module &module, llvm::ModulePassManager passes) { passes.run(module, modules); }

private:
  // Managers refer to each other: the order of destruction matters.
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder;
};

} // namespace

void moe::cpu::optimize(llvm::Module &module, llvm::TargetMachine &machine, llvm::OptimizationLevel level) {
  Optimizer(machine).runStandard(module, level);
}

void moe::cpu::optimizeLoweredCode(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::FunctionPassManager scalars;
  scalars.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  scalars.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
  scalars.addPass(llvm::SimplifyCFGPass());
  llvm::LoopPassManager loops;
  loops.addPass(llvm::LoopRotatePass());
  loops.addPass(llvm::LICMPass(llvm::LICMOptions()));
  scalars.addPass(llvm::createFunctionToLoopPassAdaptor(std::move(loops), /*UseMemorySSA=*/true));
  scalars.addPass(llvm::GVNPass());
  llvm::LoopVectorizeOptions vectorize;
  vectorize.InterleaveOnlyWhenForced = true;
  scalars.addPass(llvm::LoopVectorizePass(vectorize));
  scalars.addPass(llvm::InstCombinePass());
  scalars.addPass(llvm::SimplifyCFGPass());

  llvm::ModulePassManager passes;
  passes.addPass(llvm::GlobalDCEPass());
  passes.addPass(llvm::ModuleInlinerWrapperPass());
  passes.addPass(llvm::GlobalDCEPass());
  passes.addPass(llvm::createModuleToFunctionPassAdaptor(std::move(scalars)));
  Optimizer(machine).run(module, std::move(passes));
}

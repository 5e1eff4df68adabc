//===- Phases.cpp - the phases of a compilation ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Thin on purpose: functions that add passes, nothing else.
//
//===----------------------------------------------------------------------===//

#include "moe/Pipelines/Phases.h"

#include "dialect/Moe/Transforms/Passes.h"
#include "moe/Conversion/Passes.h"
#include "moe/Conversion/TilesToCPU.h"
#include "moe/Conversion/TilesToGPU.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Bufferization/Pipelines/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/Transforms/Passes.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace moe {

static constexpr Phase phases[] = {Phase::Import, Phase::Route,     Phase::Distribute, Phase::Fuse, Phase::Pack,
                                   Phase::Tile,   Phase::Bufferize, Phase::Kernel,     Phase::LLVM, Phase::Binary};

ArrayRef<Phase> allPhases() { return phases; }

StringRef phaseName(Phase phase) {
  switch (phase) {
  case Phase::Import:
    return "import";
  case Phase::Route:
    return "route";
  case Phase::Distribute:
    return "distribute";
  case Phase::Fuse:
    return "fuse";
  case Phase::Pack:
    return "pack";
  case Phase::Tile:
    return "tile";
  case Phase::Bufferize:
    return "bufferize";
  case Phase::Kernel:
    return "kernel";
  case Phase::LLVM:
    return "llvm";
  case Phase::Binary:
    return "binary";
  }
  llvm_unreachable("no such phase");
}

std::optional<Phase> parsePhase(StringRef name) {
  for (Phase phase : phases)
    if (phaseName(phase) == name)
      return phase;
  return std::nullopt;
}

static void addCleanUp(OpPassManager &pm) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

/// Only grouped matmuls can be quantised, so then the reference lowering starts from them.
static bool lowersExpertsAsTheyAre(const PipelineOptions &options) { return options.reference && !options.quantizes(); }

static void buildRoute(OpPassManager &pm, const PipelineOptions &options) {
  addCleanUp(pm);
  if (lowersExpertsAsTheyAre(options))
    return;
  pm.addPass(createMoeCutExperts());
  pm.addPass(createMoeGroupMatmuls());
  addCleanUp(pm);
}

static void buildFuse(OpPassManager &pm, const PipelineOptions &options) {
  if (lowersExpertsAsTheyAre(options))
    return;
  // Epilogues first: elementwise fusion moves reshapes between a product and what it is followed by.
  pm.addPass(createMoeFuseGroupedMatmuls());
  pm.addPass(createLinalgElementwiseOpFusionPass());
  addCleanUp(pm);
  pm.addPass(createMoeFuseGroupedMatmuls());
  // A size taken from a fused op would keep it alive.
  pm.addPass(memref::createResolveShapedTypeResultDimsPass());
  addCleanUp(pm);
  if (options.quantizes()) {
    pm.addPass(createMoeQuantize({options.quantizeExperts, options.quantizeOthers}));
    addCleanUp(pm);
  }
  if (!options.reference) {
    pm.addPass(createMoeKeepCodes());
    addCleanUp(pm);
  }
}

static void buildPack(OpPassManager &pm, const PipelineOptions &options) {
  // Panels of 16 columns are for vectors; tensor cores take weights as checkpoints have them, k fastest, but for codes.
  if (!options.reference)
    pm.addPass(options.target == Target::CPU ? createMoePackWeights() : createMoePackCodes());
  pm.addPass(createMoePrepareParameters());
  pm.addPass(createMoeParametersToArguments());
  pm.addPass(func::createDuplicateFunctionEliminationPass());
  pm.addPass(createSymbolDCEPass());
  addCleanUp(pm);
}

static void buildTile(OpPassManager &pm, const PipelineOptions &options) {
  pm.addPass(createMoeErasePrepare());
  if (options.reference) {
    pm.addPass(createMoeToLinalg());
    addCleanUp(pm);
    return;
  }
  // First the ops whose tiles are ops again, then what they and all others are lowered to.
  MoeTileOptions tiles;
  tiles.tuneFor = options.tuneFor;
  if (options.target == Target::CUDA) {
    tiles.rowBlock = 1; // a warp has a row
    tiles.matmulRows = gpuTileRows;
  }
  if (options.target == Target::CUDA) {
    // One loop is one kernel.
    pm.addNestedPass<func::FuncOp>(createMoeFuseRouting());
    pm.addNestedPass<func::FuncOp>(createMoeFuseCombine({tiles.matmulRows, /*remarks=*/false}));
  }
  tiles.linalg = false;
  pm.addNestedPass<func::FuncOp>(createMoeTile(tiles));
  if (options.target == Target::CUDA) {
    pm.addNestedPass<func::FuncOp>(createMoeFuseRows({tiles.matmulRows, /*remarks=*/false}));
    pm.addNestedPass<func::FuncOp>(createMoeSchedulePlans());
    pm.addPass(createTopKToReductions()); // what it leaves is for the next pass
  }
  pm.addPass(createTopKToVectors());
  pm.addPass(createMoeToLinalg({/*keepGroupedMatmul=*/true}));
  pm.addPass(memref::createResolveShapedTypeResultDimsPass());
  addCleanUp(pm);
  tiles.linalg = true;
  pm.addNestedPass<func::FuncOp>(createMoeTile(tiles));
  addCleanUp(pm);
}

static void addBufferization(OpPassManager &pm) {
  pm.addPass(bufferization::createEmptyTensorEliminationPass());
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  options.functionBoundaryTypeConversion = bufferization::LayoutMapOption::IdentityLayoutMap;
  options.allowReturnAllocsFromLoops = true;
  pm.addPass(bufferization::createOneShotBufferizePass(options));
  pm.addPass(bufferization::createDropEquivalentBufferResultsPass());
  pm.addPass(createMoeDropStateResults());
  addCleanUp(pm);
}

static void addDeallocation(OpPassManager &pm) {
  bufferization::buildBufferDeallocationPipeline(pm, bufferization::BufferDeallocationPipelineOptions());
  // Results belong to the caller: an argument that is returned was cloned.
  pm.addPass(createConvertBufferizationToMemRefPass());
  addCleanUp(pm);
}

static void buildBufferize(OpPassManager &pm, const PipelineOptions &options) {
  addBufferization(pm);
  // Device memory is freed in the order of launches, which phase kernel makes.
  if (options.target == Target::CPU)
    addDeallocation(pm);
}

void buildPhase(OpPassManager &pm, Phase phase, const PipelineOptions &options) {
  switch (phase) {
  case Phase::Import:
  case Phase::Distribute: // one rank: nothing to exchange
  case Phase::Binary:
    return;
  case Phase::Route:
    return buildRoute(pm, options);
  case Phase::Fuse:
    return buildFuse(pm, options);
  case Phase::Pack:
    return buildPack(pm, options);
  case Phase::Tile:
    return buildTile(pm, options);
  case Phase::Bufferize:
    return buildBufferize(pm, options);
  case Phase::Kernel:
    if (options.target == Target::CUDA)
      return addGPUKernelPasses(pm, options.gpuArchitectures);
    return addKernelPasses(pm, options.isaLevels);
  case Phase::LLVM:
    return options.target == Target::CUDA ? addGPULLVMPasses(pm) : addLLVMPasses(pm);
  }
}

void buildPhasesTo(OpPassManager &pm, Phase last, const PipelineOptions &options) {
  for (Phase phase : phases)
    if (phase <= last)
      buildPhase(pm, phase, options);
}

void buildPreparePipeline(OpPassManager &pm, const PipelineOptions &options) {
  pm.addPass(createMoeLowerPack());
  addCleanUp(pm);
  addBufferization(pm);
  addDeallocation(pm);
  std::optional<ArrayRef<std::string>> levels;
  if (!options.isaLevels.empty())
    levels = options.isaLevels;
  addKernelPasses(pm, levels);
  addLLVMConversion(pm);
}

namespace {
/// The options of a compilation as a pass pipeline takes them.
struct CommandLineOptions : PassPipelineOptions<CommandLineOptions> {
  ListOption<std::string> isa{*this, "isa", llvm::cl::desc("Instruction-set levels, best first (default: all)")};
  Option<std::string> target{*this, "target", llvm::cl::desc("cpu or cuda"), llvm::cl::init("cpu")};
  ListOption<std::string> gpuArch{*this, "gpu-arch", llvm::cl::desc("Architectures of target cuda")};
  Option<bool> reference{*this, "reference", llvm::cl::desc("Lower by the reference semantics"), llvm::cl::init(false)};
  Option<std::string> quantize{*this, "quantize", llvm::cl::desc("Format of the experts' weights")};
  Option<std::string> quantizeOthers{*this, "quantize-others", llvm::cl::desc("Format of the other weights")};
  Option<std::string> tuneFor{*this, "tune-for", llvm::cl::desc("Machine file that tile sizes are chosen for")};

  PipelineOptions get() const {
    PipelineOptions options;
    options.isaLevels.assign(isa.begin(), isa.end());
    options.target = target == "cuda" ? Target::CUDA : Target::CPU;
    options.gpuArchitectures.assign(gpuArch.begin(), gpuArch.end());
    options.reference = reference;
    options.quantizeExperts = quantize;
    options.quantizeOthers = quantizeOthers;
    options.tuneFor = tuneFor;
    return options;
  }
};
} // namespace

void registerMoePipelines() {
  // The registry keeps references to the names.
  static std::vector<std::string> texts;
  texts.reserve(4 * std::size(phases));
  auto keep = [&](const Twine &text) -> StringRef { return texts.emplace_back(text.str()); };
  for (Phase phase : phases) {
    if (phase == Phase::Import || phase == Phase::Binary)
      continue;
    PassPipelineRegistration<CommandLineOptions>(
        keep("moe-phase-" + phaseName(phase)), keep("The phase " + phaseName(phase) + " alone"),
        [phase](OpPassManager &pm, const CommandLineOptions &options) { buildPhase(pm, phase, options.get()); });
    PassPipelineRegistration<CommandLineOptions>(
        keep("moe-to-" + phaseName(phase)), keep("All phases from route to " + phaseName(phase)),
        [phase](OpPassManager &pm, const CommandLineOptions &options) { buildPhasesTo(pm, phase, options.get()); });
  }
  PassPipelineRegistration<CommandLineOptions>(
      "moe-prepare-pipeline", "Module @prepare from tensors to the LLVM dialect",
      [](OpPassManager &pm, const CommandLineOptions &options) { buildPreparePipeline(pm, options.get()); });
}

} // namespace moe

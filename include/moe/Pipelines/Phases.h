//===- Phases.h - the phases of a compilation -----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A compilation is a row of named phases; docs/Phases.md shows the IR after each. moe-compile runs them one after the
// other
// (`--compile-to=PHASE` stops after one); moe-opt has `--moe-phase-<name>` for one and `--moe-to-<name>` for all from
// `route` up to one. Both call the functions below.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_PIPELINES_PHASES_H
#define MOE_PIPELINES_PHASES_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace moe {

/// In the order in which they run.
enum class Phase {
  Import,     ///< description -> moe + linalg on tensors; no passes, this is what a frontend makes
  Route,      ///< moe.experts cut into grouped matmuls, dense products made grouped
  Distribute, ///< experts over ranks; nothing to do on one rank
  Fuse,       ///< gather prologues, siblings, epilogues, elementwise chains; quantisation where asked for
  Pack,       ///< weight layouts; what depends on parameters alone moves to module @prepare
  Tile,       ///< scf.forall over tiles; remaining moe ops lowered to linalg
  Bufferize,  ///< tensors -> memrefs
  Kernel,     ///< clones per instruction-set level, inner loops, threads, math functions
  LLVM,       ///< LLVM dialect, entry points
  Binary,     ///< object code; not a pass pipeline
};

/// All phases, in order.
llvm::ArrayRef<Phase> allPhases();
/// Name of a phase on command lines: "import", "route", ...
llvm::StringRef phaseName(Phase phase);
/// The phase called `name`, if there is one.
std::optional<Phase> parsePhase(llvm::StringRef name);

/// What code is generated for.
enum class Target { CPU, CUDA };

struct PipelineOptions {
  Target target = Target::CPU;
  /// Architectures that kernels are compiled for, with Target::CUDA: "sm_80", "sm_90a", ... Blocks are chosen for the
  /// first one (see moe/Runtime/GpuCostModel.h).
  llvm::SmallVector<std::string> gpuArchitectures;
  /// Instruction-set levels to generate code for (see moe/Conversion/IsaLevels.h); empty: all, and for module @prepare
  /// this machine.
  llvm::SmallVector<std::string> isaLevels;
  /// Lower by the reference semantics: no fusion, no packing, no tiles, no threads. Slow; the oracle of the fast path.
  bool reference = false;
  /// Formats to quantise weights to (see moe-quantize): of the experts, and of everything else; empty: none.
  std::string quantizeExperts, quantizeOthers;
  bool quantizes() const { return !quantizeExperts.empty() || !quantizeOthers.empty(); }
  /// File with the machine that tile sizes are chosen for (see moe/Runtime/CostModel.h); empty: defaultMachine().
  std::string tuneFor;
};

/// Adds the passes of one phase to `pm`, which must be at a module. Import and Binary add none.
void buildPhase(mlir::OpPassManager &pm, Phase phase, const PipelineOptions &options = {});

/// Adds the passes of all phases from Route to `last`.
void buildPhasesTo(mlir::OpPassManager &pm, Phase last, const PipelineOptions &options = {});

/// Adds the passes that take module @prepare (see phase Pack) from tensors to the LLVM dialect. With levels in
/// `options` functions are cloned for them as in phase Kernel.
void buildPreparePipeline(mlir::OpPassManager &pm, const PipelineOptions &options = {});

/// Registers `--moe-phase-<name>`, `--moe-to-<name>` and `--moe-prepare-pipeline`.
void registerMoePipelines();

} // namespace moe

#endif // MOE_PIPELINES_PHASES_H

//===- Compilation.h - one run of moe-compile -----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_COMPILATION_H
#define MOE_LIB_DRIVER_COMPILATION_H

#include "Manifest.h"
#include "Report.h"
#include "moe/Conversion/IsaLevels.h"
#include "moe/Driver/Options.h"
#include "moe/Pipelines/Phases.h"
#include "moe/Target/CUDA.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/SourceMgr.h"

#include <memory>
#include <optional>

namespace moe {

class OutputFile;

namespace cpu {
class Program;
} // namespace cpu

/// Takes a model from its description to the output the options ask for.
class Compilation {
public:
  Compilation(const CompileOptions &options, mlir::MLIRContext &context);
  ~Compilation();

  /// Does it all. Nothing is left behind after an error but what --save-temps asks for.
  llvm::Error run();

private:
  /// Fills `output`, and refuses outputs that cannot be written before any work is done.
  llvm::Error chooseOutput();
  /// Fills `levels` and `architecture`, and refuses programs that could not be linked.
  llvm::Error chooseLevels();
  /// Fills `architectures`.
  llvm::Error chooseArchitectures();
  /// Finds the machines to tune for and to predict for.
  llvm::Error chooseMachines();
  /// Reads the model into `model`.
  llvm::Error load();
  llvm::Error loadFile();
  llvm::Error loadFolder();
  /// Runs one phase on the module, with diagnostics turned into errors where they have no source file.
  llvm::Error runPhase(Phase phase);
  /// After `pack`: takes signatures and weights down, and the module @prepare out.
  llvm::Error takeParameters();
  /// After `kernel`: which of the wanted levels the module has functions for.
  void takeLevels();
  /// After `llvm`: code, link, weights.
  llvm::Error writeBinary();
  /// With --emit=ptx, cubin, fatbin: writes the kernels.
  llvm::Error writeKernels();
  /// Translates the kernels out of the module, which keeps the host's code.
  llvm::Error takeKernels();
  /// The kernels as `kind`: PTX of the first architecture, its cubin, or a fat binary.
  llvm::Error emitKernels(EmitKind kind, llvm::SmallVectorImpl<char> &bytes);
  /// Object code of the kernels, for the emulator or with their image.
  llvm::Error emitKernelObject(llvm::SmallVectorImpl<char> &code);
  /// Adds the object file of a program for processors, or what is linked of several (an object file for a GPU too), to
  /// `files`, unless it goes to standard output.
  llvm::Error writeObject(cpu::Program &program, std::vector<OutputFile> &files);
  llvm::Error linkProgram(cpu::Program &program, std::vector<OutputFile> &files);
  llvm::Error writeWeightsTo(OutputFile &file);
  /// Writes the IR as it is now to the output, which may be standard output.
  llvm::Error writeText(llvm::function_ref<void(llvm::raw_ostream &)> print);
  /// With --save-temps: writes OUT.<suffix>.
  llvm::Error saveTemporary(llvm::StringRef suffix, llvm::function_ref<void(llvm::raw_ostream &)> print);

  /// Runs `step`, remembers how long it took, and says so with -v.
  llvm::Error timed(llvm::StringRef name, llvm::function_ref<llvm::Error()> step);
  /// A failure of our own passes: explained already for .mlir files, else the first diagnostic.
  llvm::Error passError(llvm::StringRef phase);

  bool isGPU() const { return options.target == TargetKind::CUDA; }

  /// Whether the weights become a file of their own, OUT.weights.
  bool hasExternalWeights() const;

  const CompileOptions &options;
  mlir::MLIRContext &context;
  bool isFile = false; // the model is an .mlir file, not a checkpoint folder
  std::string output;  // "-": standard output
  std::optional<Phase> last;
  std::vector<std::string> levels; // all of `architecture`
  Architecture architecture = hostArchitecture();
  std::vector<cuda::DeviceArchitecture> architectures; // of --gpu-arch
  std::optional<cuda::Kernels> kernels;
  std::vector<StepTime> steps;

  llvm::SourceMgr sources; // of an .mlir file
  std::unique_ptr<mlir::ScopedDiagnosticHandler> diagnostics;
  std::string firstError; // of passes on a module without source

  ImportedModel model;
  mlir::OwningOpRef<mlir::ModuleOp> prepare;
  WeightsTable weights;
  std::vector<Entry> entries;
  uint64_t modelFingerprint = 0;

  std::string tuneFor;         // machine file; empty: the default machine
  rt::Machine reportedMachine; // that --report predicts for
  std::string reportedSource;
  std::vector<EntryStages> stages;
  std::vector<EntryLaunches> launches; // of programs for GPUs
  uint64_t codeBytes = 0;
};

} // namespace moe

#endif // MOE_LIB_DRIVER_COMPILATION_H

//===- Internal.h - steps shared by Program and PrepareRunner -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_TARGET_CPU_INTERNAL_H
#define MOE_LIB_TARGET_CPU_INTERNAL_H

#include "moe/Conversion/IsaLevels.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Passes/OptimizationLevel.h"
#include "llvm/Support/Error.h"
#include "llvm/Target/TargetOptions.h"

#include <memory>
#include <string>

namespace llvm {
class LLVMContext;
class Module;
class TargetMachine;
} // namespace llvm

namespace mlir {
class ModuleOp;
} // namespace mlir

namespace moe::cpu {

/// While it lives, keeps the first error that is diagnosed; no diagnostic is shown.
class FirstError {
public:
  explicit FirstError(mlir::MLIRContext &context)
      : handler(&context, [this](mlir::Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error && first.empty())
            first = diagnostic.str();
          return mlir::success();
        }) {}

  std::string text() const { return first.empty() ? "no message" : first; }

private:
  std::string first;
  mlir::ScopedDiagnosticHandler handler;
};

/// Code generator for what all processors of `architecture` have, position independent; functions ask for more by their
/// attributes.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>> createTargetMachine(Architecture architecture);

/// Options under which every float operation of the IR is done as written.
llvm::TargetOptions exactFloats();

/// LLVM dialect to LLVM IR with the triple and data layout of `machine`.
llvm::Expected<std::unique_ptr<llvm::Module>> translate(mlir::ModuleOp module, llvm::LLVMContext &context,
                                                        llvm::TargetMachine &machine);

/// LLVM's standard pipeline without unrolling, in place.
void optimize(llvm::Module &module, llvm::TargetMachine &machine, llvm::OptimizationLevel level);

/// What code from the phases still needs, in place. MLIR has folded constants, removed common expressions and moved
/// what does not change out of loops before; loops that matter are vectors and blocks already. So one round of the
/// scalar passes reaches what the standard pipeline does in four times the time (a quarter of a compilation).
void optimizeLoweredCode(llvm::Module &module, llvm::TargetMachine &machine);

} // namespace moe::cpu

#endif // MOE_LIB_TARGET_CPU_INTERNAL_H

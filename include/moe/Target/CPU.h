//===- CPU.h - object code and executables for CPUs -----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The last steps of a compilation: LLVM dialect -> LLVM IR -> object file -> executable. One object holds the code of
// all instruction-set levels; `moe_model_variants` (moe/Runtime/Abi.h) lists them, and the runtime picks at start-up.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_TARGET_CPU_H
#define MOE_TARGET_CPU_H

#include "moe/Conversion/IsaLevels.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <string>
#include <vector>

namespace llvm {
class LLVMContext;
class Module;
class TargetMachine;
class raw_ostream;
class raw_pwrite_stream;
} // namespace llvm

namespace mlir {
class ModuleOp;
} // namespace mlir

namespace moe::cpu {

/// What goes into the object beside code; see moe/Runtime/Abi.h.
struct ModelData {
  std::vector<std::string> entries; // names of the entry functions
  std::vector<std::string> levels;  // instruction-set levels of one architecture, at least one, best first
  std::string manifest;             // JSON
  std::string tokenizer;            // JSON or empty
  bool onDevice = false;            // parameters and states are in the memory of a GPU
};

/// Code of a model as LLVM IR for one architecture, every function with the features of its level.
class Program {
public:
  /// Translates `module` (LLVM dialect, with a function `moe_entry_<entry>.<level>` for each entry and level of `data`)
  /// and adds the data of `data`. Only the data symbols and entry functions stay visible outside an object file, and
  /// none outside what it is linked into.
  static llvm::Expected<Program> create(mlir::ModuleOp module, const ModelData &data);

  /// Optimises and generates code, level by level on several threads: one relocatable object file for each level, to be
  /// linked together.
  llvm::Expected<std::vector<llvm::SmallVector<char, 0>>> emitObjects();

  /// The same as one object file.
  llvm::Error emitObject(llvm::raw_pwrite_stream &stream);

  /// Prints the optimised LLVM IR as text.
  void print(llvm::raw_ostream &stream);

  Program(Program &&);
  Program &operator=(Program &&);
  ~Program();

private:
  Program();
  void optimizeOnce();

  // In this order: the module must go before its context.
  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::TargetMachine> machine;
  std::unique_ptr<llvm::Module> module;
  std::vector<std::string> levels;
  bool isOptimized = false;
};

/// Optimises `module`, which is for the host, and generates a relocatable object file.
llvm::Error emitObject(llvm::Module &module, llvm::raw_pwrite_stream &stream);

/// Links `objects` with the runtime's command line into the position-independent executable `output`, which needs
/// nothing but libc and libm. Everything else comes from the installation for `architecture`: the runtime, and
/// `archives` of it besides. Nothing is left at `output` after an error.
llvm::Error linkExecutable(llvm::ArrayRef<std::string> objects, Architecture architecture, llvm::StringRef output,
                           llvm::ArrayRef<llvm::StringRef> archives = {});

/// Links `objects` with the runtime's C interface into the shared library `output`, in the same way. Programs linked to
/// it will look for a file called `name`.
llvm::Error linkShared(llvm::ArrayRef<std::string> objects, Architecture architecture, llvm::StringRef output,
                       llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> archives = {});

/// Makes one relocatable object file `output` of `objects`.
llvm::Error linkRelocatable(llvm::ArrayRef<std::string> objects, Architecture architecture, llvm::StringRef output);

/// The folder with the runtime's archives, start files and the like for `architecture`: `../lib/moe` beside the folder
/// of the running program, and for another architecture than the program's own a folder of its name in there.
std::string getInstallation(Architecture architecture = hostArchitecture());

/// Whether there is an installation for `architecture`: the one for a foreign architecture is optional.
bool canLink(Architecture architecture);

} // namespace moe::cpu

#endif // MOE_TARGET_CPU_H

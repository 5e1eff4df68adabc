//===- CUDA.h - kernels as PTX, cubin and fatbin --------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// LLVM dialect -> LLVM IR for NVPTX -> PTX needs nothing but this program. PTX -> cubin is done by ptxas of a CUDA
// toolkit, which is looked for when it is needed.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_TARGET_CUDA_H
#define MOE_TARGET_CUDA_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace llvm {
class LLVMContext;
class Module;
class TargetMachine;
class raw_ostream;
} // namespace llvm

namespace mlir {
class ModuleOp;
} // namespace mlir

namespace moe::cuda {

/// An architecture that code is generated for.
struct DeviceArchitecture {
  std::string name;    // "sm_90a"
  unsigned number = 0; // 90
};

/// The architecture called `name`; none if LLVM does not know it or if kernels need more than it has (sm_80 is the
/// least).
std::optional<DeviceArchitecture> parseArchitecture(llvm::StringRef name);

/// All kernels of a program as LLVM IR.
class Kernels {
public:
  /// Translates `gpu.module @kernels` of `module`, which must be in the LLVM dialect.
  static llvm::Expected<Kernels> create(mlir::ModuleOp module);

  /// The kernels' names, in order.
  std::vector<std::string> names() const;

  /// Writes them as text, for no particular architecture and not optimised.
  void print(llvm::raw_ostream &stream) const;

  /// PTX for `architecture`. Several threads may ask at a time.
  llvm::Expected<std::string> emitPTX(const DeviceArchitecture &architecture) const;

  /// Object code for a program that runs the kernels on the host (moe/Target/KernelToHost.h). `instrument`: with checks
  /// of every access to memory.
  llvm::Expected<llvm::SmallVector<char, 0>> emitHostObject(bool instrument) const;

  /// An object with `image` (cubin, fatbin or PTX) and what the runtime needs to know of the kernels in it.
  llvm::Expected<llvm::SmallVector<char, 0>> emitImageObject(llvm::ArrayRef<char> image) const;

  Kernels(Kernels &&);
  Kernels &operator=(Kernels &&);
  ~Kernels();

private:
  Kernels();
  llvm::Expected<std::unique_ptr<llvm::Module>> clone(llvm::LLVMContext &context) const;

  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::Module> module;
  llvm::SmallVector<char, 0> bitcode; // of the module: the way into another context
};

/// A CUDA toolkit's `program` ("ptxas"), in PATH, CUDA_HOME or /usr/local/cuda; an error that says where it was
/// looked for.
llvm::Expected<std::string> findTool(llvm::StringRef program);

/// Assembles `ptx` for `architecture`. Registers, spills and the like go to `log`, as ptxas -v prints them.
llvm::Expected<llvm::SmallVector<char, 0>> assemble(llvm::StringRef ptx, const DeviceArchitecture &architecture,
                                                    std::string &log);

/// What a fat binary holds for one architecture: a cubin, or PTX that later GPUs can run too.
struct FatbinPart {
  DeviceArchitecture architecture;
  bool isPTX;
  llvm::SmallVector<char, 0> code;
};

/// Puts `parts` into one fat binary, by the toolkit's fatbinary.
llvm::Expected<llvm::SmallVector<char, 0>> makeFatbin(llvm::ArrayRef<FatbinPart> parts);

} // namespace moe::cuda

#endif // MOE_TARGET_CUDA_H

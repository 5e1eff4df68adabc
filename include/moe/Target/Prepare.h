//===- Prepare.h - runs @prepare at compile time --------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Phase `pack` moves everything that depends on parameters alone into functions of a nested module `@prepare`. They run
// here, inside the compiler, and their results become the weights of the executable.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_TARGET_PREPARE_H
#define MOE_TARGET_PREPARE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>

namespace mlir {
class ModuleOp;
class OpPassManager;
} // namespace mlir

namespace moe::cpu {

/// A tensor in memory, row-major without gaps.
struct TensorView {
  llvm::ArrayRef<int64_t> shape;
  llvm::ArrayRef<char> bytes;
};

/// Compiles the functions of `@prepare` for this machine, and calls them.
class PrepareRunner {
public:
  /// Lowers a copy of `prepare` by `pipeline` (to the LLVM dialect) and compiles it. Each function has tensor arguments
  /// and one tensor result. Fails with the first diagnostic if the pipeline does.
  static llvm::Expected<std::unique_ptr<PrepareRunner>>
  create(mlir::ModuleOp prepare, llvm::function_ref<void(mlir::OpPassManager &)> pipeline);

  /// Calls `function` on `inputs` and hands its result, of the given static shape and element size, to `take`,
  /// row-major without gaps; the bytes live until `take` returns. Inputs must have the shapes of the function's
  /// arguments.
  llvm::Error run(llvm::StringRef function, llvm::ArrayRef<TensorView> inputs, llvm::ArrayRef<int64_t> shape,
                  unsigned elementBytes, llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> take);

  ~PrepareRunner();

private:
  struct Impl;
  explicit PrepareRunner(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl;
};

} // namespace moe::cpu

#endif // MOE_TARGET_PREPARE_H

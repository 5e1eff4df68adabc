//===- Kernel.h - what the passes know of a kernel ------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_KERNEL_H
#define MOE_LIB_CONVERSION_TILESTOGPU_KERNEL_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Builders.h"

#include <optional>

namespace moe {

/// The threads that run one iteration of a kernel's loop together.
enum class Team {
  Grid,  ///< all threads of all blocks; one elementwise op after another, none reads what another wrote
  Block, ///< the threads of a block
  Warp,  ///< 32 threads
};

/// Attribute of a gpu.func: the name of its team, from moe-form-kernels to moe-distribute-kernels.
constexpr llvm::StringLiteral teamAttr = "moe.team";
/// The module that all kernels are in.
constexpr llvm::StringLiteral kernelModuleName = "kernels";

constexpr int64_t warpSize = 32;

llvm::StringRef teamName(Team team);
std::optional<Team> parseTeam(llvm::StringRef name);

/// Position of a thread among those it works with, and other numbers of a kernel; made where the builder stands.
struct ThreadNumbers {
  mlir::Value thread; ///< in its team
  int64_t threads;    ///< in a team; 0 for Team::Grid, where only the launch knows
  mlir::Value count;  ///< the same as a value
};
ThreadNumbers makeThreadNumbers(mlir::OpBuilder &b, mlir::Location loc, Team team, int64_t blockSize);

/// Threads of a block of `kernel`: its known_block_size.
int64_t getBlockSize(mlir::gpu::GPUFuncOp kernel);

/// Keeps one of several equal kernels in `kernels`, and lets all launches in `module` use it.
void mergeKernels(mlir::ModuleOp module, mlir::gpu::GPUModuleOp kernels);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_KERNEL_H

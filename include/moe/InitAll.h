//===- InitAll.h - the one place where everything is registered -----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_INITALL_H
#define MOE_INITALL_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace moe {

/// Adds our dialects and their interfaces, and all upstream dialects and extensions, to `registry`.
void registerAllDialects(mlir::DialectRegistry &registry);

/// Adds the dialects meant for tests only (`check`): moe-opt and the language server know them, moe-compile does not.
void registerTestDialects(mlir::DialectRegistry &registry);

/// Registers our passes and phase pipelines and all upstream passes, so that they can be named in a pipeline.
void registerAllPasses();

/// Registers our passes and phase pipelines only: what moe-compile needs.
void registerMoePasses();

/// Registers the passes of the test dialects (`check`).
void registerTestPasses();

} // namespace moe

#endif // MOE_INITALL_H

//===- Outlining.h - parallel loops as functions of their own -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_COMMON_OUTLINING_H
#define MOE_LIB_CONVERSION_COMMON_OUTLINING_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"

#include <optional>

namespace moe {

/// A parallel loop of either kind.
struct ParallelLoop {
  mlir::Operation *op;
  mlir::SmallVector<mlir::OpFoldResult> lowerBounds, upperBounds, steps;
  mlir::SmallVector<mlir::Value> inductionVars;

  /// None for anything but scf.forall and scf.parallel.
  static std::optional<ParallelLoop> from(mlir::Operation *op);

  mlir::Block &body() { return op->getRegion(0).front(); }
};

/// Rewrites a parallel loop inside an outlined body as loops of the thread that runs it.
void makeSequential(ParallelLoop loop);

/// A value that a body uses, and what of it travels to the body: of a memref the buffer and what its type leaves open.
struct Capture {
  mlir::Value value;
  mlir::SmallVector<mlir::Value> parts;

  static Capture make(mlir::OpBuilder &b, mlir::Value value);
  /// Puts the value together again from `loaded`, one for each part.
  mlir::Value rebuild(mlir::OpBuilder &b, mlir::ArrayRef<mlir::Value> loaded) const;
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_COMMON_OUTLINING_H

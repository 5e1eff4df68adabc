//===- StageLocation.h - the stage of the cost model an op belongs to -*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The cost model knows an entry as stages ("gate/up", "attention": docs/CostModel.md). Which stage an op is part of is
// known after phase fuse; it is asked for after bufferization, when the loops stand. Between the two, every op is
// rewritten; what survives is its location, so the name stands there.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_CONVERSION_STAGELOCATION_H
#define MOE_CONVERSION_STAGELOCATION_H

#include "mlir/IR/Location.h"
#include "mlir/IR/Operation.h"

namespace moe {

/// Writes into the location of `op` that it is part of `stage`.
inline void setStage(mlir::Operation *op, llvm::StringRef stage) {
  mlir::MLIRContext *context = op->getContext();
  op->setLoc(mlir::FusedLoc::get(context, {op->getLoc()}, mlir::StringAttr::get(context, stage)));
}

/// The stage that `location` names; null if it names none. Of several (ops that were merged) the first.
inline mlir::StringAttr getStage(mlir::Location location) {
  auto named = location->findInstanceOf<mlir::FusedLocWith<mlir::StringAttr>>();
  return named ? named.getMetadata() : mlir::StringAttr();
}

} // namespace moe

#endif // MOE_CONVERSION_STAGELOCATION_H

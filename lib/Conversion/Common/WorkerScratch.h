//===- WorkerScratch.h - memory of a worker in a parallel loop ------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_COMMON_WORKERSCRATCH_H
#define MOE_LIB_CONVERSION_COMMON_WORKERSCRATCH_H

#include "mlir/IR/Builders.h"

namespace moe {

/// Whether `value` is defined outside of `loop`, so that it can be used before it.
bool isDefinedOutside(mlir::Value value, mlir::Operation *loop);

/// An upper bound of the index `value`, used inside of `loop`: a constant where there is one, else made before the loop
/// from values defined there. Fails where the value depends on what only the body knows.
mlir::FailureOr<mlir::OpFoldResult> boundOutside(mlir::OpBuilder &b, mlir::Value value, mlir::Operation *loop);

/// Memory that each worker of a parallel loop has for itself.
struct WorkerScratch {
  mlir::Value memory; ///< a stand-in for it, of type memref<?xi8> or memref<Nxi8>; null: none is needed
  mlir::OpFoldResult bytes;
};

/// Takes the buffers that the body of `loop` allocates out of it: each memref.alloc, and each memref.alloca of more
/// than 4 KB or of dynamic size, becomes a memref.view of the scratch memory at a multiple of 64 bytes, and its
/// deallocations vanish. An iteration finds there what the one before it left, as in fresh memory. Buffers of sibling
/// blocks share their place. What has no bound before the loop, or leaves the block it was made in, stays; `stays` is
/// told why.
WorkerScratch placeWorkerScratch(mlir::Operation *loop,
                                 llvm::function_ref<void(mlir::Operation *, llvm::StringRef)> stays);

/// Operations that one iteration of `loop` takes, roughly: a vector counts one for every 16 elements, an unknown branch
/// as taken. Made before the loop. Fails where a trip count has no bound there, or where an operation is not known.
mlir::FailureOr<mlir::OpFoldResult> estimateWork(mlir::OpBuilder &b, mlir::Operation *loop);

} // namespace moe

#endif // MOE_LIB_CONVERSION_COMMON_WORKERSCRATCH_H

//===- WarpLoops.h - parallel loops in a block's loop ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_WARPLOOPS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_WARPLOOPS_H

#include "lib/Conversion/Common/WorkerScratch.h"

namespace moe {

/// The parallel loops in the body of `loop` whose iterations the warps of a block take in turn: those with nothing in
/// them that a block does together.
mlir::SmallVector<mlir::Operation *> loopsOfWarps(mlir::Operation *loop);

/// Each of `warps` warps gets its own part of what stands for the memory of one in `loop`; the buffer that holds them
/// all is allocated in front of it.
void giveToWarps(mlir::Operation *loop, const WorkerScratch &scratch, int64_t warps);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_WARPLOOPS_H

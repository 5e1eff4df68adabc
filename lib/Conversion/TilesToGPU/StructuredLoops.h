//===- StructuredLoops.h - a linalg op as loops of a team of threads *- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_STRUCTUREDLOOPS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_STRUCTUREDLOOPS_H

#include "Kernel.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace moe {

/// Replaces `op`, on memrefs, by loops of one thread of `team`:
///
/// * each thread takes every threads-th point of the parallel loops and reduces it in order; or
/// * with few points and a reduction by a known operation over one loop, the lanes of a warp take every 32nd element,
///   and their partial results are combined in a fixed tree. Which of the two depends on static sizes alone.
mlir::LogicalResult lowerToTeamLoops(mlir::linalg::LinalgOp op, Team team, const ThreadNumbers &numbers);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_STRUCTUREDLOOPS_H

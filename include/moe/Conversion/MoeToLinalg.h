//===- MoeToLinalg.h - reference semantics of the moe dialect -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef MOE_CONVERSION_MOETOLINALG_H
#define MOE_CONVERSION_MOETOLINALG_H

namespace mlir {
class RewritePatternSet;
} // namespace mlir

namespace moe {

/// Patterns that lower moe ops on tensors (and linalg.softmax) to linalg, scf, tensor, arith and math: the oracle every
/// fast path is tested against. Without `withTargetOps`, moe.grouped_matmul and moe.attention stay: targets implement
/// them.
void populateMoeToLinalgPatterns(mlir::RewritePatternSet &patterns, bool withTargetOps);

} // namespace moe

#endif // MOE_CONVERSION_MOETOLINALG_H

//===- MoeDialect.td - the moe dialect ---------------------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_DIALECT_TD
#define MOE_DIALECT_TD

include "mlir/IR/DialectBase.td"

def Moe_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::moe";
  let summary = "routing, dispatch, experts and combine of Mixture-of-Experts layers";
  let description = [{
    The moe dialect holds the parts of a sparsely-gated Mixture-of-Experts layer that tensor programs cannot say well: the
    choice of experts, the ragged grouping of rows by expert, and what happens per group. Everything else (scores, norms,
    activations, losses) stays ordinary linalg, arith and math, so a new gate is composed, not added to an enumeration.

    Conventions:

    * All operands are plain ranked tensors; there is no plan type. T (tokens) is dynamic, model sizes are static.
    * Index tensors are i32; -1 means none.
    * R = T * k rows: row r of a plan serves the choice choices[r] = t * k + j.
    * Weight matrices are [experts, out, in].
    * Ops are pure. Only `moe.grouped_matmul` is destination-style and survives bufferization: it is the one op a
      target has to implement.

    A layer reads: scores -> `moe.top_k` -> [`moe.drop`] -> `moe.plan` -> `moe.dispatch` -> `moe.experts` ->
    `moe.combine`. docs/Rationale.md says why these ops and what was rejected; docs/Phases.md shows them come and go.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::tensor::TensorDialect", "::mlir::arith::ArithDialect",
                           "::mlir::affine::AffineDialect"];
}

#endif // MOE_DIALECT_TD

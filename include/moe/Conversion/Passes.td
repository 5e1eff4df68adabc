//===- Passes.td - passes that lower the moe dialect -------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_CONVERSION_PASSES_TD
#define MOE_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"
include "moe/Conversion/CPUPasses.td"
include "moe/Conversion/GPUPasses.td"

//===----------------------------------------------------------------------===//
// MoeToLinalg: the reference semantics
//===----------------------------------------------------------------------===//

def MoeToLinalg : Pass<"moe-to-linalg"> {
  let summary = "lower the moe dialect to linalg, scf and tensor: the reference semantics";
  let description = [{
    Every moe op on tensors becomes a tensor program written to be obviously right; `linalg.softmax` is decomposed on the
    way. It is the oracle for all faster lowerings, and what the phase `tile` uses for everything but
    `moe.grouped_matmul`.

    ```mlir
    %rows = moe.dispatch %x[%choices] {fanout = 2} : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
    ```
    becomes
    ```mlir
    %rows = linalg.generic ... ins(%choices) outs(%empty) {
    ^bb0(%choice: i32, %out: f32):
      %used = arith.cmpi sge, %choice, %c0_i32 : i32
      %value = scf.if %used -> (f32) { ... tensor.extract %x[%token, %column] ... } else { scf.yield %zero : f32 }
      linalg.yield %value : f32
    }
    ```
  }];
  let options = [Option<"keepGroupedMatmul", "keep-grouped-matmul", "bool", "false",
                        "Leave moe.grouped_matmul and moe.attention to the target">];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::moe::MoeDialect"];
}

#endif // MOE_CONVERSION_PASSES_TD

//===- Passes.td - passes of the check dialect -------------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef CHECK_PASSES_TD
#define CHECK_PASSES_TD

include "mlir/Pass/PassBase.td"

def CheckToRuntimePass : Pass<"check-to-runtime", "::mlir::ModuleOp"> {
  let summary = "turn check ops into calls of the library moe_check_runtime";
  let description = [{
    Runs on tensors, before bufferization and together with any lowering of the rest of the program. Each op becomes a call
    that takes both tensors as unranked memrefs (read only), and the op's location as text. A function with checks calls
    `moe_check_finish` before it returns: all its checks run, then the program prints how many passed, or ends with status
    1 after the messages of those that failed.

    ```mlir
    check.expect_eq %a, %b : tensor<?xi32>, tensor<2xi32>
    ```
    becomes
    ```mlir
    %0 = bufferization.to_buffer %a read_only : tensor<?xi32> to memref<?xi32, strided<[?], offset: ?>>
    %1 = memref.cast %0 : memref<?xi32, strided<[?], offset: ?>> to memref<*xi32>
    ...
    %4 = llvm.mlir.addressof @check.at : !llvm.ptr
    call @moe_check_i32(%1, %3, %zero, %4) : (memref<*xi32>, memref<*xi32>, f64, !llvm.ptr) -> ()
    ```

    A program without a check op stays as it is.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
                           "::mlir::func::FuncDialect", "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect"];
}

#endif // CHECK_PASSES_TD

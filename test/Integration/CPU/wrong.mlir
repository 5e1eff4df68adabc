// A wrong expectation does fail, in both lowerings: the program ends with status 1.
// RUN: moe-opt %s %lower-reference > %t.reference.mlir
// RUN: not mlir-runner %t.reference.mlir -e main --entry-point-result=void --shared-libs=%moe-check-lib,%moe-runtime-lib 2>&1 | FileCheck %s
// RUN: moe-opt %s %lower-fast > %t.fast.mlir
// RUN: not mlir-runner %t.fast.mlir -e main --entry-point-result=void --shared-libs=%moe-check-lib,%moe-runtime-lib 2>&1 | FileCheck %s

func.func @main() {
  %values = arith.constant dense<[[1.0, 3.0, 2.0]]> : tensor<1x3xf32>
  %s, %i = moe.top_k %values {k = 2} : tensor<1x3xf32> -> tensor<1x2xf32>, tensor<1x2xi32>
  // CHECK: check.expect_eq_const at {{.*}}wrong.mlir:[[#@LINE+1]]:3: expected 0 but got 2 at index [0, 1]
  check.expect_eq_const %i, dense<[[1, 0]]> : tensor<1x2xi32>
  // CHECK: check.expect_almost_eq_const at {{.*}}wrong.mlir:[[#@LINE+1]]:3: expected 2.5 but got 2 at index [0, 1]
  check.expect_almost_eq_const %s, dense<[[3.0, 2.5]]> : tensor<1x2xf32>
  check.expect_eq_const %s, dense<[[3.0, 2.0]]> : tensor<1x2xf32>
  // CHECK: 2 of 3 checks failed
  return
}

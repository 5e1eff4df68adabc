// RUN: moe-opt %s --check-to-runtime --one-shot-bufferize="bufferize-function-boundaries" --expand-strided-metadata --lower-affine \
// RUN:   --finalize-memref-to-llvm --convert-to-llvm --reconcile-unrealized-casts > %t.mlir
// RUN: mlir-runner %t.mlir -e same --entry-point-result=void --shared-libs=%moe-check-lib | FileCheck %s --check-prefix=SAME
// RUN: not mlir-runner %t.mlir -e different --entry-point-result=void --shared-libs=%moe-check-lib 2>&1 | FileCheck %s --check-prefix=DIFFERENT
// RUN: not mlir-runner %t.mlir -e far --entry-point-result=void --shared-libs=%moe-check-lib 2>&1 | FileCheck %s --check-prefix=FAR

// What counts as equal. The runner succeeds and every check is counted: none was lost on the way.
// SAME: 14 checks passed
func.func @same() {
  %nan = arith.constant dense<[0x7FC00000, 0xFF800000, 0.0]> : tensor<3xf32>
  check.expect_eq_const %nan, dense<[0xFFC00001, 0xFF800000, -0.0]> : tensor<3xf32>
  check.expect_almost_eq_const %nan, dense<[0x7FC00000, 0xFF800000, 1.0e-7]> : tensor<3xf32>

  // The tolerance is relative to the largest finite expected value, or absolute below 1.
  %big = arith.constant dense<[1000.0, 1.0, 0x7F800000]> : tensor<3xf32>
  check.expect_almost_eq_const %big, dense<[1000.5, 0.5, 0x7F800000]> : tensor<3xf32> {tolerance = 1.0e-3 : f64}
  %small = arith.constant dense<[0.001, 0.002]> : tensor<2xf64>
  check.expect_almost_eq_const %small, dense<[0.0015, 0.002]> : tensor<2xf64> {tolerance = 1.0e-3 : f64}

  %f16 = arith.constant dense<[1.5, -65504.0, 5.9604644775390625e-8, 0x7C00]> : tensor<4xf16>
  check.expect_eq %f16, %f16 : tensor<4xf16>, tensor<4xf16>
  %bf16 = arith.constant dense<[1.5, -2.0]> : tensor<2xbf16>
  check.expect_eq_const %bf16, dense<[1.5, -2.0]> : tensor<2xbf16>
  %i1 = arith.constant dense<[true, false]> : tensor<2xi1>
  check.expect_eq_const %i1, dense<[true, false]> : tensor<2xi1>
  %i8 = arith.constant dense<[-1, 127]> : tensor<2xi8>
  check.expect_eq_const %i8, dense<[-1, 127]> : tensor<2xi8>
  %i16 = arith.constant dense<[-1, 127]> : tensor<2xi16>
  check.expect_eq_const %i16, dense<[-1, 127]> : tensor<2xi16>
  %i64 = arith.constant dense<9007199254740993> : tensor<1xi64>
  check.expect_eq_const %i64, dense<9007199254740993> : tensor<1xi64>
  %index = arith.constant dense<[3, 4]> : tensor<2xindex>
  check.expect_eq_const %index, dense<[3, 4]> : tensor<2xindex>

  // Dynamic sizes, no elements, rank 0, and a slice that is not contiguous.
  %matrix = arith.constant dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi32>
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %column = tensor.extract_slice %matrix[0, 1] [%c2, 1] [1, 1] : tensor<2x3xi32> to tensor<?x1xi32>
  check.expect_eq_const %column, dense<[[2], [5]]> : tensor<2x1xi32>, tensor<?x1xi32>
  %none = tensor.extract_slice %matrix[0, 0] [%c0, 3] [1, 1] : tensor<2x3xi32> to tensor<?x3xi32>
  check.expect_eq_const %none, dense<> : tensor<0x3xi32>, tensor<?x3xi32>
  %scalar = arith.constant dense<2.5> : tensor<f32>
  check.expect_eq_const %scalar, dense<2.5> : tensor<f32>
  return
}

// All checks of a function run; then the program ends with status 1.
func.func @different() {
  %matrix = arith.constant dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi32>
  check.expect_eq %matrix, %matrix : tensor<2x3xi32>, tensor<2x3xi32>
  // DIFFERENT: check.expect_eq_const at {{.*}}run.mlir:[[#@LINE+1]]:3: expected 5 but got 4 at index [1, 0]
  check.expect_eq_const %matrix, dense<[[1, 2, 3], [5, 5, 7]]> : tensor<2x3xi32>
  %c2 = arith.constant 2 : index
  %rows = tensor.extract_slice %matrix[0, 0] [%c2, 3] [1, 1] : tensor<2x3xi32> to tensor<?x3xi32>
  // DIFFERENT-NEXT: check.expect_eq_const at {{.*}}run.mlir:[[#@LINE+1]]:3: expected shape [1, 3] but got [2, 3]
  check.expect_eq_const %rows, dense<[[1, 2, 3]]> : tensor<1x3xi32>, tensor<?x3xi32>
  %one = arith.constant dense<1.0> : tensor<1xf32>
  // DIFFERENT-NEXT: check.expect_eq_const at {{.*}}run.mlir:[[#@LINE+1]]:3: expected 1.00000012 but got 1 at index [0]
  check.expect_eq_const %one, dense<1.00000012> : tensor<1xf32>
  // DIFFERENT-NEXT: check.expect_eq_const at {{.*}}run.mlir:[[#@LINE+1]]:3: expected nan but got 1 at index [0]
  check.expect_eq_const %one, dense<0x7FC00000> : tensor<1xf32>
  %f16 = arith.constant dense<0xFC00> : tensor<1xf16>
  %inf = arith.constant dense<0x7C00> : tensor<1xf16>
  // DIFFERENT-NEXT: check.expect_eq at {{.*}}run.mlir:[[#@LINE+1]]:3: expected inf but got -inf at index [0]
  check.expect_eq %f16, %inf : tensor<1xf16>, tensor<1xf16>
  %i64 = arith.constant dense<9007199254740993> : tensor<i64>
  // DIFFERENT-NEXT: check.expect_eq_const at {{.*}}run.mlir:[[#@LINE+1]]:3: expected 9007199254740992 but got 9007199254740993 at index []
  check.expect_eq_const %i64, dense<9007199254740992> : tensor<i64>
  // DIFFERENT-NEXT: 6 of 7 checks failed
  // DIFFERENT-NOT: passed
  return
}

// FAR: check.expect_almost_eq_const at {{.*}}:[[#@LINE+4]]:3: expected 0.5 but got 0.499000013 at index [1]
// FAR-NEXT: 1 of 1 checks failed
func.func @far() {
  %small = arith.constant dense<[0.25, 0.499]> : tensor<2xf32>
  check.expect_almost_eq_const %small, dense<[0.25, 0.5]> : tensor<2xf32> {tolerance = 9.9e-4 : f64}
  return
}

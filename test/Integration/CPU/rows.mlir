// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// CHECK: 8 checks passed
func.func @main() {
  %c0 = arith.constant 0 : index
  // A dropped slot adds nothing, whatever its weight; the unused row of NaN is never read.
  %ys = arith.constant dense<[[1.0, 2.0], [10.0, 20.0], [0x7FC00000, 0x7FC00000], [100.0, 200.0]]> : tensor<4x2xf32>
  %slots = arith.constant dense<[[3, 0], [-1, 1], [-1, -1]]> : tensor<3x2xi32>
  %weights = arith.constant dense<[[0.5, 2.0], [0x7FC00000, 3.0], [0x7F800000, 0x7FC00000]]> : tensor<3x2xf32>
  %r0 = moe.combine %ys[%slots] weights(%weights : tensor<3x2xf32>) : tensor<4x2xf32>, tensor<3x2xi32> -> tensor<3x2xf32>
  check.expect_eq_const %r0, dense<[[52.0, 104.0], [30.0, 60.0], [0.0, 0.0]]> : tensor<3x2xf32>
  %r1 = moe.combine %ys[%slots] : tensor<4x2xf32>, tensor<3x2xi32> -> tensor<3x2xf32>
  check.expect_eq_const %r1, dense<[[101.0, 202.0], [10.0, 20.0], [0.0, 0.0]]> : tensor<3x2xf32>

  // Slot order: (2^24 + 1) - 2^24 is 0 in f32, (2^24 - 2^24) + 1 is 1.
  %big = arith.constant dense<[[16777216.0], [1.0], [-16777216.0]]> : tensor<3x1xf32>
  %orders = arith.constant dense<[[0, 1, 2], [0, 2, 1]]> : tensor<2x3xi32>
  %r2 = moe.combine %big[%orders] : tensor<3x1xf32>, tensor<2x3xi32> -> tensor<2x1xf32>
  check.expect_eq_const %r2, dense<[[0.0], [1.0]]> : tensor<2x1xf32>

  // bf16 rows are summed in f32.
  %small = arith.constant dense<[[256.0], [1.0]]> : tensor<2x1xbf16>
  %pair = arith.constant dense<[[0, 1]]> : tensor<1x2xi32>
  %r3 = moe.combine %small[%pair] : tensor<2x1xbf16>, tensor<1x2xi32> -> tensor<1x1xf32>
  check.expect_eq_const %r3, dense<[[257.0]]> : tensor<1x1xf32>

  // No tokens.
  %none = tensor.extract_slice %slots[0, 0] [%c0, 2] [1, 1] : tensor<3x2xi32> to tensor<?x2xi32>
  %r4 = moe.combine %ys[%none] : tensor<4x2xf32>, tensor<?x2xi32> -> tensor<?x2xf32>
  check.expect_eq_const %r4, dense<> : tensor<0x2xf32>, tensor<?x2xf32>

  // Dispatch: the token of a choice with fanout k, the choice itself with fanout 1, zero for -1.
  %choices = arith.constant dense<[3, 0, 2, -1]> : tensor<4xi32>
  %x = arith.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %d0 = moe.dispatch %x[%choices] {fanout = 2} : tensor<2x2xf32>, tensor<4xi32> -> tensor<4x2xf32>
  check.expect_eq_const %d0, dense<[[3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]> : tensor<4x2xf32>
  %flat = arith.constant dense<[5, 6, 7, 8]> : tensor<4xi32>
  %d1 = moe.dispatch %flat[%choices] {fanout = 1} : tensor<4xi32>, tensor<4xi32> -> tensor<4xi32>
  check.expect_eq_const %d1, dense<[8, 5, 7, 0]> : tensor<4xi32>
  %no_choices = tensor.extract_slice %choices[0] [%c0] [1] : tensor<4xi32> to tensor<?xi32>
  %d2 = moe.dispatch %x[%no_choices] {fanout = 2} : tensor<2x2xf32>, tensor<?xi32> -> tensor<?x2xf32>
  check.expect_eq_const %d2, dense<> : tensor<0x2xf32>, tensor<?x2xf32>
  return
}

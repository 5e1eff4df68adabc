// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// CHECK: 10 checks passed

// Rows of several vectors, numbers of rows that are not known.
func.func private @combine_wide(%ys: tensor<?x48xf32>, %slots: tensor<?x2xi32>, %weights: tensor<?x2xf32>) -> tensor<?x48xf32> {
  %r = moe.combine %ys[%slots] weights(%weights : tensor<?x2xf32>) : tensor<?x48xf32>, tensor<?x2xi32> -> tensor<?x48xf32>
  return %r : tensor<?x48xf32>
}
func.func private @dispatch_wide(%x: tensor<?x48xf32>, %choices: tensor<?xi32>) -> tensor<?x48xf32> {
  %r = moe.dispatch %x[%choices] {fanout = 1} : tensor<?x48xf32>, tensor<?xi32> -> tensor<?x48xf32>
  return %r : tensor<?x48xf32>
}

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

  // The row of NaN is at no slot, and -1 takes nothing, whatever its weight.
  %wide = arith.constant dense<[
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0, 31.0, 32.0, 33.0, 34.0, 35.0, 36.0, 37.0, 38.0, 39.0, 40.0, 41.0, 42.0, 43.0, 44.0, 45.0, 46.0, 47.0],
    [100.0, 102.0, 104.0, 106.0, 108.0, 110.0, 112.0, 114.0, 116.0, 118.0, 120.0, 122.0, 124.0, 126.0, 128.0, 130.0, 132.0, 134.0, 136.0, 138.0, 140.0, 142.0, 144.0, 146.0, 148.0, 150.0, 152.0, 154.0, 156.0, 158.0, 160.0, 162.0, 164.0, 166.0, 168.0, 170.0, 172.0, 174.0, 176.0, 178.0, 180.0, 182.0, 184.0, 186.0, 188.0, 190.0, 192.0, 194.0],
    [0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000]]> : tensor<3x48xf32>
  %wide_rows = tensor.cast %wide : tensor<3x48xf32> to tensor<?x48xf32>
  %wide_slots = arith.constant dense<[[1, 0], [-1, 1], [-1, -1]]> : tensor<3x2xi32>
  %token_slots = tensor.cast %wide_slots : tensor<3x2xi32> to tensor<?x2xi32>
  %token_weights = tensor.cast %weights : tensor<3x2xf32> to tensor<?x2xf32>
  %r5 = call @combine_wide(%wide_rows, %token_slots, %token_weights) : (tensor<?x48xf32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x48xf32>
  check.expect_eq_const %r5, dense<[
    [50.0, 53.0, 56.0, 59.0, 62.0, 65.0, 68.0, 71.0, 74.0, 77.0, 80.0, 83.0, 86.0, 89.0, 92.0, 95.0, 98.0, 101.0, 104.0, 107.0, 110.0, 113.0, 116.0, 119.0, 122.0, 125.0, 128.0, 131.0, 134.0, 137.0, 140.0, 143.0, 146.0, 149.0, 152.0, 155.0, 158.0, 161.0, 164.0, 167.0, 170.0, 173.0, 176.0, 179.0, 182.0, 185.0, 188.0, 191.0],
    [300.0, 306.0, 312.0, 318.0, 324.0, 330.0, 336.0, 342.0, 348.0, 354.0, 360.0, 366.0, 372.0, 378.0, 384.0, 390.0, 396.0, 402.0, 408.0, 414.0, 420.0, 426.0, 432.0, 438.0, 444.0, 450.0, 456.0, 462.0, 468.0, 474.0, 480.0, 486.0, 492.0, 498.0, 504.0, 510.0, 516.0, 522.0, 528.0, 534.0, 540.0, 546.0, 552.0, 558.0, 564.0, 570.0, 576.0, 582.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]> : tensor<3x48xf32>, tensor<?x48xf32>
  %wide_choices = arith.constant dense<[1, -1]> : tensor<2xi32>
  %token_choices = tensor.cast %wide_choices : tensor<2xi32> to tensor<?xi32>
  %d3 = call @dispatch_wide(%wide_rows, %token_choices) : (tensor<?x48xf32>, tensor<?xi32>) -> tensor<?x48xf32>
  check.expect_eq_const %d3, dense<[
    [100.0, 102.0, 104.0, 106.0, 108.0, 110.0, 112.0, 114.0, 116.0, 118.0, 120.0, 122.0, 124.0, 126.0, 128.0, 130.0, 132.0, 134.0, 136.0, 138.0, 140.0, 142.0, 144.0, 146.0, 148.0, 150.0, 152.0, 154.0, 156.0, 158.0, 160.0, 162.0, 164.0, 166.0, 168.0, 170.0, 172.0, 174.0, 176.0, 178.0, 180.0, 182.0, 184.0, 186.0, 188.0, 190.0, 192.0, 194.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]> : tensor<2x48xf32>, tensor<?x48xf32>
  return
}

// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// CHECK: 14 checks passed
func.func @main() {
  // Equal keys: lowest index first; 0 and -0 are equal.
  %ties = arith.constant dense<[[1.0, 2.0, 2.0, 1.0, 2.0], [0.0, -0.0, 0.0, -0.0, -1.0]]> : tensor<2x5xf32>
  %s0, %i0 = moe.top_k %ties {k = 4} : tensor<2x5xf32> -> tensor<2x4xf32>, tensor<2x4xi32>
  check.expect_eq_const %s0, dense<[[2.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]> : tensor<2x4xf32>
  check.expect_eq_const %i0, dense<[[1, 2, 4, 0], [0, 1, 2, 3]]> : tensor<2x4xi32>

  // NaN is below -inf, of either sign; NaNs are equal to each other.
  %nan = arith.constant dense<[[0x7FC00000, 0xFF800000, 0xFFC00000, 1.0], [0x7FC00000, 0xFFC00000, 0x7FC00000, 0x7FC00000],
                               [0x7F800000, 0x7FC00000, 0x7F800000, 0xFF800000]]> : tensor<3x4xf32>
  %s1, %i1 = moe.top_k %nan {k = 4} : tensor<3x4xf32> -> tensor<3x4xf32>, tensor<3x4xi32>
  check.expect_eq_const %i1, dense<[[3, 1, 0, 2], [0, 1, 2, 3], [0, 2, 3, 1]]> : tensor<3x4xi32>
  check.expect_eq_const %s1, dense<[[1.0, 0xFF800000, 0x7FC00000, 0x7FC00000],
                                    [0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000],
                                    [0x7F800000, 0x7F800000, 0xFF800000, 0x7FC00000]]> : tensor<3x4xf32>

  // keys decide, values are returned.
  %keys = arith.constant dense<[[0.5, 0.25, 0.75]]> : tensor<1x3xf32>
  %values = arith.constant dense<[[10.0, 0x7FC00000, -7.0]]> : tensor<1x3xf32>
  %s2, %i2 = moe.top_k %values keys(%keys : tensor<1x3xf32>) {k = 3} : tensor<1x3xf32> -> tensor<1x3xf32>, tensor<1x3xi32>
  check.expect_eq_const %i2, dense<[[2, 0, 1]]> : tensor<1x3xi32>
  check.expect_eq_const %s2, dense<[[-7.0, 10.0, 0x7FC00000]]> : tensor<1x3xf32>

  // Groups: {0,1} has the best sum, {2,3} the best key.
  %grouped = arith.constant dense<[[4.0, 3.0, 5.0, -9.0, -1.0, 1.0]]> : tensor<1x6xf32>
  %s3, %i3 = moe.top_k %grouped {k = 3, groups = #moe.groups<count = 3, keep = 1, score = sum_top2, masked = "zero">}
    : tensor<1x6xf32> -> tensor<1x3xf32>, tensor<1x3xi32>
  check.expect_eq_const %i3, dense<[[0, 1, 2]]> : tensor<1x3xi32>
  check.expect_eq_const %s3, dense<[[4.0, 3.0, 5.0]]> : tensor<1x3xf32>
  %s4, %i4 = moe.top_k %grouped {k = 3, groups = #moe.groups<count = 3, keep = 1, score = max, masked = "-inf">}
    : tensor<1x6xf32> -> tensor<1x3xf32>, tensor<1x3xi32>
  check.expect_eq_const %i4, dense<[[2, 3, 0]]> : tensor<1x3xi32>

  // k known at run time, candidates counted at run time, other element types.
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %dynamic = tensor.extract_slice %ties[0, 0] [%c1, %c2] [1, 1] : tensor<2x5xf32> to tensor<?x?xf32>
  %s5, %i5 = func.call @dynamic(%dynamic, %c2) : (tensor<?x?xf32>, index) -> (tensor<?x?xf32>, tensor<?x?xi32>)
  check.expect_eq_const %i5, dense<[[1, 0]]> : tensor<1x2xi32>, tensor<?x?xi32>
  %half = arith.constant dense<[[1.0, -2.0, 3.0]]> : tensor<1x3xbf16>
  %s6, %i6 = moe.top_k %half {k = 2} : tensor<1x3xbf16> -> tensor<1x2xbf16>, tensor<1x2xi32>
  check.expect_eq_const %s6, dense<[[3.0, 1.0]]> : tensor<1x2xbf16>
  %double = arith.constant dense<[[1.0, 1.0000000000000002]]> : tensor<1x2xf64>
  %s7, %i7 = moe.top_k %double {k = 1} : tensor<1x2xf64> -> tensor<1x1xf64>, tensor<1x1xi32>
  check.expect_eq_const %i7, dense<[[1]]> : tensor<1x1xi32>

  // No tokens.
  %none = tensor.extract_slice %ties[0, 0] [%c0, 5] [1, 1] : tensor<2x5xf32> to tensor<?x5xf32>
  %s8, %i8 = moe.top_k %none {k = 5} : tensor<?x5xf32> -> tensor<?x5xf32>, tensor<?x5xi32>
  check.expect_eq_const %s8, dense<> : tensor<0x5xf32>, tensor<?x5xf32>
  check.expect_eq_const %i8, dense<> : tensor<0x5xi32>, tensor<?x5xi32>
  return
}

func.func private @dynamic(%values: tensor<?x?xf32>, %k: index) -> (tensor<?x?xf32>, tensor<?x?xi32>) {
  %s, %i = moe.top_k %values k(%k) : tensor<?x?xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  return %s, %i : tensor<?x?xf32>, tensor<?x?xi32>
}

// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// CHECK: 15 checks passed
func.func @main() {
  %c0 = arith.constant 0 : index
  // Empty experts first, in the middle and last; a dropped choice; stable in the order of t * k + j.
  %indices = arith.constant dense<[[3, 1], [-1, 3], [1, 3]]> : tensor<3x2xi32>
  %o0, %c, %s0 = moe.plan %indices {experts = 5} : tensor<3x2xi32> -> tensor<6xi32>, tensor<6xi32>, tensor<3x2xi32>
  check.expect_eq_const %o0, dense<[0, 0, 2, 2, 5, 5]> : tensor<6xi32>
  check.expect_eq_const %c, dense<[1, 4, 0, 3, 5, -1]> : tensor<6xi32>
  check.expect_eq_const %s0, dense<[[2, 0], [-1, 3], [1, 4]]> : tensor<3x2xi32>

  // k = E: every token on every expert.
  %all = arith.constant dense<[[1, 0], [0, 1]]> : tensor<2x2xi32>
  %o1, %c1, %s1 = moe.plan %all {experts = 2} : tensor<2x2xi32> -> tensor<3xi32>, tensor<4xi32>, tensor<2x2xi32>
  check.expect_eq_const %o1, dense<[0, 2, 4]> : tensor<3xi32>
  check.expect_eq_const %c1, dense<[1, 2, 0, 3]> : tensor<4xi32>
  check.expect_eq_const %s1, dense<[[2, 0], [1, 3]]> : tensor<2x2xi32>

  // No tokens: all groups are empty.
  %none = tensor.extract_slice %indices[0, 0] [%c0, 2] [1, 1] : tensor<3x2xi32> to tensor<?x2xi32>
  %o2, %c2, %s2 = moe.plan %none {experts = 3} : tensor<?x2xi32> -> tensor<4xi32>, tensor<?xi32>, tensor<?x2xi32>
  check.expect_eq_const %o2, dense<0> : tensor<4xi32>
  check.expect_eq_const %c2, dense<> : tensor<0xi32>, tensor<?xi32>
  check.expect_eq_const %s2, dense<> : tensor<0x2xi32>, tensor<?x2xi32>

  // Everything dropped.
  %dropped = arith.constant dense<-1> : tensor<2x1xi32>
  %o3, %c3, %s3 = moe.plan %dropped {experts = 1} : tensor<2x1xi32> -> tensor<2xi32>, tensor<2xi32>, tensor<2x1xi32>
  check.expect_eq_const %o3, dense<0> : tensor<2xi32>
  check.expect_eq_const %c3, dense<-1> : tensor<2xi32>

  // Capacity in each order: expert 3 is asked by choices 0, 3 and 5.
  %one = arith.constant 1 : index
  %priority = arith.constant dense<[[0.1, 0.2], [0.9, 0x7FC00000], [0.3, 0.2]]> : tensor<3x2xf32>
  %k0 = moe.drop %indices capacity(%one) {experts = 5, order = "token"} : tensor<3x2xi32>
  check.expect_eq_const %k0, dense<[[3, 1], [-1, -1], [-1, -1]]> : tensor<3x2xi32>
  %k1 = moe.drop %indices capacity(%one) {experts = 5, order = "choice"} : tensor<3x2xi32>
  check.expect_eq_const %k1, dense<[[3, -1], [-1, -1], [1, -1]]> : tensor<3x2xi32>
  %k2 = moe.drop %indices priority(%priority : tensor<3x2xf32>) capacity(%one) {experts = 5, order = "priority"} : tensor<3x2xi32>
  check.expect_eq_const %k2, dense<[[-1, -1], [-1, -1], [1, 3]]> : tensor<3x2xi32>
  // Each segment has places of its own; tokens 0 and 2 are one segment.
  %segments = arith.constant dense<[7, -4, 7]> : tensor<3xi32>
  %k3 = moe.drop %indices segments(%segments : tensor<3xi32>) capacity(%one) {experts = 5, order = "token"} : tensor<3x2xi32>
  check.expect_eq_const %k3, dense<[[3, 1], [-1, 3], [-1, -1]]> : tensor<3x2xi32>
  return
}

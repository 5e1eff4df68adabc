// RUN: moe-opt %s | FileCheck %s

// CHECK-LABEL: func.func @all
// CHECK-SAME: %[[A:.*]]: tensor<?x2xf32>, %[[B:.*]]: tensor<3x2xf32>, %[[I:.*]]: tensor<2xi32>
func.func @all(%a: tensor<?x2xf32>, %b: tensor<3x2xf32>, %i: tensor<2xi32>) {
  // CHECK: check.expect_eq %[[A]], %[[B]] : tensor<?x2xf32>, tensor<3x2xf32>
  check.expect_eq %a, %b : tensor<?x2xf32>, tensor<3x2xf32>
  // CHECK: check.expect_almost_eq %[[A]], %[[B]] : tensor<?x2xf32>, tensor<3x2xf32>
  check.expect_almost_eq %a, %b : tensor<?x2xf32>, tensor<3x2xf32>
  // CHECK: check.expect_almost_eq %[[A]], %[[A]] {tolerance = 1.000000e-03 : f64} : tensor<?x2xf32>, tensor<?x2xf32>
  check.expect_almost_eq %a, %a {tolerance = 1.0e-3 : f64} : tensor<?x2xf32>, tensor<?x2xf32>
  // CHECK: check.expect_eq_const %[[I]], dense<[4, -1]> : tensor<2xi32>{{$}}
  check.expect_eq_const %i, dense<[4, -1]> : tensor<2xi32>
  // CHECK: check.expect_eq_const %[[A]], dense<1.000000e+00> : tensor<1x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %a, dense<1.0> : tensor<1x2xf32>, tensor<?x2xf32>
  // CHECK: check.expect_almost_eq_const %[[B]], dense<5.000000e-01> : tensor<3x2xf32>{{$}}
  check.expect_almost_eq_const %b, dense<0.5> : tensor<3x2xf32>
  // CHECK: check.expect_almost_eq_const %[[A]], dense<5.000000e-01> : tensor<3x2xf32>, tensor<?x2xf32> {tolerance = 0.000000e+00 : f64}
  check.expect_almost_eq_const %a, dense<0.5> : tensor<3x2xf32>, tensor<?x2xf32> {tolerance = 0.0 : f64}
  return
}

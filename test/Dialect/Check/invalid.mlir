// RUN: moe-opt %s -split-input-file -verify-diagnostics

func.func @sizes(%a: tensor<3xf32>, %b: tensor<4xf32>) {
  // expected-error@+1 {{'check.expect_eq' op expected 'actual' and 'expected' of compatible types but got 'tensor<3xf32>' and 'tensor<4xf32>'}}
  check.expect_eq %a, %b : tensor<3xf32>, tensor<4xf32>
  return
}

// -----

func.func @ranks(%a: tensor<3xf32>, %b: tensor<3x1xf32>) {
  // expected-error@+1 {{expected 'actual' and 'expected' of compatible types but got 'tensor<3xf32>' and 'tensor<3x1xf32>'}}
  check.expect_almost_eq %a, %b : tensor<3xf32>, tensor<3x1xf32>
  return
}

// -----

func.func @element_types(%a: tensor<3xi32>) {
  // expected-error@+1 {{expected 'actual' and 'expected' of compatible types but got 'tensor<3xi32>' and 'tensor<3xi64>'}}
  check.expect_eq_const %a, dense<1> : tensor<3xi64>, tensor<3xi32>
  return
}

// -----

func.func @const_sizes(%a: tensor<?x2xf32>) {
  // expected-error@+1 {{expected 'actual' and 'expected' of compatible types but got 'tensor<?x2xf32>' and 'tensor<1x3xf32>'}}
  check.expect_almost_eq_const %a, dense<1.0> : tensor<1x3xf32>, tensor<?x2xf32>
  return
}

// -----

func.func @negative_tolerance(%a: tensor<3xf32>) {
  // expected-error@+1 {{'check.expect_almost_eq' op expected a finite 'tolerance' of at least 0 but got -1.0}}
  check.expect_almost_eq %a, %a {tolerance = -1.0 : f64} : tensor<3xf32>, tensor<3xf32>
  return
}

// -----

func.func @infinite_tolerance(%a: tensor<3xf32>) {
  // expected-error@+1 {{'check.expect_almost_eq_const' op expected a finite 'tolerance' of at least 0 but got}}
  check.expect_almost_eq_const %a, dense<1.0> : tensor<3xf32> {tolerance = 0x7FF0000000000000 : f64}
  return
}

// -----

func.func @integers(%a: tensor<3xi32>) {
  // expected-error@+1 {{operand #0 must be ranked tensor of}}
  check.expect_almost_eq %a, %a : tensor<3xi32>, tensor<3xi32>
  return
}

// -----

func.func @complex(%a: tensor<3xcomplex<f32>>) {
  // expected-error@+1 {{operand #0 must be ranked tensor of}}
  check.expect_eq %a, %a : tensor<3xcomplex<f32>>, tensor<3xcomplex<f32>>
  return
}

// -----

func.func @no_elements(%a: tensor<3xf32>) {
  // expected-error@+1 {{expected elements but got 1.000000e+00 : f32}}
  check.expect_eq_const %a, 1.0 : f32
  return
}

// -----

func.func @no_type(%a: tensor<3xf32>) {
  // expected-error@+1 {{expected non-function type}}
  check.expect_eq_const %a, dense<1.0> : tensor<3xf32>, {tolerance = 1.0}
  return
}

// RUN: moe-opt %s --moe-expand-math --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @rsqrt(
// CHECK: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : vector<16xf32>
// CHECK: %[[ROOT:.*]] = math.sqrt
// CHECK: arith.divf %[[ONE]], %[[ROOT]] : vector<16xf32>
func.func @rsqrt(%x: vector<16xf32>) -> vector<16xf32> {
  %y = math.rsqrt %x : vector<16xf32>
  return %y : vector<16xf32>
}

// exp stays in f32, log and the circular functions go through f64.
// CHECK-LABEL: func.func @others(
// CHECK-NOT: math.{{(exp|log|sin|tanh|erf|powf)}}
// CHECK-NOT: f64
// CHECK: math.fma
// CHECK: arith.extf %{{.*}} : f32 to f64
// CHECK-NOT: math.{{(exp|log|sin|tanh|erf|powf)}}
// CHECK: return
func.func @others(%x: f32) -> (f32, f32, f32, f32, f32, f32) {
  %0 = math.exp %x : f32
  %1 = math.tanh %x : f32
  %2 = math.erf %x : f32
  %3 = math.log %x : f32
  %4 = math.sin %x : f32
  %5 = math.powf %x, %x : f32
  return %0, %1, %2, %3, %4, %5 : f32, f32, f32, f32, f32, f32
}

// What is an instruction stays.
// CHECK-LABEL: func.func @instructions(
// CHECK: math.sqrt
// CHECK: math.fma
// CHECK: math.floor
func.func @instructions(%x: f32) -> f32 {
  %0 = math.sqrt %x : f32
  %1 = math.fma %0, %x, %x : f32
  %2 = math.floor %1 : f32
  return %2 : f32
}

// -----

func.func @erf(%x: f64) -> f64 {
  // expected-error @below {{expected a math function that can be expanded to arithmetic but got operand types 'f64'}}
  %y = math.erf %x : f64
  return %y : f64
}

// -----

func.func @remainder(%x: f32) -> f32 {
  // expected-error @below {{expected a math function that can be expanded to arithmetic but got operand types 'f32', 'f32'}}
  %y = arith.remf %x, %x : f32
  return %y : f32
}

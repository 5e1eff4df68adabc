// RUN: moe-opt %s --check-to-runtime -split-input-file | FileCheck %s

// One declaration per element type and one text per op; the function ends the program's checks before it returns.
// CHECK-DAG: llvm.mlir.global internal constant @[[$FIRST:.*]]("check.expect_eq at {{.*}}check-to-runtime.mlir:[[#@LINE+8]]:3\00")
// CHECK-DAG: llvm.mlir.global internal constant @[[$SECOND:.*]]("check.expect_almost_eq_const at {{.*}}check-to-runtime.mlir:[[#@LINE+8]]:3\00")
// CHECK-DAG: func.func private @moe_check_i32(memref<*xi32>, memref<*xi32>, f64, !llvm.ptr)
// CHECK-DAG: func.func private @moe_check_bf16(memref<*xbf16>, memref<*xbf16>, f64, !llvm.ptr)
// CHECK-DAG: func.func private @moe_check_finish()
// CHECK-LABEL: func.func @checks(
// CHECK-SAME: %[[A:.*]]: tensor<?xi32>, %[[B:.*]]: tensor<2xi32>, %[[C:.*]]: tensor<1xbf16>)
func.func @checks(%a: tensor<?xi32>, %b: tensor<2xi32>, %c: tensor<1xbf16>) {
  check.expect_eq %a, %b : tensor<?xi32>, tensor<2xi32>
  check.expect_almost_eq_const %c, dense<1.0> : tensor<1xbf16> {tolerance = 0.5 : f64}
  return
}
// CHECK-NEXT: %[[M:.*]] = bufferization.to_buffer %[[A]] read_only : tensor<?xi32> to memref<?xi32, strided<[?], offset: ?>>
// CHECK-NEXT: %[[UA:.*]] = memref.cast %[[M]] : {{.*}} to memref<*xi32>
// CHECK-NEXT: %[[M:.*]] = bufferization.to_buffer %[[B]] read_only
// CHECK-NEXT: %[[UB:.*]] = memref.cast %[[M]]
// CHECK-NEXT: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f64
// CHECK-NEXT: %[[WHERE:.*]] = llvm.mlir.addressof @[[$FIRST]] : !llvm.ptr
// CHECK-NEXT: call @moe_check_i32(%[[UA]], %[[UB]], %[[ZERO]], %[[WHERE]])
// CHECK: %[[WANT:.*]] = arith.constant dense<1.000000e+00> : tensor<1xbf16>
// CHECK: bufferization.to_buffer %[[C]] read_only
// CHECK: bufferization.to_buffer %[[WANT]] read_only
// CHECK: arith.constant 5.000000e-01 : f64
// CHECK: llvm.mlir.addressof @[[$SECOND]]
// CHECK-NEXT: call @moe_check_bf16
// CHECK-NEXT: call @moe_check_finish() : () -> ()
// CHECK-NEXT: return

// -----

// A check inside of a loop belongs to the function around it.
// CHECK-LABEL: func.func @nested
// CHECK: scf.for
// CHECK: call @moe_check_i64
// CHECK: }
// CHECK-NEXT: call @moe_check_finish
// CHECK-NEXT: return
func.func @nested(%a: tensor<1xi64>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    check.expect_eq_const %a, dense<7> : tensor<1xi64>
  }
  return
}

// -----

// CHECK-LABEL: func.func @none
// CHECK-NEXT: return
// CHECK-NOT: moe_check
func.func @none() {
  return
}

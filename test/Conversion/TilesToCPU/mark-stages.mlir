// RUN: moe-opt %s --moe-mark-stages | FileCheck %s

// CHECK-DAG: llvm.mlir.global internal constant @[[$GATE:.*]]("gate/up\00")
// CHECK-DAG: llvm.mlir.global internal constant @[[$DOWN:.*]]("down\00")
// CHECK-DAG: func.func private @moe_rt_stage(!llvm.ptr)

// A call where another stage begins, none inside of loops; scalars do not count.
// CHECK-LABEL: func.func @stages(
func.func @stages(%n: index, %a: memref<?xf32>, %flag: i1) {
  %one = arith.constant 1.0 : f32 loc(fused<"down">["a"])
  // CHECK: %[[NAME:.*]] = llvm.mlir.addressof @[[$GATE]]
  // CHECK: call @moe_rt_stage(%[[NAME]])
  // CHECK-NEXT: scf.forall
  scf.forall (%i) in (%n) {
    // CHECK-NOT: moe_rt_stage
    scf.for %j = %i to %n step %n {
      memref.store %one, %a[%j] : memref<?xf32>
    } loc(fused<"down">["inner"])
  } loc(fused<"gate/up">["a"])
  scf.forall (%i) in (%n) {
  } loc(fused<"gate/up">["a"])
  // Loops without a name belong to the stage before.
  scf.forall (%i) in (%n) {
  }
  scf.forall (%i) in (%n) {
  } loc(callsite(fused<"gate/up">["a"] at "b"))
  // CHECK: %[[NAME:.*]] = llvm.mlir.addressof @[[$DOWN]]
  // CHECK: call @moe_rt_stage(%[[NAME]])
  // CHECK-NEXT: linalg.fill
  linalg.fill ins(%one : f32) outs(%a : memref<?xf32>) loc(fused<"down">["a"])
  // What is executed in a branch, or by a call, is not known after it.
  // CHECK: scf.if
  scf.if %flag {
    // CHECK: moe_rt_stage
    scf.forall (%i) in (%n) {
    } loc(fused<"gate/up">["a"])
  }
  // CHECK: moe_rt_stage
  // CHECK-NEXT: scf.forall
  scf.forall (%i) in (%n) {
  } loc(fused<"gate/up">["a"])
  // CHECK: call @other
  call @other() : () -> ()
  // CHECK: moe_rt_stage
  // CHECK-NEXT: scf.forall
  scf.forall (%i) in (%n) {
  } loc(fused<"gate/up">["a"])
  return
}

// CHECK-LABEL: func.func private @other
func.func private @other()

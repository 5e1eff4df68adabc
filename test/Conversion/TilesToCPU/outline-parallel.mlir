// RUN: moe-opt %s --moe-outline-parallel --canonicalize --split-input-file --verify-diagnostics | FileCheck %s

// Two dimensions, the last one fastest; the loop inside becomes sequential, the alloca moves to the entry.

// CHECK: func.func private @moe_rt_parallel_for((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64)
// CHECK-LABEL: func.func @f(
// CHECK-SAME: %[[A:.*]]: memref<?x4xf32>, %[[N:.*]]: index
// CHECK: %[[BODY:.*]] = constant @f.parallel.0 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
// CHECK: %[[CONTEXT:.*]] = llvm.alloca %{{.*}} x !llvm.struct<(i64, struct<(ptr, ptr, i64)>, i64)>
// CHECK: %[[FIELD:.*]] = llvm.getelementptr %[[CONTEXT]][0, 1]
// CHECK: llvm.store %{{.*}}, %[[FIELD]]
// CHECK: call @moe_rt_parallel_for(%[[BODY]], %[[CONTEXT]], %{{.*}}, %{{.*}}, %{{.*}})
// CHECK-NOT: scf.forall

// CHECK-LABEL: func.func private @f.parallel.0(
// CHECK-SAME: %[[C:.*]]: !llvm.ptr, %[[BEGIN:.*]]: i64, %[[END:.*]]: i64
// CHECK: memref.alloca() : memref<8xf32>
// CHECK: %[[FIELD:.*]] = llvm.getelementptr %[[C]][0, 1]
// CHECK: llvm.load %[[FIELD]]
// CHECK: memref.reinterpret_cast %{{.*}} to offset: [0], sizes: [%{{.*}}, 4], strides: [4, 1]
// CHECK: scf.for %[[I:.*]] =
// CHECK: %[[COLUMN:.*]] = arith.remui %[[I]], %c4
// CHECK: %[[ROW:.*]] = arith.divui %[[I]], %c4
// CHECK: scf.for
// CHECK: memref.store %{{.*}}, %{{.*}}[%[[ROW]], %[[COLUMN]]]
func.func @f(%a: memref<?x4xf32>, %n: index) {
  %cst = arith.constant 1.0 : f32
  scf.forall (%i, %j) in (%n, 4) {
    %scratch = memref.alloca() : memref<8xf32>
    scf.forall (%k) in (8) {
      memref.store %cst, %scratch[%k] : memref<8xf32>
    }
    %c3 = arith.constant 3 : index
    %v = memref.load %scratch[%c3] : memref<8xf32>
    memref.store %v, %a[%i, %j] : memref<?x4xf32>
  }
  return
}

// -----

// scf.parallel with bounds and step; two loops in one function.

// CHECK-LABEL: func.func @two(
// CHECK-COUNT-2: call @moe_rt_parallel_for
// CHECK-LABEL: func.func private @two.parallel.1(
// CHECK-LABEL: func.func private @two.parallel.0(
// CHECK: scf.for %[[I:.*]] =
// CHECK: %[[SCALED:.*]] = arith.muli %[[I]], %c3
// CHECK: arith.addi %[[SCALED]], %c2
func.func @two(%a: memref<?xf32>, %n: index) {
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %cst = arith.constant 1.0 : f32
  scf.parallel (%i) = (%c2) to (%n) step (%c3) {
    memref.store %cst, %a[%i] : memref<?xf32>
  }
  scf.forall (%i) in (%n) {
    memref.store %cst, %a[%i] : memref<?xf32>
  }
  return
}

// -----

// Equal bodies: one is kept, both calls use it.

// CHECK-LABEL: func.func @equal(
// CHECK: %[[BODY:.*]] = constant @equal.parallel.0
// CHECK-COUNT-2: call @moe_rt_parallel_for(%[[BODY]],
// CHECK-LABEL: func.func private @equal.parallel.0(
// CHECK-NOT: func.func
func.func @equal(%a: memref<8xf32>, %b: memref<8xf32>) {
  %cst = arith.constant 1.0 : f32
  scf.forall (%i) in (8) {
    memref.store %cst, %a[%i] : memref<8xf32>
  }
  scf.forall (%i) in (8) {
    memref.store %cst, %b[%i] : memref<8xf32>
  }
  return
}

// -----

func.func @dynamic(%n: index, %a: memref<?xf32>, %sizes: memref<?xindex>) {
  scf.forall (%i) in (%n) {
    %size = memref.load %sizes[%i] : memref<?xindex>
    // expected-error @below {{expected a static size in a parallel loop but got 'memref<?xf32>'}}
    %s = memref.alloca(%size) : memref<?xf32>
    memref.copy %s, %a : memref<?xf32> to memref<?xf32>
  }
  return
}

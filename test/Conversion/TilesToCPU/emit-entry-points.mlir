// RUN: moe-opt %s --moe-emit-entry-points --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @moe_entry_moe.0(
// CHECK-SAME: %[[ARGS:.*]]: !llvm.ptr
// CHECK: %[[SLOT:.*]] = llvm.getelementptr %[[ARGS]][0] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr
// CHECK: %[[P:.*]] = llvm.load %[[SLOT]] : !llvm.ptr -> !llvm.ptr
// CHECK: %[[D:.*]] = llvm.load %[[P]] : !llvm.ptr -> !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
// CHECK: %[[A:.*]] = builtin.unrealized_conversion_cast %[[D]] : {{.*}} to memref<?xf32>
// CHECK: llvm.getelementptr %[[ARGS]][1]
// CHECK: %[[R:.*]]:2 = call @moe.0(%[[A]], %{{.*}})
// CHECK: llvm.getelementptr %[[ARGS]][2]
// CHECK: llvm.getelementptr %{{.*}}[0] : (!llvm.ptr) -> !llvm.ptr, i8
// CHECK: builtin.unrealized_conversion_cast %[[R]]#0 : memref<?x?xf32>
// CHECK: llvm.getelementptr %{{.*}}[56] : (!llvm.ptr) -> !llvm.ptr, i8
// CHECK: builtin.unrealized_conversion_cast %[[R]]#1 : memref<i64>
// CHECK: func.func private @moe.0({{.*}} attributes {llvm.linkage = #llvm.linkage<internal>}
func.func @moe.0(%a: memref<?xf32>, %past: memref<i64>) -> (memref<?x?xf32>, memref<i64>) {
  %r = call @helper(%a) : (memref<?xf32>) -> memref<?x?xf32>
  return %r, %past : memref<?x?xf32>, memref<i64>
}
// CHECK-NOT: @moe_entry_helper
// CHECK: func.func private @helper({{.*}} attributes {llvm.linkage = #llvm.linkage<internal>}
func.func private @helper(%a: memref<?xf32>) -> memref<?x?xf32> {
  %c1 = arith.constant 1 : index
  %r = memref.alloc(%c1, %c1) : memref<?x?xf32>
  return %r : memref<?x?xf32>
}

// -----

// expected-error @below {{expected only memrefs as arguments and results of an entry function but got 'index'}}
func.func @scalar(%n: index) {
  return
}

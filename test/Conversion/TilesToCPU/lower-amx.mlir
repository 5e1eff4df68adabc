// RUN: moe-opt %s --moe-lower-amx | FileCheck %s

// Tiles in registers, carried by a loop; one load with a hint.
// CHECK-LABEL: func.func @registers(
// CHECK: %[[ZERO:.*]] = llvm.call_intrinsic "llvm.x86.tilezero.internal"
// CHECK: %[[SUM:.*]] = scf.for {{.*}} iter_args(%[[OLD:.*]] = %[[ZERO]]) -> (!llvm.x86_amx)
// CHECK: %[[A:.*]] = llvm.call_intrinsic "llvm.x86.tileloadd64.internal"
// CHECK: %[[B:.*]] = llvm.call_intrinsic "llvm.x86.tileloaddt164.internal"
// CHECK-NOT: moe.from_second_level
// CHECK: %[[NEW:.*]] = llvm.call_intrinsic "llvm.x86.tdpbf16ps.internal"({{.*}}, %[[OLD]], %[[A]], %[[B]])
// CHECK: scf.yield %[[NEW]]
// CHECK: llvm.call_intrinsic "llvm.x86.tilestored64.internal"({{.*}}, %[[SUM]])
func.func @registers(%a: memref<?x16x32xbf16>, %b: memref<?x16x32xbf16>, %c: memref<16x16xf32>, %n: index)
    attributes {moe.isa = "amx"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = amx.tile_zero : !amx.tile<16x16xf32>
  %sum = scf.for %k = %c0 to %n step %c1 iter_args(%old = %zero) -> !amx.tile<16x16xf32> {
    %left = amx.tile_load %a[%k, %c0, %c0] : memref<?x16x32xbf16> into !amx.tile<16x32xbf16>
    %right = amx.tile_load %b[%k, %c0, %c0] {moe.from_second_level} : memref<?x16x32xbf16> into !amx.tile<16x32xbf16>
    %new = amx.tile_mulf %left, %right, %old : !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x16xf32>
    scf.yield %new : !amx.tile<16x16xf32>
  }
  amx.tile_store %c[%c0, %c0], %sum : memref<16x16xf32>, !amx.tile<16x16xf32>
  return
}

// Tiles in memory; a stride of zero repeats a row.
// CHECK-LABEL: func.func @memory(
// CHECK-SAME: %[[A:[a-z0-9]+]]: memref<?xi8>, %[[B:[a-z0-9]+]]: memref<?x16x64xi8>, %[[C:[a-z0-9]+]]: memref<16x16xi32>
// CHECK-DAG: %[[SUM:.*]] = memref.alloca() {alignment = 64 : i64} : memref<16x16xi32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<16x64xi8>
// CHECK: scf.for {{.*}} -> (memref<16x16xi32>)
// CHECK: scf.for %[[ROW:.*]] = %c0{{.*}} to %c16
// CHECK: %[[OFFSET:.*]] = arith.muli %[[ROW]], %{{.*}}
// CHECK: %[[AT:.*]] = arith.addi %{{.*}}, %[[OFFSET]]
// CHECK: vector.load %[[A]][%[[AT]]] : memref<?xi8>, vector<64xi8>
// CHECK: %[[SIGNED:.*]] = arith.constant 0 : i32
// CHECK: %[[UNSIGNED:.*]] = arith.constant 1 : i32
// CHECK: call @moe_rt_tile_dot_i8(%{{.*}}, %{{.*}}, %{{.*}}, %[[SIGNED]], %[[UNSIGNED]])
// CHECK: scf.yield %{{.*}} : memref<16x16xi32>
// CHECK: vector.store %{{.*}}, %[[C]]
// CHECK-NOT: amx.
func.func @memory(%a: memref<?xi8>, %b: memref<?x16x64xi8>, %c: memref<16x16xi32>, %n: index)
    attributes {moe.isa = "amx-emulated"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = amx.tile_zero : !amx.tile<16x16xi32>
  %sum = scf.for %k = %c0 to %n step %c1 iter_args(%old = %zero) -> !amx.tile<16x16xi32> {
    %left = amx.tile_load %a[%k], %c0 : memref<?xi8> into !amx.tile<16x64xi8>
    %right = amx.tile_load %b[%k, %c0, %c0] {moe.from_second_level} : memref<?x16x64xi8> into !amx.tile<16x64xi8>
    %new = amx.tile_muli %left, %right zext, %old : !amx.tile<16x64xi8>, !amx.tile<16x64xi8>, !amx.tile<16x16xi32>
    scf.yield %new : !amx.tile<16x16xi32>
  }
  amx.tile_store %c[%c0, %c0], %sum : memref<16x16xi32>, !amx.tile<16x16xi32>
  return
}

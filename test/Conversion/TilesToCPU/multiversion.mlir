// RUN: moe-opt %s --moe-multiversion=levels=x86-64,avx512 --split-input-file | FileCheck %s
// RUN: moe-opt %s --moe-multiversion --split-input-file | FileCheck %s --check-prefix=ALL
// RUN: moe-opt %s --moe-multiversion=levels=amx --split-input-file | FileCheck %s --check-prefix=AMX
// RUN: not moe-opt %s --moe-multiversion=levels=avx1024 --split-input-file 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not moe-opt %s --moe-multiversion=levels=avx2,avx2 --split-input-file 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not moe-opt %s --moe-multiversion=levels=aarch64,avx2 --split-input-file 2>&1 | FileCheck %s --check-prefix=MIXED
// RUN: moe-opt %s --moe-multiversion=levels=aarch64,aarch64-bf16 --split-input-file | FileCheck %s --check-prefix=ARM

// UNKNOWN: error: expected an instruction-set level of amx, avx512bf16, avx512, avx2, x86-64, aarch64-bf16, aarch64 but got 'avx1024'
// TWICE: error: expected each instruction-set level once but got 'avx2' twice
// MIXED: error: expected instruction-set levels of one architecture but got 'aarch64' and 'avx2'

// Best first, whatever the order asked for. Nothing here has a kernel for bf16, so the levels for that would be avx512
// again.
// CHECK: module attributes {moe.isa_levels = ["avx512", "x86-64"]}
// ALL: module attributes {moe.isa_levels = ["avx512", "avx2", "x86-64"]}
// AMX: module attributes {moe.isa_levels = ["avx512"]}
// ARM: module attributes {moe.isa_levels = ["aarch64"]}

// CHECK: func.func private @runtime(
func.func private @runtime((memref<4xf32>) -> ())

// CHECK-LABEL: func.func private @f.avx512(
// CHECK-SAME: attributes {moe.isa = "avx512"}
// CHECK-LABEL: func.func private @"f.x86-64"(
// CHECK-SAME: attributes {moe.isa = "x86-64"}
func.func private @f(%a: memref<4xf32>) {
  return
}

// References stay within a level; declarations are shared.
// CHECK-LABEL: func.func @g.avx512(
// CHECK: call @f.avx512
// CHECK: constant @f.avx512
// CHECK: call @runtime
// CHECK-LABEL: func.func @"g.x86-64"(
// CHECK: call @"f.x86-64"
// CHECK: constant @"f.x86-64"
// CHECK: call @runtime
// CHECK-NOT: func.func
func.func @g(%a: memref<4xf32> {moe.name = "a"}) {
  call @f(%a) : (memref<4xf32>) -> ()
  %p = constant @f : (memref<4xf32>) -> ()
  call @runtime(%p) : ((memref<4xf32>) -> ()) -> ()
  return
}

// -----

// A product of bf16 with weights in pairs.
// CHECK: module attributes {moe.isa_levels = ["avx512", "x86-64"]}
// ALL: module attributes {moe.isa_levels = ["amx", "avx512bf16", "avx512", "avx2", "x86-64"]}
// AMX: module attributes {moe.isa_levels = ["amx"]}
// ARM: module attributes {moe.isa_levels = ["aarch64-bf16", "aarch64"]}
func.func @product(%x: memref<?x8xbf16>, %w: memref<2x1x4x16x2xbf16>, %groups: memref<3xi32>, %y: memref<?x16xf32>) {
  moe.grouped_matmul rows(%x : memref<?x8xbf16>) weights(%w : memref<2x1x4x16x2xbf16>) groups(%groups : memref<3xi32>)
      outs(%y : memref<?x16xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

// Rows of f32 are multiplied in f32.
// ALL: module attributes {moe.isa_levels = ["avx512", "avx2", "x86-64"]}
// AMX: module attributes {moe.isa_levels = ["avx512"]}
// ARM: module attributes {moe.isa_levels = ["aarch64"]}
func.func @product(%x: memref<?x8xf32>, %w: memref<2x1x4x16x2xbf16>, %groups: memref<3xi32>, %y: memref<?x16xf32>) {
  moe.grouped_matmul rows(%x : memref<?x8xf32>) weights(%w : memref<2x1x4x16x2xbf16>) groups(%groups : memref<3xi32>)
      outs(%y : memref<?x16xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// RUN: moe-opt %s --moe-multiversion=levels=avx512,x86-64 --split-input-file | FileCheck %s
// RUN: not moe-opt %s --moe-multiversion=levels=avx1024 --split-input-file 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not moe-opt %s --moe-multiversion=levels=avx2,avx2 --split-input-file 2>&1 | FileCheck %s --check-prefix=TWICE

// UNKNOWN: error: expected an instruction-set level of avx512, avx2, x86-64 but got 'avx1024'
// TWICE: error: expected each instruction-set level once but got 'avx2' twice

// CHECK: llvm.func @runtime(!llvm.ptr)
llvm.func @runtime(!llvm.ptr)

// CHECK-LABEL: llvm.func internal @f.avx512(
// CHECK-SAME: target_cpu = "x86-64-v4", target_features = #llvm.target_features<["-prefer-256-bit"]>
// CHECK: llvm.intr.fma
// CHECK: llvm.fpext
// CHECK: llvm.intr.floor
// CHECK-LABEL: llvm.func internal @"f.x86-64"(
// CHECK-SAME: target_cpu = "x86-64"
// CHECK: %[[PRODUCT:.*]] = llvm.fmul %{{.*}}, %{{.*}} : vector<4xf32>
// CHECK: llvm.fadd %[[PRODUCT]], %{{.*}} : vector<4xf32>
// CHECK-NOT: llvm.fpext
// CHECK-NOT: llvm.intr.floor
llvm.func internal @f(%a: vector<4xf32>, %h: f16) -> f32 {
  %b = llvm.intr.fma(%a, %a, %a) : (vector<4xf32>, vector<4xf32>, vector<4xf32>) -> vector<4xf32>
  %zero = llvm.mlir.constant(0 : i64) : i64
  %e = llvm.extractelement %b[%zero : i64] : vector<4xf32>
  %x = llvm.fpext %h : f16 to f32
  %s = llvm.fadd %x, %e : f32
  %r = llvm.intr.floor(%s) : (f32) -> f32
  llvm.return %r : f32
}

// References stay within a level; declarations are shared.
// CHECK-LABEL: llvm.func @g.avx512(
// CHECK: llvm.call @f.avx512
// CHECK: llvm.mlir.addressof @f.avx512
// CHECK: llvm.call @runtime
// CHECK-LABEL: llvm.func @"g.x86-64"(
// CHECK: llvm.call @"f.x86-64"
// CHECK: llvm.mlir.addressof @"f.x86-64"
// CHECK: llvm.call @runtime
llvm.func @g(%a: vector<4xf32>, %h: f16) {
  %b = llvm.call @f(%a, %h) : (vector<4xf32>, f16) -> f32
  %p = llvm.mlir.addressof @f : !llvm.ptr
  llvm.call @runtime(%p) : (!llvm.ptr) -> ()
  llvm.return
}

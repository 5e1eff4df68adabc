// RUN: moe-opt %s --moe-target-features | FileCheck %s

// CHECK-NOT: moe.isa_levels
module attributes {moe.isa_levels = ["amx", "avx512", "avx2", "x86-64"]} {

// CHECK: llvm.func @runtime(!llvm.ptr)
llvm.func @runtime(!llvm.ptr)

// CHECK-LABEL: llvm.func @f.amx(
// CHECK-SAME: passthrough = {{\[\[}}"moe.isa", "amx"]], target_cpu = "x86-64-v4"
// CHECK-SAME: "+avx512bf16", "+amx-tile", "+amx-bf16", "+amx-int8"
llvm.func @f.amx() attributes {moe.isa = "amx"} {
  llvm.return
}

// CHECK-LABEL: llvm.func internal @f.avx512(
// CHECK-SAME: target_cpu = "x86-64-v4", target_features = #llvm.target_features<["-prefer-256-bit", "+avx512vnni"]>
// CHECK-NOT: moe.isa =
// CHECK: llvm.intr.fma
// CHECK: llvm.fpext
// CHECK: llvm.intr.floor
llvm.func internal @f.avx512(%a: vector<4xf32>, %h: f16) -> f32 attributes {moe.isa = "avx512"} {
  %b = llvm.intr.fma(%a, %a, %a) : (vector<4xf32>, vector<4xf32>, vector<4xf32>) -> vector<4xf32>
  %zero = llvm.mlir.constant(0 : i64) : i64
  %e = llvm.extractelement %b[%zero : i64] : vector<4xf32>
  %x = llvm.fpext %h : f16 to f32
  %s = llvm.fadd %x, %e : f32
  %r = llvm.intr.floor(%s) : (f32) -> f32
  llvm.return %r : f32
}

// CHECK-LABEL: llvm.func internal @"f.x86-64"(
// CHECK-SAME: target_cpu = "x86-64"
// CHECK: %[[PRODUCT:.*]] = llvm.fmul %{{.*}}, %{{.*}} : vector<4xf32>
// CHECK: llvm.fadd %[[PRODUCT]], %{{.*}} : vector<4xf32>
// CHECK-NOT: llvm.fpext
// CHECK-NOT: llvm.intr.floor
llvm.func internal @"f.x86-64"(%a: vector<4xf32>, %h: f16) -> f32 attributes {moe.isa = "x86-64"} {
  %b = llvm.intr.fma(%a, %a, %a) : (vector<4xf32>, vector<4xf32>, vector<4xf32>) -> vector<4xf32>
  %zero = llvm.mlir.constant(0 : i64) : i64
  %e = llvm.extractelement %b[%zero : i64] : vector<4xf32>
  %x = llvm.fpext %h : f16 to f32
  %s = llvm.fadd %x, %e : f32
  %r = llvm.intr.floor(%s) : (f32) -> f32
  llvm.return %r : f32
}

// Armv8.0 has all that code asks for.
// CHECK-LABEL: llvm.func internal @f.aarch64(
// CHECK-SAME: passthrough = {{\[\[}}"moe.isa", "aarch64"]], target_cpu = "generic"}
// CHECK: llvm.intr.fma
// CHECK: llvm.fpext
// CHECK: llvm.intr.floor
llvm.func internal @f.aarch64(%a: f32, %h: f16) -> f32 attributes {moe.isa = "aarch64"} {
  %b = llvm.intr.fma(%a, %a, %a) : (f32, f32, f32) -> f32
  %x = llvm.fpext %h : f16 to f32
  %s = llvm.fadd %x, %b : f32
  %r = llvm.intr.floor(%s) : (f32) -> f32
  llvm.return %r : f32
}

// CHECK-LABEL: llvm.func @"f.aarch64-bf16"(
// CHECK-SAME: target_cpu = "generic", target_features = #llvm.target_features<["+bf16"]>
llvm.func @"f.aarch64-bf16"() attributes {moe.isa = "aarch64-bf16"} {
  llvm.return
}

// No level: for the machine it is compiled on.
// CHECK-LABEL: llvm.func @native(
// CHECK-NOT: target_cpu
// CHECK: llvm.intr.fma
llvm.func @native(%a: f32) -> f32 {
  %b = llvm.intr.fma(%a, %a, %a) : (f32, f32, f32) -> f32
  llvm.return %b : f32
}
}

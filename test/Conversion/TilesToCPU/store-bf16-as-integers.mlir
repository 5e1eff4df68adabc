// RUN: moe-opt %s --moe-store-bf16-as-integers --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: llvm.func @f(
// CHECK-SAME: %{{.*}}: !llvm.ptr, %{{.*}}: i16)
// CHECK: llvm.mlir.constant(16256 : i16) : i16
// CHECK: llvm.mlir.constant(dense<[16256, -16384]> : vector<2xi16>) : vector<2xi16>
// CHECK: llvm.store %{{.*}} : vector<2xi16>, !llvm.ptr
llvm.func @f(%p: !llvm.ptr, %x: bf16) {
  %a = llvm.mlir.constant(1.0 : bf16) : bf16
  %v = llvm.mlir.constant(dense<[1.0, -2.0]> : vector<2xbf16>) : vector<2xbf16>
  llvm.store %a, %p : bf16, !llvm.ptr
  llvm.store %v, %p : vector<2xbf16>, !llvm.ptr
  llvm.store %x, %p : bf16, !llvm.ptr
  llvm.return
}

// -----

llvm.func @arithmetic(%x: bf16) -> f32 {
  // expected-error @below {{expected no arithmetic on bf16 after its expansion}}
  %y = llvm.fpext %x : bf16 to f32
  llvm.return %y : f32
}

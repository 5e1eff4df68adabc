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

// The one instruction that takes bf16.
// CHECK-LABEL: llvm.func @dot(
// CHECK-SAME: %[[A:.*]]: vector<16xf32>, %[[X:.*]]: vector<32xi16>)
// CHECK: %[[BF16:.*]] = llvm.bitcast %[[X]] : vector<32xi16> to vector<32xbf16>
// CHECK: llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"(%[[A]], %[[BF16]], %{{.*}})
llvm.func @dot(%a: vector<16xf32>, %x: vector<32xbf16>) -> vector<16xf32> {
  %r = llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"(%a, %x, %x)
      : (vector<16xf32>, vector<32xbf16>, vector<32xbf16>) -> vector<16xf32>
  llvm.return %r : vector<16xf32>
}

// And the one that makes it.
// CHECK-LABEL: llvm.func @round(
// CHECK: %[[BF16:.*]] = llvm.call_intrinsic "llvm.x86.avx512bf16.cvtneps2bf16.512"({{.*}}) : (vector<16xf32>) -> vector<16xbf16>
// CHECK: %[[BITS:.*]] = llvm.bitcast %[[BF16]] : vector<16xbf16> to vector<16xi16>
// CHECK: llvm.store %[[BITS]]
llvm.func @round(%a: vector<16xf32>, %p: !llvm.ptr) {
  %r = llvm.call_intrinsic "llvm.x86.avx512bf16.cvtneps2bf16.512"(%a) : (vector<16xf32>) -> vector<16xbf16>
  llvm.store %r, %p : vector<16xbf16>, !llvm.ptr
  llvm.return
}

// -----

llvm.func @arithmetic(%x: bf16) -> f32 {
  // expected-error @below {{expected no arithmetic on bf16 after its expansion}}
  %y = llvm.fpext %x : bf16 to f32
  llvm.return %y : f32
}

// RUN: moe-opt %s --moe-attention-to-loops --split-input-file --verify-diagnostics | FileCheck %s

// One key-value head with the two query heads that share it. Scratch has a static size; the blocks of keys begin at multiples of
// 64; scores are sums over d, weighted sums go over the keys that a row sees.
// CHECK-LABEL: func.func @tile
// CHECK: %[[Q:.*]] = memref.alloc() {{.*}} : memref<64x32xf32>
// CHECK: %[[SUMS:.*]] = memref.alloc() {{.*}} : memref<64x32xf32>
// CHECK: %[[K:.*]] = memref.alloc() {{.*}} : memref<32x64xf32>
// CHECK: %[[V:.*]] = memref.alloc() {{.*}} : memref<64x32xf32>
// CHECK-NOT: memref.alloc(%
// CHECK: scf.for %{{.*}} = %c0{{.*}} to %{{.*}} step %c64
// CHECK: vector.shuffle
// CHECK: vector.store %{{.*}}, %[[K]]
// CHECK: vector.store %{{.*}}, %[[V]]
// CHECK: scf.if
// CHECK: scf.for %{{.*}} = %c0{{.*}} to %c32{{.*}} step %c1{{.*}} iter_args
// CHECK: vector.load %[[K]]
// CHECK: memref.load %[[Q]]
// CHECK: math.fma
// CHECK: arith.select
// CHECK: math.exp
// CHECK: vector.load %[[V]]
// CHECK: math.fma
// CHECK: vector.store %{{.*}}, %[[SUMS]]
// CHECK: arith.divf
// CHECK: arith.truncf
// CHECK: memref.dealloc
func.func @tile(%q: memref<1x?x2x32xbf16>, %k: memref<1x?x1x32xbf16>, %v: memref<1x?x1x32xbf16>, %past: index, %y: memref<1x?x2x32xbf16>) {
  moe.attention %q, %k, %v past(%past) outs(%y : memref<1x?x2x32xbf16>) {scale = 0.5 : f32}
    : memref<1x?x2x32xbf16>, memref<1x?x1x32xbf16>, memref<1x?x1x32xbf16>
  return
}

// -----

// Fewer accumulators for a level with fewer registers.
// CHECK-LABEL: func.func @small
// CHECK: math.fma
// CHECK: math.fma
// CHECK-NOT: math.fma
// CHECK: scf.yield
func.func @small(%q: memref<1x?x2x32xf32>, %k: memref<1x?x1x32xf32>, %past: index, %y: memref<1x?x2x32xf32>) attributes {moe.isa = "x86-64"} {
  moe.attention %q, %k, %k past(%past) outs(%y : memref<1x?x2x32xf32>) {scale = 0.5 : f32}
    : memref<1x?x2x32xf32>, memref<1x?x1x32xf32>, memref<1x?x1x32xf32>
  return
}

// -----

func.func @strided(%q: memref<1x?x2x32xf32, strided<[?, ?, ?, ?]>>, %k: memref<1x?x1x32xf32>, %past: index, %y: memref<1x?x2x32xf32>) {
  // expected-error@+1 {{expected contiguous heads but got}}
  moe.attention %q, %k, %k past(%past) outs(%y : memref<1x?x2x32xf32>) {scale = 0.5 : f32}
    : memref<1x?x2x32xf32, strided<[?, ?, ?, ?]>>, memref<1x?x1x32xf32>, memref<1x?x1x32xf32>
  return
}

// -----

func.func @double(%q: memref<1x?x2x32xf64>, %k: memref<1x?x1x32xf32>, %past: index, %y: memref<1x?x2x32xf32>) {
  // expected-error@+1 {{expected elements of f32, bf16 or f16 but got}}
  moe.attention %q, %k, %k past(%past) outs(%y : memref<1x?x2x32xf32>) {scale = 0.5 : f32}
    : memref<1x?x2x32xf64>, memref<1x?x1x32xf32>, memref<1x?x1x32xf32>
  return
}

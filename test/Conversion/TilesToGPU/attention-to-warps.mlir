// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-attention-to-warps)))' | FileCheck %s

// 40 elements: a lane has one, and those below 8 another. Scores are added over the lanes; maximum, sum and values of the
// softmax travel through the loop over positions.
// CHECK-LABEL: gpu.func @attention
gpu.module @kernels {
  gpu.func @attention(%q: memref<1x?x4x40xbf16>, %k: memref<1x?x2x40xbf16>, %v: memref<1x?x2x40xbf16>, %past: index,
                      %o: memref<1x?x4x40xbf16>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    // CHECK: %[[LANE:.*]] = arith.remui
    // CHECK: scf.for
    // CHECK:   memref.load %{{.*}}, %[[LANE]]] : memref<1x?x4x40xbf16>
    // CHECK:   arith.minui
    // CHECK:   %[[BEGIN:.*]] = arith.maxsi
    // CHECK:   %[[STATE:.*]]:4 = scf.for %{{.*}} = %[[BEGIN]] to %{{.*}} -> (f32, f32, f32, f32)
    // CHECK-COUNT-5: gpu.shuffle xor
    // CHECK:     arith.maximumf
    // CHECK-COUNT-2: math.exp
    // CHECK:   arith.divf %[[STATE]]#2, %[[STATE]]#1
    // CHECK:   arith.truncf
    // CHECK:   memref.store %{{.*}}, %{{.*}}, %[[LANE]]]
    // CHECK:   scf.if
    // CHECK:     memref.store
    moe.attention %q, %k, %v past(%past) outs(%o : memref<1x?x4x40xbf16>) {scale = 0.125 : f32, window = 16 : i64}
        : memref<1x?x4x40xbf16>, memref<1x?x2x40xbf16>, memref<1x?x2x40xbf16>
    gpu.return
  }
}

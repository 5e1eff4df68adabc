// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-grouped-matmul-to-threads)))' --split-input-file --verify-diagnostics | FileCheck %s

// One group, whose rows are those that were stored as offsets: the buffer goes.
// CHECK-LABEL: gpu.func @tile
gpu.module @kernels {
  gpu.func @tile(%x: memref<?x64xbf16>, %w: memref<1x32x64xbf16>, %choices: memref<?xi32>, %scale: memref<?xf32>,
                 %y: memref<?x32xbf16>, %rows: i32, %bytes: memref<64xi8>)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.view %bytes[%c0][] : memref<64xi8> to memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK-NOT: memref<2xi32>
    // CHECK: %[[THREAD:.*]] = gpu.thread_id x
    // CHECK: scf.for %{{.*}} = %[[THREAD]] to
    // CHECK:   %[[CHOICE:.*]] = memref.load %{{.*}} : memref<?xi32>
    // CHECK:   %[[EXISTS:.*]] = arith.cmpi sge, %[[CHOICE]]
    // CHECK:   %[[SUM:.*]] = scf.for %[[K:[a-z0-9]+]] = {{.*}} -> (f32)
    // CHECK:     memref.load %{{.*}}, %[[K]]] : memref<?x64xbf16>
    // CHECK:     arith.select %[[EXISTS]]
    // CHECK:     memref.load %{{.*}}, %[[K]]] : memref<1x32x64xbf16>
    // CHECK:     math.fma
    // CHECK:   %[[GATE:.*]] = memref.load %{{.*}} : memref<?xf32>
    // CHECK:   arith.mulf %[[SUM]], %[[GATE]]
    // CHECK:   arith.truncf
    // CHECK:   memref.store
    moe.grouped_matmul rows(%x : memref<?x64xbf16>) weights(%w : memref<1x32x64xbf16>) groups(%o : memref<2xi32>)
        choices(%choices : memref<?xi32>) row_scalars(%scale : memref<?xf32>) outs(%y : memref<?x32xbf16>)
        attributes {fanout = 2 : i64} {
    ^bb0(%acc: f32, %s: f32):
      %p = arith.mulf %acc, %s : f32
      %t = arith.truncf %p : f32 to bf16
      moe.yield %t : bf16
    }
    gpu.return
  }
}

// -----

gpu.module @kernels {
  gpu.func @packed(%x: memref<?x64xbf16>, %w: memref<1x2x32x16x2xbf16>, %o: memref<2xi32>, %y: memref<?x32xf32>)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    // expected-error @below {{expected plain weights of a float type, which is what GPU kernels can do, but got 'memref<1x2x32x16x2xbf16>'}}
    moe.grouped_matmul rows(%x : memref<?x64xbf16>) weights(%w : memref<1x2x32x16x2xbf16>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x32xf32>) {
    ^bb0(%acc: f32):
      moe.yield %acc : f32
    }
    gpu.return
  }
}

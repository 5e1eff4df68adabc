// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-schedule-to-threads)))' --split-input-file --verify-diagnostics | FileCheck %s

gpu.module @kernels {
  // 16 warps with counters for 256 experts each; two passes over the choices, 32 at a time.
  // CHECK-LABEL: gpu.func @schedule
  // CHECK-SAME: workgroup(%[[COUNTERS:.*]] : memref<16x256xi32, #gpu.address_space<workgroup>>)
  // CHECK-COUNT-2: nvvm.match.sync any
  // CHECK-NOT: nvvm.match.sync
  // CHECK-NOT: atomic
  // CHECK-NOT: moe.schedule
  gpu.func @schedule(%e: memref<?x8xi32>, %o: memref<257xi32>, %c: memref<?xi32>, %s: memref<?x8xi32>, %t: memref<?x3xi32>, %n: memref<i32>) kernel attributes {known_block_size = array<i32: 512, 1, 1>} {
    moe.schedule %e : memref<?x8xi32> outs(%o, %c, %s, %t, %n : memref<257xi32>, memref<?xi32>, memref<?x8xi32>, memref<?x3xi32>, memref<i32>) {block = 128}
    gpu.return
  }

  // Fewer warps count where a product has taken most of the memory.
  // CHECK-LABEL: gpu.func @little_memory
  // CHECK-SAME: memref<2x1024xi32, #gpu.address_space<workgroup>>
  gpu.func @little_memory(%e: memref<?x8xi32>, %o: memref<1025xi32>, %c: memref<?xi32>, %s: memref<?x8xi32>, %t: memref<?x3xi32>, %n: memref<i32>)
      workgroup(%w: memref<36864xi8, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    moe.schedule %e : memref<?x8xi32> outs(%o, %c, %s, %t, %n : memref<1025xi32>, memref<?xi32>, memref<?x8xi32>, memref<?x3xi32>, memref<i32>) {block = 128}
    gpu.return
  }
}

// -----

gpu.module @kernels {
  gpu.func @no_memory(%e: memref<?x8xi32>, %o: memref<1025xi32>, %c: memref<?xi32>, %s: memref<?x8xi32>, %t: memref<?x3xi32>, %n: memref<i32>)
      workgroup(%w: memref<49152xi8, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    // expected-error @below {{expected shared memory for 1024 counters but got too little}}
    moe.schedule %e : memref<?x8xi32> outs(%o, %c, %s, %t, %n : memref<1025xi32>, memref<?xi32>, memref<?x8xi32>, memref<?x3xi32>, memref<i32>) {block = 128}
    gpu.return
  }
}

// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-attention-to-warps)))' --split-input-file | FileCheck %s
// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-attention-to-warps{no-tensor-cores})))' --split-input-file | FileCheck %s --check-prefix=NONE

// NONE-NOT: nvvm.mma

// Heads of 32 elements: for a warp's 16 rows and 64 keys 2 * 8 products for the scores, and 2 * 4 * 4 for the two parts of
// weights. Three slots of 4 KiB. Keys of the next tile are on their way while this one's are multiplied, and so are values.
// CHECK-LABEL: gpu.func @many
// CHECK-SAME: workgroup(%{{.*}} : memref<12288xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
// CHECK-SAME: nvvm.minctasm = 2
gpu.module @kernels {
  gpu.func @many(%q: memref<1x?x4x32xbf16>, %k: memref<1x?x1x32xbf16, strided<[?, 64, 32, 1], offset: ?>>,
                 %v: memref<1x?x1x32xbf16, strided<[?, 64, 32, 1], offset: ?>>, %past: index,
                 %o: memref<1x?x4x32xbf16>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    // CHECK: scf.for
    // CHECK-COUNT-3: nvvm.cp.async.commit.group
    // CHECK: nvvm.cp.async.wait.group 2
    // CHECK: gpu.barrier
    // CHECK-COUNT-2: nvvm.ldmatrix %{{.*}} {eltType = {{.*}}, layout = #nvvm.mma_layout<row>, num = 4 : i32
    // CHECK: scf.for
    // CHECK:   nvvm.cp.async.wait.group 1
    // CHECK:   gpu.barrier
    // CHECK:   nvvm.cp.async.shared.global
    // CHECK:   nvvm.cp.async.commit.group
    // CHECK-COUNT-16: nvvm.mma.sync
    // CHECK-NOT: nvvm.mma.sync
    // CHECK:   scf.if
    // CHECK-COUNT-32: arith.select
    // CHECK:   } else {
    // CHECK-COUNT-2: gpu.shuffle xor
    // CHECK:   math.fma
    // CHECK:   nvvm.cp.async.wait.group 1
    // CHECK:   gpu.barrier
    // CHECK:   nvvm.cp.async.shared.global
    // CHECK:   nvvm.cp.async.commit.group
    // CHECK:   nvvm.ldmatrix %{{.*}} {eltType = {{.*}}, layout = #nvvm.mma_layout<col>, num = 4 : i32
    // CHECK-COUNT-32: nvvm.mma.sync
    // CHECK-NOT: nvvm.mma.sync
    // CHECK: } {loop_annotation =
    // CHECK: vector.store {{.*}} {alignment = 4 : i64} : memref<1x?x4x32xbf16>, vector<2xbf16>
    moe.attention %q, %k, %v past(%past) outs(%o : memref<1x?x4x32xbf16>) {scale = 0.125 : f32}
        : memref<1x?x4x32xbf16>, memref<1x?x1x32xbf16, strided<[?, 64, 32, 1], offset: ?>>,
          memref<1x?x1x32xbf16, strided<[?, 64, 32, 1], offset: ?>>
    gpu.return
  }
}

// -----

// Few rows: a warp copies 16 keys or values at a time and meets nobody until its tile is done; then four f32 at once.
// CHECK-LABEL: gpu.func @few
// CHECK-SAME: workgroup(%{{.*}} : memref<12288xi8, #gpu.address_space<workgroup>>
gpu.module @kernels {
  gpu.func @few(%q: memref<1x?x4x32xf16>, %k: memref<1x?x1x32xf16>, %v: memref<1x?x1x32xf16>, %past: index,
                %o: memref<1x?x4x32xf32>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    // CHECK: scf.for
    // CHECK: scf.for
    // CHECK:   scf.if
    // CHECK-NOT: gpu.barrier
    // CHECK:     nvvm.bar.warp.sync
    // CHECK-COUNT-48: nvvm.mma.sync
    // CHECK-NOT: nvvm.mma.sync
    // CHECK:     llvm.store %{{.*}} {alignment = 16 : i64} : vector<4xf32>, !llvm.ptr<3>
    // CHECK:   gpu.barrier
    // CHECK-COUNT-4: scf.if
    // CHECK:   gpu.barrier
    moe.attention %q, %k, %v past(%past) outs(%o : memref<1x?x4x32xf32>) {scale = 0.125 : f32, window = 16 : i64, moe.block_rows = 16 : i64}
        : memref<1x?x4x32xf16>, memref<1x?x1x32xf16>, memref<1x?x1x32xf16>
    gpu.return
  }
}

// -----

// What tensor cores do not take: heads of 40 elements, f32, rows that begin anywhere.
// CHECK-LABEL: gpu.func @none
// CHECK-NOT: nvvm.mma
gpu.module @kernels {
  gpu.func @none(%q: memref<1x?x4x32xf32>, %k: memref<1x?x1x32xf32>, %v: memref<1x?x1x32xf32>, %past: index,
                 %o: memref<1x?x4x32xf32>, %q4: memref<1x?x1x32xbf16, strided<[?, 36, 32, 1], offset: ?>>, %k4: memref<1x?x1x32xbf16>)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    moe.attention %q, %k, %v past(%past) outs(%o : memref<1x?x4x32xf32>) {scale = 0.125 : f32}
        : memref<1x?x4x32xf32>, memref<1x?x1x32xf32>, memref<1x?x1x32xf32>
    moe.attention %q4, %k4, %k4 past(%past) outs(%k4 : memref<1x?x1x32xbf16>) {scale = 0.125 : f32}
        : memref<1x?x1x32xbf16, strided<[?, 36, 32, 1], offset: ?>>, memref<1x?x1x32xbf16>, memref<1x?x1x32xbf16>
    gpu.return
  }
}

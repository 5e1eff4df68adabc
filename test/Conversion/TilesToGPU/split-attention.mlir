// RUN: moe-opt %s --moe-form-kernels --split-input-file | FileCheck %s
// RUN: moe-opt %s --moe-form-kernels --split-input-file \
// RUN:   | moe-opt --split-input-file --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-distribute-kernels,moe-attention-to-warps)))' \
// RUN:   | FileCheck %s --check-prefix=PARTS

// With few queries and fewer sequences and heads than the GPU has room for blocks, blocks share the keys of one: chunks of
// 256, as many as the cache has room for. 17 pieces of memory for a chunk: 16 times eight columns, and statistics.
// CHECK-LABEL: func.func @decode
// CHECK-SAME: %{{[a-z0-9]+}}: memref<?x?x8x128xbf16>, %[[KEYS:[a-z0-9]+]]: memref<?x?x2x128xbf16>
func.func @decode(%q: memref<?x?x8x128xbf16>, %k: memref<?x?x2x128xbf16>, %v: memref<?x?x2x128xbf16>, %past: index, %o: memref<?x?x8x128xbf16>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %capacity = memref.dim %k, %c1 : memref<?x?x2x128xbf16>
  %sequences = memref.dim %q, %c0 : memref<?x?x8x128xbf16>
  %queries = memref.dim %q, %c1 : memref<?x?x8x128xbf16>
  // CHECK: %[[BLOCKS:.*]] = arith.maxui
  // CHECK: scf.if
  // CHECK:   %[[CAPACITY:.*]] = memref.dim %[[KEYS]]
  // CHECK:   %[[CHUNKS:.*]] = arith.ceildivui %[[CAPACITY]], %c256
  // CHECK:   %[[WORKERS:.*]] = moe.workers
  // CHECK:   %[[ROOM:.*]] = arith.muli %[[WORKERS]], %c2
  // CHECK:   %[[EACH:.*]] = arith.ceildivui %[[ROOM]], %[[BLOCKS]]
  // CHECK:   %[[SHARE:.*]] = arith.minui %[[CHUNKS]], %[[EACH]]
  // CHECK:   %[[SPLIT:.*]] = arith.cmpi ugt, %[[SHARE]], %c1
  // CHECK:   scf.if %[[SPLIT]] {
  // CHECK:     %[[FLOATS:.*]] = arith.muli %[[CHUNKS]], %c2176
  // CHECK:     %[[ALL:.*]] = arith.muli %[[FLOATS]], %[[BLOCKS]]
  // CHECK:     memref.alloc(%[[ALL]]) : memref<?xf32>
  // CHECK:     gpu.launch_func @kernels::@decode_0_attention_16_rows_chunks blocks in (%[[BLOCKS]], %[[SHARE]], %c1
  // CHECK:     gpu.launch_func @kernels::@decode_0_attention_16_rows_combine blocks in (%[[BLOCKS]], %c4{{[_0-9]*}}, %c1
  // CHECK:   } else {
  // CHECK:     gpu.launch_func @kernels::@decode_0_attention_16_rows blocks in (%[[BLOCKS]], %c1{{[_0-9]*}}, %c1
  // CHECK:   }
  // CHECK: } else {
  // CHECK:   gpu.launch_func @kernels::@decode_0_attention blocks
  scf.forall (%b, %g) in (%sequences, 2) {
    %h = affine.apply affine_map<(d0) -> (d0 * 4)>(%g)
    %x = memref.subview %q[%b, 0, %h, 0] [1, %queries, 4, 128] [1, 1, 1, 1] : memref<?x?x8x128xbf16> to memref<1x?x4x128xbf16, strided<[?, 1024, 128, 1], offset: ?>>
    %keys = memref.subview %k[%b, 0, %g, 0] [1, %capacity, 1, 128] [1, 1, 1, 1] : memref<?x?x2x128xbf16> to memref<1x?x1x128xbf16, strided<[?, 256, 128, 1], offset: ?>>
    %values = memref.subview %v[%b, 0, %g, 0] [1, %capacity, 1, 128] [1, 1, 1, 1] : memref<?x?x2x128xbf16> to memref<1x?x1x128xbf16, strided<[?, 256, 128, 1], offset: ?>>
    %y = memref.subview %o[%b, 0, %h, 0] [1, %queries, 4, 128] [1, 1, 1, 1] : memref<?x?x8x128xbf16> to memref<1x?x4x128xbf16, strided<[?, 1024, 128, 1], offset: ?>>
    moe.attention %x, %keys, %values past(%past) outs(%y : memref<1x?x4x128xbf16, strided<[?, 1024, 128, 1], offset: ?>>) {scale = 0.125 : f32}
        : memref<1x?x4x128xbf16, strided<[?, 1024, 128, 1], offset: ?>>, memref<1x?x1x128xbf16, strided<[?, 256, 128, 1], offset: ?>>,
          memref<1x?x1x128xbf16, strided<[?, 256, 128, 1], offset: ?>>
  }
  return
}

// A block does every gridDim.y-th chunk; the place of its sums is that of its sequence and head, and of the chunk.
// PARTS-LABEL: gpu.func @decode_0_attention_16_rows_chunks
// PARTS-SAME: %{{[a-z0-9]+}}: memref<f32>, %[[ROOM:[a-z0-9]+]]: index) workgroup
// PARTS: scf.for %[[UNIT:[a-z0-9]+]] =
// PARTS:   %[[Y:.*]] = gpu.block_id y
// PARTS:   gpu.grid_dim y
// PARTS:   scf.for %[[CHUNK:[a-z0-9]+]] =
// PARTS:     nvvm.mma.sync
// PARTS:     %[[ROOM32:.*]] = arith.index_cast %[[ROOM]] : index to i32
// PARTS:     %[[FIRST:.*]] = arith.muli %[[UNIT]], %[[ROOM32]] : i32
// PARTS:     llvm.store %{{.*}} {alignment = 16 : i64} : vector<4xf32>, !llvm.ptr<1>
// PARTS-NOT: vector.store

// Four chunks at a time come into shared memory, the next four meanwhile.
// PARTS-LABEL: gpu.func @decode_0_attention_16_rows_combine
// PARTS-SAME: workgroup(%{{.*}} : memref<32768xi8, #gpu.address_space<workgroup>>
// PARTS-NOT: nvvm.mma.sync
// PARTS-COUNT-16: nvvm.cp.async.shared.global
// PARTS: scf.for
// PARTS:   nvvm.cp.async.wait.group 1
// PARTS-COUNT-8: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr<3> -> vector<4xf32>
// PARTS:   nvvm.bar.warp.sync
// PARTS-COUNT-8: nvvm.cp.async.shared.global
// PARTS: vector.store

// -----

// A cache of one chunk: nothing to share.
// CHECK-LABEL: func.func @short
// CHECK-NOT: _chunks
// CHECK: gpu.launch_func @kernels::@short_0_attention_16_rows blocks
// CHECK-NOT: _chunks
func.func @short(%q: memref<?x?x4x32xbf16>, %k: memref<?x256x1x32xbf16>, %v: memref<?x256x1x32xbf16>, %past: index, %o: memref<?x?x4x32xbf16>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %sequences = memref.dim %q, %c0 : memref<?x?x4x32xbf16>
  %queries = memref.dim %q, %c1 : memref<?x?x4x32xbf16>
  scf.forall (%b) in (%sequences) {
    %x = memref.subview %q[%b, 0, 0, 0] [1, %queries, 4, 32] [1, 1, 1, 1] : memref<?x?x4x32xbf16> to memref<1x?x4x32xbf16, strided<[?, 128, 32, 1], offset: ?>>
    %keys = memref.subview %k[%b, 0, 0, 0] [1, 256, 1, 32] [1, 1, 1, 1] : memref<?x256x1x32xbf16> to memref<1x256x1x32xbf16, strided<[8192, 32, 32, 1], offset: ?>>
    %values = memref.subview %v[%b, 0, 0, 0] [1, 256, 1, 32] [1, 1, 1, 1] : memref<?x256x1x32xbf16> to memref<1x256x1x32xbf16, strided<[8192, 32, 32, 1], offset: ?>>
    %y = memref.subview %o[%b, 0, 0, 0] [1, %queries, 4, 32] [1, 1, 1, 1] : memref<?x?x4x32xbf16> to memref<1x?x4x32xbf16, strided<[?, 128, 32, 1], offset: ?>>
    moe.attention %x, %keys, %values past(%past) outs(%y : memref<1x?x4x32xbf16, strided<[?, 128, 32, 1], offset: ?>>) {scale = 0.125 : f32}
        : memref<1x?x4x32xbf16, strided<[?, 128, 32, 1], offset: ?>>, memref<1x256x1x32xbf16, strided<[8192, 32, 32, 1], offset: ?>>,
          memref<1x256x1x32xbf16, strided<[8192, 32, 32, 1], offset: ?>>
  }
  return
}

// RUN: moe-opt %s --moe-form-kernels --split-input-file | FileCheck %s

#row = affine_map<(d0) -> (d0)>

// A parallel loop is a kernel: a warp takes every teams-th iteration. The bound is known on the host, and so is the grid.
// CHECK-LABEL: func.func @rows
// CHECK-SAME: %[[A:[a-z0-9]+]]: memref<?x64xf32>
func.func @rows(%a: memref<?x64xf32>, %b: memref<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %a, %c0 : memref<?x64xf32>
  // CHECK: %[[ROWS:.*]] = memref.dim %[[A]]
  // CHECK: %[[BLOCKS:.*]] = arith.maxui
  // CHECK: gpu.launch_func @kernels::@rows_0_rows blocks in (%[[BLOCKS]], %c1, %c1) threads in (%c128, %c1, %c1)
  // CHECK-SAME: args(%[[ROWS]] : index, %{{[a-z_0-9#]+}} : memref<f32>, %{{[a-z_0-9#]+}} : index, %{{[a-z_0-9#]+}} : memref<f32>, %{{[a-z_0-9#]+}} : index)
  // CHECK-NOT: scf.forall
  scf.forall (%i) in (%rows) {
    %x = memref.subview %a[%i, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
    %y = memref.subview %b[%i, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
    // Buffers of the body are a warp's part of shared memory.
    %t = memref.alloc() : memref<1x64xf32>
    linalg.exp ins(%x : memref<1x64xf32, strided<[64, 1], offset: ?>>) outs(%t : memref<1x64xf32>)
    linalg.abs ins(%t : memref<1x64xf32>) outs(%y : memref<1x64xf32, strided<[64, 1], offset: ?>>)
  }
  return
}
// CHECK: gpu.module @kernels
// CHECK: gpu.func @rows_0_rows(%[[N:[a-z0-9]+]]: index, %[[P:[a-z0-9]+]]: memref<f32>, %[[S:[a-z0-9]+]]: index, %{{.*}}: memref<f32>, %{{.*}}: index)
// CHECK-SAME: workgroup(%[[SHARED:.*]] : memref<1024xi8, #gpu.address_space<workgroup>> {llvm.align = 128 : i64})
// CHECK-SAME: known_block_size = array<i32: 128, 1, 1>, moe.team = "warp"
// CHECK: memref.reinterpret_cast %[[P]] to offset: [0], sizes: [%[[S]], 64]
// CHECK: %[[BLOCK:.*]] = gpu.block_id x
// CHECK: %[[GRID:.*]] = gpu.grid_dim x
// CHECK: scf.for
// CHECK: memref.view
// CHECK: linalg.exp
// CHECK: linalg.abs

// -----

// A count that a kernel computes stays on the device: it travels through memory, and what is computed from it is computed
// again where it is needed. The grid has as many blocks as the device runs at once.
// CHECK-LABEL: func.func @counted
func.func @counted(%counts: memref<8xi32>, %a: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  %cst = arith.constant 1.0 : f32
  // CHECK: %[[SLOT:.*]] = memref.alloc() : memref<index>
  // CHECK: gpu.launch_func @kernels::@counted_0_serial blocks in (%[[ONE:.*]], %[[ONE]], %[[ONE]]) threads in (%c32
  // CHECK-SAME: %[[SLOT]] : memref<index>
  %sum = scf.for %i = %c0 to %c8 step %c1 iter_args(%s = %c0) -> index {
    %n = memref.load %counts[%i] : memref<8xi32>
    %m = arith.index_cast %n : i32 to index
    %t = arith.addi %s, %m : index
    scf.yield %t : index
  }
  %twice = arith.muli %sum, %c8 : index
  // CHECK: %[[WORKERS:.*]] = moe.workers
  // CHECK: gpu.launch_func @kernels::@counted_1_rows
  // CHECK-SAME: %[[SLOT]] : memref<index>
  scf.forall (%i) in (%twice) {
    memref.store %cst, %a[%i] : memref<?xf32>
  }
  return
}
// CHECK: gpu.func @counted_0_serial
// CHECK: %[[SUM:.*]] = scf.for
// CHECK: memref.store %[[SUM]], %{{.*}}[] : memref<index>
// CHECK: gpu.func @counted_1_rows
// CHECK: %[[LOADED:.*]] = memref.load %{{.*}}[] : memref<index>
// CHECK: %[[TWICE:.*]] = arith.muli %[[LOADED]], %{{.*}} : index
// CHECK: scf.for

// -----

// Elementwise ops that do not depend on each other share a kernel; a third one that reads the first does not.
// CHECK-LABEL: func.func @fills
// CHECK: gpu.launch_func @kernels::@fills_0_grid
// CHECK: gpu.launch_func @kernels::@fills_1_grid
// CHECK-NOT: gpu.launch_func
func.func @fills(%a: memref<?xf32>, %b: memref<?xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%a : memref<?xf32>)
  linalg.fill ins(%zero : f32) outs(%b : memref<?xf32>)
  memref.copy %a, %b : memref<?xf32> to memref<?xf32>
  return
}
// CHECK: gpu.func @fills_0_grid
// CHECK-SAME: moe.team = "grid"
// CHECK: linalg.fill
// CHECK: linalg.fill
// CHECK: gpu.func @fills_1_grid
// CHECK: linalg.generic

// -----

// The host reads how many positions there are.
// CHECK-LABEL: func.func @past
// CHECK: %[[PAST:.*]] = memref.load %{{.*}}[] : memref<i64>
// CHECK: gpu.launch_func @kernels::@past_0_rows
// CHECK-SAME: %[[PAST]] : i64
func.func @past(%past: memref<i64> {moe.name = "past", moe.role = "past"}, %a: memref<4xi64>) {
  %p = memref.load %past[] : memref<i64>
  scf.forall (%i) in (4) {
    memref.store %p, %a[%i] : memref<4xi64>
  }
  return
}

// -----

// Two functions with the same work share its kernel.
// CHECK-LABEL: func.func @first
// CHECK: @kernels::@first_0_rows
func.func @first(%a: memref<4xi64>, %p: i64) {
  scf.forall (%i) in (4) {
    memref.store %p, %a[%i] : memref<4xi64>
  }
  return
}
// CHECK-LABEL: func.func @second
// CHECK: @kernels::@first_0_rows
func.func @second(%a: memref<4xi64>, %p: i64) {
  scf.forall (%i) in (4) {
    memref.store %p, %a[%i] : memref<4xi64>
  }
  return
}
// CHECK: gpu.func @first_0_rows
// CHECK-NOT: gpu.func

// -----

// A parallel loop in a parallel loop: iterations of the outer one are a block's, those of the inner one its warps', and each
// warp has its own part of the inner loop's memory.
// CHECK-LABEL: func.func @rows_of_blocks
// CHECK: %[[BLOCKS:.*]] = arith.maxui
// CHECK: gpu.launch_func @kernels::@rows_of_blocks_0_rows blocks in (%[[BLOCKS]], %c1, %c1) threads in (%c128, %c1, %c1)
// CHECK: gpu.func @rows_of_blocks_0_rows
// CHECK-SAME: workgroup(%{{.*}} : memref<1024xi8, #gpu.address_space<workgroup>>
// CHECK-SAME: moe.team = "block"
// CHECK: scf.forall
// CHECK:   %[[WARP:.*]] = arith.divui %{{.*}}, %c32
// CHECK:   %[[PART:.*]] = arith.muli %[[WARP]], %c256
// CHECK:   memref.view
// CHECK:   linalg.exp
func.func @rows_of_blocks(%a: memref<?x64xf32>, %b: memref<?x64xf32>, %rows: index) {
  scf.forall (%i) = (0) to (%rows) step (16) {
    %c16 = arith.constant 16 : index
    %left = arith.subi %rows, %i : index
    %n = arith.minui %left, %c16 : index
    scf.forall (%r) in (%n) {
      %row = arith.addi %i, %r : index
      %x = memref.subview %a[%row, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
      %y = memref.subview %b[%row, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
      %t = memref.alloc() : memref<1x64xf32>
      linalg.exp ins(%x : memref<1x64xf32, strided<[64, 1], offset: ?>>) outs(%t : memref<1x64xf32>)
      linalg.abs ins(%t : memref<1x64xf32>) outs(%y : memref<1x64xf32, strided<[64, 1], offset: ?>>)
    }
  }
  return
}

// -----

// Rows that a product multiplies are in global memory, however few: asynchronous copies read them.
// CHECK-LABEL: func.func @rows_of_a_product
// CHECK: memref.alloc(%{{.*}}) {alignment = 64 : i64} : memref<?xi8>
// CHECK: gpu.func @rows_of_a_product_0_grouped_matmul
// CHECK-NOT: workgroup
// CHECK: scf.for
func.func @rows_of_a_product(%h: memref<?x64xbf16>, %w: memref<1x16x64xi8>, %o: memref<2xi32>, %y: memref<?x16xi32>, %rows: index) {
  scf.forall (%i) = (0) to (%rows) step (16) {
    %x = memref.alloc() : memref<16x64xi8>
    scf.forall (%r) in (16) {
      %row = arith.addi %i, %r : index
      %from = memref.subview %h[%row, 0] [1, 64] [1, 1] : memref<?x64xbf16> to memref<1x64xbf16, strided<[64, 1], offset: ?>>
      %to = memref.subview %x[%r, 0] [1, 64] [1, 1] : memref<16x64xi8> to memref<1x64xi8, strided<[64, 1], offset: ?>>
      linalg.generic {indexing_maps = [affine_map<(r, k) -> (r, k)>, affine_map<(r, k) -> (r, k)>], iterator_types = ["parallel", "parallel"]}
          ins(%from : memref<1x64xbf16, strided<[64, 1], offset: ?>>) outs(%to : memref<1x64xi8, strided<[64, 1], offset: ?>>) {
      ^bb0(%a: bf16, %b: i8):
        %c = arith.fptosi %a : bf16 to i8
        linalg.yield %c : i8
      }
    }
    %out = memref.subview %y[%i, 0] [16, 16] [1, 1] : memref<?x16xi32> to memref<16x16xi32, strided<[16, 1], offset: ?>>
    moe.grouped_matmul rows(%x : memref<16x64xi8>) weights(%w : memref<1x16x64xi8>) groups(%o : memref<2xi32>)
        outs(%out : memref<16x16xi32, strided<[16, 1], offset: ?>>) {
    ^bb0(%acc: i32):
      moe.yield %acc : i32
    }
  }
  return
}

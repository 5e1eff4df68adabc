// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-distribute-kernels)))' --split-input-file | FileCheck %s

#all = affine_map<(i, k) -> (i, k)>
#rows = affine_map<(i, k) -> (i)>

gpu.module @kernels {
  // Points go to the lanes in turn, and the lanes meet before the next op reads them.
  // CHECK-LABEL: gpu.func @warp
  // CHECK-SAME: %[[A:[a-z0-9]+]]: memref<64xf32>, %[[B:[a-z0-9]+]]: memref<64xf32>
  gpu.func @warp(%a: memref<64xf32>, %b: memref<64xf32>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "warp"} {
    // CHECK: %[[THREAD:.*]] = gpu.thread_id x
    // CHECK: %[[LANE:.*]] = arith.remui %[[THREAD]], %{{.*}}
    // CHECK: scf.for %[[P:.*]] = %[[LANE]] to
    // CHECK:   %[[X:.*]] = memref.load %[[A]][%[[P]]]
    // CHECK:   %[[Y:.*]] = math.exp %[[X]]
    // CHECK:   memref.store %[[Y]], %[[B]][%[[P]]]
    // CHECK: nvvm.bar.warp.sync
    // CHECK: scf.for
    // CHECK-NOT: gpu.barrier
    linalg.exp ins(%a : memref<64xf32>) outs(%b : memref<64xf32>)
    linalg.abs ins(%b : memref<64xf32>) outs(%a : memref<64xf32>)
    gpu.return
  }

  // A block has barriers of its own. Stores are the first thread's; a loop ends with a barrier if it wrote anything.
  // CHECK-LABEL: gpu.func @block
  gpu.func @block(%a: memref<64xi32>, %n: index) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    // CHECK: %[[THREAD:.*]] = gpu.thread_id x
    // CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[THREAD]], %{{.*}}
    // CHECK: scf.for
    // CHECK:   %[[OLD:.*]] = memref.load
    // CHECK:   arith.addi
    // CHECK:   gpu.barrier
    // CHECK:   scf.if %[[FIRST]]
    // CHECK:     memref.store
    // CHECK:   }
    // CHECK:   gpu.barrier
    // CHECK: }
    scf.for %i = %c0 to %n step %c1 {
      %old = memref.load %a[%i] : memref<64xi32>
      %new = arith.addi %old, %old : i32
      memref.store %new, %a[%i] : memref<64xi32>
    }
    gpu.return
  }

  // A long reduction over one row goes to the lanes, which add in a fixed tree.
  // CHECK-LABEL: gpu.func @sum
  gpu.func @sum(%a: memref<1x128xf32>, %b: memref<1xf32>) kernel attributes {known_block_size = array<i32: 32, 1, 1>, moe.team = "warp"} {
    // CHECK: %[[LANES:.*]] = scf.for %[[K:.*]] = %{{.*}} to %{{.*}} step %{{.*}} iter_args(%[[SUM:.*]] = %{{.*}}) -> (f32)
    // CHECK:   arith.addf %[[SUM]], %{{.*}}
    // CHECK: gpu.shuffle xor %[[LANES]], %c16
    // CHECK-COUNT-4: gpu.shuffle xor
    // CHECK: scf.if
    // CHECK:   memref.load
    // CHECK:   arith.addf
    // CHECK:   memref.store
    linalg.generic {indexing_maps = [#all, #rows], iterator_types = ["parallel", "reduction"]}
        ins(%a : memref<1x128xf32>) outs(%b : memref<1xf32>) {
    ^bb0(%x: f32, %old: f32):
      %new = arith.addf %old, %x : f32
      linalg.yield %new : f32
    }
    gpu.return
  }

  // A short one is done by one thread, in order.
  // CHECK-LABEL: gpu.func @short
  gpu.func @short(%a: memref<1x2xf32>, %b: memref<1xf32>) kernel attributes {known_block_size = array<i32: 32, 1, 1>, moe.team = "warp"} {
    // CHECK: scf.for
    // CHECK:   scf.for {{.*}} iter_args
    // CHECK-NOT: gpu.shuffle
    linalg.generic {indexing_maps = [#all, #rows], iterator_types = ["parallel", "reduction"]}
        ins(%a : memref<1x2xf32>) outs(%b : memref<1xf32>) {
    ^bb0(%x: f32, %old: f32):
      %new = arith.addf %old, %x : f32
      linalg.yield %new : f32
    }
    gpu.return
  }

  // In a grid each thread is on its own.
  // CHECK-LABEL: gpu.func @grid
  gpu.func @grid(%a: memref<?xf32>, %zero: f32) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "grid"} {
    // CHECK-DAG: gpu.block_id x
    // CHECK-DAG: gpu.grid_dim x
    // CHECK: scf.for
    // CHECK-NOT: barrier
    linalg.fill ins(%zero : f32) outs(%a : memref<?xf32>)
    gpu.return
  }
}

// -----

gpu.module @kernels {
  // The warps of a block take the iterations of an inner loop in turn; what is in it is a warp's. The block meets before it
  // and behind it.
  // CHECK-LABEL: gpu.func @loops_of_warps
  gpu.func @loops_of_warps(%a: memref<16x64xf32>, %b: memref<64xf32>, %n: index) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
    %zero = arith.constant 0.0 : f32
    // CHECK: memref.store
    linalg.fill ins(%zero : f32) outs(%b : memref<64xf32>)
    // CHECK: gpu.barrier
    // CHECK: %[[WARP:.*]] = arith.divui %{{.*}}, %c32
    // CHECK: %[[FIRST:.*]] = arith.muli %[[WARP]], %c1
    // CHECK: %[[BEGIN:.*]] = arith.addi %c0{{.*}}, %[[FIRST]]
    // CHECK: %[[LANE:.*]] = arith.remui
    // CHECK: scf.for %[[R:.*]] = %[[BEGIN]] to %{{.*}} step
    // CHECK-NOT: gpu.barrier
    // CHECK:   scf.for %{{.*}} = %[[LANE]] to
    // CHECK:     memref.store
    // CHECK:   nvvm.bar.warp.sync
    // CHECK: gpu.barrier
    scf.forall (%r) in (%n) {
      %row = memref.subview %a[%r, 0] [1, 64] [1, 1] : memref<16x64xf32> to memref<64xf32, strided<[1], offset: ?>>
      linalg.exp ins(%b : memref<64xf32>) outs(%row : memref<64xf32, strided<[1], offset: ?>>)
    }
    %first = memref.subview %a[0, 0] [1, 64] [1, 1] : memref<16x64xf32> to memref<64xf32, strided<[1]>>
    linalg.exp ins(%first : memref<64xf32, strided<[1]>>) outs(%b : memref<64xf32>)
    gpu.return
  }
}

// -----

#all = affine_map<(i, k) -> (i, k)>
#rows = affine_map<(i, k) -> (i)>

gpu.module @kernels {
  // A maximum of integers goes to the lanes as well; 64 bits travel as two words.
  // CHECK-LABEL: gpu.func @largest
  // CHECK: %[[LEAST:.*]] = arith.constant -9223372036854775808 : i64
  // CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[LEAST]]) -> (i64)
  // CHECK:   arith.maxsi
  // CHECK-COUNT-10: gpu.shuffle xor %{{.*}} : i32
  // CHECK-NOT: gpu.shuffle
  gpu.func @largest(%a: memref<1x64xi64>, %b: memref<1xi64>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "warp"} {
    linalg.generic {indexing_maps = [#all, #rows], iterator_types = ["parallel", "reduction"]} ins(%a : memref<1x64xi64>) outs(%b : memref<1xi64>) {
    ^bb0(%x: i64, %m: i64):
      %r = arith.maxsi %m, %x : i64
      linalg.yield %r : i64
    }
    gpu.return
  }
}

// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-grouped-matmul-to-threads)))' --split-input-file --verify-diagnostics | FileCheck %s

// Rows of 122 bytes have no copies: their ends are no multiples of 4 bytes. One group, whose rows are those that were stored as offsets: the buffer goes.
// CHECK-LABEL: gpu.func @tile
gpu.module @kernels {
  gpu.func @tile(%x: memref<?x61xbf16>, %w: memref<1x32x61xbf16>, %choices: memref<?xi32>, %scale: memref<?xf32>,
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
    // CHECK:     memref.load %{{.*}}, %[[K]]] : memref<?x61xbf16>
    // CHECK:     arith.select %[[EXISTS]]
    // CHECK:     memref.load %{{.*}}, %[[K]]] : memref<1x32x61xbf16>
    // CHECK:     math.fma
    // CHECK:   %[[GATE:.*]] = memref.load %{{.*}} : memref<?xf32>
    // CHECK:   arith.mulf %[[SUM]], %[[GATE]]
    // CHECK:   arith.truncf
    // CHECK:   memref.store
    moe.grouped_matmul rows(%x : memref<?x61xbf16>) weights(%w : memref<1x32x61xbf16>) groups(%o : memref<2xi32>)
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
    // expected-error @below {{expected plain weights or codes packed for tensor cores but got 'memref<1x2x32x16x2xbf16>'}}
    moe.grouped_matmul rows(%x : memref<?x64xbf16>) weights(%w : memref<1x2x32x16x2xbf16>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x32xf32>) {
    ^bb0(%acc: f32):
      moe.yield %acc : f32
    }
    gpu.return
  }
}

// -----

// Tensor cores: rows gathered by asynchronous copies in three stages, of which the second to last is waited for; four warps
// of 64 x 64. Gate and up lie side by side, so a fragment's sums of both meet in one thread.
// The loop over k stays one.
// CHECK: #[[UNROLL:[a-z_0-9]+]] = #llvm.loop_unroll<disable = true>
// CHECK: #[[$ROLLED:[a-z_0-9]+]] = #llvm.loop_annotation<unroll = #[[UNROLL]]>
// CHECK-LABEL: gpu.func @mma
// CHECK-SAME: workgroup(%{{.*}} : memref<49152xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
gpu.module @kernels {
  gpu.func @mma(%x: memref<?x64xbf16>, %g: memref<1x64x64xbf16>, %u: memref<1x64x64xbf16>, %choices: memref<?xi32>,
                %y: memref<?x64xbf16>, %rows: i32) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: scf.for {{.*}} step %c64_i32{{.*}} : i32
    // CHECK: scf.for {{.*}} step %c128_i32{{.*}} : i32
    // A choice of -1 copies no bytes: zeros.
    // CHECK: %[[CHOICE:.*]] = memref.load %{{.*}} : memref<?xi32>
    // CHECK: arith.cmpi sge, %[[CHOICE]]
    // CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}}
    // CHECK: nvvm.cp.async.wait.group 1
    // CHECK: gpu.barrier
    // CHECK: scf.for %{{.*}} = %c0_i32{{.*}} to %c64_i32{{.*}} step %c32_i32
    // CHECK-COUNT-8: nvvm.ldmatrix
    // CHECK-COUNT-8: nvvm.cp.async.shared.global
    // CHECK: nvvm.cp.async.commit.group
    // CHECK-COUNT-32: nvvm.mma.sync
    // CHECK: nvvm.cp.async.wait.group 1
    // CHECK: gpu.barrier
    // CHECK-COUNT-8: nvvm.ldmatrix
    // CHECK-COUNT-32: nvvm.mma.sync
    // CHECK-NOT: nvvm.mma.sync
    // CHECK: } {loop_annotation = #[[$ROLLED]]}
    // CHECK: arith.mulf
    // Eight neighbouring columns of a thread: 16 bytes.
    // CHECK: vector.store %{{.*}} {alignment = 16 : i64} : memref<?x64xbf16>, vector<8xbf16>
    // CHECK: nvvm.cp.async.wait.group 0
    moe.grouped_matmul rows(%x : memref<?x64xbf16>) weights(%g, %u : memref<1x64x64xbf16>, memref<1x64x64xbf16>)
        groups(%o : memref<2xi32>) choices(%choices : memref<?xi32>) outs(%y : memref<?x64xbf16>)
        attributes {fanout = 2 : i64} {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      %t = arith.truncf %p : f32 to bf16
      moe.yield %t : bf16
    }
    gpu.return
  }

  // CHECK-LABEL: gpu.func @few
  // CHECK-SAME: workgroup(%{{.*}} : memref<36864xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
  // Few rows: 16 of them, four stages, and half of the threads copy rows of x.
  gpu.func @few(%x: memref<?x64xf16>, %w: memref<1x128x64xf16>, %y: memref<?x128xf32>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: scf.for {{.*}} step %c16_i32{{.*}} : i32
    // CHECK: scf.if
    // CHECK: nvvm.cp.async.wait.group 2
    // CHECK: nvvm.mma.sync {{.*}} : (vector<2xf16>, vector<2xf16>, f32)
    // CHECK: vector.store %{{.*}} {alignment = 16 : i64} : memref<?x128xf32>, vector<4xf32>
    moe.grouped_matmul rows(%x : memref<?x64xf16>) weights(%w : memref<1x128x64xf16>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x128xf32>) attributes {moe.block_rows = 16 : i64} {
    ^bb0(%a: f32):
      moe.yield %a : f32
    }
    gpu.return
  }

  // CHECK-LABEL: gpu.func @narrow
  // Rows of x and weights begin at multiples of 8 bytes: two copies for 16 bytes, of which each is there or not since k ends
  // in the middle of a stage. An odd number of columns: one at a time, if it is there.
  gpu.func @narrow(%x: memref<?x36xbf16>, %w: memref<1x9x36xbf16>, %y: memref<?x9xbf16>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: arith.cmpi slt, %{{.*}}, %c36_i32
    // CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 8, cache = ca, %{{.*}}
    // CHECK: scf.for %{{.*}} = %c0_i32{{.*}} to %c36_i32{{.*}} step %c32_i32
    // CHECK-COUNT-10: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 8, cache = ca
    // CHECK: nvvm.mma.sync
    // CHECK: scf.if
    // CHECK: memref.store %{{.*}} : memref<?x9xbf16>
    moe.grouped_matmul rows(%x : memref<?x36xbf16>) weights(%w : memref<1x9x36xbf16>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x9xbf16>) attributes {moe.block_rows = 16 : i64} {
    ^bb0(%a: f32):
      %t = arith.truncf %a : f32 to bf16
      moe.yield %t : bf16
    }
    gpu.return
  }

  // CHECK-LABEL: gpu.func @split
  // CHECK-SAME: workgroup(%{{.*}} : memref<40960xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
  // f32 as two tf32: three products for each 8 elements along k, the small ones first, from zero; their sum is added. Rows of
  // 52 bytes come in copies of 4.
  gpu.func @split(%x: memref<?x13xf32>, %w: memref<1x128x13xf32>, %y: memref<?x128xf32>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: scf.for {{.*}} step %c32_i32{{.*}} : i32
    // CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 4, cache = ca, %{{.*}}
    // CHECK: nvvm.ldmatrix
    // CHECK: scf.for %{{.*}} = %c0_i32{{.*}} to %c13_i32{{.*}} step %c16_i32
    // CHECK: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
    // CHECK: %[[UP:.*]] = arith.addi %[[X:.*]], %c4096_i32{{.*}} : i32
    // CHECK: %[[HIGH:.*]] = arith.andi %[[UP]], %c-8192_i32{{.*}} : i32
    // CHECK-DAG: %[[XF:.*]] = arith.bitcast %[[X]] : i32 to f32
    // CHECK-DAG: %[[HIGHF:.*]] = arith.bitcast %[[HIGH]] : i32 to f32
    // CHECK: %[[LOWF:.*]] = arith.subf %[[XF]], %[[HIGHF]] : f32
    // CHECK: %[[LOW:.*]] = arith.bitcast %[[LOWF]] : f32 to i32
    // CHECK: nvvm.mma.sync A[%[[LOW]], {{.*}} C[%[[ZERO]], %[[ZERO]], %[[ZERO]], %[[ZERO]]]
    // CHECK-SAME: multiplicandAPtxType = #nvvm.mma_type<tf32>{{.*}} shape = #nvvm.shape<m = 16, n = 8, k = 8>
    // CHECK: nvvm.mma.sync A[%[[HIGH]], {{.*}} B[%[[LOWB:[a-z0-9]+]],
    // CHECK: nvvm.mma.sync A[%[[HIGH]], {{.*}} B[%[[HIGHB:[a-z0-9]+]],
    // CHECK: arith.addf
    moe.grouped_matmul rows(%x : memref<?x13xf32>) weights(%w : memref<1x128x13xf32>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x128xf32>) {
    ^bb0(%a: f32):
      moe.yield %a : f32
    }
    gpu.return
  }

  // CHECK-LABEL: gpu.func @scores
  // What experts are chosen by has the sums of a processor.
  // CHECK-NOT: nvvm.mma.sync
  // CHECK: math.fma
  gpu.func @scores(%x: memref<?x64xf32>, %w: memref<1x128x64xf32>, %y: memref<?x128xf32>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    moe.grouped_matmul rows(%x : memref<?x64xf32>) weights(%w : memref<1x128x64xf32>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x128xf32>) attributes {moe.block_rows = 16 : i64, moe.scores} {
    ^bb0(%a: f32):
      moe.yield %a : f32
    }
    gpu.return
  }
}

// RUN: moe-opt %s --moe-add-wgmma-kernels --split-input-file --verify-diagnostics | FileCheck %s

// Gate and up of gathered rows: 128 rows, and 128 columns of each weight. What a thread stores are 8 columns side by side:
// rows of the weights are exchanged by the dimensions of their tensor maps. 4 stages of 48 KiB, and two barriers for each.
// CHECK-LABEL: func.func @chosen
// CHECK:         %[[SIZES:.*]] = llvm.alloca %{{.*}} x i64
// CHECK:         %[[ARCH:.*]] = call @moe_rt_gpu_architecture() : () -> i32
// CHECK:         %[[IS:.*]] = arith.cmpi eq, %[[ARCH]], %c90_i32 : i32
// CHECK:         %[[MOST:.*]] = arith.muli %{{.*}}, %c128{{.*}} : index
// CHECK:         %[[MANY:.*]] = arith.cmpi uge, %{{.*}}, %[[MOST]] : index
// CHECK:         %[[FITS:.*]] = arith.andi %[[IS]], %[[MANY]]
// CHECK:         scf.if %[[FITS]] {
// CHECK-COUNT-2:   call @moe_rt_gpu_tensor_map
// CHECK:           gpu.launch_func @kernels::@gate_up_sm_90a blocks in (%{{.*}}) threads in (%c384
// CHECK-SAME:        dynamic_shared_memory_size %c196672_i32
// CHECK-SAME:        !llvm.ptr, %{{.*}} : !llvm.ptr)
// CHECK:         } else {
// CHECK:           gpu.launch_func @kernels::@gate_up blocks
module attributes {gpu.container_module} {
  func.func @chosen(%x: memref<bf16>, %rows: index, %w: memref<bf16>, %v: memref<bf16>, %choices: memref<i32>,
                    %y: memref<bf16>, %slots: index, %tiles: memref<i32>) {
    %c1 = arith.constant 1 : index
    %c128 = arith.constant 128 : index
    gpu.launch_func @kernels::@gate_up blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1)
      args(%x : memref<bf16>, %rows : index, %w : memref<bf16>, %v : memref<bf16>, %choices : memref<i32>,
           %y : memref<bf16>, %slots : index, %tiles : memref<i32>)
    return
  }
  // CHECK:       gpu.module @kernels
  // CHECK:       llvm.mlir.global external @moe_dynamic_shared() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>
  // CHECK:       gpu.func @gate_up(
  // CHECK:       gpu.func @gate_up_sm_90a(
  // CHECK-SAME:    !llvm.ptr, %{{.*}}: !llvm.ptr)
  // CHECK-SAME:    known_block_size = array<i32: 384, 1, 1>, moe.arch = "sm_90a", moe.tensor_maps = 2 : i64, nvvm.minctasm = 1 : i32}
  // CHECK-COUNT-8: nvvm.mbarrier.init
  // CHECK:         nvvm.fence.mbarrier.init
  // CHECK:         gpu.barrier
  //
  // The producers. A full stage has been reported by the thread that uses TMA, and by all that copy rows.
  // CHECK:         nvvm.setmaxregister decrease 40
  // CHECK:         scf.for
  // CHECK-COUNT-8:   memref.load %{{.*}} : memref<?xi32
  // CHECK:           scf.for %[[K:.*]] = %{{.*}} to %c64
  // CHECK:             nvvm.mbarrier.try_wait.parity
  // CHECK:             nvvm.mbarrier.arrive.expect_tx %{{.*}}, %c32768_i32
  // CHECK-COUNT-2:     nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}}, box[%[[K]], %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}]
  // CHECK-COUNT-8:     nvvm.cp.async.shared.global %{{.*}}, 16, cache = cg
  // CHECK:             nvvm.cp.async.mbarrier.arrive %{{.*}} {noinc = true}
  //
  // The consumers.
  // CHECK:         nvvm.setmaxregister increase 232
  // CHECK:         %[[SUMS:.*]]:4 = scf.for
  // CHECK:           nvvm.mbarrier.try_wait.parity
  // CHECK-NEXT:      nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>}
  // CHECK:           nvvm.wgmma.fence.aligned
  // CHECK-COUNT-4:   nvvm.wgmma.mma_async {{.*}} <m = 64, n = 256, k = 16>
  // CHECK:           nvvm.wgmma.commit.group.sync.aligned
  // CHECK-NEXT:      nvvm.wgmma.wait.group.sync.aligned 1
  // CHECK:           nvvm.mbarrier.arrive
  // CHECK:         nvvm.wgmma.wait.group.sync.aligned 0
  // CHECK-COUNT-8: vector.store %{{.*}} : memref<?x128xbf16{{.*}}>, vector<8xbf16>
  gpu.module @kernels {
    gpu.func @gate_up(%x: memref<bf16>, %rows: index, %w: memref<bf16>, %v: memref<bf16>, %choices: memref<i32>,
                      %y: memref<bf16>, %slots: index, %tiles: memref<i32>)
        kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %zero = arith.constant 0 : i32
      %xs = memref.reinterpret_cast %x to offset: [0], sizes: [%rows, 64], strides: [64, 1] : memref<bf16> to memref<?x64xbf16>
      %ws = memref.reinterpret_cast %w to offset: [0], sizes: [4, 128, 64], strides: [8192, 64, 1] : memref<bf16> to memref<4x128x64xbf16>
      %vs = memref.reinterpret_cast %v to offset: [0], sizes: [4, 128, 64], strides: [8192, 64, 1] : memref<bf16> to memref<4x128x64xbf16>
      %cs = memref.reinterpret_cast %choices to offset: [0], sizes: [%slots], strides: [1] : memref<i32> to memref<?xi32>
      %ys = memref.reinterpret_cast %y to offset: [0], sizes: [%slots, 128], strides: [128, 1] : memref<bf16> to memref<?x128xbf16>
      %expert = gpu.block_id x
      %count = memref.load %tiles[] : memref<i32>
      %end = arith.index_cast %count : i32 to index
      %yt = memref.subview %ys[0, 0] [%end, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1]>>
      %wt = memref.subview %ws[%expert, 0, 0] [1, 128, 64] [1, 1, 1] : memref<4x128x64xbf16> to memref<1x128x64xbf16, strided<[8192, 64, 1], offset: ?>>
      %vt = memref.subview %vs[%expert, 0, 0] [1, 128, 64] [1, 1, 1] : memref<4x128x64xbf16> to memref<1x128x64xbf16, strided<[8192, 64, 1], offset: ?>>
      %o = memref.alloca() : memref<2xi32>
      memref.store %zero, %o[%c0] : memref<2xi32>
      memref.store %count, %o[%c1] : memref<2xi32>
      moe.grouped_matmul rows(%xs : memref<?x64xbf16>)
          weights(%wt, %vt : memref<1x128x64xbf16, strided<[8192, 64, 1], offset: ?>>, memref<1x128x64xbf16, strided<[8192, 64, 1], offset: ?>>)
          groups(%o : memref<2xi32>) choices(%cs : memref<?xi32>) outs(%yt : memref<?x128xbf16, strided<[128, 1]>>)
          attributes {fanout = 2 : i64} {
      ^bb0(%gate: f32, %up: f32):
        %p = arith.mulf %gate, %up : f32
        %t = arith.truncf %p : f32 to bf16
        moe.yield %t : bf16
      }
      gpu.return
    }
  }
}

// -----

// Rows that lie side by side come by TMA, too: one thread produces. The rows of the weights are 60 for each expert, not in
// sets of 16 or 32, so they stay in their order, and a thread stores two columns at once.
// CHECK-LABEL: func.func @dense
// CHECK:         gpu.launch_func @kernels::@down_sm_90a
// CHECK:       gpu.func @down_sm_90a(
// CHECK:         nvvm.setmaxregister decrease 40
// CHECK-NOT:     nvvm.cp.async.shared.global
// CHECK:         nvvm.mbarrier.arrive.expect_tx %{{.*}}, %c32768_i32
// CHECK:         nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}}, box[%{{[^,]*}}, %{{[^,]*}}]
// CHECK:         nvvm.cp.async.bulk.tensor.shared.cluster.global %{{.*}}, box[%{{[^,]*}}, %{{[^,]*}}]
// CHECK:         nvvm.setmaxregister increase 232
// CHECK-NOT:     nvvm.fence.proxy
// CHECK:         nvvm.wgmma.mma_async {{.*}} <m = 64, n = 128, k = 16>
// CHECK:         vector.store %{{.*}} : memref<?x60xf32{{.*}}>, vector<2xf32>
module attributes {gpu.container_module} {
  func.func @dense(%x: memref<f16>, %rows: index, %w: memref<f16>, %y: memref<f32>, %tiles: memref<i32>) {
    %c1 = arith.constant 1 : index
    %c128 = arith.constant 128 : index
    gpu.launch_func @kernels::@down blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1)
      args(%x : memref<f16>, %rows : index, %w : memref<f16>, %y : memref<f32>, %tiles : memref<i32>)
    return
  }
  gpu.module @kernels {
    gpu.func @down(%x: memref<f16>, %rows: index, %w: memref<f16>, %y: memref<f32>, %tiles: memref<i32>)
        kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %zero = arith.constant 0 : i32
      %xs = memref.reinterpret_cast %x to offset: [0], sizes: [%rows, 72], strides: [72, 1] : memref<f16> to memref<?x72xf16>
      %ws = memref.reinterpret_cast %w to offset: [0], sizes: [4, 60, 72], strides: [4320, 72, 1] : memref<f16> to memref<4x60x72xf16>
      %ys = memref.reinterpret_cast %y to offset: [0], sizes: [%rows, 60], strides: [60, 1] : memref<f32> to memref<?x60xf32>
      %expert = gpu.block_id x
      %count = memref.load %tiles[] : memref<i32>
      %end = arith.index_cast %count : i32 to index
      %xt = memref.subview %xs[%end, 0] [%end, 72] [1, 1] : memref<?x72xf16> to memref<?x72xf16, strided<[72, 1], offset: ?>>
      %yt = memref.subview %ys[%end, 0] [%end, 60] [1, 1] : memref<?x60xf32> to memref<?x60xf32, strided<[60, 1], offset: ?>>
      %wt = memref.subview %ws[%expert, 0, 0] [1, 60, 72] [1, 1, 1] : memref<4x60x72xf16> to memref<1x60x72xf16, strided<[4320, 72, 1], offset: ?>>
      %o = memref.alloca() : memref<2xi32>
      memref.store %zero, %o[%c0] : memref<2xi32>
      memref.store %count, %o[%c1] : memref<2xi32>
      moe.grouped_matmul rows(%xt : memref<?x72xf16, strided<[72, 1], offset: ?>>)
          weights(%wt : memref<1x60x72xf16, strided<[4320, 72, 1], offset: ?>>) groups(%o : memref<2xi32>)
          outs(%yt : memref<?x60xf32, strided<[60, 1], offset: ?>>) {
      ^bb0(%sum: f32):
        moe.yield %sum : f32
      }
      gpu.return
    }
  }
}

// -----

// What else a kernel does could not be shared by the roles.
// CHECK-LABEL: func.func @more
// CHECK-NOT:     _sm_90a
module attributes {gpu.container_module} {
  func.func @more(%x: memref<?x64xf16>, %w: memref<1x64x64xf16>, %y: memref<?x64xf32>, %o: memref<2xi32>, %z: memref<f32>) {
    %c1 = arith.constant 1 : index
    %c128 = arith.constant 128 : index
    gpu.launch_func @kernels::@more blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1)
      args(%x : memref<?x64xf16>, %w : memref<1x64x64xf16>, %y : memref<?x64xf32>, %o : memref<2xi32>, %z : memref<f32>)
    return
  }
  gpu.module @kernels {
    // expected-remark @below {{no kernel for sm_90a: expected nothing beside the product but got memref.store}}
    gpu.func @more(%x: memref<?x64xf16>, %w: memref<1x64x64xf16>, %y: memref<?x64xf32>, %o: memref<2xi32>, %z: memref<f32>)
        kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe.team = "block"} {
      %zero = arith.constant 0.0 : f32
      memref.store %zero, %z[] : memref<f32>
      moe.grouped_matmul rows(%x : memref<?x64xf16>) weights(%w : memref<1x64x64xf16>) groups(%o : memref<2xi32>)
          outs(%y : memref<?x64xf32>) {
      ^bb0(%sum: f32):
        moe.yield %sum : f32
      }
      gpu.return
    }
  }
}

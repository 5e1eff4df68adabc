// The shape of the products for sm_90a: a warpgroup brings tiles (gathered rows by asynchronous copies, weights by bulk
// copies of a tensor), two others multiply; mbarriers between them.
// C[128, 32] = X[rows, 192] W[32, 192]^T with tiles of 128 x 16, in two stages. Row m of C takes row 127 - rows[m] of X.

// RUN: moe-emulate-kernels %s --seeds=0,1,2,3 | FileCheck %s
// RUN: moe-emulate-kernels %s --seeds=0,1,2,3 --no-instrument | FileCheck %s --check-prefix=PLAIN

// EMULATE: buffer x bf16 24576 random 1
// EMULATE: buffer w bf16 6144 random 2
// EMULATE: buffer rows i32 128 iota
// EMULATE: buffer c f32 4096
// EMULATE: buffer expected f32 4096
// EMULATE: launch reference grid 128 block 32 args x w rows expected
// EMULATE: launch gemm grid 2 block 384 shared 36896 args x rows map:w:192x16x2:384x6144:64x16x1:128 c
// EMULATE: counters
// EMULATE: close c expected 1e-4

// Two blocks: 3 k tiles of 4 products of two warpgroups each, and a bulk copy of 2 KiB.
// CHECK: seed 0
// CHECK: "bulk_bytes":12288,"bulk_copies":6,{{.*}}"mma":0,"mma_operations":1572864,{{.*}}"wgmma":48}
// CHECK: close c expected: 4096 elements, largest difference {{[0-9.e-]+$}}
// CHECK: seed 1
// CHECK: close c expected: 4096 elements, largest difference {{[0-9.e-]+$}}
// CHECK: seed 2
// CHECK: close c expected: 4096 elements, largest difference {{[0-9.e-]+$}}
// CHECK: seed 3
// CHECK: close c expected: 4096 elements, largest difference {{[0-9.e-]+$}}
// PLAIN-COUNT-4: close c expected: 4096 elements, largest difference {{[0-9.e-]+$}}

// Planted bugs.

// Shared memory is read before it is there, and written before it has been read.
// RUN: not moe-emulate-kernels %s --bug=NO-FULL-WAIT 2>&1 | FileCheck %s --check-prefix=NO-FULL-WAIT
// RUN: not moe-emulate-kernels %s --bug=NO-FULL-WAIT --seeds=1 2>&1 | FileCheck %s --check-prefix=NO-FULL-WAIT
// NO-FULL-WAIT: error: kernel 'gemm', {{.*}} read of shared memory that {{.*}} at '{{.*}}wgmma.mma_async{{.*}}' of 'gemm'
// RUN: not moe-emulate-kernels %s --bug=NO-EMPTY-WAIT 2>&1 | FileCheck %s --check-prefix=NO-EMPTY-WAIT
// RUN: not moe-emulate-kernels %s --bug=NO-EMPTY-WAIT --seeds=1 2>&1 | FileCheck %s --check-prefix=NO-EMPTY-WAIT
// NO-EMPTY-WAIT: error: kernel 'gemm', {{.*}} of shared memory that {{.*}}cp.async
// RUN: not moe-emulate-kernels %s --bug=EARLY-RELEASE 2>&1 | FileCheck %s --check-prefix=EARLY-RELEASE
// RUN: not moe-emulate-kernels %s --bug=EARLY-RELEASE --seeds=1 2>&1 | FileCheck %s --check-prefix=EARLY-RELEASE
// EARLY-RELEASE: error: kernel 'gemm', {{.*}} race: write of shared memory that a copy or product that goes on by itself has read, without a barrier between: {{.*}}cp.async

// RUN: not moe-emulate-kernels %s --bug=NO-PROXY-FENCE 2>&1 | FileCheck %s --check-prefix=NO-PROXY-FENCE
// NO-PROXY-FENCE: error: kernel 'gemm', {{.*}} read of shared memory by the async proxy that {{.*}} has written by the generic proxy, without a fence.proxy.async between: address 0x0 at '{{.*}}wgmma.mma_async
// RUN: not moe-emulate-kernels %s --bug=NO-INIT-FENCE 2>&1 | FileCheck %s --check-prefix=NO-INIT-FENCE
// NO-INIT-FENCE: error: kernel 'gemm', {{.*}} a bulk copy arrives at the mbarrier at shared address 0x9000, but there is no fence (fence.mbarrier_init or fence.proxy.async) behind its initialisation at '{{.*}}bulk.tensor
// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER 2>&1 | FileCheck %s --check-prefix=NO-BARRIER
// NO-BARRIER: error: kernel 'gemm', {{.*(race: read of shared memory that thread .0, 0, 0. has written|no mbarrier is initialised).*}} at '{{.*}}mbarrier

// RUN: not moe-emulate-kernels %s --bug=NO-INIT 2>&1 | FileCheck %s --check-prefix=NO-INIT
// NO-INIT: error: kernel 'gemm', {{.*}} no mbarrier is initialised at shared address 0x9008 at
// RUN: not moe-emulate-kernels %s --bug=WRONG-BYTES 2>&1 | FileCheck %s --check-prefix=WRONG-BYTES
// RUN: not moe-emulate-kernels %s --bug=WRONG-BYTES --seeds=1 2>&1 | FileCheck %s --check-prefix=WRONG-BYTES
// WRONG-BYTES: error: kernel 'gemm', {{.*}} deadlock: mbarrier at shared address 0x9000, phase 0: 129 of 129 arrivals and 2048 of 4096 bytes have come{{.*}} at '{{.*}}mbarrier.try_wait
// RUN: not moe-emulate-kernels %s --bug=WRONG-COUNT 2>&1 | FileCheck %s --check-prefix=WRONG-COUNT
// WRONG-COUNT: error: kernel 'gemm', {{.*}} deadlock: {{.*}}mbarrier at shared address 0x9010, phase 0: 8 of 9 arrivals and 0 of 0 bytes have come
// RUN: not moe-emulate-kernels %s --bug=WRONG-PARITY 2>&1 | FileCheck %s --check-prefix=WRONG-PARITY
// WRONG-PARITY: error: kernel 'gemm', {{.*}} deadlock: mbarrier at shared address 0x90{{.*}} have come

// Accumulators.
// RUN: not moe-emulate-kernels %s --bug=NO-GROUP-WAIT 2>&1 | FileCheck %s --check-prefix=NO-GROUP-WAIT
// RUN: not moe-emulate-kernels %s --bug=NO-GROUP-WAIT --no-instrument 2>&1 | FileCheck %s --check-prefix=UNDER-WAY
// RUN: not moe-emulate-kernels %s --bug=NO-COMMIT 2>&1 | FileCheck %s --check-prefix=NO-GROUP-WAIT
// NO-GROUP-WAIT: error: kernel 'gemm', {{.*}} a read of accumulators of a product that may still be under way, without a wgmma.wait_group between at '{{.*}}store
// UNDER-WAY: error: kernel 'gemm', {{.*}} a read of accumulators of a product that may still be under way, without a wgmma.wait_group between
// RUN: not moe-emulate-kernels %s --bug=NO-WGMMA-FENCE 2>&1 | FileCheck %s --check-prefix=NO-WGMMA-FENCE
// NO-WGMMA-FENCE: error: kernel 'gemm', {{.*}} a product without a wgmma.fence between it and the last access to its accumulators at

// Descriptors, and what shared memory looks like.
// RUN: not moe-emulate-kernels %s --bug=MISALIGNED 2>&1 | FileCheck %s --check-prefix=MISALIGNED
// MISALIGNED: error: kernel 'gemm', {{.*}} misaligned matrix descriptor 0x{{[0-9a-f]+}}: expected its first row at a multiple of 1024, for the swizzle, but got shared address 0x
// RUN: not moe-emulate-kernels %s --bug=PLAIN-ROWS 2>&1 | FileCheck %s --check-prefix=WRONG
// RUN: not moe-emulate-kernels %s --bug=WRONG-STRIDE 2>&1 | FileCheck %s --check-prefix=STRIDE
// WRONG: moe-emulate-kernels: error: 'close c expected 1e-4': element
// STRIDE: error: kernel 'gemm', {{.*}} matrix descriptor 0x{{[0-9a-f]+}}: expected rows within 128 bytes, and eight rows each at a multiple of 1024, but got

// Registers.
// RUN: not moe-emulate-kernels %s --bug=TOO-MANY-REGISTERS 2>&1 | FileCheck %s --check-prefix=TOO-MANY-REGISTERS
// TOO-MANY-REGISTERS: error: kernel 'gemm', {{.*}} deadlock: setmaxnreg asks for 66560 registers, a multiprocessor has 65536 at

!x = memref<128x192xbf16, 1>
!w = memref<32x192xbf16, 1>
!c = memref<128x32xf32, 1>
!sums = !llvm.struct<(f32, f32, f32, f32, f32, f32, f32, f32)>

gpu.module @kernels {
  llvm.mlir.global external @dynamic() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>

  gpu.func @reference(%x: !x, %w: !w, %rows: memref<128xi32, 1>, %c: !c) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c127 = arith.constant 127 : index
    %c192 = arith.constant 192 : index
    %zero = arith.constant 0.0 : f32
    %m = gpu.block_id x
    %n = gpu.thread_id x
    %chosen = memref.load %rows[%m] : memref<128xi32, 1>
    %chosenIndex = arith.index_cast %chosen : i32 to index
    %row = arith.subi %c127, %chosenIndex : index
    %sum = scf.for %k = %c0 to %c192 step %c1 iter_args(%s = %zero) -> f32 {
      %a = memref.load %x[%row, %k] : !x
      %b = memref.load %w[%n, %k] : !w
      %af = arith.extf %a : bf16 to f32
      %bf = arith.extf %b : bf16 to f32
      %p = arith.mulf %af, %bf : f32
      %next = arith.addf %s, %p : f32
      scf.yield %next : f32
    }
    memref.store %sum, %c[%m, %n] : !c
    gpu.return
  }

  llvm.func @gemm(%x: !llvm.ptr<1>, %rows: !llvm.ptr<1>,
      %map: !llvm.ptr {llvm.byval = !llvm.array<16 x i64>, llvm.align = 64 : i64, nvvm.grid_constant},
      %c: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %c0 = arith.constant 0 : i32
    %c1 = arith.constant 1 : i32
    %c2 = arith.constant 2 : i32
    %c3 = arith.constant 3 : i32
    %c4 = arith.constant 4 : i32
    %c7 = arith.constant 7 : i32
    %c8 = arith.constant 8 : i32
    %c16 = arith.constant 16 : i32
    %c32 = arith.constant 32 : i32
    %c64 = arith.constant 64 : i32
    %c127 = arith.constant 127 : i32
    %c128 = arith.constant 128 : i32
    %c192 = arith.constant 192 : i32
    %c256 = arith.constant 256 : i32
    %arrivals = arith.constant 129 : i32
    %warps = arith.constant 8 : i32 // WRONG-COUNT
    //WRONG-COUNT %warps = arith.constant 9 : i32
    %bytes = arith.constant 2048 : i32 // WRONG-BYTES
    //WRONG-BYTES %bytes = arith.constant 4096 : i32
    %ticks = arith.constant 10000000 : i32
    %stageBytes = arith.constant 18432 : i32
    %shared = llvm.mlir.addressof @dynamic : !llvm.ptr<3>
    %full0 = llvm.getelementptr %shared[36864] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %full1 = llvm.getelementptr %shared[36872] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %empty0 = llvm.getelementptr %shared[36880] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %empty1 = llvm.getelementptr %shared[36888] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %t = nvvm.read.ptx.sreg.tid.x : i32
    %block = nvvm.read.ptx.sreg.ctaid.x : i32
    %warpgroup = arith.divui %t, %c128 : i32
    %isFirst = arith.cmpi eq, %t, %c0 : i32
    scf.if %isFirst {
      nvvm.mbarrier.init %full0, %arrivals : !llvm.ptr<3>, i32
      nvvm.mbarrier.init %full1, %arrivals : !llvm.ptr<3>, i32 // NO-INIT
      nvvm.mbarrier.init %empty0, %warps : !llvm.ptr<3>, i32
      nvvm.mbarrier.init %empty1, %warps : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init // NO-INIT-FENCE
    }
    nvvm.barrier0 // NO-BARRIER
    %isProducer = arith.cmpi eq, %warpgroup, %c2 : i32
    scf.if %isProducer {
      nvvm.setmaxregister decrease 40
      nvvm.prefetch tensormap, %map : !llvm.ptr
      %own = arith.subi %t, %c256 : i32
      scf.for %kt = %c0 to %c3 step %c1 : i32 {
        %stage = arith.remui %kt, %c2 : i32
        %round = arith.divui %kt, %c2 : i32
        %other = arith.addi %round, %c1 : i32
        %parity = arith.andi %other, %c1 : i32 // WRONG-PARITY
        //WRONG-PARITY %parity = arith.andi %round, %c1 : i32
        %full = llvm.getelementptr %full0[%stage] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i64
        %empty = llvm.getelementptr %empty0[%stage] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i64
        nvvm.mbarrier.try_wait.parity %empty, %parity, %ticks : !llvm.ptr<3>, i32, i32 // NO-EMPTY-WAIT
        %offset = arith.muli %stage, %stageBytes : i32
        %tile = llvm.getelementptr %shared[%offset] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
        %k = arith.muli %kt, %c64 : i32
        // The weights, 16 rows behind 16 KiB of the others.
        %isElected = arith.cmpi eq, %own, %c0 : i32
        scf.if %isElected {
          %to = llvm.getelementptr %tile[16384] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
          nvvm.mbarrier.arrive.expect_tx %full, %bytes : !llvm.ptr<3>, i32
          %toCluster = llvm.addrspacecast %to : !llvm.ptr<3> to !llvm.ptr<7>
          nvvm.cp.async.bulk.tensor.shared.cluster.global %toCluster, %map, %full, box[%k, %c0, %block] : !llvm.ptr<7>, !llvm.ptr
        }
        // Chunks of 16 bytes of 128 rows, eight by each thread.
        scf.for %j = %c0 to %c8 step %c1 : i32 {
          %first = arith.muli %j, %c128 : i32
          %number = arith.addi %first, %own : i32
          %row = arith.divui %number, %c8 : i32
          %chunk = arith.remui %number, %c8 : i32
          %place = llvm.getelementptr %rows[%row] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
          %chosen = llvm.load %place : !llvm.ptr<1> -> i32
          %source = arith.subi %c127, %chosen : i32
          %element = arith.muli %source, %c192 : i32
          %column = arith.muli %chunk, %c8 : i32
          %e1 = arith.addi %element, %column : i32
          %e2 = arith.addi %e1, %k : i32
          %from = llvm.getelementptr %x[%e2] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, bf16
          %line = arith.andi %row, %c7 : i32
          %exchanged = arith.xori %chunk, %line : i32 // PLAIN-ROWS
          //PLAIN-ROWS %exchanged = arith.addi %chunk, %c0 : i32
          %rowBytes = arith.muli %row, %c128 : i32
          %chunkBytes = arith.muli %exchanged, %c16 : i32
          %b = arith.addi %rowBytes, %chunkBytes : i32
          %to = llvm.getelementptr %tile[%b] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
          nvvm.cp.async.shared.global %to, %from, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
        }
        nvvm.cp.async.mbarrier.arrive %full {noinc = true} : !llvm.ptr<3>
      }
    } else {
      nvvm.setmaxregister increase 232 // TOO-MANY-REGISTERS
      //TOO-MANY-REGISTERS nvvm.setmaxregister increase 240
      %lane = nvvm.read.ptx.sreg.laneid : i32
      %isLeader = arith.cmpi eq, %lane, %c0 : i32
      %zero = llvm.mlir.zero : !sums
      // Swizzled rows of 128 bytes, eight of them in 1024.
      %layout = arith.constant 4611686293305360384 : i64 // WRONG-STRIDE
      //WRONG-STRIDE %layout = arith.constant 4611686155866406912 : i64
      %window = arith.constant 262143 : i64
      %four = arith.constant 4 : i64
      %two = arith.constant 2 : i64
      %halfA = arith.constant 8192 : i32 // MISALIGNED
      //MISALIGNED %halfA = arith.constant 8320 : i32
      %sums = scf.for %kt = %c0 to %c3 step %c1 iter_args(%s = %zero) -> (!sums) : i32 {
        %stage = arith.remui %kt, %c2 : i32
        %round = arith.divui %kt, %c2 : i32
        %parity = arith.andi %round, %c1 : i32
        %full = llvm.getelementptr %full0[%stage] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i64
        %empty = llvm.getelementptr %empty0[%stage] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i64
        nvvm.mbarrier.try_wait.parity %full, %parity, %ticks : !llvm.ptr<3>, i32, i32 // NO-FULL-WAIT
        nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>} // NO-PROXY-FENCE
        %offset = arith.muli %stage, %stageBytes : i32
        %half = arith.muli %warpgroup, %halfA : i32
        %offsetA = arith.addi %offset, %half : i32
        %tileA = llvm.getelementptr %shared[%offsetA] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
        %tile = llvm.getelementptr %shared[%offset] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
        %tileB = llvm.getelementptr %tile[16384] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
        %addressA = llvm.ptrtoint %tileA : !llvm.ptr<3> to i64
        %addressB = llvm.ptrtoint %tileB : !llvm.ptr<3> to i64
        %inWindowA = arith.andi %addressA, %window : i64
        %inWindowB = arith.andi %addressB, %window : i64
        %startA = arith.shrui %inWindowA, %four : i64
        %startB = arith.shrui %inWindowB, %four : i64
        %descriptorA = arith.ori %startA, %layout : i64
        %descriptorB = arith.ori %startB, %layout : i64
        nvvm.wgmma.fence.aligned // NO-WGMMA-FENCE
        %next = scf.for %ks = %c0 to %c4 step %c1 iter_args(%p = %s) -> (!sums) : i32 {
          %wide = arith.extui %ks : i32 to i64
          %step = arith.muli %wide, %two : i64
          %da = arith.addi %descriptorA, %step : i64
          %db = arith.addi %descriptorB, %step : i64
          %q = nvvm.wgmma.mma_async %da, %db, %p, #nvvm.shape<m = 64, n = 16, k = 16>, D [<f32>, #nvvm.wgmma_scale_out<one>],
            A [<bf16>, #nvvm.wgmma_scale_in<one>, <row>], B [<bf16>, #nvvm.wgmma_scale_in<one>, <col>] : !sums -> !sums
          scf.yield %q : !sums
        }
        //NO-COMMIT %isOften = arith.cmpi ult, %kt, %c2 : i32
        //NO-COMMIT scf.if %isOften {
        nvvm.wgmma.commit.group.sync.aligned
        //NO-COMMIT }
        //NO-GROUP-WAIT %isOften = arith.cmpi ult, %kt, %c2 : i32
        //NO-GROUP-WAIT scf.if %isOften {
        nvvm.wgmma.wait.group.sync.aligned 0 // EARLY-RELEASE
        //NO-GROUP-WAIT }
        scf.if %isLeader {
          %state = nvvm.mbarrier.arrive %empty : !llvm.ptr<3> -> i64
        }
        //EARLY-RELEASE nvvm.wgmma.wait.group.sync.aligned 0
        scf.yield %next : !sums
      }

      // Element 0 of the lane's part.
      %firstRow = arith.divui %t, %c32 : i32
      %r0 = arith.muli %firstRow, %c16 : i32
      %group = arith.divui %lane, %c4 : i32
      %r1 = arith.addi %r0, %group : i32
      %inGroup = arith.remui %lane, %c4 : i32
      %n0 = arith.muli %block, %c16 : i32
      %n1 = arith.muli %inGroup, %c2 : i32
      %n2 = arith.addi %n0, %n1 : i32
      %m0 = arith.muli %r1, %c32 : i32
      %e = arith.addi %m0, %n2 : i32
      %to = llvm.getelementptr %c[%e] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
      %to1 = llvm.getelementptr %to[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %to2 = llvm.getelementptr %to[256] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %to3 = llvm.getelementptr %to[257] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %to4 = llvm.getelementptr %to[8] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %to5 = llvm.getelementptr %to[9] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %to6 = llvm.getelementptr %to[264] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %to7 = llvm.getelementptr %to[265] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
      %v0 = llvm.extractvalue %sums[0] : !sums
      %v1 = llvm.extractvalue %sums[1] : !sums
      %v2 = llvm.extractvalue %sums[2] : !sums
      %v3 = llvm.extractvalue %sums[3] : !sums
      %v4 = llvm.extractvalue %sums[4] : !sums
      %v5 = llvm.extractvalue %sums[5] : !sums
      %v6 = llvm.extractvalue %sums[6] : !sums
      %v7 = llvm.extractvalue %sums[7] : !sums
      llvm.store %v0, %to : f32, !llvm.ptr<1>
      llvm.store %v1, %to1 : f32, !llvm.ptr<1>
      llvm.store %v2, %to2 : f32, !llvm.ptr<1>
      llvm.store %v3, %to3 : f32, !llvm.ptr<1>
      llvm.store %v4, %to4 : f32, !llvm.ptr<1>
      llvm.store %v5, %to5 : f32, !llvm.ptr<1>
      llvm.store %v6, %to6 : f32, !llvm.ptr<1>
      llvm.store %v7, %to7 : f32, !llvm.ptr<1>
    }
    llvm.return
  }
}

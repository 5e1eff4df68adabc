// Sums in shared memory, with barriers in a loop; an atomic addition to global memory.

// RUN: moe-emulate-kernels %s --seeds=0,1,2 | FileCheck %s
// RUN: moe-emulate-kernels %s --seeds=0,1,2 --no-instrument | FileCheck %s

// EMULATE: buffer x f32 512 random 1
// EMULATE: buffer sums f32 4
// EMULATE: buffer total f32 1 zero
// EMULATE: launch sum grid 4 block 128 args x sums total
// EMULATE: buffer sums_expected f32 4
// EMULATE: buffer total_expected f32 1 zero
// EMULATE: launch reference grid 1 block 1 args x sums_expected total_expected
// EMULATE: close sums sums_expected 1e-5
// EMULATE: close total total_expected 1e-5

// CHECK-COUNT-3: close total total_expected: 1 elements, largest difference {{[0-9.e-]+$}}

// A race is found whatever the schedule, and the wrong numbers that come of it may or may not be.
// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER 2>&1 | FileCheck %s --check-prefix=RACE
// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER --seeds=1 2>&1 | FileCheck %s --check-prefix=RACE
// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER --seeds=2 2>&1 | FileCheck %s --check-prefix=RACE
// RACE: error: kernel 'sum', block ({{.*}}), thread ({{.*}}): {{race: (read|write) of shared memory that thread \([0-9]+, 0, 0\) has|read of shared memory that nobody has written}}

// RUN: not moe-emulate-kernels %s --bug=LOOP 2>&1 | FileCheck %s --check-prefix=LOOP-RACE
// RUN: not moe-emulate-kernels %s --bug=LOOP --seeds=1 2>&1 | FileCheck %s --check-prefix=LOOP-RACE
// RUN: not moe-emulate-kernels %s --bug=LOOP --seeds=2 2>&1 | FileCheck %s --check-prefix=LOOP-RACE
// LOOP-RACE: error: kernel 'sum', block ({{.*}}), thread ({{.*}}): race: {{read|write}} of shared memory that thread ({{[0-9]+}}, 0, 0) has {{read|written}}, without a barrier between: address 0x{{[0-9a-f]+}} at '{{.*}}' of 'sum'

// Half of the threads of a warp at a barrier; the others wait at the next one, or have exited.
// RUN: not moe-emulate-kernels %s --bug=BRANCH --no-instrument 2>&1 | FileCheck %s --check-prefix=BRANCH
// RUN: not moe-emulate-kernels %s --bug=BRANCH --no-instrument --seeds=1 2>&1 | FileCheck %s --check-prefix=BRANCH
// BRANCH: error: kernel 'sum', block ({{.*}}), thread ({{.*}}): divergent barrier: {{.*}}barrier 0

// RUN: not moe-emulate-kernels %s --bug=EXIT 2>&1 | FileCheck %s --check-prefix=EXIT
// RUN: not moe-emulate-kernels %s --bug=EXIT --seeds=2 2>&1 | FileCheck %s --check-prefix=EXIT
// EXIT: error: kernel 'sum', block ({{.*}}), thread ({{.*}}): divergent barrier: lanes 0-15 of warp 0 wait at barrier 0, but lane 16 has exited at 'call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)' of 'sum'

// RUN: not moe-emulate-kernels %s --bug=WARPS 2>&1 | FileCheck %s --check-prefix=WARPS
// WARPS: error: kernel 'sum', {{.*}} divergent barrier: 64 of 128 threads have come to barrier 0; 64 have exited

// RUN: not moe-emulate-kernels %s --bug=BEYOND 2>&1 | FileCheck %s --check-prefix=BEYOND
// BEYOND: error: kernel 'sum', block (0, 0, 0), thread (127, 0, 0): write out of bounds: 4 bytes at shared address 0x200, the block has 512 bytes at 'store float

!x = memref<512xf32, 1>
!sums = memref<4xf32, 1>
!total = memref<1xf32, 1>

gpu.module @kernels {
  gpu.func @reference(%x: !x, %sums: !sums, %total: !total) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c128 = arith.constant 128 : index
    %zero = arith.constant 0.0 : f32
    %t = scf.for %i = %c0 to %c4 step %c1 iter_args(%outer = %zero) -> f32 {
      %s = scf.for %j = %c0 to %c128 step %c1 iter_args(%inner = %zero) -> f32 {
        %at = affine.apply affine_map<(i, j) -> (i * 128 + j)>(%i, %j)
        %v = memref.load %x[%at] : !x
        %n = arith.addf %inner, %v : f32
        scf.yield %n : f32
      }
      memref.store %s, %sums[%i] : !sums
      %n = arith.addf %outer, %s : f32
      scf.yield %n : f32
    }
    memref.store %t, %total[%c0] : !total
    gpu.return
  }

  gpu.func @sum(%x: !x, %sums: !sums, %total: !total) workgroup(%part: memref<128xf32, 3>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c7 = arith.constant 7 : index
    %c16 = arith.constant 16 : index
    %c64 = arith.constant 64 : index
    %tid = gpu.thread_id x
    %bid = gpu.block_id x
    %at = affine.apply affine_map<(b, t) -> (b * 128 + t)>(%bid, %tid)
    %to = affine.apply affine_map<(t) -> (t)>(%tid) // BEYOND
    //BEYOND %to = affine.apply affine_map<(t) -> (t + 1)>(%tid)
    %isLow = arith.cmpi ult, %tid, %c16 : index
    %isFirstHalf = arith.cmpi ult, %tid, %c64 : index
    %v = memref.load %x[%at] : !x
    memref.store %v, %part[%to] : memref<128xf32, 3>
    //EXIT cf.cond_br %isLow, ^go, ^end
    //WARPS cf.cond_br %isFirstHalf, ^go, ^end
    //EXIT ^go:
    //WARPS ^go:
    //BRANCH scf.if %isLow {
    gpu.barrier // NO-BARRIER
    //BRANCH }
    %last = scf.for %i = %c0 to %c7 step %c1 iter_args(%half = %c64) -> index {
      %isActive = arith.cmpi ult, %tid, %half : index
      scf.if %isActive {
        %other = arith.addi %tid, %half : index
        %a = memref.load %part[%tid] : memref<128xf32, 3>
        %b = memref.load %part[%other] : memref<128xf32, 3>
        %c = arith.addf %a, %b : f32
        memref.store %c, %part[%tid] : memref<128xf32, 3>
      }
      gpu.barrier // LOOP
      %next = arith.divui %half, %c2 : index
      scf.yield %next : index
    }
    %isFirst = arith.cmpi eq, %tid, %c0 : index
    scf.if %isFirst {
      %s = memref.load %part[%c0] : memref<128xf32, 3>
      memref.store %s, %sums[%bid] : !sums
      %old = memref.atomic_rmw addf %s, %total[%c0] : (f32, !total) -> f32
    }
    //EXIT cf.br ^end
    //WARPS cf.br ^end
    //EXIT ^end:
    //WARPS ^end:
    gpu.return
  }
}

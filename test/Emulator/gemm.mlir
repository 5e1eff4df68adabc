// The shape of the kernels for matrices: tiles by asynchronous copies in three stages, rows swizzled, ldmatrix, mma.
// C[M, N] = A[M, K] B[N, K]^T with tiles of 32 x 32 and four warps; M and N are multiples of 32, K is one of 32.

// RUN: moe-emulate-kernels %s --seeds=0,1,2 | FileCheck %s
// RUN: moe-emulate-kernels %s --seeds=0,1,2 --no-instrument | FileCheck %s --check-prefix=PLAIN

// EMULATE: buffer a bf16 6144 random 1
// EMULATE: buffer b bf16 12288 random 2
// EMULATE: buffer c f32 8192
// EMULATE: buffer expected f32 8192
// EMULATE: launch reference grid 4,64 block 32 args a b expected
// EMULATE: launch gemm grid 4,2 block 128 args a b c
// EMULATE: counters
// EMULATE: close c expected 1e-4

// No bank conflicts, and whole sectors only. 8 blocks: 3 k tiles, 2 k steps, 4 warps, 2 products.
// CHECK: seed 0
// CHECK: "barriers":24,"global":{"bytes":131072,{{.*}}"sector_bytes_used":131072,"sectors":5120},"least_pending_copy_groups":1,"mma":384,"mma_operations":1572864,
// CHECK-SAME: "shared":{"bytes":360448,"ideal_wavefronts":2816,"requests":704,"wavefronts":2816}
// CHECK: close c expected: 8192 elements, largest difference {{[0-9.e-]+$}}
// CHECK: seed 1
// CHECK: close c expected: 8192 elements, largest difference {{[0-9.e-]+$}}
// CHECK: seed 2
// CHECK: close c expected: 8192 elements, largest difference {{[0-9.e-]+$}}

// PLAIN-COUNT-3: close c expected: 8192 elements, largest difference {{[0-9.e-]+$}}

// Planted bugs.

// RUN: not moe-emulate-kernels %s --bug=NO-WAIT 2>&1 | FileCheck %s --check-prefix=NO-WAIT
// RUN: not moe-emulate-kernels %s --bug=NO-WAIT --seeds=1 2>&1 | FileCheck %s --check-prefix=NO-WAIT
// RUN: not moe-emulate-kernels %s --bug=NO-WAIT --seeds=2 2>&1 | FileCheck %s --check-prefix=NO-WAIT
// NO-WAIT: error: kernel 'gemm', block ({{.*}}), thread ({{.*}}): read of shared memory that an asynchronous copy of thread ({{[0-9]+}}, 0, 0) may still be writing: address 0x{{[0-9a-f]+}} at '{{.*}}ldmatrix{{.*}}' of 'gemm'
// RUN: not moe-emulate-kernels %s --bug=NO-WAIT --no-instrument 2>&1 | FileCheck %s --check-prefix=WRONG

// RUN: not moe-emulate-kernels %s --bug=SHORT-WAIT 2>&1 | FileCheck %s --check-prefix=NO-WAIT

// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER 2>&1 | FileCheck %s --check-prefix=NO-BARRIER
// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER --seeds=1 2>&1 | FileCheck %s --check-prefix=NO-BARRIER
// RUN: not moe-emulate-kernels %s --bug=NO-BARRIER --seeds=2 2>&1 | FileCheck %s --check-prefix=NO-BARRIER
// NO-BARRIER: error: kernel 'gemm', {{.*}}of shared memory that {{.*}}thread ({{[0-9]+}}, 0, 0) {{.*}} of 'gemm'

// RUN: not moe-emulate-kernels %s --bug=SWAPPED 2>&1 | FileCheck %s --check-prefix=WRONG
// RUN: not moe-emulate-kernels %s --bug=SWAPPED --seeds=1 2>&1 | FileCheck %s --check-prefix=WRONG
// WRONG: moe-emulate-kernels: error: 'close c expected 1e-4': element

// Without a swizzle the numbers are right, but rows of 64 bytes meet in the same banks: four turns instead of one.
// RUN: moe-emulate-kernels %s --bug=PLAIN-ROWS | FileCheck %s --check-prefix=CONFLICTS
// CONFLICTS: {"function":"gemm","operation":"{{.*}}ldmatrix{{.*}}","shared":{"bytes":98304,"ideal_wavefronts":768,"requests":192,"wavefronts":3072}}
// CONFLICTS: close c expected

// RUN: not moe-emulate-kernels %s --bug=WRONG-SWIZZLE 2>&1 | FileCheck %s --check-prefix=WRONG

// RUN: not moe-emulate-kernels %s --bug=NEXT-ROW 2>&1 | FileCheck %s --check-prefix=OUTSIDE
// OUTSIDE: error: kernel 'gemm', block (0, 1, 0), thread ({{.*}}): read out of bounds: 16 bytes at byte 12288 of an allocation of 12288 bytes at '{{.*}}cp.async{{.*}}' of 'gemm'

// RUN: not moe-emulate-kernels %s --bug=ODD-COLUMN 2>&1 | FileCheck %s --check-prefix=MISALIGNED
// MISALIGNED: error: kernel 'gemm', block (0, 0, 0), thread (0, 0, 0): misaligned asynchronous copy: expected a multiple of 16 but got global address 0x{{[0-9a-f]+}}8 at

!a = memref<64x96xbf16, 1>
!b = memref<128x96xbf16, 1>
!c = memref<64x128xf32, 1>
!tile = memref<3x32x32xbf16, 3>
!fragment = vector<4x2xbf16>

gpu.module @kernels {
  gpu.func @reference(%a: !a, %b: !b, %c: !c) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %zero = arith.constant 0.0 : f32
    %bx = gpu.block_id x
    %m = gpu.block_id y
    %t = gpu.thread_id x
    %n = affine.apply affine_map<(b, t) -> (b * 32 + t)>(%bx, %t)
    %sum = scf.for %k = %c0 to %c96 step %c1 iter_args(%s = %zero) -> f32 {
      %x = memref.load %a[%m, %k] : !a
      %y = memref.load %b[%n, %k] : !b
      %xf = arith.extf %x : bf16 to f32
      %yf = arith.extf %y : bf16 to f32
      %p = arith.mulf %xf, %yf : f32
      %next = arith.addf %s, %p : f32
      scf.yield %next : f32
    }
    memref.store %sum, %c[%m, %n] : !c
    gpu.return
  }

  gpu.func @gemm(%a: !a, %b: !b, %c: !c) workgroup(%sa: !tile, %sb: !tile) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c8 = arith.constant 8 : index
    %zero = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %bx = gpu.block_id x
    %by = gpu.block_id y

    // Where this thread copies: 16 bytes of a row of each tile.
    %row = affine.apply affine_map<(t) -> (t floordiv 4)>(%t)
    %chunk = affine.apply affine_map<(t) -> (t mod 4)>(%t)
    %line = affine.apply affine_map<(r) -> ((r floordiv 2) mod 4)>(%row)
    %to = arith.xori %chunk, %line : index // WRONG-SWIZZLE PLAIN-ROWS
    //WRONG-SWIZZLE %to = arith.xori %chunk, %c1 : index
    //PLAIN-ROWS %to = arith.addi %chunk, %c0 : index
    %column = affine.apply affine_map<(x) -> (x * 8)>(%to)
    %from = affine.apply affine_map<(x) -> (x * 8)>(%chunk) // ODD-COLUMN
    //ODD-COLUMN %from = affine.apply affine_map<(x) -> (x * 8 + 4)>(%chunk)
    %m = affine.apply affine_map<(b, r) -> (b * 32 + r)>(%by, %row) // NEXT-ROW
    //NEXT-ROW %m = affine.apply affine_map<(b, r) -> (b * 32 + r + 1)>(%by, %row)
    %n = affine.apply affine_map<(b, r) -> (b * 32 + r)>(%bx, %row)

    // Where this lane reads rows of matrices: of A one tile of 16 x 16, of B two of 8 x 16.
    %lane = gpu.lane_id
    %warp = affine.apply affine_map<(t) -> (t floordiv 32)>(%t)
    %wm = affine.apply affine_map<(w) -> ((w mod 2) * 16)>(%warp)
    %wn = affine.apply affine_map<(w) -> ((w floordiv 2) * 16)>(%warp)
    %ra = affine.apply affine_map<(l, w) -> (l mod 16 + w)>(%lane, %wm)
    %rb = affine.apply affine_map<(l, w) -> ((l floordiv 16) * 8 + l mod 8 + w)>(%lane, %wn)
    %ha = affine.apply affine_map<(l) -> (l floordiv 16)>(%lane)
    %hb = affine.apply affine_map<(l) -> ((l floordiv 8) mod 2)>(%lane)
    %la = affine.apply affine_map<(r) -> ((r floordiv 2) mod 4)>(%ra) // PLAIN-ROWS
    %lb = affine.apply affine_map<(r) -> ((r floordiv 2) mod 4)>(%rb) // PLAIN-ROWS
    //PLAIN-ROWS %la = arith.constant 0 : index
    //PLAIN-ROWS %lb = arith.constant 0 : index

    scf.for %stage = %c0 to %c2 step %c1 {
      %k = affine.apply affine_map<(s, x) -> (s * 32 + x)>(%stage, %from)
      %t0 = nvgpu.device_async_copy %a[%m, %k], %sa[%stage, %row, %column], 8 {bypassL1} : !a to !tile
      %t1 = nvgpu.device_async_copy %b[%n, %k], %sb[%stage, %row, %column], 8 {bypassL1} : !b to !tile
      %g = nvgpu.device_async_create_group %t0, %t1
    }
    %r:8 = scf.for %kt = %c0 to %c3 step %c1 iter_args(%i0 = %zero, %i1 = %zero, %i2 = %zero, %i3 = %zero,
        %i4 = %zero, %i5 = %zero, %i6 = %zero, %i7 = %zero) -> (f32, f32, f32, f32, f32, f32, f32, f32) {
      nvvm.cp.async.wait.group 1 // NO-WAIT SHORT-WAIT
      //SHORT-WAIT nvvm.cp.async.wait.group 2
      gpu.barrier // NO-BARRIER
      %next = arith.addi %kt, %c2 : index
      %isInside = arith.cmpi ult, %next, %c3 : index
      %count = arith.select %isInside, %c8, %c0 : index
      %nextStage = arith.remui %next, %c3 : index
      %k = affine.apply affine_map<(s, x) -> (s * 32 + x)>(%next, %from)
      %t0 = nvgpu.device_async_copy %a[%m, %k], %sa[%nextStage, %row, %column], 8, %count {bypassL1} : !a to !tile
      %t1 = nvgpu.device_async_copy %b[%n, %k], %sb[%nextStage, %row, %column], 8, %count {bypassL1} : !b to !tile
      %g = nvgpu.device_async_create_group %t0, %t1
      %stage = arith.remui %kt, %c3 : index
      %s:8 = scf.for %ks = %c0 to %c2 step %c1 iter_args(%j0 = %i0, %j1 = %i1, %j2 = %i2, %j3 = %i3,
          %j4 = %i4, %j5 = %i5, %j6 = %i6, %j7 = %i7) -> (f32, f32, f32, f32, f32, f32, f32, f32) {
        %ca = affine.apply affine_map<(s, h) -> (s * 2 + h)>(%ks, %ha)
        %cb = affine.apply affine_map<(s, h) -> (s * 2 + h)>(%ks, %hb)
        %xa = arith.xori %ca, %la : index
        %xb = arith.xori %cb, %lb : index
        %ka = affine.apply affine_map<(x) -> (x * 8)>(%xa)
        %kb = affine.apply affine_map<(x) -> (x * 8)>(%xb)
        %fa = nvgpu.ldmatrix %sa[%stage, %ra, %ka] {numTiles = 4 : i32, transpose = false} : !tile -> !fragment
        %fb = nvgpu.ldmatrix %sb[%stage, %rb, %kb] {numTiles = 4 : i32, transpose = false} : !tile -> !fragment
        %a0 = vector.extract %fa[0] : vector<2xbf16> from !fragment
        %a1 = vector.extract %fa[1] : vector<2xbf16> from !fragment // SWAPPED
        %a2 = vector.extract %fa[2] : vector<2xbf16> from !fragment // SWAPPED
        //SWAPPED %a1 = vector.extract %fa[2] : vector<2xbf16> from !fragment
        //SWAPPED %a2 = vector.extract %fa[1] : vector<2xbf16> from !fragment
        %a3 = vector.extract %fa[3] : vector<2xbf16> from !fragment
        %b0 = vector.extract %fb[0] : vector<2xbf16> from !fragment
        %b1 = vector.extract %fb[1] : vector<2xbf16> from !fragment
        %b2 = vector.extract %fb[2] : vector<2xbf16> from !fragment
        %b3 = vector.extract %fb[3] : vector<2xbf16> from !fragment
        %ia0 = llvm.bitcast %a0 : vector<2xbf16> to i32
        %ia1 = llvm.bitcast %a1 : vector<2xbf16> to i32
        %ia2 = llvm.bitcast %a2 : vector<2xbf16> to i32
        %ia3 = llvm.bitcast %a3 : vector<2xbf16> to i32
        %ib0 = llvm.bitcast %b0 : vector<2xbf16> to i32
        %ib1 = llvm.bitcast %b1 : vector<2xbf16> to i32
        %ib2 = llvm.bitcast %b2 : vector<2xbf16> to i32
        %ib3 = llvm.bitcast %b3 : vector<2xbf16> to i32
        %d0 = nvvm.mma.sync A[%ia0, %ia1, %ia2, %ia3] B[%ib0, %ib1] C[%j0, %j1, %j2, %j3] {
          layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, multiplicandAPtxType = #nvvm.mma_type<bf16>,
          multiplicandBPtxType = #nvvm.mma_type<bf16>, shape = #nvvm.shape<m = 16, n = 8, k = 16>}
          : (i32, i32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
        %d1 = nvvm.mma.sync A[%ia0, %ia1, %ia2, %ia3] B[%ib2, %ib3] C[%j4, %j5, %j6, %j7] {
          layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, multiplicandAPtxType = #nvvm.mma_type<bf16>,
          multiplicandBPtxType = #nvvm.mma_type<bf16>, shape = #nvvm.shape<m = 16, n = 8, k = 16>}
          : (i32, i32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
        %e0 = llvm.extractvalue %d0[0] : !llvm.struct<(f32, f32, f32, f32)>
        %e1 = llvm.extractvalue %d0[1] : !llvm.struct<(f32, f32, f32, f32)>
        %e2 = llvm.extractvalue %d0[2] : !llvm.struct<(f32, f32, f32, f32)>
        %e3 = llvm.extractvalue %d0[3] : !llvm.struct<(f32, f32, f32, f32)>
        %e4 = llvm.extractvalue %d1[0] : !llvm.struct<(f32, f32, f32, f32)>
        %e5 = llvm.extractvalue %d1[1] : !llvm.struct<(f32, f32, f32, f32)>
        %e6 = llvm.extractvalue %d1[2] : !llvm.struct<(f32, f32, f32, f32)>
        %e7 = llvm.extractvalue %d1[3] : !llvm.struct<(f32, f32, f32, f32)>
        scf.yield %e0, %e1, %e2, %e3, %e4, %e5, %e6, %e7 : f32, f32, f32, f32, f32, f32, f32, f32
      }
      scf.yield %s#0, %s#1, %s#2, %s#3, %s#4, %s#5, %s#6, %s#7 : f32, f32, f32, f32, f32, f32, f32, f32
    }

    // Element 0 of the lane's part of a product.
    %m0 = affine.apply affine_map<(b, w, l) -> (b * 32 + w + l floordiv 4)>(%by, %wm, %lane)
    %m1 = affine.apply affine_map<(m) -> (m + 8)>(%m0)
    %n0 = affine.apply affine_map<(b, w, l) -> (b * 32 + w + (l mod 4) * 2)>(%bx, %wn, %lane)
    %n1 = affine.apply affine_map<(n) -> (n + 1)>(%n0)
    %n2 = affine.apply affine_map<(n) -> (n + 8)>(%n0)
    %n3 = affine.apply affine_map<(n) -> (n + 9)>(%n0)
    memref.store %r#0, %c[%m0, %n0] : !c
    memref.store %r#1, %c[%m0, %n1] : !c
    memref.store %r#2, %c[%m1, %n0] : !c
    memref.store %r#3, %c[%m1, %n1] : !c
    memref.store %r#4, %c[%m0, %n2] : !c
    memref.store %r#5, %c[%m0, %n3] : !c
    memref.store %r#6, %c[%m1, %n2] : !c
    memref.store %r#7, %c[%m1, %n3] : !c
    gpu.return
  }
}

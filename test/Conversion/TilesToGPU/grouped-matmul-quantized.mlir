// RUN: moe-opt %s --pass-pipeline='builtin.module(gpu.module(gpu.func(moe-grouped-matmul-to-threads)))' | FileCheck %s

// int8: 64 elements in a row of a stage, 32 in an mma; sums are integers.
// CHECK-LABEL: gpu.func @int8
gpu.module @kernels {
  gpu.func @int8(%x: memref<?x128xi8>, %w: memref<1x128x128xi8>, %s: memref<?xf32>, %t: memref<1x128xf32>, %y: memref<?x128xf32>,
                 %rows: i32) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: scf.for %{{.*}} = %c0_i32{{.*}} to %c128_i32{{.*}} step %c64_i32
    // CHECK-COUNT-8: nvvm.ldmatrix
    // CHECK: nvvm.mma.sync {{.*}}intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>{{.*}}multiplicandAPtxType = #nvvm.mma_type<s8>{{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 32>{{.*}} : (i32, i32, i32)
    // CHECK: arith.sitofp
    moe.grouped_matmul rows(%x : memref<?x128xi8>) weights(%w : memref<1x128x128xi8>) groups(%o : memref<2xi32>)
        row_scalars(%s : memref<?xf32>) column_scalars(%t : memref<1x128xf32>) outs(%y : memref<?x128xf32>) {
    ^bb0(%sum: i32, %a: f32, %b: f32):
      %f = arith.sitofp %sum : i32 to f32
      %p = arith.mulf %a, %b : f32
      %r = arith.mulf %f, %p : f32
      moe.yield %r : f32
    }
    gpu.return
  }

  // Codes: a stage has 64 bytes of a row of x, 16 of a column's codes and 2 of its scale. Besides the rows, one copy of codes, and
  // 16 threads that copy scales. Of the weights, a lane loads 8 bytes of codes for two columns, and their scales.
  // CHECK-LABEL: gpu.func @int4
  // CHECK-SAME: workgroup(%{{.*}} : memref<31488xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
  gpu.func @int4(%x: memref<?x96xbf16>, %g: memref<1x4x3x256xi8>, %u: memref<1x4x3x256xi8>, %sg: memref<1x4x3x16xbf16>,
                 %su: memref<1x4x3x16xbf16>, %y: memref<?x64xbf16>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: scf.for %{{.*}} = %c0_i32{{.*}} to %c96_i32{{.*}} step %c32_i32
    // CHECK-COUNT-4: nvvm.ldmatrix
    // CHECK-COUNT-5: nvvm.cp.async.shared.global {{.*}}, 16, cache = cg
    // CHECK: scf.if
    // CHECK: llvm.getelementptr
    // CHECK: nvvm.cp.async.shared.global {{.*}}, 16, cache = cg
    // CHECK: nvvm.cp.async.commit.group
    // The code with its highest bit flipped, behind the exponent of 16: 24 more than what it stands for.
    // CHECK: %[[CODE:.*]] = arith.andi %{{.*}}, %c7864440_i32
    // CHECK: %[[BITS:.*]] = arith.xori %[[CODE]], %c1103118784_i32
    // CHECK: llvm.inline_asm {{.*}}"fma.rn.bf16x2 $0, $1, $2, $3;", "=r,r,r,r" %[[BITS]], %c1065369472_i32{{.*}}, %c-1044332096_i32
    // CHECK-COUNT-32: nvvm.mma.sync
    // CHECK: gpu.barrier
    // CHECK-COUNT-4: nvvm.ldmatrix
    // CHECK-COUNT-4: llvm.load %{{.*}} {alignment = 8 : i64} : !llvm.ptr<3> -> vector<2xi32>
    // CHECK-COUNT-32: nvvm.mma.sync
    // CHECK-NOT: nvvm.mma.sync
    // CHECK: vector.store %{{.*}} {alignment = 8 : i64} : memref<?x64xbf16>, vector<4xbf16>
    moe.grouped_matmul rows(%x : memref<?x96xbf16>) weights(%g, %u : memref<1x4x3x256xi8>, memref<1x4x3x256xi8>)
        scales(%sg, %su : memref<1x4x3x16xbf16>, memref<1x4x3x16xbf16>) groups(%o : memref<2xi32>) outs(%y : memref<?x64xbf16>)
        attributes {format = "int4"} {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      %t = arith.truncf %p : f32 to bf16
      moe.yield %t : bf16
    }
    gpu.return
  }

  // Few rows: eight stages. The sign and the bits next to it make a number that is 2^14 too small in f16.
  // CHECK-LABEL: gpu.func @mxfp4
  // CHECK-SAME: workgroup(%{{.*}} : memref<26624xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
  gpu.func @mxfp4(%x: memref<?x64xf16>, %w: memref<1x8x2x256xi8>, %s: memref<1x8x2x16xbf16>, %y: memref<?x128xf32>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: nvvm.cp.async.wait.group 6
    // CHECK: arith.andi %{{.*}}, %c234884608_i32
    // CHECK: arith.andi %{{.*}}, %c-2147450880_i32
    // CHECK: "fma.rn.f16x2 $0, $1, $2, $3;", "=r,r,r,r" %{{.*}}, %c1946186752_i32{{.*}}, %c-2147450880_i32
    // CHECK-COUNT-8: nvvm.mma.sync {{.*}} : (vector<2xf16>, vector<2xf16>, f32)
    moe.grouped_matmul rows(%x : memref<?x64xf16>) weights(%w : memref<1x8x2x256xi8>) scales(%s : memref<1x8x2x16xbf16>)
        groups(%o : memref<2xi32>) outs(%y : memref<?x128xf32>) attributes {moe.block_rows = 16 : i64, format = "mxfp4"} {
    ^bb0(%a: f32):
      moe.yield %a : f32
    }
    gpu.return
  }

  // Bytes: 32 of a column and 4 of its scale in a stage, which two copies of a thread bring; a lane loads 8 bytes for each half of
  // a stage. Pairs are f16 that are 2^8 too small, multiplied in f32 and rounded.
  // CHECK-LABEL: gpu.func @fp8
  // CHECK-SAME: workgroup(%{{.*}} : memref<38400xi8, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64})
  gpu.func @fp8(%x: memref<?x160xbf16>, %w: memref<1x8x10x256xi8>, %s: memref<1x8x2x16xf32>, %y: memref<?x128xf32>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: scf.for %{{.*}} = %c0_i32{{.*}} to %c160_i32{{.*}} step %c32_i32
    // CHECK-COUNT-6: nvvm.cp.async.shared.global {{.*}}, 16, cache = cg
    // CHECK: arith.divui %{{.*}}, %c128_i32
    // CHECK: nvvm.cp.async.shared.global {{.*}}, 16, cache = cg
    // CHECK: arith.andi %{{.*}}, %c1065369472_i32
    // CHECK: arith.andi %{{.*}}, %c-2147450880_i32
    // CHECK-COUNT-2: llvm.fpext %{{.*}} : f16 to f32
    // CHECK: "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f"
    // CHECK: nvvm.mma.sync
    moe.grouped_matmul rows(%x : memref<?x160xbf16>) weights(%w : memref<1x8x10x256xi8>) scales(%s : memref<1x8x2x16xf32>)
        groups(%o : memref<2xi32>) outs(%y : memref<?x128xf32>) attributes {format = "fp8"} {
    ^bb0(%a: f32):
      moe.yield %a : f32
    }
    gpu.return
  }

  // Rows of f32: each weight is decoded where it is multiplied.
  // CHECK-LABEL: gpu.func @scalar
  gpu.func @scalar(%x: memref<?x64xf32>, %w: memref<1x16x32xi8>, %s: memref<1x16x2xi8>, %y: memref<?x16xf32>, %rows: i32)
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0 : i32
    %o = memref.alloca() : memref<2xi32>
    memref.store %zero, %o[%c0] : memref<2xi32>
    memref.store %rows, %o[%c1] : memref<2xi32>
    // CHECK: memref.load %{{.*}} : memref<1x16x32xi8>
    // CHECK: memref.load %{{.*}} : memref<1x16x2xi8>
    // CHECK: math.fma
    moe.grouped_matmul rows(%x : memref<?x64xf32>) weights(%w : memref<1x16x32xi8>) scales(%s : memref<1x16x2xi8>)
        groups(%o : memref<2xi32>) outs(%y : memref<?x16xf32>) attributes {format = "mxfp4"} {
    ^bb0(%a: f32):
      moe.yield %a : f32
    }
    gpu.return
  }
}

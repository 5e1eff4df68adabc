// Operations of warps: softmax of rows by shuffles, votes, matches, reductions; blocks that wait for each other.

// RUN: moe-emulate-kernels %s --seeds=0,1,2 | FileCheck %s
// RUN: moe-emulate-kernels %s --seeds=0,1,2 --no-instrument | FileCheck %s

// EMULATE: buffer x f32 256 random 3
// EMULATE: buffer y f32 256
// EMULATE: buffer expected f32 256
// EMULATE: launch softmax grid 2 block 128 args x y
// EMULATE: launch reference grid 8 block 1 args x expected
// EMULATE: close y expected 1e-6
// EMULATE: buffer results i32 320
// EMULATE: launch operations grid 1 block 32 args results
// EMULATE: print results
// EMULATE: buffer turn i32 1 zero
// EMULATE: buffer order i32 8
// EMULATE: launch turns grid 8 block 64 args turn order
// EMULATE: print order

// CHECK: seed 0
// CHECK-NEXT: close y expected: 256 elements, largest difference {{[0-9.e-]+$}}
// CHECK-NEXT: results:
// The lanes divisible by 3, as a number with a sign.
// CHECK-SAME: {{( 1227133513){32} }}
// CHECK-SAME: {{(0 ){32}(1 ){32} ?}}
// Lanes with the same remainder.
// CHECK-SAME: {{(1227133513 -1840700270 613566756 ){10}1227133513 -1840700270 }}
// CHECK-SAME: {{(31 ){32}(496 ){32} ?}}
// CHECK-SAME: 0 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30
// CHECK-SAME: 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 27 28 29 30 31
// CHECK-SAME: {{(3 ){8}(11 ){8}(19 ){8}(27 ){8} ?}}
// CHECK-SAME: 1{{( 0){31}$}}
// CHECK-NEXT: order: 7 6 5 4 3 2 1 0{{$}}
// CHECK-NEXT: seed 1
// CHECK-NEXT: close y expected: 256 elements, largest difference {{[0-9.e-]+$}}
// CHECK: order: 7 6 5 4 3 2 1 0{{$}}
// CHECK-NEXT: seed 2
// CHECK-NEXT: close y expected: 256 elements, largest difference {{[0-9.e-]+$}}
// CHECK: order: 7 6 5 4 3 2 1 0{{$}}

// RUN: not moe-emulate-kernels %s --bug=OTHER-LANE 2>&1 | FileCheck %s --check-prefix=OTHER-LANE
// OTHER-LANE: error: kernel 'softmax', {{.*}} shfl.sync.bfly reads lane 16, which is not in the member mask 0x0000ffff at
// RUN: not moe-emulate-kernels %s --bug=HALF-WARP 2>&1 | FileCheck %s --check-prefix=HALF-WARP
// HALF-WARP: error: kernel 'softmax', {{.*}} deadlock: lanes 0-15 of warp 0 wait at shfl.sync.bfly for lanes 16-31 (lane 16 has exited) at
// RUN: not moe-emulate-kernels %s --bug=NEVER 2>&1 | FileCheck %s --check-prefix=NEVER
// NEVER: error: kernel 'turns', {{.*}} no progress: threads wait in a loop for something that does not happen (8 of 8 blocks are in flight)

!x = memref<8x32xf32, 1>

gpu.module @kernels {
  // Row i of y is the softmax (to base 2) of row i of x; one warp for each.
  gpu.func @softmax(%x: !x, %y: !x) kernel {
    %width = arith.constant 32 : i32
    %half = arith.constant 16 : i32
    %tid = gpu.thread_id x
    %bid = gpu.block_id x
    %lane = gpu.lane_id
    %row = affine.apply affine_map<(b, t) -> (b * 4 + t floordiv 32)>(%bid, %tid)
    %v = memref.load %x[%row, %lane] : !x
    %mask = arith.constant -1 : i32
    %offsets = arith.constant dense<[16, 8, 4, 2, 1]> : vector<5xi32>
    //HALF-WARP %c16 = arith.constant 16 : index
    //HALF-WARP %isLow = arith.cmpi ult, %lane, %c16 : index
    //HALF-WARP cf.cond_br %isLow, ^go, ^end
    //HALF-WARP ^go:
    %zero = arith.constant 0 : index
    %one = arith.constant 1 : index
    %five = arith.constant 5 : index
    %most = scf.for %i = %zero to %five step %one iter_args(%m = %v) -> f32 {
      %o = vector.extract %offsets[%i] : i32 from vector<5xi32>
      %other, %valid = gpu.shuffle xor %m, %o, %width : f32
      %n = arith.maximumf %m, %other : f32
      scf.yield %n : f32
    }
    %d = arith.subf %v, %most : f32
    %e = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f32"(%d) : (f32) -> f32
    %sum = scf.for %i = %zero to %five step %one iter_args(%m = %e) -> f32 {
      %o = vector.extract %offsets[%i] : i32 from vector<5xi32>
      %other, %valid = gpu.shuffle xor %m, %o, %width : f32
      %n = arith.addf %m, %other : f32
      scf.yield %n : f32
    }
    %q = arith.divf %e, %sum : f32
    //OTHER-LANE %short = arith.constant 65535 : i32
    //OTHER-LANE %clamp = arith.constant 31 : i32
    //OTHER-LANE %c16 = arith.constant 16 : index
    //OTHER-LANE %isLow = arith.cmpi ult, %lane, %c16 : index
    //OTHER-LANE scf.if %isLow {
    //OTHER-LANE   %w = nvvm.shfl.sync bfly %short, %q, %half, %clamp : f32 -> f32
    //OTHER-LANE   memref.store %w, %y[%row, %lane] : !x
    //OTHER-LANE }
    memref.store %q, %y[%row, %lane] : !x
    //HALF-WARP cf.br ^end
    //HALF-WARP ^end:
    gpu.return
  }

  gpu.func @reference(%x: !x, %y: !x) kernel {
    %zero = arith.constant 0 : index
    %one = arith.constant 1 : index
    %n = arith.constant 32 : index
    %low = arith.constant -1000.0 : f32
    %none = arith.constant 0.0 : f32
    %row = gpu.block_id x
    %most = scf.for %i = %zero to %n step %one iter_args(%m = %low) -> f32 {
      %v = memref.load %x[%row, %i] : !x
      %next = arith.maximumf %m, %v : f32
      scf.yield %next : f32
    }
    %sum = scf.for %i = %zero to %n step %one iter_args(%s = %none) -> f32 {
      %v = memref.load %x[%row, %i] : !x
      %d = arith.subf %v, %most : f32
      %e = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f32"(%d) : (f32) -> f32
      memref.store %e, %y[%row, %i] : !x
      %next = arith.addf %s, %e : f32
      scf.yield %next : f32
    }
    scf.for %i = %zero to %n step %one {
      %e = memref.load %y[%row, %i] : !x
      %q = arith.divf %e, %sum : f32
      memref.store %q, %y[%row, %i] : !x
    }
    gpu.return
  }

  // Ten results of each lane.
  gpu.func @operations(%out: memref<10x32xi32, 1>) kernel {
    %lane = gpu.lane_id
    %l = arith.index_cast %lane : index to i32
    %mask = arith.constant -1 : i32
    %c0 = arith.constant 0 : i32
    %c1 = arith.constant 1 : i32
    %c3 = arith.constant 3 : i32
    %c5 = arith.constant 5 : i32
    %c20 = arith.constant 20 : i32
    %c31 = arith.constant 31 : i32
    %segments = arith.constant 0x181f : i32 // of eight lanes
    %third = arith.remui %l, %c3 : i32
    %isThird = arith.cmpi eq, %third, %c0 : i32
    %isLow = arith.cmpi ult, %l, %c20 : i32
    %r0 = nvvm.vote.sync ballot %mask, %isThird -> i32
    %v1 = nvvm.vote.sync all %mask, %isLow -> i1
    %r1 = arith.extui %v1 : i1 to i32
    %v2 = nvvm.vote.sync any %mask, %isLow -> i1
    %r2 = arith.extui %v2 : i1 to i32
    %r3 = nvvm.match.sync any %mask, %third : i32 -> i32
    %r4 = nvvm.redux.sync umax %l, %mask : i32 -> i32
    %r5 = nvvm.redux.sync add %l, %mask : i32 -> i32
    %r6 = nvvm.shfl.sync up %mask, %l, %c1, %c0 : i32 -> i32
    %r7 = nvvm.shfl.sync down %mask, %l, %c5, %c31 : i32 -> i32
    %r8 = nvvm.shfl.sync idx %mask, %l, %c3, %segments : i32 -> i32
    %e = nvvm.elect.sync -> i1
    %r9 = arith.extui %e : i1 to i32
    %i0 = arith.constant 0 : index
    %i1 = arith.constant 1 : index
    %i2 = arith.constant 2 : index
    %i3 = arith.constant 3 : index
    %i4 = arith.constant 4 : index
    %i5 = arith.constant 5 : index
    %i6 = arith.constant 6 : index
    %i7 = arith.constant 7 : index
    %i8 = arith.constant 8 : index
    %i9 = arith.constant 9 : index
    memref.store %r0, %out[%i0, %lane] : memref<10x32xi32, 1>
    memref.store %r1, %out[%i1, %lane] : memref<10x32xi32, 1>
    memref.store %r2, %out[%i2, %lane] : memref<10x32xi32, 1>
    memref.store %r3, %out[%i3, %lane] : memref<10x32xi32, 1>
    memref.store %r4, %out[%i4, %lane] : memref<10x32xi32, 1>
    memref.store %r5, %out[%i5, %lane] : memref<10x32xi32, 1>
    memref.store %r6, %out[%i6, %lane] : memref<10x32xi32, 1>
    memref.store %r7, %out[%i7, %lane] : memref<10x32xi32, 1>
    memref.store %r8, %out[%i8, %lane] : memref<10x32xi32, 1>
    memref.store %r9, %out[%i9, %lane] : memref<10x32xi32, 1>
    gpu.return
  }

  // Block 7 comes first, then 6 ...: only with all blocks in flight.
  llvm.func @turns(%turn: !llvm.ptr<1>, %order: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %zero = llvm.mlir.constant(0 : i32) : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %seven = llvm.mlir.constant(7 : i32) : i32 // NEVER
    //NEVER %seven = llvm.mlir.constant(9 : i32) : i32
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %bid = nvvm.read.ptx.sreg.ctaid.x : i32
    %mine = llvm.sub %seven, %bid : i32
    %isFirst = llvm.icmp "eq" %tid, %zero : i32
    llvm.cond_br %isFirst, ^wait, ^meet
  ^wait:
    %now = llvm.load %turn atomic monotonic {alignment = 4 : i64} : !llvm.ptr<1> -> i32
    %isMine = llvm.icmp "eq" %now, %mine : i32
    llvm.cond_br %isMine, ^go, ^wait
  ^go:
    %place = llvm.getelementptr %order[%now] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %bid, %place : i32, !llvm.ptr<1>
    %old = llvm.atomicrmw add %turn, %one monotonic : !llvm.ptr<1>, i32
    llvm.br ^meet
  ^meet:
    nvvm.barrier0
    llvm.return
  }
}

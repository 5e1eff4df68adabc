// RUN: moe-opt %s --moe-outline-parallel=remarks=true --canonicalize --split-input-file --verify-diagnostics | FileCheck %s

// Buffers of constant size: at multiples of 64 bytes, those of sibling blocks in the same place; the small one on the
// stack stays there. No allocation and no deallocation is left.

// CHECK-LABEL: func.func @fixed(
// CHECK: %[[BYTES:.*]] = arith.constant 20736 : i64
// CHECK: call @moe_rt_parallel_for(%{{.*}}, %{{.*}}, %{{.*}}, %[[BYTES]], %{{.*}})
// CHECK-LABEL: func.func private @fixed.parallel.0(
// CHECK-SAME: %{{[a-z0-9]+}}: !llvm.ptr, %{{[a-z0-9]+}}: i64, %{{[a-z0-9]+}}: i64, %[[POINTER:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64 : i64, llvm.noalias})
// CHECK-DAG: %[[END:.*]] = arith.constant 384 : index
// CHECK-DAG: %[[SECOND:.*]] = arith.constant 320 : index
// CHECK-DAG: %[[FIRST:.*]] = arith.constant 0 : index
// CHECK-DAG: memref.alloca() : memref<4xf32>
// CHECK: llvm.insertvalue %[[POINTER]]
// CHECK: %[[MEMORY:.*]] = memref.reinterpret_cast %{{.*}} to offset: [0], sizes: [20736], strides: [1] : memref<i8> to memref<20736xi8>
// CHECK-NOT: memref.{{alloc|dealloc}}
// CHECK: scf.for
// CHECK-DAG: memref.view %[[MEMORY]][%[[FIRST]]][] : memref<20736xi8> to memref<5x16xf32>
// CHECK-DAG: memref.view %[[MEMORY]][%[[SECOND]]][] : memref<20736xi8> to memref<3xi1>
// CHECK: scf.for
// CHECK: memref.view %[[MEMORY]][%[[END]]][] : memref<20736xi8> to memref<10xbf16>
// CHECK: scf.for
// CHECK: memref.view %[[MEMORY]][%[[END]]][] : memref<20736xi8> to memref<5088xf32>
func.func @fixed(%a: memref<?x16xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant 0.0 : f32
  %half = arith.constant 0.5 : bf16
  %true = arith.constant true
  scf.forall (%i) in (%n) {
    %x = memref.alloc() {alignment = 64 : i64} : memref<5x16xf32>
    %y = memref.alloc() : memref<3xi1>
    %stack = memref.alloca() : memref<4xf32>
    scf.for %j = %c0 to %c4 step %c1 {
      %first = memref.alloc() : memref<10xbf16>
      memref.store %half, %first[%j] : memref<10xbf16>
      memref.dealloc %first : memref<10xbf16>
    }
    %v = memref.load %stack[%c1] : memref<4xf32>
    scf.for %j = %c0 to %c4 step %c1 {
      %second = memref.alloca() : memref<5088xf32>
      memref.store %zero, %second[%j] : memref<5088xf32>
      memref.store %zero, %stack[%j] : memref<4xf32>
    }
    memref.store %v, %x[%c1, %c4] : memref<5x16xf32>
    memref.store %true, %y[%c1] : memref<3xi1>
    %row = memref.subview %x[0, 0] [1, 16] [1, 1] : memref<5x16xf32> to memref<16xf32, strided<[1]>>
    %to = memref.subview %a[%i, 0] [1, 16] [1, 1] : memref<?x16xf32> to memref<16xf32, strided<[1], offset: ?>>
    memref.copy %row, %to : memref<16xf32, strided<[1]>> to memref<16xf32, strided<[1], offset: ?>>
    memref.dealloc %x : memref<5x16xf32>
    memref.dealloc %y : memref<3xi1>
  }
  return
}

// -----

// A tile of at most 16 rows has room for 16; what is as long as an argument of the loop has room for that, and so has
// what an iteration adds to it.

// CHECK-LABEL: func.func @bounded(
// CHECK-SAME: %[[A:[^:]*]]: memref<?xf32>, %[[N:[^:]*]]: index, %[[PAST:[^:]*]]: index
// CHECK: %[[SUM:.*]] = arith.addi %{{.*}}, %{{.*}} : index
// CHECK: call @moe_rt_parallel_for(
// CHECK-LABEL: func.func private @bounded.parallel.0(
// CHECK-NOT: memref.alloc
// CHECK: memref.view %{{.*}}[%c0][%[[ROWS:.*]]] : memref<?xi8> to memref<?x4xf32>
// CHECK: memref.view %{{.*}}[%c256][%{{.*}}] : memref<?xi8> to memref<?xf32>
// CHECK: memref.view %{{.*}}[%{{.*}}][%[[ROWS]], %{{.*}}] : memref<?xi8> to memref<?x?xf32>
func.func @bounded(%a: memref<?xf32>, %n: index, %past: index) {
  %c0 = arith.constant 0 : index
  %cst = arith.constant 1.0 : f32
  scf.forall (%i) = (0) to (%n) step (16) {
    %rows = affine.min affine_map<(d0)[s0] -> (16, s0 - d0)>(%i)[%n]
    %x = memref.alloc(%rows) : memref<?x4xf32>
    %y = memref.alloc(%n) : memref<?xf32>
    %before = affine.apply affine_map<(d0)[s0] -> (d0 + s0)>(%i)[%past]
    %keys = arith.addi %before, %rows : index
    %z = memref.alloc(%rows, %keys) : memref<?x?xf32>
    memref.store %cst, %x[%c0, %c0] : memref<?x4xf32>
    memref.store %cst, %y[%c0] : memref<?xf32>
    memref.store %cst, %z[%c0, %c0] : memref<?x?xf32>
    %v = memref.load %x[%c0, %c0] : memref<?x4xf32>
    %w = memref.load %z[%c0, %c0] : memref<?x?xf32>
    %vw = arith.addf %v, %w : f32
    memref.store %vw, %a[%i] : memref<?xf32>
    memref.dealloc %x : memref<?x4xf32>
    memref.dealloc %y : memref<?xf32>
    memref.dealloc %z : memref<?x?xf32>
  }
  return
}

// -----

// One iteration has scratch memory too.

// CHECK-LABEL: func.func @single(
// CHECK: call @moe_rt_parallel_for(
// CHECK-LABEL: func.func private @single.parallel.0(
// CHECK-NOT: memref.alloc
func.func @single(%a: memref<2000xf32>) {
  scf.forall (%i) in (1) {
    %x = memref.alloc() : memref<2000xf32>
    memref.copy %x, %a : memref<2000xf32> to memref<2000xf32>
    memref.dealloc %x : memref<2000xf32>
  }
  return
}

// -----

// What stays, and why.

// CHECK-LABEL: func.func private @stays.parallel.0(
// CHECK: memref.alloc(%{{.*}}) : memref<?xf32>
// CHECK: memref.alloc() : memref<8xf32, strided<[2]>>
// CHECK: memref.alloc() {alignment = 128 : i64} : memref<8xf32>
// CHECK: memref.alloc() : memref<9xf32>
// CHECK: memref.alloc() : memref<9xf32>
func.func @stays(%a: memref<?xindex>, %n: index, %out: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c5 = arith.constant 5 : index
  %cst = arith.constant 1.0 : f32
  scf.forall (%i) in (%n) {
    %size = memref.load %a[%i] : memref<?xindex>
    // expected-remark @below {{stays an allocation in a parallel loop: its size has no bound outside of the loop}}
    %x = memref.alloc(%size) : memref<?xf32>
    memref.store %cst, %x[%c0] : memref<?xf32>
    // expected-remark @below {{stays an allocation in a parallel loop: its layout or memory space is not the default}}
    %y = memref.alloc() : memref<8xf32, strided<[2]>>
    memref.store %cst, %y[%c0] : memref<8xf32, strided<[2]>>
    // expected-remark @below {{stays an allocation in a parallel loop: it is aligned to more than 64 bytes}}
    %z = memref.alloc() {alignment = 128 : i64} : memref<8xf32>
    memref.store %cst, %z[%c0] : memref<8xf32>
    // A buffer that the next iteration still reads.
    // expected-remark @below {{stays an allocation in a parallel loop: it leaves the block it is made in}}
    %first = memref.alloc() : memref<9xf32>
    %last = scf.for %j = %c0 to %c5 step %c1 iter_args(%carried = %first) -> (memref<9xf32>) {
      // expected-remark @below {{stays an allocation in a parallel loop: it leaves the block it is made in}}
      %next = memref.alloc() : memref<9xf32>
      memref.copy %carried, %next : memref<9xf32> to memref<9xf32>
      memref.store %cst, %next[%j] : memref<9xf32>
      memref.dealloc %carried : memref<9xf32>
      scf.yield %next : memref<9xf32>
    }
    %sum0 = memref.load %x[%c1] : memref<?xf32>
    %sum1 = memref.load %y[%c1] : memref<8xf32, strided<[2]>>
    %sum2 = memref.load %z[%c1] : memref<8xf32>
    %sum3 = arith.addf %sum0, %sum1 : f32
    %sum4 = arith.addf %sum3, %sum2 : f32
    memref.store %sum4, %out[%i] : memref<?xf32>
    memref.dealloc %last : memref<9xf32>
    memref.dealloc %x : memref<?xf32>
    memref.dealloc %y : memref<8xf32, strided<[2]>>
    memref.dealloc %z : memref<8xf32>
  }
  return
}

// -----

// Work of one iteration: constant, of the sizes before the loop, or unknown.

// CHECK-LABEL: func.func @work(
// CHECK-SAME: %{{.*}}: memref<?x40xf32>, %[[N:[^:]*]]: index
// CHECK-DAG: %[[UNKNOWN:.*]] = arith.constant 0 : i64
// CHECK-DAG: %[[CONSTANT:.*]] = arith.constant 320 : i64
// CHECK-DAG: %[[EACH:.*]] = arith.constant 4 : index
// CHECK: call @moe_rt_parallel_for(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %[[CONSTANT]])
// CHECK: %[[TRIPS:.*]] = arith.maxsi %[[N]], %{{.*}}
// CHECK: %[[WORK:.*]] = arith.muli %[[TRIPS]], %[[EACH]]
// CHECK: %[[NUMBER:.*]] = arith.index_cast %[[WORK]]
// CHECK: call @moe_rt_parallel_for(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %[[NUMBER]])
// CHECK: call @moe_rt_parallel_for(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %[[UNKNOWN]])
func.func @work(%a: memref<?x40xf32>, %n: index, %sizes: memref<?xindex>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c40 = arith.constant 40 : index
  scf.forall (%i) in (%n) {
    scf.for %j = %c0 to %c40 step %c1 {
      %v = memref.load %a[%i, %j] : memref<?x40xf32>
      %w = arith.mulf %v, %v : f32
      %wide = vector.broadcast %w : f32 to vector<32xf32>
      %x = vector.extract %wide[3] : f32 from vector<32xf32>
      memref.store %x, %a[%i, %j] : memref<?x40xf32>
    }
  }
  scf.forall (%i) in (40) {
    scf.for %j = %c0 to %n step %c1 {
      %v = memref.load %a[%j, %i] : memref<?x40xf32>
      %w = arith.mulf %v, %v : f32
      memref.store %w, %a[%j, %i] : memref<?x40xf32>
    }
  }
  scf.forall (%i) in (40) {
    %end = memref.load %sizes[%i] : memref<?xindex>
    scf.for %j = %c0 to %end step %c1 {
      %v = memref.load %a[%j, %i] : memref<?x40xf32>
      memref.store %v, %a[%j, %c0] : memref<?x40xf32>
    }
  }
  return
}

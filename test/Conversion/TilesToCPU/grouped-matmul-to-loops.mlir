// RUN: moe-opt %s --moe-grouped-matmul-to-loops --canonicalize --split-input-file | FileCheck %s

// Panels, fused multiply-add. One row is read in place; more are gathered first, then go through blocks of 6, 2 and 1 for
// each of the two panels, the second of which has 4 columns.

// CHECK-LABEL: func.func @panels(
// CHECK-SAME: %[[X:.*]]: memref<?x8xf32>, %[[W:.*]]: memref<3x2x8x16xf32>, %[[O:.*]]: memref<4xi32>, %[[Y:.*]]: memref<?x20xf32>
// CHECK: %[[ROWS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<240x16xf32>
// CHECK: %[[SUMS1:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1x4x16xf32>
// CHECK: %[[SUMS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<240x1x16xf32>
// CHECK: scf.for %[[E:.*]] = %c0 to %c3
// CHECK: memref.load %[[O]][%[[E]]]
// CHECK: scf.for %[[BEGIN:.*]] = %{{.*}} to %{{.*}} step %c240
// CHECK: %[[COUNT:.*]] = arith.subi
// CHECK: arith.cmpi sle, %[[COUNT]], %c1
// CHECK: scf.if
// CHECK: memref.prefetch %[[W]]
// CHECK: } else {
// CHECK: vector.store %{{.*}}, %[[ROWS]][%{{.*}}, %c0] : memref<240x16xf32>, vector<8xf32>
// CHECK: scf.for %[[R:.*]] = %c0 to %{{.*}} step %c6
// CHECK: %[[ROW:.*]] = memref.subview %[[ROWS]][%[[R]], 0] [1, 16] [1, 1]
// CHECK: %[[SUM:.*]]:6 = scf.for %[[K:.*]] = %c0 to %c8 step %c1 iter_args(%[[A0:[^ ]+]] =
// One panel is held while the rows pass by.
// CHECK: %[[WK:.*]] = vector.load %[[W]][%[[E]], %c0, %[[K]], %c0] : memref<3x2x8x16xf32>, vector<16xf32>
// CHECK: %[[XK:.*]] = memref.load %[[ROW]][%[[K]]]
// CHECK: %[[XB:.*]] = vector.broadcast %[[XK]] : f32 to vector<16xf32>
// CHECK: math.fma %[[XB]], %[[WK]], %[[A0]] : vector<16xf32>
// CHECK: vector.store %[[SUM]]#0, %[[SUMS]][%[[R]], %c0, %c0]
// CHECK: step %c2
// CHECK: scf.for %[[AT:.*]] = %c0 to %{{.*}} step %c1 {
// CHECK: %[[OUT:.*]] = arith.addi %[[BEGIN]], %[[AT]]
// CHECK: vector.load %[[SUMS]][%[[AT]], %c0, %c0] : memref<240x1x16xf32>, vector<16xf32>
// CHECK: vector.store %{{.*}}, %[[Y]][%[[OUT]], %c0]
// CHECK: vector.load %[[W]][%[[E]], %c1,
// CHECK: %[[FOUR:.*]] = vector.extract_strided_slice %{{.*}} {offsets = [0], sizes = [4], strides = [1]}
// CHECK: vector.store %[[FOUR]], %[[Y]][%{{.*}}, %c16] : memref<?x20xf32>, vector<4xf32>
// CHECK: memref.dealloc %[[ROWS]]
// CHECK-NOT: moe.grouped_matmul
func.func @panels(%x: memref<?x8xf32>, %w: memref<3x2x8x16xf32>, %o: memref<4xi32>, %y: memref<?x20xf32>) {
  moe.grouped_matmul rows(%x : memref<?x8xf32>) weights(%w : memref<3x2x8x16xf32>) groups(%o : memref<4xi32>)
      outs(%y : memref<?x20xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

// Pairs, odd depth: two steps over pairs, then the even half of the third. With few registers, six rows meet one weight
// operand and then the other; of fewer rows, two accumulators per row share x.

// CHECK-LABEL: func.func @pairs(
// CHECK: %[[W:.*]] = memref.collapse_shape %{{.*}} {{\[}}[0], [1], [2], [3, 4]] : memref<1x1x3x16x2xbf16> into memref<1x1x3x32xbf16>
// CHECK: %[[U:.*]] = memref.collapse_shape
// CHECK: } else {
// CHECK: arith.extf %{{.*}} : vector<5xbf16> to vector<5xf32>
// CHECK: step %c6
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK: %[[PAIR:.*]] = vector.load %[[W]]{{.*}} : memref<1x1x3x32xbf16>, vector<32xbf16>
// CHECK: %[[BITS:.*]] = vector.bitcast %[[PAIR]] : vector<32xbf16> to vector<16xi32>
// CHECK: arith.shli %[[BITS]], %{{.*}} : vector<16xi32>
// CHECK: arith.andi %[[BITS]], %{{.*}} : vector<16xi32>
// CHECK: scf.yield
// CHECK: vector.load %[[W]][%{{.*}}, %c0, %c2, %c0]
// CHECK: memref.load %{{.*}}[%c4]
// CHECK-NOT: arith.andi
// CHECK: vector.store
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK: vector.load %[[U]]{{.*}} : memref<1x1x3x32xbf16>, vector<32xbf16>
// CHECK: step %c2
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK: vector.load %[[W]]
// CHECK: vector.load %[[U]]
func.func @pairs(%x: memref<?x5xbf16>, %w: memref<1x1x3x16x2xbf16>, %u: memref<1x1x3x16x2xbf16>, %o: memref<2xi32>,
                 %y: memref<?x16xf32>) {
  moe.grouped_matmul rows(%x : memref<?x5xbf16>) weights(%w, %u : memref<1x1x3x16x2xbf16>, memref<1x1x3x16x2xbf16>)
      groups(%o : memref<2xi32>) outs(%y : memref<?x16xf32>) {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  }
  return
}

// -----

// Gather: a choice of -1 reads the row of zeros. The epilogue is vectorised; its call is cloned per column.

// CHECK: memref.global "private" constant @moe_zeros_8xf32 : memref<8xf32> = dense<0.000000e+00>
// CHECK-LABEL: func.func @gather(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<?x8xf32>
// CHECK: %[[ZEROS:.*]] = memref.cast %{{.*}} : memref<8xf32> to memref<8xf32, strided<[1], offset: ?>>
// CHECK: %[[EXISTS:.*]] = arith.cmpi sge, %{{.*}}, %c0_i32
// CHECK: %[[TOKEN:.*]] = arith.divui %{{.*}}, %c2
// CHECK: %[[VIEW:.*]] = memref.subview %[[X]][%[[TOKEN]], 0] [1, 8] [1, 1]
// CHECK: arith.select %[[EXISTS]], %[[VIEW]], %[[ZEROS]]
// CHECK: scf.yield
// CHECK: vector.store
// CHECK: %[[SCALE:.*]] = memref.load
// CHECK: %[[ALL:.*]] = vector.broadcast %[[SCALE]] : f32 to vector<16xf32>
// CHECK: arith.mulf %{{.*}}, %[[ALL]] : vector<16xf32>
// CHECK-COUNT-16: call @curve(
// CHECK: vector.from_elements
func.func private @curve(f32, f32) -> f32
func.func @gather(%x: memref<?x8xf32>, %w: memref<1x1x8x16xf32>, %o: memref<2xi32>, %c: memref<?xi32>,
                  %r: memref<?xf32>, %b: memref<1x16xf32>, %y: memref<?x16xf32>) {
  moe.grouped_matmul rows(%x : memref<?x8xf32>) weights(%w : memref<1x1x8x16xf32>) groups(%o : memref<2xi32>)
      choices(%c : memref<?xi32>) row_scalars(%r : memref<?xf32>) column_scalars(%b : memref<1x16xf32>)
      outs(%y : memref<?x16xf32>) attributes {fanout = 2 : i64} {
  ^bb0(%a: f32, %scale: f32, %bias: f32):
    %s = arith.mulf %a, %scale : f32
    %v = func.call @curve(%s, %bias) : (f32, f32) -> f32
    moe.yield %v : f32
  }
  return
}

// -----

// Plain weights: scalar loops, the same order of the same operation.

// CHECK-LABEL: func.func @plain(
// CHECK: scf.for %[[K:.*]] = %c0 to %c8 step %c1 iter_args(%[[A:.*]] = %cst)
// CHECK: %[[X:.*]] = memref.load
// CHECK: %[[B:.*]] = memref.load
// CHECK: %[[W:.*]] = arith.extf %[[B]] : bf16 to f32
// CHECK: math.fma %[[X]], %[[W]], %[[A]] : f32
// CHECK: memref.store
func.func @plain(%x: memref<?x8xf32>, %w: memref<2x5x8xbf16>, %o: memref<3xi32>, %y: memref<?x5xf32>) {
  moe.grouped_matmul rows(%x : memref<?x8xf32>) weights(%w : memref<2x5x8xbf16>) groups(%o : memref<3xi32>)
      outs(%y : memref<?x5xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

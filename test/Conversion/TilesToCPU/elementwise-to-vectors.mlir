// RUN: moe-opt %s --moe-elementwise-to-vectors --canonicalize | FileCheck %s

#id = affine_map<(i, k) -> (i, k)>
#row = affine_map<(i, k) -> (i)>
#column = affine_map<(i, k) -> (k)>
#transposed = affine_map<(i, k) -> (k, i)>

// What is the same along a row is loaded and computed once; the output is not read.
// CHECK-LABEL: func.func @norm
// CHECK-SAME: %[[X:.*]]: memref<?x64xbf16>, %[[S:.*]]: memref<?xf32>, %[[W:.*]]: memref<64xbf16>, %[[Y:.*]]: memref<?x64xbf16>
// CHECK: scf.forall (%[[I:.*]]) in
// CHECK: %[[SUM:.*]] = memref.load %[[S]][%{{.*}}]
// CHECK: scf.for %[[K:.*]] = %c0 to %c64 step %c16
// CHECK: %[[V:.*]] = vector.load %[[X]][%{{.*}}, %[[K]]] : memref<?x64xbf16>, vector<16xbf16>
// CHECK: vector.load %[[W]][%[[K]]] : memref<64xbf16>, vector<16xbf16>
// CHECK-NOT: vector.load
// CHECK: math.rsqrt %[[SUM]] : f32
// CHECK: vector.broadcast
// CHECK: %[[R:.*]] = arith.truncf %{{.*}} : vector<16xf32> to vector<16xbf16>
// CHECK: vector.store %[[R]], %[[Y]][%{{.*}}, %[[K]]]
func.func @norm(%x: memref<?x64xbf16>, %s: memref<?xf32>, %w: memref<64xbf16>, %y: memref<?x64xbf16>, %n: index) {
  scf.forall (%i) in (%n) {
    linalg.generic {indexing_maps = [#id, #row, #column, #id], iterator_types = ["parallel", "parallel"]}
        ins(%x, %s, %w : memref<?x64xbf16>, memref<?xf32>, memref<64xbf16>) outs(%y : memref<?x64xbf16>) {
    ^bb0(%in: bf16, %sum: f32, %weight: bf16, %out: bf16):
      %r = math.rsqrt %sum : f32
      %e = arith.extf %in : bf16 to f32
      %f = arith.extf %weight : bf16 to f32
      %a = arith.mulf %e, %r : f32
      %b = arith.mulf %a, %f : f32
      %t = arith.truncf %b : f32 to bf16
      linalg.yield %t : bf16
    }
  }
  return
}

// moe.combine: the branch is taken for a whole row, the row at the slot is read in vectors, slots are summed in their order.
// CHECK-LABEL: func.func @combine
// CHECK-SAME: %[[YS:.*]]: memref<?x32xf32>, %[[SLOTS:.*]]: memref<?x2xi32>, %[[Y:.*]]: memref<?x32xf32>
// CHECK: scf.for %[[T:.*]] =
// CHECK: scf.for %[[J:.*]] = %c0 to %c2
// CHECK: %[[SLOT:.*]] = memref.load %[[SLOTS]][%[[T]], %[[J]]]
// CHECK: scf.for %[[K:.*]] = %c0 to %c32 step %c16
// CHECK: %[[OLD:.*]] = vector.load %[[Y]][%[[T]], %[[K]]]
// CHECK: %[[USED:.*]] = arith.cmpi sge, %[[SLOT]], %c0_i32 : i32
// CHECK: %[[NEW:.*]] = scf.if %[[USED]] -> (vector<16xf32>)
// CHECK: %[[R:.*]] = arith.index_cast %[[SLOT]]
// CHECK: %[[V:.*]] = vector.load %[[YS]][%[[R]], %[[K]]]
// CHECK: arith.addf %[[OLD]], %[[V]] : vector<16xf32>
// CHECK: else
// CHECK: scf.yield %[[OLD]]
// CHECK: vector.store %[[NEW]], %[[Y]][%[[T]], %[[K]]]
func.func @combine(%ys: memref<?x32xf32>, %slots: memref<?x2xi32>, %y: memref<?x32xf32>, %n: index) {
  %zero = arith.constant 0 : i32
  scf.forall (%i) in (%n) {
    linalg.generic {indexing_maps = [affine_map<(t, j, h) -> (t, j)>, affine_map<(t, j, h) -> (t, h)>],
                    iterator_types = ["parallel", "reduction", "parallel"]}
        ins(%slots : memref<?x2xi32>) outs(%y : memref<?x32xf32>) {
    ^bb0(%slot: i32, %out: f32):
      %used = arith.cmpi sge, %slot, %zero : i32
      %h = linalg.index 2 : index
      %sum = scf.if %used -> (f32) {
        %r = arith.index_cast %slot : i32 to index
        %v = memref.load %ys[%r, %h] : memref<?x32xf32>
        %s = arith.addf %out, %v : f32
        scf.yield %s : f32
      } else {
        scf.yield %out : f32
      }
      linalg.yield %sum : f32
    }
  }
  return
}

// A row of one vector needs no loop; positions along it are a vector.
// CHECK-LABEL: func.func @positions
// CHECK: vector.step : vector<16xindex>
// CHECK: arith.index_cast %{{.*}} : vector<16xindex> to vector<16xi32>
// CHECK: vector.store %{{.*}} : memref<?x16xi32>, vector<16xi32>
func.func @positions(%y: memref<?x16xi32>, %n: index) {
  scf.forall (%i) in (%n) {
    linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%y : memref<?x16xi32>) {
    ^bb0(%out: i32):
      %k = linalg.index 1 : index
      %c = arith.index_cast %k : index to i32
      linalg.yield %c : i32
    }
  }
  return
}

// Not done: rows that are no multiple of 16, or of unknown length; an operand that is not contiguous; a branch that
// differs along the row; a gather; rows outside of a parallel loop.
// CHECK-LABEL: func.func @others
// CHECK-COUNT-6: linalg.generic
func.func @others(%x: memref<?x17xf32>, %d: memref<?x?xf32>, %q: memref<16x16xf32>, %p: memref<16x16xi32>, %n: index) {
  %zero = arith.constant 0.0 : f32
  scf.forall (%i) in (%n) {
    linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%x : memref<?x17xf32>) {
    ^bb0(%out: f32):
      %r = arith.negf %out : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%d : memref<?x?xf32>) {
    ^bb0(%out: f32):
      %r = arith.negf %out : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#transposed, #id], iterator_types = ["parallel", "parallel"]} ins(%p : memref<16x16xi32>) outs(%q : memref<16x16xf32>) {
    ^bb0(%in: i32, %out: f32):
      %r = arith.sitofp %in : i32 to f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%q : memref<16x16xf32>) {
    ^bb0(%out: f32):
      %c = arith.cmpf ogt, %out, %zero : f32
      %r = scf.if %c -> (f32) {
        %m = math.exp %out : f32
        scf.yield %m : f32
      } else {
        scf.yield %zero : f32
      }
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%p : memref<16x16xi32>) outs(%q : memref<16x16xf32>) {
    ^bb0(%in: i32, %out: f32):
      %at = arith.index_cast %in : i32 to index
      %r = memref.load %d[%at, %at] : memref<?x?xf32>
      linalg.yield %r : f32
    }
  }
  linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%q : memref<16x16xf32>) {
  ^bb0(%out: f32):
    %r = arith.negf %out : f32
    linalg.yield %r : f32
  }
  return
}

// RUN: moe-opt %s --moe-row-reductions-to-vectors --canonicalize | FileCheck %s

#row = affine_map<(i, k) -> (i, k)>
#out = affine_map<(i, k) -> (i)>
#column = affine_map<(i, k) -> (k, i)>

// A chunk of 16, one element that is left over, the tree, the initial value.
// CHECK-LABEL: func.func @static
// CHECK-SAME: %[[X:.*]]: memref<?x17xbf16>, %[[Y:.*]]: memref<?xf32>
// CHECK-DAG: %[[FIRST:.*]] = arith.constant dense<[true, false, {{.*}}]> : vector<16xi1>
// CHECK: scf.for %[[I:.*]] =
// CHECK: %[[INITIAL:.*]] = memref.load %[[Y]][%[[I]]]
// CHECK: %[[V:.*]] = vector.load %[[X]][%[[I]], %c0] : memref<?x17xbf16>, vector<16xbf16>
// CHECK: %[[F:.*]] = arith.extf %[[V]]
// The first chunk meets the identity, -0, which folds away.
// CHECK: %[[S:.*]] = arith.mulf %[[F]], %[[F]] : vector<16xf32>
// CHECK: vector.load %[[X]][%[[I]], %c16] : memref<?x17xbf16>, vector<1xbf16>
// CHECK: %[[S2:.*]] = arith.addf %{{.*}}, %[[S]] : vector<16xf32>
// CHECK: %[[LANES:.*]] = arith.select %[[FIRST]], %[[S2]], %[[S]]
// CHECK: %[[LOW:.*]] = vector.extract_strided_slice %[[LANES]] {offsets = [0], sizes = [8]
// CHECK: %[[HIGH:.*]] = vector.extract_strided_slice %[[LANES]] {offsets = [8], sizes = [8]
// CHECK: arith.addf %[[LOW]], %[[HIGH]] : vector<8xf32>
// CHECK: arith.addf %{{.*}}, %{{.*}} : vector<4xf32>
// CHECK: arith.addf %{{.*}}, %{{.*}} : vector<2xf32>
// CHECK: %[[SUM:.*]] = arith.addf %{{.*}}, %{{.*}} : f32
// CHECK: %[[RESULT:.*]] = arith.addf %[[INITIAL]], %[[SUM]] : f32
// CHECK: memref.store %[[RESULT]], %[[Y]][%[[I]]]
func.func @static(%x: memref<?x17xbf16>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#row, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<?x17xbf16>) outs(%y : memref<?xf32>) {
  ^bb0(%in: bf16, %old: f32):
    %f = arith.extf %in : bf16 to f32
    %q = arith.mulf %f, %f : f32
    %s = arith.addf %q, %old : f32
    linalg.yield %s : f32
  }
  return
}

// The position in the row differs from lane to lane; what is left over is read under a mask.
// CHECK-LABEL: func.func @dynamic
// CHECK-SAME: %[[X:.*]]: memref<?x?xf32>, %[[LIMIT:.*]]: memref<?xindex>
// CHECK-DAG: arith.constant dense<0xFF800000> : vector<16xf32>
// CHECK: %[[L:.*]] = memref.load %[[LIMIT]]
// CHECK: scf.for %[[K:.*]] = {{.*}} step %c16
// CHECK: vector.load %[[X]]
// CHECK: vector.broadcast %[[K]]
// CHECK: arith.maximumf
// CHECK: scf.if
// CHECK: vector.create_mask
// CHECK: vector.maskedload
func.func @dynamic(%x: memref<?x?xf32>, %limit: memref<?xindex>, %y: memref<?xf32>) {
  %hidden = arith.constant 0xFF800000 : f32
  linalg.generic {indexing_maps = [#row, #out, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x, %limit : memref<?x?xf32>, memref<?xindex>) outs(%y : memref<?xf32>) {
  ^bb0(%in: f32, %l: index, %old: f32):
    %k = linalg.index 1 : index
    %visible = arith.cmpi ule, %k, %l : index
    %v = arith.select %visible, %in, %hidden : f32
    %m = arith.maximumf %v, %old : f32
    linalg.yield %m : f32
  }
  return
}

// A chain of fused multiply-adds keeps its order, four chains at a time.
// CHECK-LABEL: func.func @chain
// CHECK-NOT: vector<
// CHECK: scf.for
// CHECK: scf.for {{.*}} step %c4
// CHECK: scf.for {{.*}} step %c1 iter_args({{.*}}) -> (f32, f32, f32, f32)
// CHECK-COUNT-4: math.fma
// CHECK-COUNT-4: memref.store
// CHECK: scf.for {{.*}} step %c1 iter_args({{.*}}) -> (f32)
// CHECK-COUNT-1: math.fma
func.func @chain(%a: memref<?x8xf32>, %b: memref<?x8xf32>, %y: memref<?x?xf32>) {
  linalg.generic {indexing_maps = [affine_map<(i, j, k) -> (i, k)>, affine_map<(i, j, k) -> (j, k)>, affine_map<(i, j, k) -> (i, j)>],
                  iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : memref<?x8xf32>, memref<?x8xf32>) outs(%y : memref<?x?xf32>) {
  ^bb0(%l: f32, %r: f32, %old: f32):
    %s = math.fma %l, %r, %old : f32
    linalg.yield %s : f32
  }
  return
}

// Not contiguous along the row: in order.
// CHECK-LABEL: func.func @column
// CHECK-NOT: vector<
// CHECK: iter_args({{.*}}) -> (f32, f32, f32, f32)
func.func @column(%x: memref<?x8xf32>, %y: memref<8xf32>) {
  linalg.generic {indexing_maps = [#column, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<?x8xf32>) outs(%y : memref<8xf32>) {
  ^bb0(%in: f32, %old: f32):
    %s = arith.addf %in, %old : f32
    linalg.yield %s : f32
  }
  return
}

// The reduction is not innermost: left to others.
// CHECK-LABEL: func.func @outer
// CHECK: linalg.generic
func.func @outer(%x: memref<?x8xf32>, %y: memref<8xf32>) {
  linalg.generic {indexing_maps = [#row, affine_map<(k, i) -> (i)>], iterator_types = ["reduction", "parallel"]}
      ins(%x : memref<?x8xf32>) outs(%y : memref<8xf32>) {
  ^bb0(%in: f32, %old: f32):
    %s = arith.addf %in, %old : f32
    linalg.yield %s : f32
  }
  return
}

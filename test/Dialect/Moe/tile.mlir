// RUN: moe-opt %s --moe-tile --canonicalize --cse -split-input-file | FileCheck %s

// Grouped matmuls: over columns, all rows in each tile.
// CHECK-LABEL: func.func @columns
// CHECK: scf.forall (%[[N:.*]]) = (0) to (40) step (16) shared_outs(%[[OUT:.*]] = %{{.*}})
// CHECK-DAG: %[[P:.*]] = affine.apply #{{.*}}(%[[N]])
// CHECK-DAG: tensor.extract_slice %{{.*}}[0, %[[P]], 0, 0] [2, %{{.*}}, 8, 16]
// CHECK-DAG: tensor.extract_slice %{{.*}}[0, %[[N]]]
// CHECK: moe.grouped_matmul
// CHECK: tensor.parallel_insert_slice
func.func @columns(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %w: tensor<2x3x8x16xf32>, %b: tensor<2x40xf32>, %out: tensor<?x40xf32>) -> tensor<?x40xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x3x8x16xf32>) groups(%o : tensor<3xi32>)
      column_scalars(%b : tensor<2x40xf32>) outs(%out : tensor<?x40xf32>) {
  ^bb0(%acc: f32, %bias: f32):
    %s = arith.addf %acc, %bias : f32
    moe.yield %s : f32
  } -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}

// -----

// top_k: over tokens.
// CHECK-LABEL: func.func @tokens
// CHECK: scf.forall (%[[T:.*]]) = (0) to (%{{.*}}) step (16)
// CHECK: moe.top_k %{{.*}} keys(%{{.*}}) {k = 2 : i64} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
func.func @tokens(%v: tensor<?x8xf32>, %keys: tensor<?x8xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %s, %i = moe.top_k %v keys(%keys : tensor<?x8xf32>) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return %s, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

// -----

// attention: over sequences, blocks of queries, key-value heads; the second block of queries has a longer past.
// CHECK: #[[$SUM:.*]] = affine_map<(d0)[s0] -> (d0 + s0)>
// CHECK-LABEL: func.func @attention
// CHECK: scf.forall (%[[B:.*]], %[[S:.*]], %[[G:.*]]) = (0, 0, 0) to (%{{.*}}, %{{.*}}, 2) step (1, 16, 1)
// CHECK-DAG: %[[P:.*]] = affine.apply #[[$SUM]](%[[S]])[%{{.*}}]
// CHECK: moe.attention %{{.*}}, %{{.*}}, %{{.*}} past(%{{.*}}) {scale = 5.000000e-01 : f32} : tensor<1x?x2x4xf32>, tensor<1x?x1x4xf32>
func.func @attention(%q: tensor<?x?x4x4xf32>, %k: tensor<?x?x2x4xf32>, %v: tensor<?x?x2x4xf32>, %past: index) -> tensor<?x?x4x4xf32> {
  %y = moe.attention %q, %k, %v past(%past) {scale = 0.5 : f32} : tensor<?x?x4x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32> -> tensor<?x?x4x4xf32>
  return %y : tensor<?x?x4x4xf32>
}

// -----

#id = affine_map<(t, h) -> (t, h)>
#row = affine_map<(t, h) -> (t)>
// A reduction whose rows only its consumer needs goes into the consumer's tile, with its fill.
// CHECK-LABEL: func.func @norm
// CHECK-NOT: linalg.generic
// CHECK: scf.forall
// CHECK: linalg.fill
// CHECK: linalg.generic
// CHECK: linalg.generic
// CHECK: scf.forall.in_parallel
// CHECK-NOT: linalg.generic
func.func @norm(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %e1 = tensor.empty(%t) : tensor<?xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %sum = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<?x8xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%in: f32, %acc: f32):
    %s = arith.addf %acc, %in : f32
    linalg.yield %s : f32
  } -> tensor<?xf32>
  %e2 = tensor.empty(%t) : tensor<?x8xf32>
  %y = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %sum : tensor<?x8xf32>, tensor<?xf32>) outs(%e2 : tensor<?x8xf32>) {
  ^bb0(%in: f32, %s: f32, %out: f32):
    %q = arith.divf %in, %s : f32
    linalg.yield %q : f32
  } -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

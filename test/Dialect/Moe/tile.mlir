// RUN: moe-opt %s --moe-tile=matmul-rows=32 --canonicalize --cse -split-input-file | FileCheck %s

// Grouped matmuls: over the tile map and ranges of columns; a tile is a product of one group.
// CHECK-DAG: #[[$PANEL:.*]] = affine_map<(d0) -> (d0 floordiv 16)>
// CHECK-DAG: #[[$PANELS:.*]] = affine_map<(d0) -> (d0 ceildiv 16)>
// CHECK-LABEL: func.func @tiles
// CHECK-SAME: %[[X:.*]]: tensor<?x8xf32>, %[[O:.*]]: tensor<3xi32>
// CHECK: %[[TILES:.*]], %[[COUNT:.*]] = moe.tile_map %[[O]] rows(%{{.*}}) {block = 32 : i64}
// CHECK: %[[C:.*]] = tensor.extract %[[COUNT]][]
// CHECK: %[[T:.*]] = arith.index_cast %[[C]]
// CHECK: moe.workers
// CHECK: scf.forall (%[[I:.*]], %[[J:.*]]) in (%[[T]], %{{.*}}) shared_outs(%[[OUT:.*]] = %{{.*}})
// CHECK: %[[G32:.*]] = tensor.extract %[[TILES]][%[[I]], %c0]
// CHECK: %[[G:.*]] = arith.index_cast %[[G32]]
// CHECK: %[[R32:.*]] = tensor.extract %[[TILES]][%[[I]], %c1]
// CHECK: %[[R:.*]] = arith.index_cast %[[R32]]
// CHECK: %[[N32:.*]] = tensor.extract %[[TILES]][%[[I]], %c2]
// CHECK: %[[N:.*]] = arith.index_cast %[[N32]]
// CHECK: %[[COLUMN:.*]] = arith.muli %[[J]], %[[WIDTH:.*]] : index
// CHECK: %[[LEFT:.*]] = arith.subi %c192, %[[COLUMN]]
// CHECK: %[[COLUMNS:.*]] = arith.minui %[[LEFT]], %[[WIDTH]]
// CHECK-DAG: %[[ROOM:.*]] = tensor.extract_slice %[[OUT]][%[[R]], %[[COLUMN]]] [%[[N]], %[[COLUMNS]]]
// CHECK-DAG: %[[P:.*]] = affine.apply #[[$PANEL]](%[[COLUMN]])
// CHECK-DAG: %[[PS:.*]] = affine.apply #[[$PANELS]](%[[COLUMNS]])
// CHECK-DAG: %[[XS:.*]] = tensor.extract_slice %[[X]][%[[R]], 0] [%[[N]], 8]
// CHECK-DAG: %[[W:.*]] = tensor.extract_slice %{{.*}}[%[[G]], %[[P]], 0, 0] [1, %[[PS]], 8, 16]
// CHECK-DAG: %[[B:.*]] = tensor.extract_slice %{{.*}}[%[[G]], %[[COLUMN]]] [1, %[[COLUMNS]]]
// CHECK-DAG: %[[GROUP:.*]] = tensor.from_elements %c0_i32, %[[N32]]
// CHECK: moe.grouped_matmul rows(%[[XS]] {{.*}}) weights(%[[W]] {{.*}}) groups(%[[GROUP]] {{.*}}) column_scalars(%[[B]] {{.*}}) outs(%[[ROOM]]
// CHECK-SAME: attributes {column_multiple = 64 : i64}
// CHECK: tensor.parallel_insert_slice %{{.*}} into %[[OUT]][%[[R]], %[[COLUMN]]]
func.func @tiles(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %w: tensor<2x12x8x16xf32>, %b: tensor<2x192xf32>, %out: tensor<?x192xf32>) -> tensor<?x192xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x12x8x16xf32>) groups(%o : tensor<3xi32>)
      column_scalars(%b : tensor<2x192xf32>) outs(%out : tensor<?x192xf32>) {
  ^bb0(%acc: f32, %bias: f32):
    %s = arith.addf %acc, %bias : f32
    moe.yield %s : f32
  } -> tensor<?x192xf32>
  return %y : tensor<?x192xf32>
}

// -----

// Few columns are one range. With a gather the choices are cut, not x.
// CHECK-LABEL: func.func @gathered
// CHECK-SAME: %[[X:.*]]: tensor<?x8xbf16>, %[[O:.*]]: tensor<3xi32>, %[[CHOICES:.*]]: tensor<?xi32>
// CHECK-NOT: moe.workers
// CHECK: scf.forall (%{{.*}}) in (%{{.*}})
// CHECK: %[[CS:.*]] = tensor.extract_slice %[[CHOICES]][%[[R:.*]]] [%[[N:.*]]] [1]
// CHECK: %[[S:.*]] = tensor.extract_slice %{{.*}}[%[[R]]] [%[[N]]] [1] : tensor<?xf32>
// CHECK: moe.grouped_matmul rows(%[[X]] : tensor<?x8xbf16>) {{.*}} choices(%[[CS]] : tensor<?xi32>) row_scalars(%[[S]] : tensor<?xf32>)
// CHECK-NOT: column_multiple
// CHECK-NOT: large_result
func.func @gathered(%x: tensor<?x8xbf16>, %o: tensor<3xi32>, %c: tensor<?xi32>, %s: tensor<?xf32>, %w: tensor<2x3x4x16x2xbf16>, %out: tensor<?x40xf32>) -> tensor<?x40xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xbf16>) weights(%w : tensor<2x3x4x16x2xbf16>) groups(%o : tensor<3xi32>)
      choices(%c : tensor<?xi32>) row_scalars(%s : tensor<?xf32>) outs(%out : tensor<?x40xf32>) attributes {fanout = 2} {
  ^bb0(%acc: f32, %scale: f32):
    %r = arith.mulf %acc, %scale : f32
    moe.yield %r : f32
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
// CHECK: scf.forall (%[[B:.*]], %[[S:.*]], %[[G:.*]]) = (0, 0, 0) to (%{{.*}}, %{{.*}}, 2) step (1, 32, 1)
// CHECK-DAG: %[[P:.*]] = affine.apply #[[$SUM]](%[[S]])[%{{.*}}]
// CHECK: moe.attention %{{.*}}, %{{.*}}, %{{.*}} past(%{{.*}}) outs(%{{.*}} : tensor<1x?x2x4xf32>) {scale = 5.000000e-01 : f32} : tensor<1x?x2x4xf32>, tensor<1x?x1x4xf32>
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

// -----

// A dense product has tiles of equal height: no table, and nothing to read before the loop.
// CHECK-LABEL: func.func @dense
// CHECK-NOT: moe.tile_map
// CHECK: %[[T:.*]] = arith.ceildivui %[[N:.*]], %c32
// CHECK: scf.forall (%[[I:.*]]) in (%[[T]])
// CHECK: %[[R:.*]] = arith.muli %[[I]], %c32
// CHECK: %[[LEFT:.*]] = arith.subi %[[N]], %[[R]]
// CHECK: %[[ROWS:.*]] = arith.minui %[[LEFT]], %c32
// CHECK: tensor.extract_slice %{{.*}}[%[[R]], 0] [%[[ROWS]], 8]
func.func @dense(%x: tensor<?x8xf32>, %w: tensor<1x16x8xf32>, %out: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %c0 = arith.constant 0 : index
  %first = arith.constant 0 : i32
  %n = tensor.dim %x, %c0 : tensor<?x8xf32>
  %end = arith.index_cast %n : index to i32
  %o = tensor.from_elements %first, %end : tensor<2xi32>
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<1x16x8xf32>) groups(%o : tensor<2xi32>) outs(%out : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// -----

// 64 rows for each of 8 experts make 4 MiB: more than a core's own cache, so the result is marked.
// CHECK-LABEL: func.func @large
// CHECK: scf.forall
// CHECK: moe.grouped_matmul
// CHECK-SAME: attributes {column_multiple = 64 : i64, large_result}
func.func @large(%x: tensor<?x8xf32>, %o: tensor<9xi32>, %w: tensor<8x128x8x16xf32>, %out: tensor<?x2048xf32>) -> tensor<?x2048xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<8x128x8x16xf32>) groups(%o : tensor<9xi32>)
      outs(%out : tensor<?x2048xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x2048xf32>
  return %y : tensor<?x2048xf32>
}

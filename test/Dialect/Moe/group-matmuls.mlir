// RUN: moe-opt %s --moe-group-matmuls -split-input-file | FileCheck %s

#xk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>

// One group, offsets [0, rows]; nothing of the zeros is needed.
// CHECK-LABEL: func.func @dense
// CHECK-SAME: %[[X:.*]]: tensor<?x8xbf16>, %[[W:.*]]: tensor<16x8xbf16>
// CHECK-DAG: %[[T:.*]] = tensor.dim %[[X]], %{{.*}}
// CHECK-DAG: %[[T32:.*]] = arith.index_cast
// CHECK-DAG: %[[O:.*]] = tensor.from_elements %{{.*}}, %{{.*}} : tensor<2xi32>
// CHECK-DAG: %[[W1:.*]] = tensor.expand_shape %[[W]] {{\[\[}}0, 1], [2]] output_shape [1, 16, 8]
// CHECK-DAG: %[[E:.*]] = tensor.empty
// CHECK: moe.grouped_matmul rows(%[[X]] : {{.*}}) weights(%[[W1]] : tensor<1x16x8xbf16>) groups(%{{.*}}) outs(%[[E]] : tensor<?x16xf32>)
// CHECK-NOT: linalg.matmul
func.func @dense(%x: tensor<?x8xbf16>, %w: tensor<16x8xbf16>) -> tensor<?x16xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %x, %c0 : tensor<?x8xbf16>
  %e = tensor.empty(%t) : tensor<?x16xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e : tensor<?x16xf32>) -> tensor<?x16xf32>
  %y = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%x, %w : tensor<?x8xbf16>, tensor<16x8xbf16>) outs(%z : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// -----

// A sum that starts elsewhere, or a weight that is not transposed, is left alone.
#xk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>
// CHECK-LABEL: func.func @others
// CHECK-COUNT-2: linalg.matmul
// CHECK-NOT: moe.grouped_matmul
func.func @others(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %start: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %a = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%x, %w : tensor<?x8xf32>, tensor<16x8xf32>) outs(%start : tensor<?x16xf32>) -> tensor<?x16xf32>
  %b = linalg.matmul ins(%x, %v : tensor<?x8xf32>, tensor<8x16xf32>) outs(%a : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %b : tensor<?x16xf32>
}

// RUN: moe-opt %s --resolve-ranked-shaped-type-result-dims --canonicalize --cse -split-input-file | FileCheck %s

// tensor.dim of a result becomes a size of the operands; the ops themselves are dead then.

// CHECK-LABEL: func.func @routing
// CHECK-SAME: %[[V:.*]]: tensor<?x8xf32>, %[[K:.*]]: index
// CHECK: %[[T:.*]] = tensor.dim %[[V]], %c0
// CHECK: %[[R:.*]] = affine.apply #{{.*}}(){{\[}}%[[T]], %[[K]]]
// CHECK-NOT: moe.
// CHECK: return %[[T]], %[[K]], %[[T]], %[[R]], %[[T]] : index, index, index, index, index
func.func @routing(%v: tensor<?x8xf32>, %k: index) -> (index, index, index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %s, %i = moe.top_k %v k(%k) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  %kept = moe.drop %i capacity(%k) {experts = 8, order = "token"} : tensor<?x?xi32>
  %o, %c, %slots = moe.plan %kept {experts = 8} : tensor<?x?xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x?xi32>
  %0 = tensor.dim %s, %c0 : tensor<?x?xf32>
  %1 = tensor.dim %i, %c1 : tensor<?x?xi32>
  %2 = tensor.dim %kept, %c0 : tensor<?x?xi32>
  %3 = tensor.dim %c, %c0 : tensor<?xi32>
  %4 = tensor.dim %slots, %c0 : tensor<?x?xi32>
  return %0, %1, %2, %3, %4 : index, index, index, index, index
}

// -----

// CHECK-LABEL: func.func @rows
// CHECK-SAME: %[[X:.*]]: tensor<?x?xf32>, %[[C:.*]]: tensor<?xi32>, %[[SLOTS:.*]]: tensor<?x2xi32>, %[[IDS:.*]]: tensor<?xi64>
// CHECK-DAG: %[[H:.*]] = tensor.dim %[[X]], %c1
// CHECK-DAG: %[[R:.*]] = tensor.dim %[[C]], %c0
// CHECK-DAG: %[[T:.*]] = tensor.dim %[[SLOTS]], %c0
// CHECK-DAG: %[[N:.*]] = tensor.dim %[[IDS]], %c0
// CHECK-NOT: moe.
// CHECK: return %[[R]], %[[H]], %[[T]], %[[H]], %[[N]] : index, index, index, index, index
func.func @rows(%x: tensor<?x?xf32>, %c: tensor<?xi32>, %slots: tensor<?x2xi32>, %ids: tensor<?xi64>)
    -> (index, index, index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %rows = moe.dispatch %x[%c] {fanout = 2} : tensor<?x?xf32>, tensor<?xi32> -> tensor<?x?xf32>
  %out = moe.combine %rows[%slots] : tensor<?x?xf32>, tensor<?x2xi32> -> tensor<?x?xf32>
  %noise = moe.gaussian rows(%ids) {seed = 1, stream = 0} : tensor<?xi64> -> tensor<?x4xf32>
  %0 = tensor.dim %rows, %c0 : tensor<?x?xf32>
  %1 = tensor.dim %rows, %c1 : tensor<?x?xf32>
  %2 = tensor.dim %out, %c0 : tensor<?x?xf32>
  %3 = tensor.dim %out, %c1 : tensor<?x?xf32>
  %4 = tensor.dim %noise, %c0 : tensor<?x4xf32>
  return %0, %1, %2, %3, %4 : index, index, index, index, index
}

// -----

// CHECK-LABEL: func.func @experts
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>
// CHECK-SAME: %[[INIT:[a-z0-9]+]]: tensor<?x20xf32>, %[[Q:.*]]: tensor<?x?x4x8xf32>
// CHECK-DAG: %[[R:.*]] = tensor.dim %[[X]], %c0
// CHECK-DAG: %[[N:.*]] = tensor.dim %[[INIT]], %c0
// CHECK-DAG: %[[S:.*]] = tensor.dim %[[Q]], %c1
// CHECK-NOT: moe.
// CHECK: return %[[R]], %[[N]], %[[S]] : index, index, index
func.func @experts(%x: tensor<?x4xf32>, %g: tensor<4xi32>, %w: tensor<3x20x4xf32>, %init: tensor<?x20xf32>, %q: tensor<?x?x4x8xf32>)
    -> (index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %ys = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  %h = moe.grouped_matmul rows(%x : tensor<?x4xf32>) weights(%w : tensor<3x20x4xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  %a = moe.attention %q, %q, %q past(%c0) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32>
  %0 = tensor.dim %ys, %c0 : tensor<?x4xf32>
  %1 = tensor.dim %h, %c0 : tensor<?x20xf32>
  %2 = tensor.dim %a, %c1 : tensor<?x?x4x8xf32>
  return %0, %1, %2 : index, index, index
}

// RUN: moe-opt %s --canonicalize=test-convergence=true -split-input-file | FileCheck %s

// keys(values) says nothing.
// CHECK-LABEL: func.func @redundant_keys
// CHECK-SAME: %[[V:.*]]: tensor<?x8xf32>
// CHECK: moe.top_k %[[V]] {k = 2 : i64} : tensor<?x8xf32>
func.func @redundant_keys(%v: tensor<?x8xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %s, %i = moe.top_k %v keys(%v : tensor<?x8xf32>) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return %s, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

// -----

// CHECK-LABEL: func.func @own_keys
// CHECK: moe.top_k %{{.*}} keys(%{{.*}} : tensor<?x8xf32>)
func.func @own_keys(%v: tensor<?x8xf32>, %keys: tensor<?x8xf32>) -> tensor<?x2xi32> {
  %s, %i = moe.top_k %v keys(%keys : tensor<?x8xf32>) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return %i : tensor<?x2xi32>
}

// -----

// A constant operand of k(...) becomes the attribute; users keep their types.
// CHECK-LABEL: func.func @static_k
// CHECK-SAME: %[[V:.*]]: tensor<5x8xf32>
// CHECK: %[[S:.*]], %[[I:.*]] = moe.top_k %[[V]] {groups = #moe.groups<{{.*}}>, k = 3 : i64} : tensor<5x8xf32> -> tensor<5x3xf32>, tensor<5x3xi32>
// CHECK-DAG: %[[SC:.*]] = tensor.cast %[[S]] : tensor<5x3xf32> to tensor<5x?xf32>
// CHECK-DAG: %[[IC:.*]] = tensor.cast %[[I]] : tensor<5x3xi32> to tensor<5x?xi32>
// CHECK: return %[[SC]], %[[IC]]
func.func @static_k(%v: tensor<5x8xf32>) -> (tensor<5x?xf32>, tensor<5x?xi32>) {
  %k = arith.constant 3 : index
  %s, %i = moe.top_k %v k(%k) {groups = #moe.groups<count = 4, keep = 2, score = max, masked = "zero">}
    : tensor<5x8xf32> -> tensor<5x?xf32>, tensor<5x?xi32>
  return %s, %i : tensor<5x?xf32>, tensor<5x?xi32>
}

// -----

// A k that is out of range is left to fail where it runs.
// CHECK-LABEL: func.func @static_k_out_of_range
// CHECK: moe.top_k %{{.*}} k(%{{.*}}) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
func.func @static_k_out_of_range(%v: tensor<?x8xf32>) -> tensor<?x?xi32> {
  %k = arith.constant 9 : index
  %s, %i = moe.top_k %v k(%k) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  return %i : tensor<?x?xi32>
}

// -----

// CHECK-LABEL: func.func @zero_k
// CHECK: moe.top_k %{{.*}} k(%{{.*}})
func.func @zero_k(%v: tensor<?x8xf32>) -> tensor<?x?xi32> {
  %k = arith.constant 0 : index
  %s, %i = moe.top_k %v k(%k) : tensor<?x8xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  return %i : tensor<?x?xi32>
}

// -----

// Groups that are all kept mask nothing.
// CHECK-LABEL: func.func @idle_groups
// CHECK: moe.top_k %{{.*}} {k = 2 : i64} :
func.func @idle_groups(%v: tensor<?x8xf32>) -> tensor<?x2xi32> {
  %s, %i = moe.top_k %v {k = 2, groups = #moe.groups<count = 4, keep = 4, score = max, masked = "zero">}
    : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return %i : tensor<?x2xi32>
}

// -----

// CHECK-LABEL: func.func @busy_groups
// CHECK: groups = #moe.groups<count = 4, keep = 3, score = max, masked = "zero">
func.func @busy_groups(%v: tensor<?x8xf32>) -> tensor<?x2xi32> {
  %s, %i = moe.top_k %v {k = 2, groups = #moe.groups<count = 4, keep = 3, score = max, masked = "zero">}
    : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return %i : tensor<?x2xi32>
}

// -----

// An expert can be named by every choice at most: 6 places for 6 choices drop nothing, 5 may.
// CHECK-LABEL: func.func @ample_capacity
// CHECK-SAME: %[[I:.*]]: tensor<3x2xi32>
// CHECK-NEXT: return %[[I]]
func.func @ample_capacity(%i: tensor<3x2xi32>) -> tensor<3x2xi32> {
  %c = arith.constant 6 : index
  %kept = moe.drop %i capacity(%c) {experts = 4, order = "token"} : tensor<3x2xi32>
  return %kept : tensor<3x2xi32>
}

// -----

// CHECK-LABEL: func.func @scarce_capacity
// CHECK: moe.drop
func.func @scarce_capacity(%i: tensor<3x2xi32>) -> tensor<3x2xi32> {
  %c = arith.constant 5 : index
  %kept = moe.drop %i capacity(%c) {experts = 4, order = "token"} : tensor<3x2xi32>
  return %kept : tensor<3x2xi32>
}

// -----

// CHECK-LABEL: func.func @capacity_for_unknown_tokens
// CHECK: moe.drop
func.func @capacity_for_unknown_tokens(%i: tensor<?x2xi32>) -> tensor<?x2xi32> {
  %c = arith.constant 1000000 : index
  %kept = moe.drop %i capacity(%c) {experts = 4, order = "token"} : tensor<?x2xi32>
  return %kept : tensor<?x2xi32>
}

// -----

// Weights of one are no weights.
// CHECK-LABEL: func.func @unit_weights
// CHECK: moe.combine %{{.*}}[%{{.*}}] : tensor<?x4xf32>, tensor<3x2xi32>
func.func @unit_weights(%ys: tensor<?x4xf32>, %s: tensor<3x2xi32>) -> tensor<3x4xf32> {
  %one = arith.constant dense<1.0> : tensor<3x2xf32>
  %0 = moe.combine %ys[%s] weights(%one : tensor<3x2xf32>) : tensor<?x4xf32>, tensor<3x2xi32> -> tensor<3x4xf32>
  return %0 : tensor<3x4xf32>
}

// -----

// CHECK-LABEL: func.func @other_weights
// CHECK: weights(
func.func @other_weights(%ys: tensor<?x4xf32>, %s: tensor<3x2xi32>) -> tensor<3x4xf32> {
  %half = arith.constant dense<0.5> : tensor<3x2xf32>
  %0 = moe.combine %ys[%s] weights(%half : tensor<3x2xf32>) : tensor<?x4xf32>, tensor<3x2xi32> -> tensor<3x4xf32>
  return %0 : tensor<3x4xf32>
}

// -----

// CHECK-LABEL: func.func @different_weights
// CHECK: weights(
func.func @different_weights(%ys: tensor<?x4xf32>, %s: tensor<1x2xi32>) -> tensor<1x4xf32> {
  %w = arith.constant dense<[[1.0, 0.5]]> : tensor<1x2xf32>
  %0 = moe.combine %ys[%s] weights(%w : tensor<1x2xf32>) : tensor<?x4xf32>, tensor<1x2xi32> -> tensor<1x4xf32>
  return %0 : tensor<1x4xf32>
}

// -----

// Operands of moe.experts that the region does not read go, and so does the second of two equal ones.
// CHECK-LABEL: func.func @expert_operands
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>, %[[W:.*]]: tensor<?xf32>, %[[G:.*]]: tensor<3xi32>, %[[A:.*]]: tensor<2x4xf32>, %[[B:.*]]: tensor<2x4xf32>
// CHECK: moe.experts rows(%[[X]] : tensor<?x4xf32>) groups(%[[G]] : tensor<3xi32>) params(%[[A]] : tensor<2x4xf32>) -> tensor<?x4xf32> {
// CHECK-NEXT: ^bb0(%[[R:.*]]: tensor<?x4xf32>, %[[P:.*]]: tensor<4xf32>):
// CHECK: linalg.broadcast ins(%[[P]]
// CHECK: linalg.add ins(%[[R]], %{{.*}}
// CHECK: linalg.broadcast ins(%[[P]]
// CHECK: linalg.mul
func.func @expert_operands(%x: tensor<?x4xf32>, %w: tensor<?xf32>, %g: tensor<3xi32>, %a: tensor<2x4xf32>, %b: tensor<2x4xf32>)
    -> tensor<?x4xf32> {
  %0 = moe.experts rows(%w, %x, %x : tensor<?xf32>, tensor<?x4xf32>, tensor<?x4xf32>) groups(%g : tensor<3xi32>)
      params(%b, %a, %a : tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%s: tensor<?xf32>, %r: tensor<?x4xf32>, %r2: tensor<?x4xf32>, %unused: tensor<4xf32>, %p: tensor<4xf32>, %p2: tensor<4xf32>):
    %c0 = arith.constant 0 : index
    %n = tensor.dim %r2, %c0 : tensor<?x4xf32>
    %init = tensor.empty(%n) : tensor<?x4xf32>
    %pb = linalg.broadcast ins(%p : tensor<4xf32>) outs(%init : tensor<?x4xf32>) dimensions = [0]
    %sum = linalg.add ins(%r, %pb : tensor<?x4xf32>, tensor<?x4xf32>) outs(%init : tensor<?x4xf32>) -> tensor<?x4xf32>
    %pb2 = linalg.broadcast ins(%p2 : tensor<4xf32>) outs(%init : tensor<?x4xf32>) dimensions = [0]
    %y = linalg.mul ins(%sum, %pb2 : tensor<?x4xf32>, tensor<?x4xf32>) outs(%init : tensor<?x4xf32>) -> tensor<?x4xf32>
    moe.yield %y : tensor<?x4xf32>
  }
  return %0 : tensor<?x4xf32>
}

// -----

// The last row operand stays: it says how many rows there are.
// CHECK-LABEL: func.func @last_row_operand
// CHECK: moe.experts rows(%{{.*}} : tensor<3xf32>)
func.func @last_row_operand(%x: tensor<3xf32>, %g: tensor<3xi32>, %y: tensor<?xf32>) -> tensor<3xf32> {
  %0 = moe.experts rows(%x : tensor<3xf32>) groups(%g : tensor<3xi32>) -> tensor<3xf32> {
  ^bb0(%r: tensor<?xf32>):
    moe.yield %y : tensor<?xf32>
  }
  return %0 : tensor<3xf32>
}

// -----

// The same for weights, row scalars and column scalars of moe.grouped_matmul.
// CHECK-LABEL: func.func @matmul_operands
// CHECK-SAME: %[[X:.*]]: tensor<?x6xf32>, %[[W:.*]]: tensor<3x4x6xf32>, %[[V:.*]]: tensor<3x4x6xf32>, %[[G:.*]]: tensor<4xi32>, %[[R:.*]]: tensor<?xf32>, %[[B:.*]]: tensor<3x4xf32>
// CHECK: moe.grouped_matmul rows(%[[X]] : {{.*}}) weights(%[[W]] : tensor<3x4x6xf32>) groups(%[[G]] : tensor<4xi32>)
// CHECK-SAME: row_scalars(%[[R]] : tensor<?xf32>) column_scalars(%[[B]] : tensor<3x4xf32>) outs
// CHECK-NEXT: ^bb0(%[[ACC:.*]]: f32, %[[ROW:.*]]: f32, %[[COLUMN:.*]]: f32):
// CHECK-NEXT: %[[SQUARE:.*]] = arith.mulf %[[ACC]], %[[ACC]]
// CHECK-NEXT: %[[SUM:.*]] = arith.addf %[[ROW]], %[[ROW]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[SQUARE]], %[[SUM]]
// CHECK-NEXT: %[[BIASED:.*]] = arith.addf %[[SCALED]], %[[COLUMN]]
// CHECK-NEXT: moe.yield %[[BIASED]]
func.func @matmul_operands(%x: tensor<?x6xf32>, %w: tensor<3x4x6xf32>, %v: tensor<3x4x6xf32>, %g: tensor<4xi32>, %r: tensor<?xf32>,
                           %b: tensor<3x4xf32>, %init: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>)
      weights(%v, %w, %w : tensor<3x4x6xf32>, tensor<3x4x6xf32>, tensor<3x4x6xf32>) groups(%g : tensor<4xi32>)
      row_scalars(%r, %r : tensor<?xf32>, tensor<?xf32>) column_scalars(%b, %b : tensor<3x4xf32>, tensor<3x4xf32>)
      outs(%init : tensor<?x4xf32>) {
  ^bb0(%unused: f32, %acc: f32, %acc2: f32, %row: f32, %row2: f32, %column: f32, %idle: f32):
    %0 = arith.mulf %acc, %acc2 : f32
    %1 = arith.addf %row, %row2 : f32
    %2 = arith.mulf %0, %1 : f32
    %3 = arith.addf %2, %column : f32
    moe.yield %3 : f32
  } -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// The last weight stays although nothing reads its accumulator.
// CHECK-LABEL: func.func @last_weight
// CHECK: weights(%{{.*}} : tensor<3x4x6xf32>)
func.func @last_weight(%x: tensor<?x6xf32>, %w: tensor<3x4x6xf32>, %g: tensor<4xi32>, %init: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w : tensor<3x4x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x4xf32>) {
  ^bb0(%acc: f32):
    %one = arith.constant 1.0 : f32
    moe.yield %one : f32
  } -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// Codes go with their scales: a weight is the same if both are.
// CHECK-LABEL: func.func @same_codes
// CHECK-SAME: %{{[a-z0-9]+}}: tensor<?x32xf32>, %[[W:[a-z0-9]+]]: tensor<3x4x16xi8>, %[[S:[a-z0-9]+]]: tensor<3x4x1xf32>, %[[T:[a-z0-9]+]]: tensor<3x4x1xf32>
// CHECK: weights(%[[W]], %[[W]] : tensor<3x4x16xi8>, tensor<3x4x16xi8>) scales(%[[S]], %[[T]] : {{.*}})
// CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
// CHECK-NEXT: %[[C:.*]] = arith.subf %[[A]], %[[B]]
// CHECK-NEXT: arith.mulf %[[C]], %[[A]]
func.func @same_codes(%x: tensor<?x32xf32>, %w: tensor<3x4x16xi8>, %s: tensor<3x4x1xf32>, %t: tensor<3x4x1xf32>, %g: tensor<4xi32>,
                      %init: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = moe.grouped_matmul rows(%x : tensor<?x32xf32>)
      weights(%w, %w, %w, %w : tensor<3x4x16xi8>, tensor<3x4x16xi8>, tensor<3x4x16xi8>, tensor<3x4x16xi8>)
      scales(%s, %t, %s, %t : tensor<3x4x1xf32>, tensor<3x4x1xf32>, tensor<3x4x1xf32>, tensor<3x4x1xf32>)
      groups(%g : tensor<4xi32>) outs(%init : tensor<?x4xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32, %b: f32, %c: f32, %unused: f32):
    %d = arith.subf %a, %b : f32
    %e = arith.mulf %d, %c : f32
    moe.yield %e : f32
  } -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// Ops without users go: all of them are pure. Sizes of results are those of operands.
// CHECK-LABEL: func.func @dead
// CHECK-NEXT: return
func.func @dead(%v: tensor<?x8xf32>, %ids: tensor<?xi64>, %x: tensor<?x4xf32>, %q: tensor<?x?x4x8xf32>, %past: index) {
  %s, %i = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %kept = moe.drop %i capacity(%past) {experts = 8, order = "choice"} : tensor<?x2xi32>
  %o, %c, %slots = moe.plan %kept {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  %noise = moe.gaussian rows(%ids) {seed = 1, stream = 0} : tensor<?xi64> -> tensor<?x4xf32>
  %rows = moe.dispatch %x[%c] {fanout = 2} : tensor<?x4xf32>, tensor<?xi32> -> tensor<?x4xf32>
  %ys = moe.experts rows(%rows : tensor<?x4xf32>) groups(%o : tensor<9xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  %out = moe.combine %ys[%slots] weights(%s : tensor<?x2xf32>) : tensor<?x4xf32>, tensor<?x2xi32> -> tensor<?x4xf32>
  %a = moe.attention %q, %q, %q past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// RUN: moe-opt %s --moe-schedule-plans --canonicalize --cse --split-input-file | FileCheck %s

// A plan and the two maps of its offsets that cut alike are one op, which does not know a map of other tiles.
// CHECK-LABEL: func.func @plan
// CHECK-SAME: %[[E:[a-z0-9]+]]: tensor<?x2xi32>
// CHECK-NOT: moe.plan
// CHECK: %[[S:.*]]:5 = moe.schedule %[[E]] : tensor<?x2xi32> outs({{.*}}) {block = 128 : i64}
// CHECK: %[[T:.*]], %[[N:.*]] = moe.tile_map %[[S]]#0 rows(%{{.*}}) {block = 32 : i64}
// CHECK: return %[[S]]#1, %[[S]]#2, %[[S]]#3, %[[S]]#4, %[[S]]#4, %[[N]]
func.func @plan(%e: tensor<?x2xi32>, %rows: index) -> (tensor<?xi32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<i32>, tensor<i32>, tensor<i32>) {
  %o, %c, %s = moe.plan %e {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  %t2, %n2 = moe.tile_map %o rows(%rows) {block = 32} : tensor<9xi32> -> tensor<?x3xi32>, tensor<i32>
  %t0, %n0 = moe.tile_map %o rows(%rows) {block = 128} : tensor<9xi32> -> tensor<?x3xi32>, tensor<i32>
  %t1, %n1 = moe.tile_map %o rows(%rows) {block = 128} : tensor<9xi32> -> tensor<?x3xi32>, tensor<i32>
  return %c, %s, %t0, %n0, %n1, %n2 : tensor<?xi32>, tensor<?x2xi32>, tensor<?x3xi32>, tensor<i32>, tensor<i32>, tensor<i32>
}

// -----

// Nothing to join; too many experts for a block's memory.
// CHECK-LABEL: func.func @stay
// CHECK-NOT: moe.schedule
func.func @stay(%e: tensor<?x2xi32>, %rows: index) -> (tensor<?xi32>, tensor<?x3xi32>) {
  %o, %c, %s = moe.plan %e {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  %o1, %c1, %s1 = moe.plan %e {experts = 4096} : tensor<?x2xi32> -> tensor<4097xi32>, tensor<?xi32>, tensor<?x2xi32>
  %t, %n = moe.tile_map %o1 rows(%rows) {block = 128} : tensor<4097xi32> -> tensor<?x3xi32>, tensor<i32>
  return %c, %t : tensor<?xi32>, tensor<?x3xi32>
}

// RUN: moe-opt %s --one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" --moe-drop-state-results -split-input-file -verify-diagnostics | FileCheck %s

// In place: the output is written where it is.
// CHECK-LABEL: func.func @in_place
// CHECK-SAME: %[[X:.*]]: memref<?x8xf32>, %[[O:.*]]: memref<3xi32>, %[[W:.*]]: memref<2x16x8xf32>, %[[OUT:.*]]: memref<?x16xf32>
// CHECK-NOT: memref.alloc
// CHECK: moe.grouped_matmul rows(%[[X]] : memref<?x8xf32>) weights(%[[W]] : memref<2x16x8xf32>) groups(%[[O]] : memref<3xi32>) outs(%[[OUT]] : memref<?x16xf32>) {
// CHECK: moe.yield
// CHECK: return %[[OUT]]
func.func @in_place(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %w: tensor<2x16x8xf32>, %out: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x16x8xf32>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// -----

// The old value of the output is needed later: it is copied, since rows in no group keep it.
// CHECK-LABEL: func.func @still_needed
// CHECK: memref.alloc
// CHECK: memref.copy
// CHECK: moe.grouped_matmul
func.func @still_needed(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %w: tensor<2x16x8xf32>, %out: tensor<?x16xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x16x8xf32>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  return %y, %out : tensor<?x16xf32>, tensor<?x16xf32>
}

// -----

// A state is updated where it is, and is no result any more.
// CHECK-LABEL: func.func @state
// CHECK-SAME: %[[NEW:.*]]: memref<2xf32>, %[[STATE:.*]]: memref<8xf32> {moe.name = "s", moe.role = "state"}) {
// CHECK: %[[PART:.*]] = memref.subview %[[STATE]][3] [2] [1]
// CHECK: memref.copy %[[NEW]], %[[PART]]
// CHECK: return{{$}}
func.func @state(%new: tensor<2xf32>, %s: tensor<8xf32> {moe.name = "s", moe.role = "state"}) -> (tensor<8xf32> {moe.name = "s", moe.role = "state"}) {
  %r = tensor.insert_slice %new into %s[3] [2] [1] : tensor<2xf32> into tensor<8xf32>
  return %r : tensor<8xf32>
}

// -----

// A new value in a buffer of its own is copied back.
// CHECK-LABEL: func.func @replaced
// CHECK-SAME: %[[NEW:.*]]: memref<8xf32>, %[[STATE:.*]]: memref<8xf32>
// CHECK: memref.copy %[[NEW]], %[[STATE]]
// CHECK: return{{$}}
func.func @replaced(%new: tensor<8xf32>, %s: tensor<8xf32> {moe.name = "s", moe.role = "state"}) -> (tensor<8xf32> {moe.name = "s", moe.role = "state"}) {
  return %new : tensor<8xf32>
}

// -----

// expected-error @+1 {{expected a state argument with the name of state result 0}}
func.func @no_such_state(%s: tensor<8xf32>) -> (tensor<8xf32> {moe.name = "s", moe.role = "state"}) {
  return %s : tensor<8xf32>
}

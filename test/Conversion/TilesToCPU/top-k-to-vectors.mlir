// RUN: moe-opt %s --moe-top-k-to-vectors --split-input-file | FileCheck %s

// Each round looks for the best candidate after the last choice, 16 at a time, then compares the lanes.
// CHECK-LABEL: func.func @top_k
// CHECK-SAME: %[[VALUES:.*]]: tensor<?x64xbf16>, %[[KEYS:.*]]: tensor<?x64xf32>
// CHECK: scf.for %[[T:.*]] = %c0{{.*}} to %{{.*}} step %c1
// CHECK: scf.for %[[J:.*]] = %c0{{.*}} to %c8{{.*}} iter_args(%[[LAST:.*]] = %{{.*}}, %[[AT:.*]] = %{{.*}}, %{{.*}}, %{{.*}})
// CHECK: scf.for %[[C:.*]] = %c0{{.*}} to %c64{{.*}} step %c16
// CHECK: vector.transfer_read %[[KEYS]][%[[T]], %[[C]]], %{{.*}} {in_bounds = [true]}
// CHECK-NOT: vector.transfer_read
// CHECK-COUNT-8: vector.shuffle
// CHECK-NOT: vector.shuffle
// CHECK: %[[VALUE:.*]] = tensor.extract %[[VALUES]][%[[T]], %{{.*}}]
// CHECK: tensor.insert %[[VALUE]] into %{{.*}}[%[[T]], %[[J]]]
// CHECK-NOT: moe.top_k
func.func @top_k(%values: tensor<?x64xbf16>, %keys: tensor<?x64xf32>) -> (tensor<?x8xbf16>, tensor<?x8xi32>) {
  %s, %i = moe.top_k %values keys(%keys : tensor<?x64xf32>) {k = 8} : tensor<?x64xbf16> -> tensor<?x8xbf16>, tensor<?x8xi32>
  return %s, %i : tensor<?x8xbf16>, tensor<?x8xi32>
}

// -----

// A last vector that is not full, or may not be.
// CHECK-LABEL: func.func @ragged
// CHECK: vector.transfer_read
// CHECK-NOT: in_bounds = [true]
// CHECK: vector.transfer_read
// CHECK-NOT: in_bounds = [true]
func.func @ragged(%v: tensor<?x20xf32>, %w: tensor<?x?xf32>, %k: index) -> (tensor<?x2xi32>, tensor<?x?xi32>) {
  %s, %i = moe.top_k %v {k = 2} : tensor<?x20xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %t, %j = moe.top_k %w k(%k) : tensor<?x?xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  return %i, %j : tensor<?x2xi32>, tensor<?x?xi32>
}

// -----

// Groups and f64 are left.
// CHECK-LABEL: func.func @left
// CHECK: moe.top_k
// CHECK: moe.top_k
func.func @left(%v: tensor<?x16xf32>, %w: tensor<?x16xf64>) -> (tensor<?x2xi32>, tensor<?x2xi32>) {
  %s, %i = moe.top_k %v {k = 2, groups = #moe.groups<count = 4, keep = 2, score = max, masked = "zero">} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %t, %j = moe.top_k %w {k = 2} : tensor<?x16xf64> -> tensor<?x2xf64>, tensor<?x2xi32>
  return %i, %j : tensor<?x2xi32>, tensor<?x2xi32>
}

// RUN: moe-opt %s --moe-top-k-to-reductions | FileCheck %s

// Each round: the largest rank below that of the round before; its low half is the position.
// CHECK-LABEL: func.func @one_row
// CHECK-SAME: %[[P:[a-z0-9]+]]: tensor<1x64xf32>, %[[K:[a-z0-9]+]]: tensor<1x64xbf16>
// CHECK: scf.for %[[J:.*]] = %c0 to %c8 step %c1 iter_args(%[[LAST:.*]] = %{{.*}}, %[[S:.*]] = %{{.*}}, %[[I:.*]] = %{{.*}}) -> (i64, tensor<1x8xf32>, tensor<1x8xi32>)
// CHECK: %[[BEST:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]} ins(%[[K]], %[[LAST]] : tensor<1x64xbf16>, i64)
// CHECK:   arith.cmpi slt
// CHECK:   arith.maxsi
// CHECK: %[[FOUND:.*]] = tensor.extract %[[BEST]]
// CHECK: %[[LOW:.*]] = arith.trunci %[[FOUND]] : i64 to i32
// CHECK: %[[INDEX:.*]] = arith.xori %[[LOW]], %c-1_i32
// CHECK: tensor.extract %[[P]]
// CHECK: tensor.insert %{{.*}} into %[[S]][%c0, %[[J]]]
// CHECK: tensor.insert %[[INDEX]] into %[[I]][%c0, %[[J]]]
// CHECK: scf.yield %[[FOUND]]
func.func @one_row(%p: tensor<1x64xf32>, %k: tensor<1x64xbf16>) -> (tensor<1x8xf32>, tensor<1x8xi32>) {
  %w, %e = moe.top_k %p keys(%k : tensor<1x64xbf16>) {k = 8} : tensor<1x64xf32> -> tensor<1x8xf32>, tensor<1x8xi32>
  return %w, %e : tensor<1x8xf32>, tensor<1x8xi32>
}

// Left alone: more rows, groups, keys of f64.
// CHECK-LABEL: func.func @others
// CHECK-COUNT-3: moe.top_k
func.func @others(%p: tensor<?x64xf32>, %q: tensor<1x64xf32>, %r: tensor<1x64xf64>) -> (tensor<?x8xi32>, tensor<1x8xi32>, tensor<1x8xi32>) {
  %w, %e = moe.top_k %p {k = 8} : tensor<?x64xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
  %w1, %e1 = moe.top_k %q {k = 8, groups = #moe.groups<count = 8, keep = 2, score = max, masked = "-inf">} : tensor<1x64xf32> -> tensor<1x8xf32>, tensor<1x8xi32>
  %w2, %e2 = moe.top_k %r {k = 8} : tensor<1x64xf64> -> tensor<1x8xf64>, tensor<1x8xi32>
  return %e, %e1, %e2 : tensor<?x8xi32>, tensor<1x8xi32>, tensor<1x8xi32>
}

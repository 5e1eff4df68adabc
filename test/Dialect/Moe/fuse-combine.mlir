// RUN: moe-opt %s --moe-fuse-combine --canonicalize --cse --split-input-file | FileCheck %s
// RUN: moe-opt %s --moe-fuse-combine=remarks --split-input-file -o /dev/null 2>&1 | FileCheck %s --check-prefix=WHY --implicit-check-not=remark:

#id = affine_map<(t, n) -> (t, n)>

// At most one token: ranges of columns, each with all experts in turn, their sum, and what follows. More: as it was, into the
// same memory.
// CHECK-LABEL: func.func @combine
// CHECK: %[[OUT:.*]] = tensor.empty(%{{.*}}) : tensor<?x64xbf16>
// CHECK: %[[TILES:.*]], %[[COUNT:.*]] = moe.tile_map {{.*}} {block = 128 : i64}
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c1
// CHECK: scf.if %[[FEW]]
// CHECK:   scf.forall (%[[C:.*]]) = (0) to (64) step (16) shared_outs(%[[ALL:.*]] = %[[OUT]])
// CHECK:     %[[PLACE:.*]] = tensor.extract_slice %[[ALL]][0, %[[C]]]
// CHECK:     %[[YS:.*]] = scf.for
// CHECK:       %[[ROWS:.*]] = affine.min
// CHECK:       tensor.extract_slice %{{.*}}[%{{.*}}, %[[C]], 0] [1, 16, 32]
// CHECK:       moe.grouped_matmul
// CHECK:     %[[SUM:.*]] = moe.combine %[[YS]]
// CHECK:     %[[X:.*]] = tensor.extract_slice %arg{{.*}}[0, %[[C]]]
// CHECK:     linalg.generic {{.*}} ins(%[[SUM]], %[[X]] : {{.*}}) outs(%[[PLACE]]
// CHECK: } else {
// CHECK:   %[[P:.*]] = moe.grouped_matmul
// CHECK:   %[[S:.*]] = moe.combine %[[P]]
// CHECK:   %[[R:.*]] = linalg.generic {{.*}} ins(%[[S]]
// CHECK:   bufferization.materialize_in_destination %[[R]] in %[[OUT]]
func.func @combine(%h: tensor<?x32xbf16>, %e: tensor<?x2xi32>, %g: tensor<?x2xf32>, %w: tensor<8x64x32xbf16>, %x: tensor<?x64xf32>, %e1: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %h, %c0 : tensor<?x32xbf16>
  %o, %c, %s = moe.plan %e {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  %e0 = tensor.empty(%rows) : tensor<?x64xf32>
  %p = moe.grouped_matmul rows(%h : tensor<?x32xbf16>) weights(%w : tensor<8x64x32xbf16>) groups(%o : tensor<9xi32>) outs(%e0 : tensor<?x64xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x64xf32>
  %y = moe.combine %p[%s] weights(%g : tensor<?x2xf32>) : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  %r = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%y, %x : tensor<?x64xf32>, tensor<?x64xf32>) outs(%e1 : tensor<?x64xbf16>) {
  ^bb0(%a: f32, %b: f32, %out: bf16):
    %sum = arith.addf %a, %b : f32
    %t = arith.truncf %sum : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// Something else reads the product.
// CHECK-LABEL: func.func @two_readers
// CHECK-NOT: scf.if
// WHY: remark: stays behind the product: rows are not those of a product that nothing else reads
func.func @two_readers(%h: tensor<?x32xf32>, %e: tensor<?x2xi32>, %w: tensor<8x64x32xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %h, %c0 : tensor<?x32xf32>
  %o, %c, %s = moe.plan %e {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  %e0 = tensor.empty(%rows) : tensor<?x64xf32>
  %p = moe.grouped_matmul rows(%h : tensor<?x32xf32>) weights(%w : tensor<8x64x32xf32>) groups(%o : tensor<9xi32>) outs(%e0 : tensor<?x64xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x64xf32>
  %y = moe.combine %p[%s] : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  return %y, %p : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Codes as tensor cores take them come in panels of 16 columns, one for each range.
// CHECK-LABEL: func.func @codes
// CHECK: scf.forall (%[[C:.*]]) = (0) to (64) step (16)
// CHECK:   tensor.extract_slice %{{.*}}[%{{.*}}, %{{.*}}, 0, 0] [1, 1, 2, 256]
// CHECK:   tensor.extract_slice %{{.*}}[%{{.*}}, %{{.*}}, 0, 0] [1, 1, 2, 16]
// CHECK:   moe.grouped_matmul {{.*}} : tensor<1x1x2x256xi8>) scales(
func.func @codes(%h: tensor<?x64xbf16>, %e: tensor<?x2xi32>, %w: tensor<8x4x2x256xi8>, %q: tensor<8x4x2x16xbf16>) -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %h, %c0 : tensor<?x64xbf16>
  %o, %c, %s = moe.plan %e {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  %e0 = tensor.empty(%rows) : tensor<?x64xf32>
  %p = moe.grouped_matmul rows(%h : tensor<?x64xbf16>) weights(%w : tensor<8x4x2x256xi8>) scales(%q : tensor<8x4x2x16xbf16>)
      groups(%o : tensor<9xi32>) outs(%e0 : tensor<?x64xf32>) attributes {format = "int4"} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x64xf32>
  %y = moe.combine %p[%s] : tensor<?x64xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

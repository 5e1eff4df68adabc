// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// A logit that is not a number makes all weights of its token NaN, wherever it stands and although the selection, for which
// NaN is below -inf, passes it over: the sum of the softmax is NaN. Other tokens are as they were. Numbers of experts that
// fill vectors of 16, do not, and are less than one.

#id = affine_map<(t, j) -> (t, j)>
#row = affine_map<(t, j) -> (t)>

func.func private @gate8(%logits: tensor<?x8xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %tokens = tensor.dim %logits, %c0 : tensor<?x8xf32>
  %e = tensor.empty(%tokens) : tensor<?x8xf32>
  %p = linalg.softmax dimension(1) ins(%logits : tensor<?x8xf32>) outs(%e : tensor<?x8xf32>) -> tensor<?x8xf32>
  %w, %i = moe.top_k %p keys(%logits : tensor<?x8xf32>) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %a = arith.addf %out, %in : f32
    linalg.yield %a : f32
  } -> tensor<?xf32>
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

func.func private @gate16(%logits: tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %tokens = tensor.dim %logits, %c0 : tensor<?x16xf32>
  %e = tensor.empty(%tokens) : tensor<?x16xf32>
  %p = linalg.softmax dimension(1) ins(%logits : tensor<?x16xf32>) outs(%e : tensor<?x16xf32>) -> tensor<?x16xf32>
  %w, %i = moe.top_k %p keys(%logits : tensor<?x16xf32>) {k = 2} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %a = arith.addf %out, %in : f32
    linalg.yield %a : f32
  } -> tensor<?xf32>
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

func.func private @gate40(%logits: tensor<?x40xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %tokens = tensor.dim %logits, %c0 : tensor<?x40xf32>
  %e = tensor.empty(%tokens) : tensor<?x40xf32>
  %p = linalg.softmax dimension(1) ins(%logits : tensor<?x40xf32>) outs(%e : tensor<?x40xf32>) -> tensor<?x40xf32>
  %w, %i = moe.top_k %p keys(%logits : tensor<?x40xf32>) {k = 2} : tensor<?x40xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %a = arith.addf %out, %in : f32
    linalg.yield %a : f32
  } -> tensor<?xf32>
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

// CHECK: 6 checks passed
func.func @main() {
  %l8 = arith.constant dense<[
    [0.0, 100.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0x7FC00000],
    [0x7FC00000, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000],
    [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 100.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0xFFC00000, 0xFF800000, 0.0]]> : tensor<6x8xf32>
  %t8 = tensor.cast %l8 : tensor<6x8xf32> to tensor<?x8xf32>
  %w8, %i8 = call @gate8(%t8) : (tensor<?x8xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w8, dense<[[0.5, 0.5], [0x7FC00000, 0x7FC00000], [0x7FC00000, 0x7FC00000], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0x7FC00000, 0x7FC00000]]> : tensor<6x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i8, dense<[[1, 3], [3, 0], [2, 1], [0, 1], [4, 7], [0, 1]]> : tensor<6x2xi32>, tensor<?x2xi32>

  %l16 = arith.constant dense<[
    [0.0, 100.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0x7FC00000],
    [0x7FC00000, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000],
    [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0xFFC00000, 0xFF800000, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]> : tensor<6x16xf32>
  %t16 = tensor.cast %l16 : tensor<6x16xf32> to tensor<?x16xf32>
  %w16, %i16 = call @gate16(%t16) : (tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w16, dense<[[0.5, 0.5], [0x7FC00000, 0x7FC00000], [0x7FC00000, 0x7FC00000], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0x7FC00000, 0x7FC00000]]> : tensor<6x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i16, dense<[[1, 3], [3, 0], [2, 1], [0, 1], [4, 15], [0, 1]]> : tensor<6x2xi32>, tensor<?x2xi32>

  %l40 = arith.constant dense<[
    [0.0, 100.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0x7FC00000],
    [0x7FC00000, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000],
    [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0xFFC00000, 0xFF800000, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]> : tensor<6x40xf32>
  %t40 = tensor.cast %l40 : tensor<6x40xf32> to tensor<?x40xf32>
  %w40, %i40 = call @gate40(%t40) : (tensor<?x40xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w40, dense<[[0.5, 0.5], [0x7FC00000, 0x7FC00000], [0x7FC00000, 0x7FC00000], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0x7FC00000, 0x7FC00000]]> : tensor<6x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i40, dense<[[1, 3], [3, 0], [2, 1], [0, 1], [4, 39], [0, 1]]> : tensor<6x2xi32>, tensor<?x2xi32>
  return
}

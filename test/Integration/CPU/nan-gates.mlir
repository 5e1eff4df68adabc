// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// A logit that is not a number, at gates by sigmoid with a bias and with groups: its expert orders below all others, and so does
// a group whose score is NaN. The weights are sigmoids of what was selected, divided by their sum: the token is as if
// the expert were not there, unless nothing else is left: then even experts masked for their group come first. (With a softmax
// all its weights are NaN: see nan-logits.mlir.)

#id = affine_map<(t, j) -> (t, j)>
#row = affine_map<(t, j) -> (t)>
#column = affine_map<(t, j) -> (j)>

func.func private @plain(%logits: tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %bias = arith.constant dense<0.0625> : tensor<16xf32>
  %tokens = tensor.dim %logits, %c0 : tensor<?x16xf32>
  %e = tensor.empty(%tokens) : tensor<?x16xf32>
  %scores, %keys = linalg.generic {indexing_maps = [#id, #column, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%logits, %bias : tensor<?x16xf32>, tensor<16xf32>) outs(%e, %e : tensor<?x16xf32>, tensor<?x16xf32>) {
  ^bb0(%z: f32, %b: f32, %o0: f32, %o1: f32):
    %one = arith.constant 1.0 : f32
    %minus = arith.negf %z : f32
    %exp = math.exp %minus : f32
    %below = arith.addf %one, %exp : f32
    %sigmoid = arith.divf %one, %below : f32
    %key = arith.addf %sigmoid, %b : f32
    linalg.yield %sigmoid, %key : f32, f32
  } -> (tensor<?x16xf32>, tensor<?x16xf32>)
  %w, %i = moe.top_k %scores keys(%keys : tensor<?x16xf32>) {k = 2} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.reduce { arith.addf } ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) dimensions = [1]
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

func.func private @gate0(%logits: tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %bias = arith.constant dense<0.0625> : tensor<16xf32>
  %tokens = tensor.dim %logits, %c0 : tensor<?x16xf32>
  %e = tensor.empty(%tokens) : tensor<?x16xf32>
  %scores, %keys = linalg.generic {indexing_maps = [#id, #column, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%logits, %bias : tensor<?x16xf32>, tensor<16xf32>) outs(%e, %e : tensor<?x16xf32>, tensor<?x16xf32>) {
  ^bb0(%z: f32, %b: f32, %o0: f32, %o1: f32):
    %one = arith.constant 1.0 : f32
    %minus = arith.negf %z : f32
    %exp = math.exp %minus : f32
    %below = arith.addf %one, %exp : f32
    %sigmoid = arith.divf %one, %below : f32
    %key = arith.addf %sigmoid, %b : f32
    linalg.yield %sigmoid, %key : f32, f32
  } -> (tensor<?x16xf32>, tensor<?x16xf32>)
  %w, %i = moe.top_k %scores keys(%keys : tensor<?x16xf32>) {k = 2, groups = #moe.groups<count = 4, keep = 2, score = sum_top2, masked = "-inf">} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.reduce { arith.addf } ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) dimensions = [1]
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

func.func private @gate1(%logits: tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %bias = arith.constant dense<0.0625> : tensor<16xf32>
  %tokens = tensor.dim %logits, %c0 : tensor<?x16xf32>
  %e = tensor.empty(%tokens) : tensor<?x16xf32>
  %scores, %keys = linalg.generic {indexing_maps = [#id, #column, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%logits, %bias : tensor<?x16xf32>, tensor<16xf32>) outs(%e, %e : tensor<?x16xf32>, tensor<?x16xf32>) {
  ^bb0(%z: f32, %b: f32, %o0: f32, %o1: f32):
    %one = arith.constant 1.0 : f32
    %minus = arith.negf %z : f32
    %exp = math.exp %minus : f32
    %below = arith.addf %one, %exp : f32
    %sigmoid = arith.divf %one, %below : f32
    %key = arith.addf %sigmoid, %b : f32
    linalg.yield %sigmoid, %key : f32, f32
  } -> (tensor<?x16xf32>, tensor<?x16xf32>)
  %w, %i = moe.top_k %scores keys(%keys : tensor<?x16xf32>) {k = 2, groups = #moe.groups<count = 4, keep = 2, score = sum_top2, masked = "zero">} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.reduce { arith.addf } ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) dimensions = [1]
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

func.func private @gate2(%logits: tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %bias = arith.constant dense<0.0625> : tensor<16xf32>
  %tokens = tensor.dim %logits, %c0 : tensor<?x16xf32>
  %e = tensor.empty(%tokens) : tensor<?x16xf32>
  %scores, %keys = linalg.generic {indexing_maps = [#id, #column, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%logits, %bias : tensor<?x16xf32>, tensor<16xf32>) outs(%e, %e : tensor<?x16xf32>, tensor<?x16xf32>) {
  ^bb0(%z: f32, %b: f32, %o0: f32, %o1: f32):
    %one = arith.constant 1.0 : f32
    %minus = arith.negf %z : f32
    %exp = math.exp %minus : f32
    %below = arith.addf %one, %exp : f32
    %sigmoid = arith.divf %one, %below : f32
    %key = arith.addf %sigmoid, %b : f32
    linalg.yield %sigmoid, %key : f32, f32
  } -> (tensor<?x16xf32>, tensor<?x16xf32>)
  %w, %i = moe.top_k %scores keys(%keys : tensor<?x16xf32>) {k = 2, groups = #moe.groups<count = 4, keep = 2, score = max, masked = "-inf">} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.reduce { arith.addf } ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) dimensions = [1]
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

func.func private @gate3(%logits: tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %bias = arith.constant dense<0.0625> : tensor<16xf32>
  %tokens = tensor.dim %logits, %c0 : tensor<?x16xf32>
  %e = tensor.empty(%tokens) : tensor<?x16xf32>
  %scores, %keys = linalg.generic {indexing_maps = [#id, #column, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%logits, %bias : tensor<?x16xf32>, tensor<16xf32>) outs(%e, %e : tensor<?x16xf32>, tensor<?x16xf32>) {
  ^bb0(%z: f32, %b: f32, %o0: f32, %o1: f32):
    %one = arith.constant 1.0 : f32
    %minus = arith.negf %z : f32
    %exp = math.exp %minus : f32
    %below = arith.addf %one, %exp : f32
    %sigmoid = arith.divf %one, %below : f32
    %key = arith.addf %sigmoid, %b : f32
    linalg.yield %sigmoid, %key : f32, f32
  } -> (tensor<?x16xf32>, tensor<?x16xf32>)
  %w, %i = moe.top_k %scores keys(%keys : tensor<?x16xf32>) {k = 2, groups = #moe.groups<count = 4, keep = 2, score = max, masked = "zero">} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %se = tensor.empty(%tokens) : tensor<?xf32>
  %sz = linalg.fill ins(%zero : f32) outs(%se : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.reduce { arith.addf } ins(%w : tensor<?x2xf32>) outs(%sz : tensor<?xf32>) dimensions = [1]
  %ne = tensor.empty(%tokens) : tensor<?x2xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%w, %s : tensor<?x2xf32>, tensor<?xf32>) outs(%ne : tensor<?x2xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %d = arith.divf %in, %sum : f32
    linalg.yield %d : f32
  } -> tensor<?x2xf32>
  return %n, %i : tensor<?x2xf32>, tensor<?x2xi32>
}

// CHECK: 10 checks passed
func.func @main() {
  %l = arith.constant dense<[
    [-5.0, -5.0, -5.0, -5.0, 2.0, 2.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, 1.0, 1.0, -5.0, -5.0],
    [0x7FC00000, -5.0, -5.0, -5.0, 2.0, 2.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, 1.0, 1.0, -5.0, -5.0],
    [-5.0, -5.0, -5.0, -5.0, 0x7FC00000, 2.0, 2.0, -5.0, -5.0, -5.0, -5.0, -5.0, 1.0, 1.0, -5.0, -5.0],
    [0.0, 0.0, -5.0, -5.0, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, -5.0, -5.0, -5.0, -5.0, 2.0, 2.0, -5.0, -5.0],
    [0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000, 0x7FC00000],
    [-5.0, -5.0, -5.0, -5.0, 2.0, 0x7FC00000, 0x7FC00000, 0x7FC00000, 1.0, 1.0, -5.0, -5.0, 2.0, 2.0, -5.0, -5.0],
    [-5.0, 2.0, -5.0, 2.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, 0x7FC00000]]> : tensor<7x16xf32>
  %t = tensor.cast %l : tensor<7x16xf32> to tensor<?x16xf32>
  %w0, %i0 = call @plain(%t) : (tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w0, dense<[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0.5, 0.5]]> : tensor<7x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i0, dense<[[4, 5], [4, 5], [5, 6], [12, 13], [0, 1], [4, 12], [1, 3]]> : tensor<7x2xi32>, tensor<?x2xi32>
  %w1, %i1 = call @gate0(%t) : (tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w1, dense<[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0.5, 0.5]]> : tensor<7x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i1, dense<[[4, 5], [4, 5], [5, 6], [12, 13], [8, 9], [12, 13], [1, 3]]> : tensor<7x2xi32>, tensor<?x2xi32>
  %w2, %i2 = call @gate1(%t) : (tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w2, dense<[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0.5, 0.5]]> : tensor<7x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i2, dense<[[4, 5], [4, 5], [5, 6], [12, 13], [8, 9], [12, 13], [1, 3]]> : tensor<7x2xi32>, tensor<?x2xi32>
  %w3, %i3 = call @gate2(%t) : (tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w3, dense<[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0.5, 0.5]]> : tensor<7x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i3, dense<[[4, 5], [4, 5], [5, 6], [12, 13], [8, 9], [4, 12], [1, 3]]> : tensor<7x2xi32>, tensor<?x2xi32>
  %w4, %i4 = call @gate3(%t) : (tensor<?x16xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  check.expect_eq_const %w4, dense<[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0x7FC00000, 0x7FC00000], [0.5, 0.5], [0.5, 0.5]]> : tensor<7x2xf32>, tensor<?x2xf32>
  check.expect_eq_const %i4, dense<[[4, 5], [4, 5], [5, 6], [12, 13], [8, 9], [4, 12], [1, 3]]> : tensor<7x2xi32>, tensor<?x2xi32>
  return
}

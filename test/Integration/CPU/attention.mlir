// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// moe.attention against its formula written with linalg on all cache positions. Positions that no query may see hold NaN.

// CHECK-COUNT-3: 2 checks passed
func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c5 = arith.constant 5 : index
  %c9 = arith.constant 9 : index
  // Batch, queries, cache size, past: prefill, one token later on, a cache without slack.
  call @compare(%c2, %c5, %c9, %c0) : (index, index, index, index) -> ()
  call @compare(%c1, %c1, %c9, %c5) : (index, index, index, index) -> ()
  call @compare(%c2, %c3, %c5, %c2) : (index, index, index, index) -> ()
  return
}

// Some number in [-1, 1] for two indices.
func.func private @number(%i: index, %j: index) -> f32 {
  %a = arith.constant 37 : index
  %b = arith.constant 11 : index
  %m = arith.constant 101 : index
  %ai = arith.muli %i, %a : index
  %bj = arith.muli %j, %b : index
  %sum = arith.addi %ai, %bj : index
  %rest = arith.remui %sum, %m : index
  %integer = arith.index_cast %rest : index to i32
  %real = arith.sitofp %integer : i32 to f32
  %fifty = arith.constant 50.0 : f32
  %centred = arith.subf %real, %fifty : f32
  %value = arith.divf %centred, %fifty : f32
  return %value : f32
}

#all = affine_map<(b, s, h, d) -> (b, s, h, d)>

func.func private @compare(%batch: index, %queries: index, %capacity: index, %past: index) {
  %zero = arith.constant 0.0 : f32
  %nan = arith.constant 0x7FC00000 : f32
  %length = arith.addi %past, %queries : index
  %query_init = tensor.empty(%batch, %queries) : tensor<?x?x4x8xf32>
  %query = linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%query_init : tensor<?x?x4x8xf32>) {
  ^bb0(%unused: f32):
    %c13 = arith.constant 13 : index
    %b = linalg.index 0 : index
    %s = linalg.index 1 : index
    %h = linalg.index 2 : index
    %d = linalg.index 3 : index
    %bs = arith.muli %b, %c13 : index
    %i = arith.addi %bs, %s : index
    %hs = arith.muli %h, %c13 : index
    %j = arith.addi %hs, %d : index
    %value = func.call @number(%i, %j) : (index, index) -> f32
    linalg.yield %value : f32
  } -> tensor<?x?x4x8xf32>
  %cache_init = tensor.empty(%batch, %capacity) : tensor<?x?x2x8xf32>
  %keys, %values = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%cache_init, %cache_init : tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>) {
  ^bb0(%unused: f32, %unused2: f32):
    %c7 = arith.constant 7 : index
    %c29 = arith.constant 29 : index
    %b = linalg.index 0 : index
    %p = linalg.index 1 : index
    %g = linalg.index 2 : index
    %d = linalg.index 3 : index
    %bs = arith.muli %b, %c7 : index
    %i = arith.addi %bs, %p : index
    %gs = arith.muli %g, %c29 : index
    %j = arith.addi %gs, %d : index
    %key = func.call @number(%i, %j) : (index, index) -> f32
    %value = func.call @number(%j, %i) : (index, index) -> f32
    %written = arith.cmpi ult, %p, %length : index
    %k = arith.select %written, %key, %nan : f32
    %v = arith.select %written, %value, %nan : f32
    linalg.yield %k, %v : f32, f32
  } -> (tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>)

  %huge = arith.constant 1000000 : index
  %two = arith.constant 2 : index
  %want0 = call @formula(%query, %keys, %values, %past, %huge)
    : (tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>, index, index) -> tensor<?x?x4x8xf32>
  %got0 = moe.attention %query, %keys, %values past(%past) {scale = 1.5 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  check.expect_almost_eq %got0, %want0 : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>
  %want1 = call @formula(%query, %keys, %values, %past, %two)
    : (tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>, index, index) -> tensor<?x?x4x8xf32>
  %got1 = moe.attention %query, %keys, %values past(%past) {scale = 1.5 : f32, window = 2}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  check.expect_almost_eq %got1, %want1 : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>
  return
}

// out[b, s, h, d] = sum over visible q of exp(z[q]) * values[b, q, h / 2, d], over the sum of exp(z[q]). Scores are small, so
// nothing is subtracted from z.
func.func private @formula(%query: tensor<?x?x4x8xf32>, %keys: tensor<?x?x2x8xf32>, %values: tensor<?x?x2x8xf32>, %past: index,
                           %window: index) -> tensor<?x?x4x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %batch = tensor.dim %query, %c0 : tensor<?x?x4x8xf32>
  %queries = tensor.dim %query, %c1 : tensor<?x?x4x8xf32>
  %capacity = tensor.dim %keys, %c1 : tensor<?x?x2x8xf32>
  %init = tensor.empty(%batch, %queries) : tensor<?x?x4x8xf32>
  %result = linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%init : tensor<?x?x4x8xf32>) {
  ^bb0(%unused: f32):
    %b = linalg.index 0 : index
    %s = linalg.index 1 : index
    %h = linalg.index 2 : index
    %d = linalg.index 3 : index
    %zero = arith.constant 0.0 : f32
    %scale = arith.constant 1.5 : f32
    %two = arith.constant 2 : index
    %eight = arith.constant 8 : index
    %g = arith.divui %h, %two : index
    %p = arith.addi %past, %s : index
    %sums:2 = scf.for %q = %c0 to %capacity step %c1 iter_args(%num = %zero, %den = %zero) -> (f32, f32) {
      %dot = scf.for %i = %c0 to %eight step %c1 iter_args(%acc = %zero) -> (f32) {
        %x = tensor.extract %query[%b, %s, %h, %i] : tensor<?x?x4x8xf32>
        %y = tensor.extract %keys[%b, %q, %g, %i] : tensor<?x?x2x8xf32>
        %product = arith.mulf %x, %y : f32
        %total = arith.addf %acc, %product : f32
        scf.yield %total : f32
      }
      %z = arith.mulf %dot, %scale : f32
      %exp = math.exp %z : f32
      %v = tensor.extract %values[%b, %q, %g, %d] : tensor<?x?x2x8xf32>
      %ev = arith.mulf %exp, %v : f32
      %not_after = arith.cmpi sle, %q, %p : index
      %distance = arith.subi %p, %q : index
      %near = arith.cmpi slt, %distance, %window : index
      %visible = arith.andi %not_after, %near : i1
      %num_term = arith.select %visible, %ev, %zero : f32
      %den_term = arith.select %visible, %exp, %zero : f32
      %num_sum = arith.addf %num, %num_term : f32
      %den_sum = arith.addf %den, %den_term : f32
      scf.yield %num_sum, %den_sum : f32, f32
    }
    %value = arith.divf %sums#0, %sums#1 : f32
    linalg.yield %value : f32
  } -> tensor<?x?x4x8xf32>
  return %result : tensor<?x?x4x8xf32>
}

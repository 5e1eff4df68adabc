// A program with placeholders: HQ query heads, HKV key-value heads that serve GROUP of them each, heads of D elements, a cache of
// type T, a window of W.
// RUN: sed -e 's/HQ/4/g; s/HKV/1/g; s/GROUP/4/g; s/D_/40/g; s/T_/bf16/g; s/W_/70/g' %s > %t.1
// RUN: sed -e 's/HQ/6/g; s/HKV/2/g; s/GROUP/3/g; s/D_/32/g; s/T_/f16/g; s/W_/64/g' %s > %t.2
// RUN: sed -e 's/HQ/2/g; s/HKV/2/g; s/GROUP/1/g; s/D_/24/g; s/T_/bf16/g; s/W_/1/g' %s > %t.3
// RUN: moe-opt %t.1 %lower-fast | %run | FileCheck %s
// RUN: moe-opt %t.2 %lower-fast | %run | FileCheck %s
// RUN: moe-opt %t.3 %lower-fast | %run | FileCheck %s
// RUN: moe-opt %t.2 %lower-reference | %run | FileCheck %s

// moe.attention with a narrow cache against its formula, for numbers of queries and lengths around those of the blocks (64 keys,
// 64 rows); and in two calls against one, to the bit. Positions that no query may see hold NaN.

// CHECK-COUNT-7: 4 checks passed
func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c15 = arith.constant 15 : index
  %c17 = arith.constant 17 : index
  %c33 = arith.constant 33 : index
  %c62 = arith.constant 62 : index
  %c63 = arith.constant 63 : index
  %c64 = arith.constant 64 : index
  %c65 = arith.constant 65 : index
  %c80 = arith.constant 80 : index
  %c129 = arith.constant 129 : index
  // Batch, queries, cache size, past.
  call @compare(%c1, %c0, %c2, %c1) : (index, index, index, index) -> ()
  call @compare(%c2, %c1, %c64, %c63) : (index, index, index, index) -> ()
  call @compare(%c1, %c1, %c80, %c64) : (index, index, index, index) -> ()
  call @compare(%c1, %c17, %c33, %c15) : (index, index, index, index) -> ()
  call @compare(%c1, %c63, %c64, %c0) : (index, index, index, index) -> ()
  call @compare(%c1, %c65, %c80, %c0) : (index, index, index, index) -> ()
  call @compare(%c1, %c33, %c129, %c62) : (index, index, index, index) -> ()
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
  %query_init = tensor.empty(%batch, %queries) : tensor<?x?xHQxD_xf32>
  %query = linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%query_init : tensor<?x?xHQxD_xf32>) {
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
  } -> tensor<?x?xHQxD_xf32>
  %cache_init = tensor.empty(%batch, %capacity) : tensor<?x?xHKVxD_xf32>
  %keys, %values = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%cache_init, %cache_init : tensor<?x?xHKVxD_xf32>, tensor<?x?xHKVxD_xf32>) {
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
  } -> (tensor<?x?xHKVxD_xf32>, tensor<?x?xHKVxD_xf32>)

  %keys_t = call @narrow(%keys) : (tensor<?x?xHKVxD_xf32>) -> tensor<?x?xHKVxD_xT_>
  %values_t = call @narrow(%values) : (tensor<?x?xHKVxD_xf32>) -> tensor<?x?xHKVxD_xT_>
  %keys_w = call @wide(%keys_t) : (tensor<?x?xHKVxD_xT_>) -> tensor<?x?xHKVxD_xf32>
  %values_w = call @wide(%values_t) : (tensor<?x?xHKVxD_xT_>) -> tensor<?x?xHKVxD_xf32>
  %huge = arith.constant 1000000 : index
  %window = arith.constant W_ : index
  %want0 = call @formula(%query, %keys_w, %values_w, %past, %huge)
    : (tensor<?x?xHQxD_xf32>, tensor<?x?xHKVxD_xf32>, tensor<?x?xHKVxD_xf32>, index, index) -> tensor<?x?xHQxD_xf32>
  %got0 = moe.attention %query, %keys_t, %values_t past(%past) {scale = 0.25 : f32}
    : tensor<?x?xHQxD_xf32>, tensor<?x?xHKVxD_xT_>, tensor<?x?xHKVxD_xT_> -> tensor<?x?xHQxD_xf32>
  check.expect_almost_eq %got0, %want0 : tensor<?x?xHQxD_xf32>, tensor<?x?xHQxD_xf32>
  %want1 = call @formula(%query, %keys_w, %values_w, %past, %window)
    : (tensor<?x?xHQxD_xf32>, tensor<?x?xHKVxD_xf32>, tensor<?x?xHKVxD_xf32>, index, index) -> tensor<?x?xHQxD_xf32>
  %got1 = moe.attention %query, %keys_t, %values_t past(%past) {scale = 0.25 : f32, window = W_}
    : tensor<?x?xHQxD_xf32>, tensor<?x?xHKVxD_xT_>, tensor<?x?xHKVxD_xT_> -> tensor<?x?xHQxD_xf32>
  check.expect_almost_eq %got1, %want1 : tensor<?x?xHQxD_xf32>, tensor<?x?xHQxD_xf32>

  // The later half of the queries alone.
  %c2 = arith.constant 2 : index
  %half = arith.divui %queries, %c2 : index
  %rest = arith.subi %queries, %half : index
  %later = arith.addi %past, %half : index
  %tail = tensor.extract_slice %query[0, %half, 0, 0] [%batch, %rest, HQ, D_] [1, 1, 1, 1] : tensor<?x?xHQxD_xf32> to tensor<?x?xHQxD_xf32>
  %want2 = tensor.extract_slice %got0[0, %half, 0, 0] [%batch, %rest, HQ, D_] [1, 1, 1, 1] : tensor<?x?xHQxD_xf32> to tensor<?x?xHQxD_xf32>
  %got2 = moe.attention %tail, %keys_t, %values_t past(%later) {scale = 0.25 : f32}
    : tensor<?x?xHQxD_xf32>, tensor<?x?xHKVxD_xT_>, tensor<?x?xHKVxD_xT_> -> tensor<?x?xHQxD_xf32>
  check.expect_eq %got2, %want2 : tensor<?x?xHQxD_xf32>, tensor<?x?xHQxD_xf32>
  %want3 = tensor.extract_slice %got1[0, %half, 0, 0] [%batch, %rest, HQ, D_] [1, 1, 1, 1] : tensor<?x?xHQxD_xf32> to tensor<?x?xHQxD_xf32>
  %got3 = moe.attention %tail, %keys_t, %values_t past(%later) {scale = 0.25 : f32, window = W_}
    : tensor<?x?xHQxD_xf32>, tensor<?x?xHKVxD_xT_>, tensor<?x?xHKVxD_xT_> -> tensor<?x?xHQxD_xf32>
  check.expect_eq %got3, %want3 : tensor<?x?xHQxD_xf32>, tensor<?x?xHQxD_xf32>
  return
}

func.func private @narrow(%x: tensor<?x?xHKVxD_xf32>) -> tensor<?x?xHKVxD_xT_> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %batch = tensor.dim %x, %c0 : tensor<?x?xHKVxD_xf32>
  %length = tensor.dim %x, %c1 : tensor<?x?xHKVxD_xf32>
  %init = tensor.empty(%batch, %length) : tensor<?x?xHKVxD_xT_>
  %y = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%x : tensor<?x?xHKVxD_xf32>) outs(%init : tensor<?x?xHKVxD_xT_>) {
  ^bb0(%in: f32, %unused: T_):
    %value = arith.truncf %in : f32 to T_
    linalg.yield %value : T_
  } -> tensor<?x?xHKVxD_xT_>
  return %y : tensor<?x?xHKVxD_xT_>
}

func.func private @wide(%x: tensor<?x?xHKVxD_xT_>) -> tensor<?x?xHKVxD_xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %batch = tensor.dim %x, %c0 : tensor<?x?xHKVxD_xT_>
  %length = tensor.dim %x, %c1 : tensor<?x?xHKVxD_xT_>
  %init = tensor.empty(%batch, %length) : tensor<?x?xHKVxD_xf32>
  %y = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%x : tensor<?x?xHKVxD_xT_>) outs(%init : tensor<?x?xHKVxD_xf32>) {
  ^bb0(%in: T_, %unused: f32):
    %value = arith.extf %in : T_ to f32
    linalg.yield %value : f32
  } -> tensor<?x?xHKVxD_xf32>
  return %y : tensor<?x?xHKVxD_xf32>
}

// out[b, s, h, d] = sum over visible q of exp(z[q]) * values[b, q, h / 2, d], over the sum of exp(z[q]). Scores are small, so
// nothing is subtracted from z.
func.func private @formula(%query: tensor<?x?xHQxD_xf32>, %keys: tensor<?x?xHKVxD_xf32>, %values: tensor<?x?xHKVxD_xf32>, %past: index,
                           %window: index) -> tensor<?x?xHQxD_xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %batch = tensor.dim %query, %c0 : tensor<?x?xHQxD_xf32>
  %queries = tensor.dim %query, %c1 : tensor<?x?xHQxD_xf32>
  %capacity = tensor.dim %keys, %c1 : tensor<?x?xHKVxD_xf32>
  %init = tensor.empty(%batch, %queries) : tensor<?x?xHQxD_xf32>
  %result = linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%init : tensor<?x?xHQxD_xf32>) {
  ^bb0(%unused: f32):
    %b = linalg.index 0 : index
    %s = linalg.index 1 : index
    %h = linalg.index 2 : index
    %d = linalg.index 3 : index
    %zero = arith.constant 0.0 : f32
    %scale = arith.constant 0.25 : f32
    %group = arith.constant GROUP : index
    %depth = arith.constant D_ : index
    %g = arith.divui %h, %group : index
    %p = arith.addi %past, %s : index
    %sums:2 = scf.for %q = %c0 to %capacity step %c1 iter_args(%num = %zero, %den = %zero) -> (f32, f32) {
      %dot = scf.for %i = %c0 to %depth step %c1 iter_args(%acc = %zero) -> (f32) {
        %x = tensor.extract %query[%b, %s, %h, %i] : tensor<?x?xHQxD_xf32>
        %y = tensor.extract %keys[%b, %q, %g, %i] : tensor<?x?xHKVxD_xf32>
        %product = arith.mulf %x, %y : f32
        %total = arith.addf %acc, %product : f32
        scf.yield %total : f32
      }
      %z = arith.mulf %dot, %scale : f32
      %exp = math.exp %z : f32
      %v = tensor.extract %values[%b, %q, %g, %d] : tensor<?x?xHKVxD_xf32>
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
  } -> tensor<?x?xHQxD_xf32>
  return %result : tensor<?x?xHQxD_xf32>
}

// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// moe.grouped_matmul against a loop over everything, for ragged groups, plain and packed weights. All numbers are small
// integers, so sums are exact in any order and the results have to be equal.

#x_map = affine_map<(r, k) -> (r, k)>

// CHECK-COUNT-6: 6 checks passed
func.func @main() {
  // Groups of 1, 0, 6, 7, 5 rows and so on around the row blocks of the kernels; rows past the last offset are in no group.
  %ragged = arith.constant dense<[0, 1, 1, 7, 14, 19]> : tensor<6xi32>
  %one = arith.constant dense<[0, 0, 0, 23, 23, 23]> : tensor<6xi32>
  %tail = arith.constant dense<[0, 2, 3, 3, 3, 4]> : tensor<6xi32>
  %none = arith.constant dense<0> : tensor<6xi32>
  %large = arith.constant dense<[0, 15, 31, 48, 48, 97]> : tensor<6xi32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %c19 = arith.constant 19 : index
  %c23 = arith.constant 23 : index
  %c97 = arith.constant 97 : index
  call @compare(%ragged, %c19) : (tensor<6xi32>, index) -> ()
  call @compare(%one, %c23) : (tensor<6xi32>, index) -> ()
  call @compare(%tail, %c9) : (tensor<6xi32>, index) -> ()
  call @compare(%none, %c0) : (tensor<6xi32>, index) -> ()
  call @compare(%none, %c1) : (tensor<6xi32>, index) -> ()
  call @compare(%large, %c97) : (tensor<6xi32>, index) -> ()
  return
}

// ((a * i + b * j) mod m) - m / 2, as f32.
func.func private @number(%i: index, %j: index, %a: index, %b: index, %m: index) -> f32 {
  %c2 = arith.constant 2 : index
  %ai = arith.muli %a, %i : index
  %bj = arith.muli %b, %j : index
  %sum = arith.addi %ai, %bj : index
  %rest = arith.remui %sum, %m : index
  %half = arith.divui %m, %c2 : index
  %centred = arith.subi %rest, %half : index
  %integer = arith.index_cast %centred : index to i32
  %value = arith.sitofp %integer : i32 to f32
  return %value : f32
}

// x[r, k]
func.func private @x_at(%r: index, %k: index) -> f32 {
  %a = arith.constant 7 : index
  %b = arith.constant 3 : index
  %m = arith.constant 11 : index
  %value = call @number(%r, %k, %a, %b, %m) : (index, index, index, index, index) -> f32
  return %value : f32
}

// weights[e, n, k]; 0 outside of 20 columns and 7 terms, for the padding of packed weights.
func.func private @w_at(%e: index, %n: index, %k: index) -> f32 {
  %a = arith.constant 5 : index
  %b = arith.constant 2 : index
  %m = arith.constant 9 : index
  %c20 = arith.constant 20 : index
  %c7 = arith.constant 7 : index
  %c3 = arith.constant 3 : index
  %zero = arith.constant 0.0 : f32
  %n3 = arith.muli %n, %c3 : index
  %en = arith.addi %e, %n3 : index
  %value = call @number(%en, %k, %a, %b, %m) : (index, index, index, index, index) -> f32
  %column = arith.cmpi ult, %n, %c20 : index
  %term = arith.cmpi ult, %k, %c7 : index
  %inside = arith.andi %column, %term : i1
  %padded = arith.select %inside, %value, %zero : f32
  return %padded : f32
}

func.func private @compare(%offsets: tensor<6xi32>, %rows: index) {
  %zero = arith.constant 0.0 : f32
  %x_init = tensor.empty(%rows) : tensor<?x7xf32>
  %x = linalg.generic {indexing_maps = [#x_map], iterator_types = ["parallel", "parallel"]} outs(%x_init : tensor<?x7xf32>) {
  ^bb0(%unused: f32):
    %r = linalg.index 0 : index
    %k = linalg.index 1 : index
    %value = func.call @x_at(%r, %k) : (index, index) -> f32
    linalg.yield %value : f32
  } -> tensor<?x7xf32>
  %x16_init = tensor.empty(%rows) : tensor<?x7xbf16>
  %x16 = linalg.generic {indexing_maps = [#x_map, #x_map], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x7xf32>) outs(%x16_init : tensor<?x7xbf16>) {
  ^bb0(%value: f32, %unused: bf16):
    %short = arith.truncf %value : f32 to bf16
    linalg.yield %short : bf16
  } -> tensor<?x7xbf16>

  // Expected: row r belongs to the expert whose range holds it; 100 where there is none.
  %init = tensor.empty(%rows) : tensor<?x20xf32>
  %zeros = linalg.fill ins(%zero : f32) outs(%init : tensor<?x20xf32>) -> tensor<?x20xf32>
  %want = linalg.generic {indexing_maps = [#x_map], iterator_types = ["parallel", "parallel"]} outs(%init : tensor<?x20xf32>) {
  ^bb0(%unused: f32):
    %r = linalg.index 0 : index
    %n = linalg.index 1 : index
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c5 = arith.constant 5 : index
    %c7 = arith.constant 7 : index
    %outside = arith.constant 100.0 : f32
    %r_i32 = arith.index_cast %r : index to i32
    %value = scf.for %e = %c0 to %c5 step %c1 iter_args(%found = %outside) -> (f32) {
      %next = arith.addi %e, %c1 : index
      %begin = tensor.extract %offsets[%e] : tensor<6xi32>
      %end = tensor.extract %offsets[%next] : tensor<6xi32>
      %after = arith.cmpi sge, %r_i32, %begin : i32
      %before = arith.cmpi slt, %r_i32, %end : i32
      %mine = arith.andi %after, %before : i1
      %sum = scf.for %k = %c0 to %c7 step %c1 iter_args(%acc = %zero) -> (f32) {
        %xv = func.call @x_at(%r, %k) : (index, index) -> f32
        %wv = func.call @w_at(%e, %n, %k) : (index, index, index) -> f32
        %product = arith.mulf %xv, %wv : f32
        %total = arith.addf %acc, %product : f32
        scf.yield %total : f32
      }
      %kept = arith.select %mine, %sum, %found : f32
      scf.yield %kept : f32
    }
    linalg.yield %value : f32
  } -> tensor<?x20xf32>
  // With the epilogue max(acc * acc2 + row, column), where acc2 = acc.
  %row_init = tensor.empty(%rows) : tensor<?xf32>
  %row = linalg.generic {indexing_maps = [affine_map<(r) -> (r)>], iterator_types = ["parallel"]} outs(%row_init : tensor<?xf32>) {
  ^bb0(%unused: f32):
    %r = linalg.index 0 : index
    %c3 = arith.constant 3 : index
    %value = func.call @x_at(%c3, %r) : (index, index) -> f32
    linalg.yield %value : f32
  } -> tensor<?xf32>
  %column_init = tensor.empty() : tensor<5x20xf32>
  %column = linalg.generic {indexing_maps = [#x_map], iterator_types = ["parallel", "parallel"]} outs(%column_init : tensor<5x20xf32>) {
  ^bb0(%unused: f32):
    %e = linalg.index 0 : index
    %n = linalg.index 1 : index
    %value = func.call @x_at(%n, %e) : (index, index) -> f32
    linalg.yield %value : f32
  } -> tensor<5x20xf32>
  %want_epilogue = linalg.generic {indexing_maps = [#x_map, affine_map<(r, n) -> (r)>, #x_map], iterator_types = ["parallel", "parallel"]}
      ins(%want, %row : tensor<?x20xf32>, tensor<?xf32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%acc: f32, %rv: f32, %unused: f32):
    %r = linalg.index 0 : index
    %n = linalg.index 1 : index
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c5 = arith.constant 5 : index
    %r_i32 = arith.index_cast %r : index to i32
    %outside = arith.constant 100.0 : f32
    %value = scf.for %e = %c0 to %c5 step %c1 iter_args(%found = %outside) -> (f32) {
      %next = arith.addi %e, %c1 : index
      %begin = tensor.extract %offsets[%e] : tensor<6xi32>
      %end = tensor.extract %offsets[%next] : tensor<6xi32>
      %after = arith.cmpi sge, %r_i32, %begin : i32
      %before = arith.cmpi slt, %r_i32, %end : i32
      %mine = arith.andi %after, %before : i1
      %cv = tensor.extract %column[%e, %n] : tensor<5x20xf32>
      %square = arith.mulf %acc, %acc : f32
      %shifted = arith.addf %square, %rv : f32
      %most = arith.maximumf %shifted, %cv : f32
      %kept = arith.select %mine, %most, %found : f32
      scf.yield %kept : f32
    }
    linalg.yield %value : f32
  } -> tensor<?x20xf32>

  %hundred = arith.constant 100.0 : f32
  %untouched = linalg.fill ins(%hundred : f32) outs(%init : tensor<?x20xf32>) -> tensor<?x20xf32>

  // Plain weights.
  %plain_init = tensor.empty() : tensor<5x20x7xf32>
  %plain = linalg.generic {indexing_maps = [affine_map<(e, n, k) -> (e, n, k)>], iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%plain_init : tensor<5x20x7xf32>) {
  ^bb0(%unused: f32):
    %e = linalg.index 0 : index
    %n = linalg.index 1 : index
    %k = linalg.index 2 : index
    %value = func.call @w_at(%e, %n, %k) : (index, index, index) -> f32
    linalg.yield %value : f32
  } -> tensor<5x20x7xf32>
  %got0 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%plain : tensor<5x20x7xf32>) groups(%offsets : tensor<6xi32>)
      outs(%untouched : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got0, %want : tensor<?x20xf32>, tensor<?x20xf32>

  // Panels of 16 columns, f32, with the epilogue on two accumulators.
  %panels_init = tensor.empty() : tensor<5x2x7x16xf32>
  %panels = linalg.generic {indexing_maps = [affine_map<(e, p, k, n) -> (e, p, k, n)>],
                            iterator_types = ["parallel", "parallel", "parallel", "parallel"]} outs(%panels_init : tensor<5x2x7x16xf32>) {
  ^bb0(%unused: f32):
    %c16 = arith.constant 16 : index
    %e = linalg.index 0 : index
    %p = linalg.index 1 : index
    %k = linalg.index 2 : index
    %lane = linalg.index 3 : index
    %first = arith.muli %p, %c16 : index
    %n = arith.addi %first, %lane : index
    %value = func.call @w_at(%e, %n, %k) : (index, index, index) -> f32
    linalg.yield %value : f32
  } -> tensor<5x2x7x16xf32>
  %got1 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%panels : tensor<5x2x7x16xf32>) groups(%offsets : tensor<6xi32>)
      outs(%untouched : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got1, %want : tensor<?x20xf32>, tensor<?x20xf32>
  %got2 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%panels, %panels : tensor<5x2x7x16xf32>, tensor<5x2x7x16xf32>)
      groups(%offsets : tensor<6xi32>) row_scalars(%row : tensor<?xf32>) column_scalars(%column : tensor<5x20xf32>)
      outs(%untouched : tensor<?x20xf32>) {
  ^bb0(%acc: f32, %acc2: f32, %rv: f32, %cv: f32):
    %square = arith.mulf %acc, %acc2 : f32
    %shifted = arith.addf %square, %rv : f32
    %most = arith.maximumf %shifted, %cv : f32
    moe.yield %most : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got2, %want_epilogue : tensor<?x20xf32>, tensor<?x20xf32>

  // Panels of pairs along k, bf16; the eighth term is padding. Rows bf16 as well.
  %pairs_init = tensor.empty() : tensor<5x2x4x16x2xbf16>
  %pairs = linalg.generic {indexing_maps = [affine_map<(e, p, k, n, i) -> (e, p, k, n, i)>],
                           iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} outs(%pairs_init : tensor<5x2x4x16x2xbf16>) {
  ^bb0(%unused: bf16):
    %c16 = arith.constant 16 : index
    %c2 = arith.constant 2 : index
    %e = linalg.index 0 : index
    %p = linalg.index 1 : index
    %pair = linalg.index 2 : index
    %lane = linalg.index 3 : index
    %i = linalg.index 4 : index
    %first = arith.muli %p, %c16 : index
    %n = arith.addi %first, %lane : index
    %even = arith.muli %pair, %c2 : index
    %k = arith.addi %even, %i : index
    %value = func.call @w_at(%e, %n, %k) : (index, index, index) -> f32
    %short = arith.truncf %value : f32 to bf16
    linalg.yield %short : bf16
  } -> tensor<5x2x4x16x2xbf16>
  %got3 = moe.grouped_matmul rows(%x16 : tensor<?x7xbf16>) weights(%pairs : tensor<5x2x4x16x2xbf16>) groups(%offsets : tensor<6xi32>)
      outs(%untouched : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got3, %want : tensor<?x20xf32>, tensor<?x20xf32>

  // Gathered rows: choice r * 2 + 1 with fanout 2 is row r again; -1 is a row of zeros.
  %choices_init = tensor.empty(%rows) : tensor<?xi32>
  %choices = linalg.generic {indexing_maps = [affine_map<(r) -> (r)>], iterator_types = ["parallel"]} outs(%choices_init : tensor<?xi32>) {
  ^bb0(%unused: i32):
    %r = linalg.index 0 : index
    %c2 = arith.constant 2 : index
    %c1 = arith.constant 1 : index
    %even = arith.muli %r, %c2 : index
    %odd = arith.addi %even, %c1 : index
    %choice = arith.index_cast %odd : index to i32
    linalg.yield %choice : i32
  } -> tensor<?xi32>
  %got4 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%panels : tensor<5x2x7x16xf32>) groups(%offsets : tensor<6xi32>)
      choices(%choices : tensor<?xi32>) outs(%untouched : tensor<?x20xf32>) attributes {fanout = 2 : i64} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got4, %want : tensor<?x20xf32>, tensor<?x20xf32>
  %none = arith.constant -1 : i32
  %no_choices = linalg.fill ins(%none : i32) outs(%choices_init : tensor<?xi32>) -> tensor<?xi32>
  %got5 = moe.grouped_matmul rows(%x : tensor<?x7xf32>) weights(%panels : tensor<5x2x7x16xf32>) groups(%offsets : tensor<6xi32>)
      choices(%no_choices : tensor<?xi32>) outs(%zeros : tensor<?x20xf32>) attributes {fanout = 2 : i64} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got5, %zeros : tensor<?x20xf32>, tensor<?x20xf32>
  return
}

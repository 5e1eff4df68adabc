// RUN: moe-opt %s %lower-reference | %run | FileCheck %s

// The meaning of quantised weights, plain and packed: that of the f32 weights decoded here in other words.

#x_map = affine_map<(r, k) -> (r, k)>
#w_map = affine_map<(e, n, k) -> (e, n, k)>
#p_map = affine_map<(e, p, s, c, t) -> (e, p, s, c, t)>
#s_map = affine_map<(e, p, g, c) -> (e, p, g, c)>

// CHECK-COUNT-4: 10 checks passed
func.func @main() {
  %ragged = arith.constant dense<[0, 1, 1, 7, 14, 19]> : tensor<6xi32>
  %one = arith.constant dense<[0, 0, 0, 23, 23, 23]> : tensor<6xi32>
  %none = arith.constant dense<0> : tensor<6xi32>
  %large = arith.constant dense<[0, 15, 31, 48, 48, 97]> : tensor<6xi32>
  %c0 = arith.constant 0 : index
  %c19 = arith.constant 19 : index
  %c23 = arith.constant 23 : index
  %c97 = arith.constant 97 : index
  call @compare(%ragged, %c19) : (tensor<6xi32>, index) -> ()
  call @compare(%one, %c23) : (tensor<6xi32>, index) -> ()
  call @compare(%none, %c0) : (tensor<6xi32>, index) -> ()
  call @compare(%large, %c97) : (tensor<6xi32>, index) -> ()
  return
}

// A byte that differs from its neighbours' in all bits.
func.func private @byte(%i: index, %j: index, %k: index) -> i8 {
  %a = arith.constant 1103515245 : i32
  %b = arith.constant 12345 : i32
  %c = arith.constant 747796405 : i32
  %c13 = arith.constant 13 : i32
  %i32 = arith.index_cast %i : index to i32
  %j32 = arith.index_cast %j : index to i32
  %k32 = arith.index_cast %k : index to i32
  %0 = arith.muli %i32, %a : i32
  %1 = arith.addi %0, %j32 : i32
  %2 = arith.muli %1, %c : i32
  %3 = arith.addi %2, %b : i32
  %4 = arith.xori %3, %k32 : i32
  %5 = arith.muli %4, %a : i32
  %6 = arith.shrui %5, %c13 : i32
  %7 = arith.trunci %6 : i32 to i8
  return %7 : i8
}

// Weights of columns that do not exist, and k that do not, are zero.
func.func private @w_at(%e: index, %n: index, %k: index) -> i8 {
  %c20 = arith.constant 20 : index
  %c39 = arith.constant 39 : index
  %c3 = arith.constant 3 : index
  %zero = arith.constant 0 : i8
  %e3 = arith.addi %e, %c3 : index
  %v = call @byte(%e3, %n, %k) : (index, index, index) -> i8
  %column = arith.cmpi ult, %n, %c20 : index
  %term = arith.cmpi ult, %k, %c39 : index
  %inside = arith.andi %column, %term : i1
  %w = arith.select %inside, %v, %zero : i8
  return %w : i8
}

// Code k of column n, from the bytes of its row.
func.func private @code_at(%e: index, %n: index, %k: index) -> i32 {
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : i32
  %c15 = arith.constant 15 : i32
  %pair = arith.divui %k, %c2 : index
  %half = arith.remui %k, %c2 : index
  %byte = call @byte(%e, %n, %pair) : (index, index, index) -> i8
  %wide = arith.extui %byte : i8 to i32
  %half32 = arith.index_cast %half : index to i32
  %shift = arith.muli %half32, %c4 : i32
  %shifted = arith.shrui %wide, %shift : i32
  %code = arith.andi %shifted, %c15 : i32
  return %code : i32
}

// A bf16 with eight significant bits, and the exponent of a power of two (0 and 8 .. 250).
func.func private @scale_at(%e: index, %n: index, %g: index) -> bf16 {
  %c256 = arith.constant 256.0 : f32
  %byte = call @byte(%n, %e, %g) : (index, index, index) -> i8
  %value = arith.sitofp %byte : i8 to f32
  %small = arith.divf %value, %c256 : f32
  %scale = arith.truncf %small : f32 to bf16
  return %scale : bf16
}
func.func private @exponent_at(%e: index, %n: index, %g: index) -> i8 {
  %c0 = arith.constant 0 : index
  %c5 = arith.constant 5 : index
  %c10 = arith.constant 10 : index
  %c120 = arith.constant 120 : index
  %sum = arith.addi %e, %n : index
  %all = arith.addi %sum, %g : index
  %rest = arith.remui %all, %c10 : index
  %value = arith.addi %rest, %c120 : index
  %least = arith.cmpi eq, %rest, %c5 : index
  %chosen = arith.select %least, %c0, %value : index
  %scale = arith.index_cast %chosen : index to i8
  return %scale : i8
}

// The numbers that codes stand for, in other words than the compiler's.
func.func private @int4(%code: i32) -> f32 {
  %c8 = arith.constant 8 : i32
  %flipped = arith.xori %code, %c8 : i32
  %signed = arith.subi %flipped, %c8 : i32
  %value = arith.sitofp %signed : i32 to f32
  return %value : f32
}
func.func private @e2m1(%code: i32) -> f32 {
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %c2 = arith.constant 2 : i32
  %c3 = arith.constant 3 : i32
  %c8 = arith.constant 8 : i32
  %half = arith.constant 0.5 : f32
  %mantissa = arith.andi %code, %c1 : i32
  %shifted = arith.shrui %code, %c1 : i32
  %exponent = arith.andi %shifted, %c3 : i32
  %significand = arith.addi %mantissa, %c2 : i32
  %less = arith.subi %exponent, %c1 : i32
  %bounded = arith.maxsi %less, %c0 : i32
  %normal = arith.shli %significand, %bounded : i32
  %is_small = arith.cmpi eq, %exponent, %c0 : i32
  %halves = arith.select %is_small, %mantissa, %normal : i32
  %number = arith.sitofp %halves : i32 to f32
  %value = arith.mulf %number, %half : f32
  %minus = arith.negf %value : f32
  %negative = arith.cmpi uge, %code, %c8 : i32
  %result = arith.select %negative, %minus, %value : f32
  return %result : f32
}
func.func private @power(%exponent: i8) -> f32 {
  %c0 = arith.constant 0 : i32
  %c23 = arith.constant 23 : i32
  %least = arith.constant 5.8774717541114375e-39 : f32
  %wide = arith.extui %exponent : i8 to i32
  %bits = arith.shli %wide, %c23 : i32
  %value = arith.bitcast %bits : i32 to f32
  %none = arith.cmpi eq, %wide, %c0 : i32
  %result = arith.select %none, %least, %value : f32
  return %result : f32
}

func.func private @compare(%offsets: tensor<6xi32>, %rows: index) {
  %zero = arith.constant 0.0 : f32
  %outside = arith.constant 100.0 : f32
  // Rows: bytes, and the same as numbers.
  %i_init = tensor.empty(%rows) : tensor<?x39xi8>
  %xi = linalg.generic {indexing_maps = [#x_map], iterator_types = ["parallel", "parallel"]} outs(%i_init : tensor<?x39xi8>) {
  ^bb0(%unused: i8):
    %r = linalg.index 0 : index
    %k = linalg.index 1 : index
    %c7 = arith.constant 7 : index
    %v = func.call @byte(%c7, %r, %k) : (index, index, index) -> i8
    linalg.yield %v : i8
  } -> tensor<?x39xi8>
  %if_init = tensor.empty(%rows) : tensor<?x39xf32>
  %xif = linalg.generic {indexing_maps = [#x_map, #x_map], iterator_types = ["parallel", "parallel"]}
      ins(%xi : tensor<?x39xi8>) outs(%if_init : tensor<?x39xf32>) {
  ^bb0(%in: i8, %unused: f32):
    %v = arith.sitofp %in : i8 to f32
    linalg.yield %v : f32
  } -> tensor<?x39xf32>
  %x_init = tensor.empty(%rows) : tensor<?x64xf32>
  %x = linalg.generic {indexing_maps = [#x_map], iterator_types = ["parallel", "parallel"]} outs(%x_init : tensor<?x64xf32>) {
  ^bb0(%unused: f32):
    %r = linalg.index 0 : index
    %k = linalg.index 1 : index
    %c9 = arith.constant 9 : index
    %b = func.call @byte(%c9, %r, %k) : (index, index, index) -> i8
    %c64 = arith.constant 64.0 : f32
    %f = arith.sitofp %b : i8 to f32
    %v = arith.divf %f, %c64 : f32
    linalg.yield %v : f32
  } -> tensor<?x64xf32>
  %x16_init = tensor.empty(%rows) : tensor<?x64xbf16>
  %x16 = linalg.generic {indexing_maps = [#x_map, #x_map], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xf32>) outs(%x16_init : tensor<?x64xbf16>) {
  ^bb0(%in: f32, %unused: bf16):
    %v = arith.truncf %in : f32 to bf16
    linalg.yield %v : bf16
  } -> tensor<?x64xbf16>

  %wi_init = tensor.empty() : tensor<5x20x39xi8>
  %wi = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%wi_init : tensor<5x20x39xi8>) {
  ^bb0(%unused: i8):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %v = func.call @w_at(%i0, %i1, %i2) : (index, index, index) -> i8
    linalg.yield %v : i8
  } -> tensor<5x20x39xi8>
  %wif_init = tensor.empty() : tensor<5x20x39xf32>
  %wif = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%wif_init : tensor<5x20x39xf32>) {
  ^bb0(%unused: f32):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %b = func.call @w_at(%i0, %i1, %i2) : (index, index, index) -> i8
    %v = arith.sitofp %b : i8 to f32
    linalg.yield %v : f32
  } -> tensor<5x20x39xf32>
  %wq_init = tensor.empty() : tensor<5x2x10x16x4xi8>
  %wq = linalg.generic {indexing_maps = [#p_map], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} outs(%wq_init : tensor<5x2x10x16x4xi8>) {
  ^bb0(%unused: i8):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %i3 = linalg.index 3 : index
    %i4 = linalg.index 4 : index
    %c16 = arith.constant 16 : index
    %c4 = arith.constant 4 : index
    %p16 = arith.muli %i1, %c16 : index
    %n = arith.addi %p16, %i3 : index
    %s4 = arith.muli %i2, %c4 : index
    %k = arith.addi %s4, %i4 : index
    %v = func.call @w_at(%i0, %n, %k) : (index, index, index) -> i8
    linalg.yield %v : i8
  } -> tensor<5x2x10x16x4xi8>
  %codes_init = tensor.empty() : tensor<5x20x32xi8>
  %codes = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%codes_init : tensor<5x20x32xi8>) {
  ^bb0(%unused: i8):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %v = func.call @byte(%i0, %i1, %i2) : (index, index, index) -> i8
    linalg.yield %v : i8
  } -> tensor<5x20x32xi8>
  %packed_init = tensor.empty() : tensor<5x2x8x16x4xi8>
  %packed = linalg.generic {indexing_maps = [#p_map], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} outs(%packed_init : tensor<5x2x8x16x4xi8>) {
  ^bb0(%unused: i8):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %i3 = linalg.index 3 : index
    %i4 = linalg.index 4 : index
    %c16 = arith.constant 16 : index
    %c8 = arith.constant 8 : index
    %c4 = arith.constant 4 : index
    %c2 = arith.constant 2 : index
    %p16 = arith.muli %i1, %c16 : index
    %n = arith.addi %p16, %i3 : index
    %s8 = arith.muli %i2, %c8 : index
    %odd = arith.divui %i4, %c2 : index
    %later = arith.remui %i4, %c2 : index
    %four = arith.muli %later, %c4 : index
    %first = arith.addi %s8, %odd : index
    %k0 = arith.addi %first, %four : index
    %k1 = arith.addi %k0, %c2 : index
    %low = func.call @code_at(%i0, %n, %k0) : (index, index, index) -> i32
    %high = func.call @code_at(%i0, %n, %k1) : (index, index, index) -> i32
    %sixteen = arith.constant 16 : i32
    %up = arith.muli %high, %sixteen : i32
    %both = arith.addi %up, %low : i32
    %v = arith.trunci %both : i32 to i8
    linalg.yield %v : i8
  } -> tensor<5x2x8x16x4xi8>
  %scale_init = tensor.empty() : tensor<5x20x2xbf16>
  %scale = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%scale_init : tensor<5x20x2xbf16>) {
  ^bb0(%unused: bf16):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %v = func.call @scale_at(%i0, %i1, %i2) : (index, index, index) -> bf16
    linalg.yield %v : bf16
  } -> tensor<5x20x2xbf16>
  %scale_packed_init = tensor.empty() : tensor<5x2x2x16xbf16>
  %scale_packed = linalg.generic {indexing_maps = [#s_map], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} outs(%scale_packed_init : tensor<5x2x2x16xbf16>) {
  ^bb0(%unused: bf16):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %i3 = linalg.index 3 : index
    %c16 = arith.constant 16 : index
    %p16 = arith.muli %i1, %c16 : index
    %n = arith.addi %p16, %i3 : index
    %v = func.call @scale_at(%i0, %n, %i2) : (index, index, index) -> bf16
    linalg.yield %v : bf16
  } -> tensor<5x2x2x16xbf16>
  %exponent_init = tensor.empty() : tensor<5x20x2xi8>
  %exponent = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%exponent_init : tensor<5x20x2xi8>) {
  ^bb0(%unused: i8):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %v = func.call @exponent_at(%i0, %i1, %i2) : (index, index, index) -> i8
    linalg.yield %v : i8
  } -> tensor<5x20x2xi8>
  %exponent_packed_init = tensor.empty() : tensor<5x2x2x16xi8>
  %exponent_packed = linalg.generic {indexing_maps = [#s_map], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} outs(%exponent_packed_init : tensor<5x2x2x16xi8>) {
  ^bb0(%unused: i8):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %i3 = linalg.index 3 : index
    %c16 = arith.constant 16 : index
    %p16 = arith.muli %i1, %c16 : index
    %n = arith.addi %p16, %i3 : index
    %v = func.call @exponent_at(%i0, %n, %i2) : (index, index, index) -> i8
    linalg.yield %v : i8
  } -> tensor<5x2x2x16xi8>
  %int4_init = tensor.empty() : tensor<5x20x64xf32>
  %int4 = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%int4_init : tensor<5x20x64xf32>) {
  ^bb0(%unused: f32):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %c32 = arith.constant 32 : index
    %g = arith.divui %i2, %c32 : index
    %code = func.call @code_at(%i0, %i1, %i2) : (index, index, index) -> i32
    %number = func.call @int4(%code) : (i32) -> f32
    %sb = func.call @scale_at(%i0, %i1, %g) : (index, index, index) -> bf16
    %s = arith.extf %sb : bf16 to f32
    %v = arith.mulf %number, %s : f32
    linalg.yield %v : f32
  } -> tensor<5x20x64xf32>
  %mxfp4_init = tensor.empty() : tensor<5x20x64xf32>
  %mxfp4 = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%mxfp4_init : tensor<5x20x64xf32>) {
  ^bb0(%unused: f32):
    %i0 = linalg.index 0 : index
    %i1 = linalg.index 1 : index
    %i2 = linalg.index 2 : index
    %c32 = arith.constant 32 : index
    %g = arith.divui %i2, %c32 : index
    %code = func.call @code_at(%i0, %i1, %i2) : (index, index, index) -> i32
    %number = func.call @e2m1(%code) : (i32) -> f32
    %sb = func.call @exponent_at(%i0, %i1, %g) : (index, index, index) -> i8
    %s = func.call @power(%sb) : (i8) -> f32
    %v = arith.mulf %number, %s : f32
    linalg.yield %v : f32
  } -> tensor<5x20x64xf32>

  %init = tensor.empty(%rows) : tensor<?x20xf32>
  %out = linalg.fill ins(%outside : f32) outs(%init : tensor<?x20xf32>) -> tensor<?x20xf32>
  %want_i = moe.grouped_matmul rows(%xif : tensor<?x39xf32>) weights(%wif : tensor<5x20x39xf32>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  %got_wi = moe.grouped_matmul rows(%xi : tensor<?x39xi8>) weights(%wi : tensor<5x20x39xi8>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) {
  ^bb0(%a0: i32):
    %f0 = arith.sitofp %a0 : i32 to f32
    moe.yield %f0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got_wi, %want_i : tensor<?x20xf32>, tensor<?x20xf32>
  %got_wq = moe.grouped_matmul rows(%xi : tensor<?x39xi8>) weights(%wq : tensor<5x2x10x16x4xi8>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) {
  ^bb0(%a0: i32):
    %f0 = arith.sitofp %a0 : i32 to f32
    moe.yield %f0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %got_wq, %want_i : tensor<?x20xf32>, tensor<?x20xf32>
  %want_int4 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%int4 : tensor<5x20x64xf32>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  %plain_int4_x = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%codes : tensor<5x20x32xi8>)
      scales(%scale : tensor<5x20x2xbf16>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %plain_int4_x, %want_int4 : tensor<?x20xf32>, tensor<?x20xf32>
  %packed_int4_x = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%packed : tensor<5x2x8x16x4xi8>)
      scales(%scale_packed : tensor<5x2x2x16xbf16>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %packed_int4_x, %want_int4 : tensor<?x20xf32>, tensor<?x20xf32>
  %plain_int4_x16 = moe.grouped_matmul rows(%x16 : tensor<?x64xbf16>) weights(%codes : tensor<5x20x32xi8>)
      scales(%scale : tensor<5x20x2xbf16>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %plain_int4_x16, %want_int4 : tensor<?x20xf32>, tensor<?x20xf32>
  %packed_int4_x16 = moe.grouped_matmul rows(%x16 : tensor<?x64xbf16>) weights(%packed : tensor<5x2x8x16x4xi8>)
      scales(%scale_packed : tensor<5x2x2x16xbf16>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %packed_int4_x16, %want_int4 : tensor<?x20xf32>, tensor<?x20xf32>
  %want_mxfp4 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%mxfp4 : tensor<5x20x64xf32>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  %plain_mxfp4_x = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%codes : tensor<5x20x32xi8>)
      scales(%exponent : tensor<5x20x2xi8>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "mxfp4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %plain_mxfp4_x, %want_mxfp4 : tensor<?x20xf32>, tensor<?x20xf32>
  %packed_mxfp4_x = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%packed : tensor<5x2x8x16x4xi8>)
      scales(%exponent_packed : tensor<5x2x2x16xi8>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "mxfp4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %packed_mxfp4_x, %want_mxfp4 : tensor<?x20xf32>, tensor<?x20xf32>
  %plain_mxfp4_x16 = moe.grouped_matmul rows(%x16 : tensor<?x64xbf16>) weights(%codes : tensor<5x20x32xi8>)
      scales(%exponent : tensor<5x20x2xi8>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "mxfp4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %plain_mxfp4_x16, %want_mxfp4 : tensor<?x20xf32>, tensor<?x20xf32>
  %packed_mxfp4_x16 = moe.grouped_matmul rows(%x16 : tensor<?x64xbf16>) weights(%packed : tensor<5x2x8x16x4xi8>)
      scales(%exponent_packed : tensor<5x2x2x16xi8>) groups(%offsets : tensor<6xi32>)
      outs(%out : tensor<?x20xf32>) attributes {format = "mxfp4"} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  check.expect_eq %packed_mxfp4_x16, %want_mxfp4 : tensor<?x20xf32>, tensor<?x20xf32>

  return
}

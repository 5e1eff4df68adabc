// RUN: moe-opt %s --moe-pack-codes | FileCheck %s --check-prefix=PACKED
// RUN: moe-opt %s --moe-pack-codes %lower-reference | %run | FileCheck %s

// Codes packed for tensor cores mean what they meant before. Weights that come as arguments stay as they are.

// PACKED-LABEL: func.func @main
// PACKED: weights(%{{.*}} : tensor<3x2x2x256xi8>) scales(%{{.*}} : tensor<3x2x2x16xbf16>)
// PACKED: weights(%{{.*}} : tensor<3x2x2x256xi8>) scales(%{{.*}} : tensor<3x2x2x16xbf16>)
// PACKED: weights(%{{.*}} : tensor<3x2x2x256xi8>) scales(%{{.*}} : tensor<3x2x1x16xf32>)
// PACKED-LABEL: func.func private @int4
// PACKED: weights(%{{.*}} : tensor<3x32x32xi8>) scales(%{{.*}} : tensor<3x32x2xbf16>)
// PACKED-LABEL: func.func private @mxfp4
// PACKED: weights(%{{.*}} : tensor<3x32x32xi8>) scales(%{{.*}} : tensor<3x32x2xi8>)
// PACKED-LABEL: func.func private @fp8
// PACKED: weights(%{{.*}} : tensor<3x32x24xi8>) scales(%{{.*}} : tensor<3x32x1xf32>)

#w_map = affine_map<(e, n, k) -> (e, n, k)>

// CHECK: 3 checks passed
func.func @main() {
  %a = arith.constant 1103515245 : i32
  %c = arith.constant 747796405 : i32
  %c13 = arith.constant 13 : i32
  %x_init = tensor.empty() : tensor<4x64xbf16>
  %x = linalg.generic {indexing_maps = [affine_map<(r, k) -> (r, k)>], iterator_types = ["parallel", "parallel"]} outs(%x_init : tensor<4x64xbf16>) {
  ^bb0(%unused: bf16):
    %r = linalg.index 0 : index
    %k = linalg.index 1 : index
    %r32 = arith.index_cast %r : index to i32
    %k32 = arith.index_cast %k : index to i32
    %0 = arith.muli %r32, %a : i32
    %1 = arith.addi %0, %k32 : i32
    %2 = arith.muli %1, %c : i32
    %3 = arith.shrui %2, %c13 : i32
    %4 = arith.trunci %3 : i32 to i8
    %5 = arith.sitofp %4 : i8 to f32
    %half = arith.constant 0.5 : f32
    %6 = arith.mulf %5, %half : f32
    %v = arith.truncf %6 : f32 to bf16
    linalg.yield %v : bf16
  } -> tensor<4x64xbf16>
  // Bytes that differ from their neighbours' in all bits.
  %codes_init = tensor.empty() : tensor<3x32x32xi8>
  %codes = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%codes_init : tensor<3x32x32xi8>) {
  ^bb0(%unused: i8):
    %e = linalg.index 0 : index
    %n = linalg.index 1 : index
    %k = linalg.index 2 : index
    %e32 = arith.index_cast %e : index to i32
    %n32 = arith.index_cast %n : index to i32
    %k32 = arith.index_cast %k : index to i32
    %0 = arith.muli %e32, %a : i32
    %1 = arith.addi %0, %n32 : i32
    %2 = arith.muli %1, %c : i32
    %3 = arith.xori %2, %k32 : i32
    %4 = arith.muli %3, %a : i32
    %5 = arith.shrui %4, %c13 : i32
    %v = arith.trunci %5 : i32 to i8
    linalg.yield %v : i8
  } -> tensor<3x32x32xi8>
  // Exponents from 0, which is 2^-127, on, and others near 127; and floats that are all different.
  %exponents_init = tensor.empty() : tensor<3x32x2xi8>
  %exponents = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%exponents_init : tensor<3x32x2xi8>) {
  ^bb0(%unused: i8):
    %n = linalg.index 1 : index
    %g = linalg.index 2 : index
    %c120 = arith.constant 120 : index
    %sum = arith.addi %n, %g : index
    %c7 = arith.constant 7 : index
    %rest = arith.remui %sum, %c7 : index
    %some = arith.addi %rest, %c120 : index
    %zero = arith.constant 0 : index
    %is = arith.cmpi eq, %n, %c7 : index
    %chosen = arith.select %is, %zero, %some : index
    %v = arith.index_cast %chosen : index to i8
    linalg.yield %v : i8
  } -> tensor<3x32x2xi8>
  %scales_init = tensor.empty() : tensor<3x32x2xbf16>
  %scales = linalg.generic {indexing_maps = [#w_map], iterator_types = ["parallel", "parallel", "parallel"]} outs(%scales_init : tensor<3x32x2xbf16>) {
  ^bb0(%unused: bf16):
    %e = linalg.index 0 : index
    %n = linalg.index 1 : index
    %g = linalg.index 2 : index
    %c3 = arith.constant 3 : index
    %c32 = arith.constant 32 : index
    %0 = arith.muli %g, %c3 : index
    %1 = arith.addi %0, %e : index
    %2 = arith.muli %1, %c32 : index
    %3 = arith.addi %2, %n : index
    %4 = arith.index_cast %3 : index to i32
    %5 = arith.sitofp %4 : i32 to f32
    %half = arith.constant 0.5 : f32
    %6 = arith.mulf %5, %half : f32
    %v = arith.truncf %6 : f32 to bf16
    linalg.yield %v : bf16
  } -> tensor<3x32x2xbf16>
  %offsets = arith.constant dense<[0, 1, 1, 4]> : tensor<4xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<4x32xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<4x32xf32>) -> tensor<4x32xf32>

  %int4 = moe.grouped_matmul rows(%x : tensor<4x64xbf16>) weights(%codes : tensor<3x32x32xi8>) scales(%scales : tensor<3x32x2xbf16>)
      groups(%offsets : tensor<4xi32>) outs(%init : tensor<4x32xf32>) attributes {format = "int4"} {
  ^bb0(%sum: f32):
    moe.yield %sum : f32
  } -> tensor<4x32xf32>
  %want_int4 = call @int4(%x, %codes, %scales, %offsets, %init)
      : (tensor<4x64xbf16>, tensor<3x32x32xi8>, tensor<3x32x2xbf16>, tensor<4xi32>, tensor<4x32xf32>) -> tensor<4x32xf32>
  check.expect_eq %int4, %want_int4 : tensor<4x32xf32>, tensor<4x32xf32>
  %mxfp4 = moe.grouped_matmul rows(%x : tensor<4x64xbf16>) weights(%codes : tensor<3x32x32xi8>) scales(%exponents : tensor<3x32x2xi8>)
      groups(%offsets : tensor<4xi32>) outs(%init : tensor<4x32xf32>) attributes {format = "mxfp4"} {
  ^bb0(%sum: f32):
    moe.yield %sum : f32
  } -> tensor<4x32xf32>
  %want_mxfp4 = call @mxfp4(%x, %codes, %exponents, %offsets, %init)
      : (tensor<4x64xbf16>, tensor<3x32x32xi8>, tensor<3x32x2xi8>, tensor<4xi32>, tensor<4x32xf32>) -> tensor<4x32xf32>
  check.expect_eq %mxfp4, %want_mxfp4 : tensor<4x32xf32>, tensor<4x32xf32>

  // The last of 32 k are none.
  %x24 = tensor.extract_slice %x[0, 0] [4, 24] [1, 1] : tensor<4x64xbf16> to tensor<4x24xbf16>
  %codes24 = tensor.extract_slice %codes[0, 0, 0] [3, 32, 24] [1, 1, 1] : tensor<3x32x32xi8> to tensor<3x32x24xi8>
  %scales1 = tensor.extract_slice %scales[0, 0, 1] [3, 32, 1] [1, 1, 1] : tensor<3x32x2xbf16> to tensor<3x32x1xbf16>
  %scales32_init = tensor.empty() : tensor<3x32x1xf32>
  %scales32 = linalg.generic {indexing_maps = [#w_map, #w_map], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%scales1 : tensor<3x32x1xbf16>) outs(%scales32_init : tensor<3x32x1xf32>) {
  ^bb0(%s: bf16, %unused: f32):
    %v = arith.extf %s : bf16 to f32
    linalg.yield %v : f32
  } -> tensor<3x32x1xf32>
  %fp8 = moe.grouped_matmul rows(%x24 : tensor<4x24xbf16>) weights(%codes24 : tensor<3x32x24xi8>) scales(%scales32 : tensor<3x32x1xf32>)
      groups(%offsets : tensor<4xi32>) outs(%init : tensor<4x32xf32>) attributes {format = "fp8"} {
  ^bb0(%sum: f32):
    moe.yield %sum : f32
  } -> tensor<4x32xf32>
  %want_fp8 = call @fp8(%x24, %codes24, %scales32, %offsets, %init)
      : (tensor<4x24xbf16>, tensor<3x32x24xi8>, tensor<3x32x1xf32>, tensor<4xi32>, tensor<4x32xf32>) -> tensor<4x32xf32>
  check.expect_eq %fp8, %want_fp8 : tensor<4x32xf32>, tensor<4x32xf32>
  return
}

func.func private @int4(%x: tensor<4x64xbf16>, %codes: tensor<3x32x32xi8>, %scales: tensor<3x32x2xbf16>, %offsets: tensor<4xi32>,
                        %init: tensor<4x32xf32>) -> tensor<4x32xf32> attributes {no_inline} {
  %y = moe.grouped_matmul rows(%x : tensor<4x64xbf16>) weights(%codes : tensor<3x32x32xi8>) scales(%scales : tensor<3x32x2xbf16>)
      groups(%offsets : tensor<4xi32>) outs(%init : tensor<4x32xf32>) attributes {format = "int4"} {
  ^bb0(%sum: f32):
    moe.yield %sum : f32
  } -> tensor<4x32xf32>
  return %y : tensor<4x32xf32>
}
func.func private @mxfp4(%x: tensor<4x64xbf16>, %codes: tensor<3x32x32xi8>, %exponents: tensor<3x32x2xi8>, %offsets: tensor<4xi32>,
                         %init: tensor<4x32xf32>) -> tensor<4x32xf32> attributes {no_inline} {
  %y = moe.grouped_matmul rows(%x : tensor<4x64xbf16>) weights(%codes : tensor<3x32x32xi8>) scales(%exponents : tensor<3x32x2xi8>)
      groups(%offsets : tensor<4xi32>) outs(%init : tensor<4x32xf32>) attributes {format = "mxfp4"} {
  ^bb0(%sum: f32):
    moe.yield %sum : f32
  } -> tensor<4x32xf32>
  return %y : tensor<4x32xf32>
}
func.func private @fp8(%x: tensor<4x24xbf16>, %codes: tensor<3x32x24xi8>, %scales: tensor<3x32x1xf32>, %offsets: tensor<4xi32>,
                       %init: tensor<4x32xf32>) -> tensor<4x32xf32> attributes {no_inline} {
  %y = moe.grouped_matmul rows(%x : tensor<4x24xbf16>) weights(%codes : tensor<3x32x24xi8>) scales(%scales : tensor<3x32x1xf32>)
      groups(%offsets : tensor<4xi32>) outs(%init : tensor<4x32xf32>) attributes {format = "fp8"} {
  ^bb0(%sum: f32):
    moe.yield %sum : f32
  } -> tensor<4x32xf32>
  return %y : tensor<4x32xf32>
}

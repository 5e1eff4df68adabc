// RUN: moe-opt %s --moe-keep-codes | FileCheck %s
// RUN: moe-opt %s --moe-keep-codes --moe-pack-weights | FileCheck %s --check-prefix=PACKED

#each = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#blocks = affine_map<(d0, d1, d2) -> (d0, d1 floordiv 128, d2 floordiv 128)>
#each2 = affine_map<(d0, d1) -> (d0, d1)>
#blocks2 = affine_map<(d0, d1) -> (d0 floordiv 128, d1 floordiv 128)>
#other = affine_map<(d0, d1, d2) -> (d0, d1 floordiv 64, d2 floordiv 128)>

// The bits of the codes, and for each row the scales of its blocks; NaN for a group with the code of NaN.
// CHECK-DAG: #[[$ROWS:.*]] = affine_map<(d0, d1, d2) -> (d0, d1 floordiv 128, d2)>
// CHECK-LABEL: @experts
// CHECK-SAME: %[[X:.*]]: tensor<?x200xbf16>
// CHECK-DAG: %[[CODES:.*]] = ml_program.global_load_const @codes
// CHECK-DAG: %[[SCALES:.*]] = ml_program.global_load_const @scales
// CHECK: %[[BITS:.*]] = linalg.generic {{.*}} ins(%[[CODES]] : tensor<3x144x200xf8E4M3FN>)
// CHECK: arith.bitcast %{{.*}} : f8E4M3FN to i8
// CHECK: %[[GROUPS:.*]] = linalg.pack %[[BITS]] {{.*}} inner_dims_pos = [2] inner_tiles = [128] {{.*}} -> tensor<3x144x2x128xi8>
// CHECK: %[[MOST:.*]] = linalg.generic {{.*}} ins(%[[GROUPS]] : {{.*}}) outs(%{{.*}} : tensor<3x144x2xi8>)
// CHECK: %[[PERROW:.*]] = linalg.generic {indexing_maps = [#[[$ROWS]], {{.*}} ins(%[[SCALES]], %[[MOST]] : tensor<3x2x2xf32>, tensor<3x144x2xi8>)
// CHECK: arith.select
// CHECK: moe.grouped_matmul rows(%[[X]] : tensor<?x200xbf16>) weights(%[[BITS]] : tensor<3x144x200xi8>)
// CHECK-SAME: scales(%[[PERROW]] : tensor<3x144x2xf32>)
// CHECK-SAME: format = "fp8"
// PACKED-LABEL: @experts
// PACKED: linalg.transpose {{.*}} permutation = [0, 1, 2, 3, 5, 4]
// PACKED: moe.grouped_matmul rows(%{{.*}}) weights(%{{.*}} : tensor<3x9x50x16x4xi8>) scales(%{{.*}} : tensor<3x9x2x16xf32>)
func.func @experts(%x: tensor<?x200xbf16>, %offsets: tensor<4xi32>, %init: tensor<?x144xf32>) -> tensor<?x144xf32> {
  %codes = ml_program.global_load_const @codes : tensor<3x144x200xf8E4M3FN>
  %scales = ml_program.global_load_const @scales : tensor<3x2x2xf32>
  %empty = tensor.empty() : tensor<3x144x200xf32>
  %w = linalg.generic {indexing_maps = [#each, #blocks, #each], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%codes, %scales : tensor<3x144x200xf8E4M3FN>, tensor<3x2x2xf32>) outs(%empty : tensor<3x144x200xf32>) {
  ^bb0(%c: f8E4M3FN, %s: f32, %o: f32):
    %wide = arith.extf %c : f8E4M3FN to f32
    %v = arith.mulf %wide, %s : f32
    linalg.yield %v : f32
  } -> tensor<3x144x200xf32>
  %y = moe.grouped_matmul rows(%x : tensor<?x200xbf16>) weights(%w : tensor<3x144x200xf32>) groups(%offsets : tensor<4xi32>)
      outs(%init : tensor<?x144xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x144xf32>
  return %y : tensor<?x144xf32>
}

// One matrix, with scales in bf16.
// CHECK-LABEL: @dense
// CHECK: tensor.expand_shape {{.*}} : tensor<144x200xf8E4M3FN> into tensor<1x144x200xf8E4M3FN>
// CHECK: arith.extf %{{.*}} : bf16 to f32
// CHECK: moe.grouped_matmul {{.*}} weights(%{{.*}} : tensor<1x144x200xi8>) scales(%{{.*}} : tensor<1x144x2xf32>)
func.func @dense(%x: tensor<?x200xf32>, %offsets: tensor<2xi32>, %init: tensor<?x144xf32>) -> tensor<?x144xf32> {
  %codes = ml_program.global_load_const @matrix : tensor<144x200xf8E4M3FN>
  %scales = ml_program.global_load_const @matrix_scales : tensor<2x2xbf16>
  %empty = tensor.empty() : tensor<144x200xf32>
  %decoded = linalg.generic {indexing_maps = [#each2, #blocks2, #each2], iterator_types = ["parallel", "parallel"]}
      ins(%codes, %scales : tensor<144x200xf8E4M3FN>, tensor<2x2xbf16>) outs(%empty : tensor<144x200xf32>) {
  ^bb0(%c: f8E4M3FN, %s: bf16, %o: f32):
    %wide = arith.extf %c : f8E4M3FN to f32
    %scale = arith.extf %s : bf16 to f32
    %v = arith.mulf %wide, %scale : f32
    linalg.yield %v : f32
  } -> tensor<144x200xf32>
  %w = tensor.expand_shape %decoded [[0, 1], [2]] output_shape [1, 144, 200] : tensor<144x200xf32> into tensor<1x144x200xf32>
  %y = moe.grouped_matmul rows(%x : tensor<?x200xf32>) weights(%w : tensor<1x144x200xf32>) groups(%offsets : tensor<2xi32>)
      outs(%init : tensor<?x144xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x144xf32>
  return %y : tensor<?x144xf32>
}

// Other blocks stay numbers.
// CHECK-LABEL: @otherBlocks
// CHECK: moe.grouped_matmul {{.*}} weights(%{{.*}} : tensor<3x144x200xf32>) groups
func.func @otherBlocks(%x: tensor<?x200xbf16>, %offsets: tensor<4xi32>, %init: tensor<?x144xf32>) -> tensor<?x144xf32> {
  %codes = ml_program.global_load_const @codes : tensor<3x144x200xf8E4M3FN>
  %scales = ml_program.global_load_const @more_scales : tensor<3x3x2xf32>
  %empty = tensor.empty() : tensor<3x144x200xf32>
  %w = linalg.generic {indexing_maps = [#each, #other, #each], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%codes, %scales : tensor<3x144x200xf8E4M3FN>, tensor<3x3x2xf32>) outs(%empty : tensor<3x144x200xf32>) {
  ^bb0(%c: f8E4M3FN, %s: f32, %o: f32):
    %wide = arith.extf %c : f8E4M3FN to f32
    %v = arith.mulf %wide, %s : f32
    linalg.yield %v : f32
  } -> tensor<3x144x200xf32>
  %y = moe.grouped_matmul rows(%x : tensor<?x200xbf16>) weights(%w : tensor<3x144x200xf32>) groups(%offsets : tensor<4xi32>)
      outs(%init : tensor<?x144xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x144xf32>
  return %y : tensor<?x144xf32>
}

ml_program.global private @codes(#ml_program.extern<tensor<3x144x200xf8E4M3FN>>) : tensor<3x144x200xf8E4M3FN>
ml_program.global private @scales(#ml_program.extern<tensor<3x2x2xf32>>) : tensor<3x2x2xf32>
ml_program.global private @more_scales(#ml_program.extern<tensor<3x3x2xf32>>) : tensor<3x3x2xf32>
ml_program.global private @matrix(#ml_program.extern<tensor<144x200xf8E4M3FN>>) : tensor<144x200xf8E4M3FN>
ml_program.global private @matrix_scales(#ml_program.extern<tensor<2x2xbf16>>) : tensor<2x2xbf16>

// RUN: moe-opt %s --moe-pack-weights -split-input-file | FileCheck %s --check-prefix=LAYOUT
// RUN: moe-opt %s --moe-pack-weights --moe-prepare-parameters --moe-parameters-to-arguments -split-input-file | FileCheck %s

// Two layers with weights of their own share one prepare function. f32: panels; the odd columns are padded.
// LAYOUT-LABEL: func.func private @layer.0
// LAYOUT: linalg.pack %{{.*}} padding_value(%{{.*}} : f32) inner_dims_pos = [1] inner_tiles = [16] into %{{.*}} : tensor<2x20x8xf32> -> tensor<2x2x8x16xf32>
ml_program.global private @a(#ml_program.extern : tensor<2x20x8xf32>) : tensor<2x20x8xf32>
ml_program.global private @b(#ml_program.extern : tensor<2x20x8xf32>) : tensor<2x20x8xf32>

// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[A:[^:,]*]]: tensor<2x2x8x16xf32> {bufferization.writable = false, moe.name = "param.0", moe.parameter = @param.0, moe.role = "parameter"}
// CHECK-SAME: %[[B:[^:,]*]]: tensor<2x2x8x16xf32> {bufferization.writable = false, moe.name = "param.1", moe.parameter = @param.1, moe.role = "parameter"}
// CHECK: call @layer.0(%{{.*}}, %{{.*}}, %{{.*}}, %[[A]])
// CHECK: call @layer.1(%{{.*}}, %{{.*}}, %{{.*}}, %[[B]])
func.func @main(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %out: tensor<?x20xf32>) -> (tensor<?x20xf32>, tensor<?x20xf32>) {
  %p = call @layer.0(%x, %o, %out) : (tensor<?x8xf32>, tensor<3xi32>, tensor<?x20xf32>) -> tensor<?x20xf32>
  %q = call @layer.1(%x, %o, %out) : (tensor<?x8xf32>, tensor<3xi32>, tensor<?x20xf32>) -> tensor<?x20xf32>
  return %p, %q : tensor<?x20xf32>, tensor<?x20xf32>
}
func.func private @layer.0(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %out: tensor<?x20xf32>) -> tensor<?x20xf32> {
  %w = ml_program.global_load_const @a : tensor<2x20x8xf32>
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x20x8xf32>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}
func.func private @layer.1(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %out: tensor<?x20xf32>) -> tensor<?x20xf32> {
  %w = ml_program.global_load_const @b : tensor<2x20x8xf32>
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x20x8xf32>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x20xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}
// CHECK: ml_program.global private @param.0(#moe.prepared<@prepare.0, ["a"]> : tensor<2x2x8x16xf32>) : tensor<2x2x8x16xf32>
// CHECK: ml_program.global private @param.1(#moe.prepared<@prepare.0, ["b"]> : tensor<2x2x8x16xf32>) : tensor<2x2x8x16xf32>
// CHECK: module @prepare
// CHECK: func.func @prepare.0(%{{.*}}: tensor<2x20x8xf32>) -> tensor<2x2x8x16xf32>
// CHECK-NOT: func.func @prepare.1

// -----

// 16 bits: pairs along k. A tensor used as it is keeps its global; one used both ways is loaded and prepared.
// LAYOUT-LABEL: func.func @pairs
// LAYOUT: linalg.pack %{{.*}} inner_dims_pos = [1, 2] inner_tiles = [16, 2] into %{{.*}} : tensor<2x16x7xbf16> -> tensor<2x1x4x16x2xbf16>
// CHECK-LABEL: func.func @pairs
// CHECK-SAME: moe.parameter = @w
// CHECK-SAME: moe.parameter = @param.0
// CHECK: ml_program.global private @param.0(#moe.prepared<@prepare.0, ["w"]> : tensor<2x1x4x16x2xbf16>)
ml_program.global private @w(#ml_program.extern : tensor<2x16x7xbf16>) : tensor<2x16x7xbf16>
func.func @pairs(%x: tensor<?x7xbf16>, %o: tensor<3xi32>, %out: tensor<?x16xf32>) -> (tensor<?x16xf32>, tensor<2x16x7xbf16>) {
  %w = ml_program.global_load_const @w : tensor<2x16x7xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x7xbf16>) weights(%w : tensor<2x16x7xbf16>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  return %y, %w : tensor<?x16xf32>, tensor<2x16x7xbf16>
}

// -----

// Weights that come at run time stay as they are.
// LAYOUT-LABEL: func.func @at_run_time
// LAYOUT-NOT: linalg.pack
// CHECK-LABEL: func.func @at_run_time
// CHECK-NOT: module @prepare
func.func @at_run_time(%x: tensor<?x8xf32>, %w: tensor<2x16x8xf32>, %o: tensor<3xi32>, %out: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x16x8xf32>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// -----

// int8: quads along k, padded.
// LAYOUT-LABEL: func.func @quads
// LAYOUT: linalg.pack %{{.*}} padding_value(%{{.*}} : i8) inner_dims_pos = [1, 2] inner_tiles = [16, 4] into %{{.*}} : tensor<2x20x7xi8> -> tensor<2x2x2x16x4xi8>
// CHECK-LABEL: func.func @quads
// CHECK: moe.grouped_matmul rows({{.*}}) weights(%{{.*}} : tensor<2x2x2x16x4xi8>)
ml_program.global private @w(#ml_program.extern : tensor<2x20x7xi8>) : tensor<2x20x7xi8>
func.func @quads(%x: tensor<?x7xi8>, %o: tensor<3xi32>, %out: tensor<?x20xi32>) -> tensor<?x20xi32> {
  %w = ml_program.global_load_const @w : tensor<2x20x7xi8>
  %y = moe.grouped_matmul rows(%x : tensor<?x7xi8>) weights(%w : tensor<2x20x7xi8>) groups(%o : tensor<3xi32>) outs(%out : tensor<?x20xi32>) {
  ^bb0(%sum: i32):
    moe.yield %sum : i32
  } -> tensor<?x20xi32>
  return %y : tensor<?x20xi32>
}

// -----

// Codes: of eight the even ones first, then the odd ones; scales beside them.
// LAYOUT-DAG: #[[$FIRST:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d4, 0)>
// LAYOUT-DAG: #[[$SECOND:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d4, 1)>
// LAYOUT-LABEL: func.func @codes
// LAYOUT: %[[BYTES:.*]] = tensor.expand_shape %{{.*}} {{\[\[}}0], [1], [2, 3, 4]] output_shape [2, 20, 8, 2, 2]
// LAYOUT: linalg.generic {indexing_maps = [#[[$FIRST]], #[[$SECOND]], #{{.*}}]{{.*}} ins(%[[BYTES]], %[[BYTES]]
// LAYOUT: linalg.index 3
// LAYOUT: linalg.pack %{{.*}} inner_dims_pos = [1, 2] inner_tiles = [16, 4] into %{{.*}} : tensor<2x20x32xi8> -> tensor<2x2x8x16x4xi8>
// LAYOUT: linalg.pack %{{.*}} inner_dims_pos = [1] inner_tiles = [16] into %{{.*}} : tensor<2x20x2xbf16> -> tensor<2x2x2x16xbf16>
// CHECK-LABEL: func.func @codes
// CHECK-SAME: moe.parameter = @param.0
// CHECK-SAME: moe.parameter = @param.1
// CHECK: ml_program.global private @param.0(#moe.prepared<@prepare.0, ["w"]> : tensor<2x2x8x16x4xi8>)
// CHECK: ml_program.global private @param.1(#moe.prepared<@prepare.1, ["s"]> : tensor<2x2x2x16xbf16>)
ml_program.global private @w(#ml_program.extern : tensor<2x20x32xi8>) : tensor<2x20x32xi8>
ml_program.global private @s(#ml_program.extern : tensor<2x20x2xbf16>) : tensor<2x20x2xbf16>
func.func @codes(%x: tensor<?x64xbf16>, %o: tensor<3xi32>, %out: tensor<?x20xf32>) -> tensor<?x20xf32> {
  %w = ml_program.global_load_const @w : tensor<2x20x32xi8>
  %s = ml_program.global_load_const @s : tensor<2x20x2xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w : tensor<2x20x32xi8>) scales(%s : tensor<2x20x2xbf16>)
      groups(%o : tensor<3xi32>) outs(%out : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}

// -----

// A parameter that another is computed from: both start from the checkpoint.
// CHECK-LABEL: func.func @chain
// CHECK: ml_program.global private @param.0(#moe.prepared<@prepare.0, ["w"]> : tensor<4xf32>)
// CHECK: ml_program.global private @param.1(#moe.prepared<@prepare.1, ["w"]> : tensor<4xf32>)
ml_program.global private @w(#ml_program.extern : tensor<4xf32>) : tensor<4xf32>
func.func @chain(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %w = ml_program.global_load_const @w : tensor<4xf32>
  %first = arith.mulf %w, %w : tensor<4xf32>
  %second = arith.addf %first, %w : tensor<4xf32>
  %a = arith.addf %x, %first : tensor<4xf32>
  %b = arith.addf %x, %second : tensor<4xf32>
  return %a, %b : tensor<4xf32>, tensor<4xf32>
}

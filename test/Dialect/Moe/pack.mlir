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

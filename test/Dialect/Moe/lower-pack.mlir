// RUN: moe-opt %s --moe-lower-pack | FileCheck %s
// RUN: moe-opt %s --moe-prepare-pipeline | FileCheck %s --check-prefix=LLVM
// LLVM-LABEL: llvm.func @stack
// LLVM-COUNT-2: llvm.intr.memcpy

// CHECK-LABEL: func.func @pack
// CHECK-NOT: linalg.pack
// CHECK: tensor.pad
// CHECK: tensor.expand_shape
// CHECK: linalg.transpose
func.func @pack(%w: tensor<2x20x8xf32>) -> tensor<2x2x8x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<2x2x8x16xf32>
  %p = linalg.pack %w padding_value(%zero : f32) inner_dims_pos = [1] inner_tiles = [16] into %e : tensor<2x20x8xf32> -> tensor<2x2x8x16xf32>
  return %p : tensor<2x2x8x16xf32>
}

// A concatenation stays: it bufferizes into one copy for each part. (As a chain of insert_slice, analysing hundreds of experts
// took time quadratic in their number.)

// CHECK-LABEL: func.func @stack
// CHECK: tensor.concat
func.func @stack(%a: tensor<1x4xf32>, %b: tensor<1x4xf32>) -> tensor<2x4xf32> {
  %s = tensor.concat dim(0) %a, %b : (tensor<1x4xf32>, tensor<1x4xf32>) -> tensor<2x4xf32>
  return %s : tensor<2x4xf32>
}

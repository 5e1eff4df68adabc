// RUN: moe-opt %s --moe-grouped-matmul-to-loops --split-input-file --verify-diagnostics

func.func @rows(%x: memref<?x8xf64>, %w: memref<2x5x8xf32>, %o: memref<3xi32>, %y: memref<?x5xf32>) {
  // expected-error @below {{expected rows of f32, bf16, f16 or i8 but got 'memref<?x8xf64>'}}
  moe.grouped_matmul rows(%x : memref<?x8xf64>) weights(%w : memref<2x5x8xf32>) groups(%o : memref<3xi32>)
      outs(%y : memref<?x5xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

func.func @pairs(%x: memref<?x8xf32>, %w: memref<1x1x4x16x2xf32>, %o: memref<2xi32>, %y: memref<?x16xf32>) {
  // expected-error @below {{expected packed weights of bf16 or f16 pairs but got 'memref<1x1x4x16x2xf32>'}}
  moe.grouped_matmul rows(%x : memref<?x8xf32>) weights(%w : memref<1x1x4x16x2xf32>) groups(%o : memref<2xi32>)
      outs(%y : memref<?x16xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

!strided = memref<1x1x8x16xf32, strided<[4096, 4096, 32, 2]>>
func.func @strided(%x: memref<?x8xf32>, %w: !strided, %o: memref<2xi32>, %y: memref<?x16xf32>) {
  // expected-error @below {{expected packed weights with contiguous panels but got}}
  moe.grouped_matmul rows(%x : memref<?x8xf32>) weights(%w : !strided) groups(%o : memref<2xi32>)
      outs(%y : memref<?x16xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

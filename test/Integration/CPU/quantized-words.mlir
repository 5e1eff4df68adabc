// i8 products by sums of two products of words, of 256 and of 128 bits, at the levels that have no dot product of bytes.
// REQUIRES: x86-64
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "avx2"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt --check-to-runtime --moe-to-bufferize --moe-grouped-matmul-to-loops | FileCheck %s --check-prefix=AVX2
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "x86-64"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt --check-to-runtime --moe-to-bufferize --moe-grouped-matmul-to-loops | FileCheck %s --check-prefix=SSE2
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "x86-64"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt %lower-fast | %run | FileCheck %S/quantized-matmul.mlir
// RUN: %if avx2 %{ sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "avx2"}/' \
// RUN:   %S/quantized-matmul.mlir | moe-opt %lower-fast | %run | FileCheck %S/quantized-matmul.mlir %}

// AVX2: llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"
// SSE2: llvm.call_intrinsic "llvm.x86.sse2.pmadd.wd"

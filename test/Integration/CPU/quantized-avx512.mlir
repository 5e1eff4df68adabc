// The kernels of the levels with 512-bit vectors.
// REQUIRES: avx512vnni
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "avx512"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt --check-to-runtime --moe-to-bufferize --moe-grouped-matmul-to-loops | FileCheck %s
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "avx512"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt %lower-fast | %run | FileCheck %S/quantized-matmul.mlir

// CHECK: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.permvar.sf.512"

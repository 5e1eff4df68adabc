// i8 and 4-bit products in AMX tiles, emulated: the same sums as at every level, here that of codes too. 39 k are less than
// a tile.
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "amx-emulated"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt --check-to-runtime --moe-to-bufferize --moe-grouped-matmul-to-loops | FileCheck %s
// RUN: sed 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "amx-emulated"}/' %S/quantized-matmul.mlir \
// RUN:   | moe-opt %lower-fast | %run | FileCheck %S/quantized-matmul.mlir
// The same with 167 k: two tiles and a rest.
// RUN: sed -e 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "amx-emulated"}/' \
// RUN:   -e 's/x39x/x167x/g' -e 's/x10x16x4x/x42x16x4x/g' -e 's/%%c39 = arith.constant 39/%%c39 = arith.constant 167/' \
// RUN:   %S/quantized-matmul.mlir | moe-opt %lower-fast | %run | FileCheck %S/quantized-matmul.mlir

// CHECK: amx.tile_muli
// CHECK: amx.tile_mulf

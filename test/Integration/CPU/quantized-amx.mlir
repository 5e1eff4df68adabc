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
// Two whole panels and large results: many rows are stored past the caches. Which way a store goes is settled at run time.
// RUN: sed -e 's/@compare(%%offsets: tensor<6xi32>, %%rows: index)/& attributes {moe.isa = "amx-emulated"}/' \
// RUN:   -e 's/x20x/x32x/g' -e 's/%%c20 = arith.constant 20/%%c20 = arith.constant 32/' -e 's/attributes {format/attributes {large_result, format/' \
// RUN:   -e 's/outs(%%out : tensor<?x32xf32>) {/outs(%%out : tensor<?x32xf32>) attributes {large_result} {/' %S/quantized-matmul.mlir > %t.mlir
// RUN: moe-opt %t.mlir --check-to-runtime --moe-to-bufferize --moe-grouped-matmul-to-loops --canonicalize | FileCheck %s --check-prefix=LARGE
// RUN: moe-opt %t.mlir %lower-fast | %run | FileCheck %S/quantized-matmul.mlir

// CHECK: amx.tile_muli
// CHECK: amx.tile_mulf

// Few rows by vectors or in one tile are stored as ever, many rows whichever way their lines allow.
// LARGE: %[[BASE:.*]] = memref.extract_aligned_pointer_as_index %[[OUT:[^ ]*]]
// LARGE: %[[IN_LINE:.*]] = arith.andi %{{.*}}, %c63
// LARGE: %[[PAST:.*]] = arith.cmpi eq, %[[IN_LINE]], %c0
// LARGE-NOT: nontemporal
// LARGE: arith.cmpi sle, %{{.*}}, %c16 :
// LARGE-NOT: nontemporal
// LARGE: } else {
// LARGE: amx.tile_muli
// LARGE: scf.if %[[PAST]] {
// LARGE-NEXT: vector.store %[[V:.*]], %[[OUT]][%[[ROW:.*]], %[[COLUMN:.*]]] {alignment = 64 : i64, nontemporal = true}
// LARGE-NEXT: } else {
// LARGE-NEXT: vector.store %[[V]], %[[OUT]][%[[ROW]], %[[COLUMN]]] :
// LARGE-NEXT: }
// LARGE: llvm.call_intrinsic "llvm.x86.sse.sfence"()

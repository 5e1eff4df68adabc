// RUN: moe-opt %s --moe-multiversion=levels=amx,avx512bf16,avx512,avx2 --moe-grouped-matmul-to-loops --canonicalize \
// RUN:   --split-input-file | FileCheck %s
// RUN: moe-opt %s --moe-multiversion=levels=aarch64-bf16,aarch64 --moe-grouped-matmul-to-loops --canonicalize --split-input-file \
// RUN:   | FileCheck %s --check-prefix=ARM

// One product at four levels. Tiles: up to 16 rows make one tile, of which one row fills all (a distance of 0 from row to
// row); more go by pairs of tiles that lie together, for each k behind each other, and a tile that is left over. 96 k are
// three steps; the operands of a step are loaded in the one before.

// CHECK-LABEL: func.func @product.amx(
// CHECK: %[[W:.*]] = memref.collapse_shape {{.*}} into memref<2x8x48x32xbf16>
// CHECK: %[[ROWS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<24576xbf16>
// CHECK: %[[SUMS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1024xf32>
// CHECK: step %c256
// CHECK: arith.cmpi sle, %{{.*}}, %c16 :
// CHECK: vector.store %{{.*}}, %[[ROWS]]
// CHECK: scf.for %{{.*}} = %c0 to %c8 step %c4
// CHECK: %[[ALONE:.*]] = arith.cmpi eq, %{{.*}}, %c1 :
// CHECK: %[[STRIDE:.*]] = arith.select %[[ALONE]], %c0, %c32
// CHECK: scf.for {{.*}} -> (!amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x16xf32>)
// CHECK: amx.tile_load %[[ROWS]][%{{.*}}], %[[STRIDE]]
// CHECK: amx.tile_load %[[W]]
// CHECK: amx.tile_mulf
// CHECK-COUNT-4: memref.prefetch %[[W]][{{.*}}], read, locality<3>, data
// CHECK: %[[EXISTS:.*]] = arith.cmpi ult, %[[NEXT:[^,]*]], %c8 : index
// CHECK: %[[FROM:.*]] = arith.select %[[EXISTS]], %[[NEXT]],
// CHECK: memref.prefetch %[[W]][%{{.*}}, %[[FROM]], %[[LINE:[^,]*]], %c0], read, locality<2>, data
// CHECK: %[[MIDDLE:.*]] = arith.addi %[[LINE]], %c24
// CHECK: memref.prefetch %[[W]][%{{.*}}, %[[FROM]], %[[MIDDLE]], %c0], read, locality<2>, data
// CHECK: arith.select %{{.*}}, %c2, %c1 :
// CHECK: vector.store %{{.*}}, %[[ROWS]]
// CHECK: scf.for %{{.*}} = %c0 to %c8 step %c2
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} step %c1
// CHECK: scf.if
// CHECK-COUNT-2: amx.tile_load %[[ROWS]][%{{.*}}], %c32 {moe.from_second_level}
// CHECK-COUNT-2: amx.tile_load %[[W]][{{.*}}] {moe.from_second_level}
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args({{.*}}, %[[R0:.*]] = %{{.*}}, %[[R1:.*]] = %{{.*}}, %[[W0:.*]] = %{{.*}}, %[[W1:.*]] = %{{.*}}) ->
// CHECK: amx.tile_mulf %[[R0]], %[[W0]],
// CHECK-COUNT-2: memref.prefetch %[[W]][{{.*}}], read, locality<2>, data
// CHECK: amx.tile_mulf %[[R0]], %[[W1]],
// CHECK: %[[NEXTR0:.*]] = amx.tile_load %[[ROWS]]
// CHECK: amx.tile_mulf %[[R1]], %[[W0]],
// CHECK: %[[NEXTW0:.*]] = amx.tile_load %[[W]]
// CHECK: amx.tile_mulf %[[R1]], %[[W1]],
// CHECK: %[[NEXTW1:.*]] = amx.tile_load %[[W]]
// CHECK: %[[NEXTR1:.*]] = amx.tile_load %[[ROWS]]
// CHECK: scf.yield {{.*}}, %[[NEXTR0]], %[[NEXTR1]], %[[NEXTW0]], %[[NEXTW1]] :
// CHECK-NOT: amx.tile_load
// CHECK-COUNT-4: amx.tile_mulf
// CHECK-COUNT-4: amx.tile_store %[[SUMS]]
// CHECK: } else {
// CHECK: scf.for {{.*}} -> (!amx.tile<16x16xf32>, !amx.tile<16x16xf32>, !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>)
// CHECK-COUNT-2: amx.tile_store %[[SUMS]]
// CHECK: vector.load %[[SUMS]]

// CHECK-LABEL: func.func @product.avx512bf16(
// CHECK: memref.alloc() {alignment = 64 : i64} : memref<240x96xbf16>
// CHECK: arith.cmpi sle, %{{.*}}, %c1 :
// CHECK-COUNT-8: memref.prefetch
// CHECK-COUNT-8: x86vector.avx512.dot
// CHECK: arith.cmpi sle, %{{.*}}, %c4 :
// CHECK: scf.for {{.*}} -> (vector<16xf32>, vector<16xf32>
// CHECK: x86vector.avx512.dot
// CHECK: step %c12

// CHECK-LABEL: func.func @product.avx512(
// CHECK: memref.alloc() {alignment = 64 : i64} : memref<240x112xf32>
// CHECK: arith.cmpi sle, %{{.*}}, %c4 :
// CHECK: math.fma
// CHECK: step %c12

// Arm: a vector of 16 sums is four registers, and a dot product four instructions.
// ARM-LABEL: func.func @"product.aarch64-bf16"(
// ARM: scf.for {{.*}} -> (vector<16xf32>
// ARM: %[[PAIR:.*]] = vector.broadcast %{{.*}} : i32 to vector<4xi32>
// ARM: %[[X:.*]] = vector.bitcast %[[PAIR]] : vector<4xi32> to vector<8xbf16>
// ARM: %[[SUM:.*]] = vector.extract_strided_slice %{{.*}} {offsets = [4], sizes = [4], strides = [1]} : vector<16xf32> to vector<4xf32>
// ARM: %[[W:.*]] = vector.extract_strided_slice %{{.*}} {offsets = [8], sizes = [8], strides = [1]} : vector<32xbf16> to vector<8xbf16>
// ARM: llvm.call_intrinsic "llvm.aarch64.neon.bfdot.v4f32.v8bf16"(%[[SUM]], %[[X]], %[[W]])

// ARM-LABEL: func.func @product.aarch64(
// ARM-NOT: call_intrinsic
// ARM: math.fma

// CHECK-LABEL: func.func @product.avx2(
// CHECK: arith.cmpi sle, %{{.*}}, %c1 :
// CHECK: step %c6
func.func @product(%x: memref<?x96xbf16>, %w: memref<2x8x48x16x2xbf16>, %groups: memref<3xi32>, %y: memref<?x128xf32>) {
  moe.grouped_matmul rows(%x : memref<?x96xbf16>) weights(%w : memref<2x8x48x16x2xbf16>) groups(%groups : memref<3xi32>)
      outs(%y : memref<?x128xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

// -----

// 40 k: a tile of 32, then one of 8 that is filled up with zeros on both sides. Two weights share the tiles of rows.

// CHECK-LABEL: func.func @two.amx(
// CHECK: memref.alloc() {alignment = 64 : i64} : memref<16384xbf16>
// CHECK: %[[TAILS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<4x16x32xbf16>
// CHECK: arith.cmpi sle, %{{.*}}, %c16 :
// CHECK: vector.insert_strided_slice %{{.*}} : vector<8xbf16> into vector<32xbf16>
// CHECK: vector.store %{{.*}}, %[[TAILS]][%c0, %c3, %c0]
// CHECK: vector.store %[[ZEROS:cst.*]], %[[TAILS]][%c0, %c4, %c0]
// CHECK: amx.tile_load %[[TAILS]][%c0, %c0, %c0]
func.func @two(%x: memref<?x40xbf16>, %w: memref<1x2x20x16x2xbf16>, %u: memref<1x2x20x16x2xbf16>, %groups: memref<2xi32>,
               %y: memref<?x32xf32>) {
  moe.grouped_matmul rows(%x : memref<?x40xbf16>) weights(%w, %u : memref<1x2x20x16x2xbf16>, memref<1x2x20x16x2xbf16>)
      groups(%groups : memref<2xi32>) outs(%y : memref<?x32xf32>) {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  }
  return
}

// -----

// 4096 k of 256 rows do not stay in the cache: two blocks of K, with sums in memory between them. The first block loads a
// line of zeros 16 times instead; the last one goes on to the epilogue, here rounding by one instruction. One row, where
// reading weights takes the time, is multiplied by vectors: even and odd k of each 32 from zero, as in a tile, of eight panels at
// once.

// CHECK-LABEL: func.func @deep.amx(
// CHECK: memref.alloc() {alignment = 64 : i64} : memref<524288xbf16>
// CHECK: %[[SUMS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<32784xf32>
// CHECK: vector.store %{{.*}}, %[[SUMS]][%c32768]
// CHECK: arith.cmpi sle, %{{.*}}, %c1 :
// CHECK: scf.for %{{.*}} = %c0 to %c128 step %c1 iter_args(%[[SUM0:[^ ]*]] = %
// CHECK: %[[PARTS:.*]]:16 = scf.for %{{.*}} = %c0 to %c16 step %c1 iter_args(
// CHECK-COUNT-8: memref.prefetch
// CHECK-COUNT-16: math.fma
// CHECK: %[[BOTH:.*]] = arith.addf %[[PARTS]]#0, %[[PARTS]]#8
// CHECK: arith.addf %[[SUM0]], %[[BOTH]]
// CHECK: } else {
// CHECK: arith.cmpi sle, %{{.*}}, %c16 :
// CHECK: } else {
// CHECK: scf.for %[[BLOCK:.*]] = %c0 to %c2 step %c1
// CHECK: arith.muli %[[BLOCK]], %c64
// CHECK: step %c2
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[BLOCK]], %c0
// CHECK: %[[STRIDE:.*]] = arith.select %[[FIRST]], %c0, %c16
// CHECK: %[[AT:.*]] = arith.select %[[FIRST]], %c32768
// CHECK: amx.tile_load %[[SUMS]][%[[AT]]], %[[STRIDE]]
// CHECK: %[[LAST:.*]] = arith.cmpi eq, %[[BLOCK]], %c1
// CHECK: scf.if %[[LAST]]
// CHECK: x86vector.avx512.cvt.packed.f32_to_bf16
func.func @deep(%x: memref<?x4096xbf16>, %w: memref<1x8x2048x16x2xbf16>, %groups: memref<2xi32>, %y: memref<?x128xbf16>) {
  moe.grouped_matmul rows(%x : memref<?x4096xbf16>) weights(%w : memref<1x8x2048x16x2xbf16>) groups(%groups : memref<2xi32>)
      outs(%y : memref<?x128xbf16>) {
  ^bb0(%a: f32):
    %r = arith.truncf %a : f32 to bf16
    moe.yield %r : bf16
  }
  return
}

// -----

// i8: 64 k in a tile, sums of i32. One row or two by vectors, of eight panels at once, where they lie.

// CHECK-LABEL: func.func @bytes.amx(
// CHECK: memref.alloc() {alignment = 64 : i64} : memref<32768xi8>
// CHECK: memref.alloc() {alignment = 64 : i64} : memref<2048xi32>
// CHECK: arith.cmpi sle, %{{.*}}, %c1 :
// CHECK-COUNT-8: memref.prefetch
// CHECK-COUNT-16: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK: arith.cmpi sle, %{{.*}}, %c2 :
// CHECK-COUNT-8: memref.prefetch
// CHECK-COUNT-24: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK: amx.tile_muli %{{.*}} : !amx.tile<16x64xi8>, !amx.tile<16x64xi8>, !amx.tile<16x16xi32>
func.func @bytes(%x: memref<?x128xi8>, %w: memref<1x8x32x16x4xi8>, %groups: memref<2xi32>, %y: memref<?x128xi32>) {
  moe.grouped_matmul rows(%x : memref<?x128xi8>) weights(%w : memref<1x8x32x16x4xi8>) groups(%groups : memref<2xi32>)
      outs(%y : memref<?x128xi32>) {
  ^bb0(%a: i32):
    moe.yield %a : i32
  }
  return
}

// -----

// Codes of 4 bits: the tile of 32 k of a panel is looked up, 32 codes at once, and multiplied without its scale. The product
// starts at zero; scaled, it is added to the sums in memory. Few rows: tile by tile; more: a step's panels in front of all
// rows. One row or two: by vectors, the even and the odd k of 32 from zero, then as for a tile.

// CHECK-LABEL: func.func @codes.amx(
// CHECK: %[[DECODED:.*]] = memref.alloc() {alignment = 64 : i64} : memref<2048xbf16>
// CHECK: %[[PRODUCTS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1024xf32>
// CHECK: %[[SUMS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<1024xf32>
// CHECK: arith.cmpi sle, %{{.*}}, %c1 :
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args(%[[SUM0:[^ ]*]] = %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}) ->
// CHECK: %[[PARTS:.*]]:8 = scf.for %{{.*}} = %c0 to %c4 step %c1 iter_args(
// CHECK-COUNT-4: memref.prefetch
// CHECK-COUNT-32: math.fma
// CHECK: %[[BOTH:.*]] = arith.addf %[[PARTS]]#0, %[[PARTS]]#4
// CHECK: %[[SCALED:.*]] = arith.mulf %[[BOTH]],
// CHECK: arith.addf %[[SUM0]], %[[SCALED]]
// CHECK: } else {
// CHECK: arith.cmpi sle, %{{.*}}, %c2 :
// CHECK: arith.cmpi sle, %{{.*}}, %c16 :
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: scf.for %{{.*}} = %c0 to %c4 step %c1 {
// CHECK-COUNT-16: llvm.call_intrinsic "llvm.x86.avx512.permvar.hi.512"
// CHECK: %[[ZERO:.*]] = amx.tile_zero
// CHECK: %[[W:.*]] = amx.tile_load %[[DECODED]][
// CHECK: %[[PRODUCT:.*]] = amx.tile_mulf %{{.*}}, %[[W]], %[[ZERO]]
// CHECK: amx.tile_store %[[PRODUCTS]][%c0], %[[PRODUCT]]
// CHECK: vector.load %{{.*}} : memref<1x4x2x16xbf16>, vector<16xbf16>
// CHECK: %[[LOADED:.*]] = vector.load %[[PRODUCTS]][
// CHECK: %[[SUM:.*]] = vector.load %[[SUMS]][
// CHECK: %[[SCALED:.*]] = arith.mulf %[[LOADED]], %{{.*}} : vector<16xf32>
// CHECK: arith.addf %[[SUM]], %[[SCALED]] : vector<16xf32>
// CHECK: } else {
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.permvar.hi.512"
// CHECK: scf.if
// CHECK-NOT: llvm.call_intrinsic
// CHECK: return
func.func @codes(%x: memref<?x64xbf16>, %w: memref<1x4x8x16x4xi8>, %s: memref<1x4x2x16xbf16>, %groups: memref<2xi32>,
                 %y: memref<?x64xf32>) {
  moe.grouped_matmul rows(%x : memref<?x64xbf16>) weights(%w : memref<1x4x8x16x4xi8>) scales(%s : memref<1x4x2x16xbf16>)
      groups(%groups : memref<2xi32>) outs(%y : memref<?x64xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    moe.yield %a : f32
  }
  return
}

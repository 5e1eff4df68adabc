// RUN: moe-opt %s --moe-fuse-rows --canonicalize --cse --split-input-file | FileCheck %s
// RUN: moe-opt %s --moe-fuse-rows=remarks --split-input-file -o /dev/null 2>&1 | FileCheck %s --check-prefix=WHY --implicit-check-not=remark:

#id = affine_map<(r, k) -> (r, k)>
#row = affine_map<(r, k) -> (r)>
#each = affine_map<(r) -> (r)>

// Codes and scales are made of the rows of a tile alone, a row at a time; the number of rows has a bound.
// CHECK-LABEL: func.func @tiles
// CHECK-SAME: %[[H:[a-z0-9]+]]: tensor<?x32xbf16>
// CHECK-NOT: linalg.generic
// CHECK: scf.forall (%[[TILE:.*]]) in
// CHECK: %[[FIRST:.*]] = arith.index_cast
// CHECK: %[[N:.*]] = affine.min
// CHECK: %[[PART:.*]] = tensor.extract_slice %[[H]][%[[FIRST]], 0] [%[[N]], 32]
// CHECK: %[[MADE:.*]]:2 = scf.forall (%[[R:.*]]) in (%[[N]])
// CHECK-SAME: -> (tensor<?xf32>, tensor<?x32xi8>)
// CHECK:   tensor.extract_slice %[[PART]][%[[R]], 0] [1, 32]
// CHECK:   linalg.generic {{.*}}"reduction"
// CHECK:   linalg.generic
// CHECK:   arith.fptosi
// CHECK: moe.grouped_matmul rows(%[[MADE]]#1 : tensor<?x32xi8>) {{.*}} row_scalars(%[[MADE]]#0 : tensor<?xf32>)
// CHECK: scf.forall.in_parallel
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @tiles(%h: tensor<?x32xbf16>, %w: tensor<1x16x32xi8>, %table: tensor<?x2xi32>, %count: index) -> tensor<?x16xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0 : i32
  %none = arith.constant 0.0 : f32
  %n = tensor.dim %h, %c0 : tensor<?x32xbf16>
  %e0 = tensor.empty(%n) : tensor<?xf32>
  %z = linalg.fill ins(%none : f32) outs(%e0 : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%h : tensor<?x32xbf16>) outs(%z : tensor<?xf32>) {
  ^bb0(%a: bf16, %m: f32):
    %x = arith.extf %a : bf16 to f32
    %r = arith.maximumf %x, %m : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %e1 = tensor.empty(%n) : tensor<?x32xi8>
  %q = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%h, %s : tensor<?x32xbf16>, tensor<?xf32>) outs(%e1 : tensor<?x32xi8>) {
  ^bb0(%a: bf16, %m: f32, %o: i8):
    %x = arith.extf %a : bf16 to f32
    %d = arith.divf %x, %m : f32
    %r = arith.fptosi %d : f32 to i8
    linalg.yield %r : i8
  } -> tensor<?x32xi8>
  %out = tensor.empty(%n) : tensor<?x16xf32>
  %y = scf.forall (%tile) in (%count) shared_outs(%all = %out) -> (tensor<?x16xf32>) {
    %f = tensor.extract %table[%tile, %c0] : tensor<?x2xi32>
    %first = arith.index_cast %f : i32 to index
    %l = tensor.extract %table[%tile, %c1] : tensor<?x2xi32>
    %rows = arith.index_cast %l : i32 to index
    %g = tensor.from_elements %zero, %l : tensor<2xi32>
    %place = tensor.extract_slice %all[%first, 0] [%rows, 16] [1, 1] : tensor<?x16xf32> to tensor<?x16xf32>
    %x = tensor.extract_slice %q[%first, 0] [%rows, 32] [1, 1] : tensor<?x32xi8> to tensor<?x32xi8>
    %t = tensor.extract_slice %s[%first] [%rows] [1] : tensor<?xf32> to tensor<?xf32>
    %p = moe.grouped_matmul rows(%x : tensor<?x32xi8>) weights(%w : tensor<1x16x32xi8>) groups(%g : tensor<2xi32>) row_scalars(%t : tensor<?xf32>) outs(%place : tensor<?x16xf32>) {
    ^bb0(%acc: i32, %scale: f32):
      %v = arith.sitofp %acc : i32 to f32
      %r = arith.mulf %v, %scale : f32
      moe.yield %r : f32
    } -> tensor<?x16xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %p into %all[%first, 0] [%rows, 16] [1, 1] : tensor<?x16xf32> into tensor<?x16xf32>
    }
  }
  return %y : tensor<?x16xf32>
}

// -----

#id = affine_map<(r, k) -> (r, k)>

// Tiles one after the other: all rows before the first.
// CHECK-LABEL: func.func @tiles_in_turn
// CHECK: scf.forall
// CHECK:   %[[MADE:.*]] = scf.forall (%{{.*}}) in (%{{.*}}) shared_outs(%{{.*}}) -> (tensor<?x32xi8>)
// CHECK:     arith.fptosi
// CHECK:   scf.for
// CHECK:     %[[X:.*]] = tensor.extract_slice %[[MADE]]
// CHECK:     moe.grouped_matmul rows(%[[X]]
func.func @tiles_in_turn(%h: tensor<?x32xbf16>, %w: tensor<1x64x32xi8>, %count: index) -> tensor<?x64xi32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zero = arith.constant 0 : i32
  %last = arith.constant 16 : i32
  %n = tensor.dim %h, %c0 : tensor<?x32xbf16>
  %e1 = tensor.empty(%n) : tensor<?x32xi8>
  %q = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%h : tensor<?x32xbf16>) outs(%e1 : tensor<?x32xi8>) {
  ^bb0(%a: bf16, %o: i8):
    %r = arith.fptosi %a : bf16 to i8
    linalg.yield %r : i8
  } -> tensor<?x32xi8>
  %out = tensor.empty(%n) : tensor<?x64xi32>
  %y = scf.forall (%column) = (0) to (64) step (16) shared_outs(%all = %out) -> (tensor<?x64xi32>) {
    %w16 = tensor.extract_slice %w[0, %column, 0] [1, 16, 32] [1, 1, 1] : tensor<1x64x32xi8> to tensor<1x16x32xi8>
    %g = tensor.from_elements %zero, %last : tensor<2xi32>
    %place = tensor.extract_slice %all[0, %column] [%n, 16] [1, 1] : tensor<?x64xi32> to tensor<?x16xi32>
    %ys = scf.for %tile = %c0 to %count step %c1 iter_args(%some = %place) -> (tensor<?x16xi32>) {
      %first = arith.muli %tile, %c16 : index
      %x = tensor.extract_slice %q[%first, 0] [16, 32] [1, 1] : tensor<?x32xi8> to tensor<16x32xi8>
      %rows = tensor.extract_slice %some[%first, 0] [16, 16] [1, 1] : tensor<?x16xi32> to tensor<16x16xi32>
      %p = moe.grouped_matmul rows(%x : tensor<16x32xi8>) weights(%w16 : tensor<1x16x32xi8>) groups(%g : tensor<2xi32>) outs(%rows : tensor<16x16xi32>) {
      ^bb0(%acc: i32):
        moe.yield %acc : i32
      } -> tensor<16x16xi32>
      %next = tensor.insert_slice %p into %some[%first, 0] [16, 16] [1, 1] : tensor<16x16xi32> into tensor<?x16xi32>
      scf.yield %next : tensor<?x16xi32>
    }
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %ys into %all[0, %column] [%n, 16] [1, 1] : tensor<?x16xi32> into tensor<?x64xi32>
    }
  }
  return %y : tensor<?x64xi32>
}

// -----

// A tile may not make more than 1 MiB of rows: 128 of 16384 bytes are two.
// CHECK-LABEL: func.func @long_rows
// CHECK: linalg.generic
// CHECK: scf.forall
// CHECK-NOT: linalg.generic
// WHY: remark: its rows are made before it: a tile has too many bytes of rows
#id = affine_map<(r, k) -> (r, k)>
func.func @long_rows(%h: tensor<?x16384xbf16>, %w: tensor<1x16x16384xi8>) -> tensor<?x16xi32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0 : i32
  %last = arith.constant 16 : i32
  %n = tensor.dim %h, %c0 : tensor<?x16384xbf16>
  %e = tensor.empty(%n) : tensor<?x16384xi8>
  %q = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%h : tensor<?x16384xbf16>) outs(%e : tensor<?x16384xi8>) {
  ^bb0(%a: bf16, %o: i8):
    %r = arith.fptosi %a : bf16 to i8
    linalg.yield %r : i8
  } -> tensor<?x16384xi8>
  %out = tensor.empty(%n) : tensor<?x16xi32>
  %y = scf.forall (%row) = (0) to (%n) step (16) shared_outs(%all = %out) -> (tensor<?x16xi32>) {
    %x = tensor.extract_slice %q[%row, 0] [16, 16384] [1, 1] : tensor<?x16384xi8> to tensor<16x16384xi8>
    %g = tensor.from_elements %zero, %last : tensor<2xi32>
    %place = tensor.extract_slice %all[%row, 0] [16, 16] [1, 1] : tensor<?x16xi32> to tensor<16x16xi32>
    %p = moe.grouped_matmul rows(%x : tensor<16x16384xi8>) weights(%w : tensor<1x16x16384xi8>) groups(%g : tensor<2xi32>) outs(%place : tensor<16x16xi32>) {
    ^bb0(%acc: i32):
      moe.yield %acc : i32
    } -> tensor<16x16xi32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %p into %all[%row, 0] [16, 16] [1, 1] : tensor<16x16xi32> into tensor<?x16xi32>
    }
  }
  return %y : tensor<?x16xi32>
}

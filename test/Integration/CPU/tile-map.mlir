// RUN: moe-opt %s %lower-reference | %run | FileCheck %s
// RUN: moe-opt %s %lower-fast | %run | FileCheck %s

// CHECK: 9 checks passed
func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %c10 = arith.constant 10 : index
  // An empty group, one row, a tile less one, exactly one tile, one tile and a row. 9 rows: at most 9 / 3 + 5 tiles.
  %offsets = arith.constant dense<[0, 0, 1, 3, 6, 10]> : tensor<6xi32>
  %t0, %n0 = moe.tile_map %offsets rows(%c10) {block = 3} : tensor<6xi32> -> tensor<?x3xi32>, tensor<i32>
  check.expect_eq_const %n0, dense<5> : tensor<i32>
  check.expect_eq_const %t0, dense<[[1, 0, 1], [2, 1, 2], [3, 3, 3], [4, 6, 3], [4, 9, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]> : tensor<8x3xi32>, tensor<?x3xi32>

  // More room than rows in groups: the map is as long as `rows` says, the count as the groups say.
  %t1, %n1 = moe.tile_map %offsets rows(%c10) {block = 256} : tensor<6xi32> -> tensor<?x3xi32>, tensor<i32>
  check.expect_eq_const %n1, dense<4> : tensor<i32>
  check.expect_eq_const %t1, dense<[[1, 0, 1], [2, 1, 2], [3, 3, 3], [4, 6, 4], [0, 0, 0]]> : tensor<5x3xi32>, tensor<?x3xi32>

  // A group that starts late: the rows before it are in no group.
  %late = arith.constant dense<[4, 9]> : tensor<2xi32>
  %t2, %n2 = moe.tile_map %late rows(%c9) {block = 4} : tensor<2xi32> -> tensor<?x3xi32>, tensor<i32>
  check.expect_eq_const %n2, dense<2> : tensor<i32>
  check.expect_eq_const %t2, dense<[[0, 4, 4], [0, 8, 1], [0, 0, 0]]> : tensor<3x3xi32>, tensor<?x3xi32>

  // No rows, no tiles, no map.
  %empty = arith.constant dense<0> : tensor<6xi32>
  %t3, %n3 = moe.tile_map %empty rows(%c0) {block = 4} : tensor<6xi32> -> tensor<?x3xi32>, tensor<i32>
  check.expect_eq_const %n3, dense<0> : tensor<i32>
  %size = tensor.dim %t3, %c0 : tensor<?x3xi32>
  %size32 = arith.index_cast %size : index to i32
  %sizes = tensor.from_elements %size32 : tensor<1xi32>
  check.expect_eq_const %sizes, dense<0> : tensor<1xi32>

  // There is always somebody to do the work.
  %workers = moe.workers
  %some = arith.cmpi sge, %workers, %c1 : index
  %some8 = arith.extui %some : i1 to i32
  %somes = tensor.from_elements %some8 : tensor<1xi32>
  check.expect_eq_const %somes, dense<1> : tensor<1xi32>
  return
}

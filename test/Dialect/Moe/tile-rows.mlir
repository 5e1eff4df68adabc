// Rows of a tile as the cost model chooses them: for the fixed machine (2 MiB of L2: 128 rows of 4096 bf16 numbers are half
// of it), and for a machine with 4 MiB.
// RUN: moe-opt %s --moe-tile | FileCheck %s --check-prefixes=CHECK,FIXED
// RUN: moe-opt %s --moe-tile=tune-for=%S/../../Tools/moe-compile/Inputs/machine.json | FileCheck %s --check-prefixes=CHECK,TUNED
// RUN: moe-opt %s --moe-to-tile=tune-for=%S/../../Tools/moe-compile/Inputs/machine.json | FileCheck %s --check-prefix=PHASE
// RUN: not moe-opt %s --moe-tile=tune-for=%t.none 2>&1 | FileCheck %s --check-prefix=NONE
// NONE: error: tune-for: '{{.*}}.none': does not exist

// CHECK-LABEL: func.func @wide
// PHASE-LABEL: func.func @wide
// PHASE-NOT: arith.constant 128 : index
// PHASE: arith.constant 256 : index
// FIXED: moe.tile_map {{.*}} {block = 128 : i64}
// TUNED: moe.tile_map {{.*}} {block = 256 : i64}
func.func @wide(%x: tensor<?x4096xbf16>, %w: tensor<8x1024x4096xbf16>, %o: tensor<9xi32>,
                %init: tensor<?x1024xf32>) -> tensor<?x1024xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x4096xbf16>) weights(%w : tensor<8x1024x4096xbf16>)
      groups(%o : tensor<9xi32>) outs(%init : tensor<?x1024xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

// CHECK-LABEL: func.func @narrow
// CHECK: moe.tile_map {{.*}} {block = 256 : i64}
func.func @narrow(%x: tensor<?x64xbf16>, %w: tensor<8x1024x64xbf16>, %o: tensor<9xi32>,
                  %init: tensor<?x1024xf32>) -> tensor<?x1024xf32> {
  %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w : tensor<8x1024x64xbf16>)
      groups(%o : tensor<9xi32>) outs(%init : tensor<?x1024xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

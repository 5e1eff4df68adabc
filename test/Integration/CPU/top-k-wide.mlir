// E_ candidates, of which K_ are chosen: fewer than a vector of 16, one, several, and some left over.
// RUN: sed -e 's/E_/7/g; s/K_/7/g; s/T_/f32/g; s/ROUND/arith.negf %real : f32/' %s | moe-opt %lower-fast | %run | FileCheck %s
// RUN: sed -e 's/E_/16/g; s/K_/3/g; s/T_/bf16/g; s/ROUND/arith.truncf %real : f32 to bf16/' %s | moe-opt %lower-fast | %run | FileCheck %s
// RUN: sed -e 's/E_/17/g; s/K_/17/g; s/T_/f32/g; s/ROUND/arith.negf %real : f32/' %s | moe-opt %lower-fast | %run | FileCheck %s
// RUN: sed -e 's/E_/64/g; s/K_/8/g; s/T_/f32/g; s/ROUND/arith.negf %real : f32/' %s | moe-opt %lower-fast | %run | FileCheck %s
// RUN: sed -e 's/E_/100/g; s/K_/6/g; s/T_/f32/g; s/ROUND/arith.negf %real : f32/' %s | moe-opt %lower-fast | %run | FileCheck %s
// RUN: sed -e 's/E_/100/g; s/K_/6/g; s/T_/f32/g; s/ROUND/arith.negf %real : f32/' %s | moe-opt %lower-reference | %run | FileCheck %s

// The j-th choice is the candidate that j others come before: those with a larger key, and equal ones with a lower index. Keys
// repeat and have both signs.

// CHECK-COUNT-4: 2 checks passed
func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %c35 = arith.constant 35 : index
  call @compare(%c0) : (index) -> ()
  call @compare(%c1) : (index) -> ()
  call @compare(%c16) : (index) -> ()
  call @compare(%c35) : (index) -> ()
  return
}

#te = affine_map<(t, e) -> (t, e)>
#te3 = affine_map<(t, e, f) -> (t, e)>
#tf3 = affine_map<(t, e, f) -> (t, f)>

func.func private @compare(%tokens: index) {
  %key_init = tensor.empty(%tokens) : tensor<?xE_xT_>
  %value_init = tensor.empty(%tokens) : tensor<?xE_xf32>
  %keys, %values = linalg.generic {indexing_maps = [#te, #te], iterator_types = ["parallel", "parallel"]}
      outs(%key_init, %value_init : tensor<?xE_xT_>, tensor<?xE_xf32>) {
  ^bb0(%unused: T_, %unused2: f32):
    %t = linalg.index 0 : index
    %e = linalg.index 1 : index
    %c37 = arith.constant 37 : index
    %c29 = arith.constant 29 : index
    %c23 = arith.constant 23 : index
    %a = arith.muli %t, %c37 : index
    %b = arith.muli %e, %c29 : index
    %sum = arith.addi %a, %b : index
    %rest = arith.remui %sum, %c23 : index
    %integer = arith.index_cast %rest : index to i32
    %eleven = arith.constant 11 : i32
    %centred = arith.subi %integer, %eleven : i32
    %integral = arith.sitofp %centred : i32 to f32
    %half = arith.constant 0.5 : f32
    %real = arith.mulf %integral, %half : f32
    %key = ROUND
    %place = arith.index_cast %sum : index to i32
    %value = arith.sitofp %place : i32 to f32
    linalg.yield %key, %value : T_, f32
  } -> (tensor<?xE_xT_>, tensor<?xE_xf32>)

  %zero = arith.constant 0 : i32
  %rank_init = tensor.empty(%tokens) : tensor<?xE_xi32>
  %rank_zero = linalg.fill ins(%zero : i32) outs(%rank_init : tensor<?xE_xi32>) -> tensor<?xE_xi32>
  %ranks = linalg.generic {indexing_maps = [#te3, #tf3, #te3], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%keys, %keys : tensor<?xE_xT_>, tensor<?xE_xT_>) outs(%rank_zero : tensor<?xE_xi32>) {
  ^bb0(%mine: T_, %other: T_, %count: i32):
    %e = linalg.index 1 : index
    %f = linalg.index 2 : index
    %larger = arith.cmpf ogt, %other, %mine : T_
    %equal = arith.cmpf oeq, %other, %mine : T_
    %earlier = arith.cmpi ult, %f, %e : index
    %tie = arith.andi %equal, %earlier : i1
    %before = arith.ori %larger, %tie : i1
    %one = arith.extui %before : i1 to i32
    %next = arith.addi %count, %one : i32
    linalg.yield %next : i32
  } -> tensor<?xE_xi32>

  // For j and e: e where e is the j-th, summed up.
  %index_init = tensor.empty(%tokens) : tensor<?xK_xi32>
  %index_zero = linalg.fill ins(%zero : i32) outs(%index_init : tensor<?xK_xi32>) -> tensor<?xK_xi32>
  %want = linalg.generic {indexing_maps = [#tf3, #te3], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%ranks : tensor<?xE_xi32>) outs(%index_zero : tensor<?xK_xi32>) {
  ^bb0(%rank: i32, %sum: i32):
    %j = linalg.index 1 : index
    %e = linalg.index 2 : index
    %j32 = arith.index_cast %j : index to i32
    %e32 = arith.index_cast %e : index to i32
    %none = arith.constant 0 : i32
    %is = arith.cmpi eq, %rank, %j32 : i32
    %term = arith.select %is, %e32, %none : i32
    %next = arith.addi %sum, %term : i32
    linalg.yield %next : i32
  } -> tensor<?xK_xi32>
  %want_init = tensor.empty(%tokens) : tensor<?xK_xf32>
  %want_values = linalg.generic {indexing_maps = [#te, #te], iterator_types = ["parallel", "parallel"]}
      ins(%want : tensor<?xK_xi32>) outs(%want_init : tensor<?xK_xf32>) {
  ^bb0(%expert: i32, %unused: f32):
    %t = linalg.index 0 : index
    %e = arith.index_cast %expert : i32 to index
    %value = tensor.extract %values[%t, %e] : tensor<?xE_xf32>
    linalg.yield %value : f32
  } -> tensor<?xK_xf32>

  %selected, %index = moe.top_k %values keys(%keys : tensor<?xE_xT_>) {k = K_} : tensor<?xE_xf32> -> tensor<?xK_xf32>, tensor<?xK_xi32>
  check.expect_eq %index, %want : tensor<?xK_xi32>, tensor<?xK_xi32>
  check.expect_eq %selected, %want_values : tensor<?xK_xf32>, tensor<?xK_xf32>
  return
}

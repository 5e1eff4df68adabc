// RUN: moe-opt %s --moe-cut-experts -split-input-file -verify-diagnostics | FileCheck %s

#xk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>
#id = affine_map<(m, n) -> (m, n)>

// Products become grouped matmuls on all rows, the elementwise op runs on all rows.
// CHECK-LABEL: func.func @relu_expert
// CHECK-SAME: %[[X:.*]]: tensor<?x8xf32>, %[[O:.*]]: tensor<5xi32>, %[[U:.*]]: tensor<4x16x8xf32>, %[[D:.*]]: tensor<4x8x16xf32>
// CHECK: %[[H:.*]] = moe.grouped_matmul rows(%[[X]] : {{.*}}) weights(%[[U]] : {{.*}}) groups(%[[O]]
// CHECK: %[[R:.*]] = linalg.generic {{.*}} ins(%[[H]]
// CHECK: %[[Y:.*]] = moe.grouped_matmul rows(%[[R]] : {{.*}}) weights(%[[D]] : {{.*}}) groups(%[[O]]
// CHECK: return %[[Y]]
func.func @relu_expert(%x: tensor<?x8xf32>, %o: tensor<5xi32>, %up: tensor<4x16x8xf32>, %down: tensor<4x8x16xf32>) -> tensor<?x8xf32> {
  %y = moe.experts rows(%x : tensor<?x8xf32>) groups(%o : tensor<5xi32>)
      params(%up, %down : tensor<4x16x8xf32>, tensor<4x8x16xf32>) -> tensor<?x8xf32> {
  ^bb0(%r: tensor<?x8xf32>, %u: tensor<16x8xf32>, %d: tensor<8x16xf32>):
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %n = tensor.dim %r, %c0 : tensor<?x8xf32>
    %e1 = tensor.empty(%n) : tensor<?x16xf32>
    %z1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %h = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%r, %u : tensor<?x8xf32>, tensor<16x8xf32>) outs(%z1 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%h : tensor<?x16xf32>) outs(%e1 : tensor<?x16xf32>) {
    ^bb1(%in: f32, %out: f32):
      %m = arith.maximumf %in, %zero : f32
      linalg.yield %m : f32
    } -> tensor<?x16xf32>
    %e2 = tensor.empty(%n) : tensor<?x8xf32>
    %z2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<?x8xf32>) -> tensor<?x8xf32>
    %p = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%a, %d : tensor<?x16xf32>, tensor<8x16xf32>) outs(%z2 : tensor<?x8xf32>) -> tensor<?x8xf32>
    moe.yield %p : tensor<?x8xf32>
  }
  return %y : tensor<?x8xf32>
}

// -----

// A static number of rows outside, a dynamic one inside.
#xk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>
// CHECK-LABEL: func.func @static_rows
// CHECK: %[[X:.*]] = tensor.cast %{{.*}} : tensor<6x8xf32> to tensor<?x8xf32>
// CHECK: %[[Y:.*]] = moe.grouped_matmul rows(%[[X]]
// CHECK: tensor.cast %[[Y]] : tensor<?x16xf32> to tensor<6x16xf32>
func.func @static_rows(%x: tensor<6x8xf32>, %o: tensor<5xi32>, %w: tensor<4x16x8xf32>) -> tensor<6x16xf32> {
  %y = moe.experts rows(%x : tensor<6x8xf32>) groups(%o : tensor<5xi32>) params(%w : tensor<4x16x8xf32>) -> tensor<6x16xf32> {
  ^bb0(%r: tensor<?x8xf32>, %u: tensor<16x8xf32>):
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %n = tensor.dim %r, %c0 : tensor<?x8xf32>
    %e1 = tensor.empty(%n) : tensor<?x16xf32>
    %z1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %h = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%r, %u : tensor<?x8xf32>, tensor<16x8xf32>) outs(%z1 : tensor<?x16xf32>) -> tensor<?x16xf32>
    moe.yield %h : tensor<?x16xf32>
  }
  return %y : tensor<6x16xf32>
}

// -----

// A network that routes again stays a loop over experts, and says why.
// CHECK-LABEL: func.func @routes_again
// CHECK: moe.experts
func.func @routes_again(%x: tensor<?x8xf32>, %o: tensor<5xi32>, %w: tensor<4x8xf32>) -> tensor<?x2xf32> {
  // expected-remark @+1 {{stays a loop over experts}}
  %y = moe.experts rows(%x : tensor<?x8xf32>) groups(%o : tensor<5xi32>) -> tensor<?x2xf32> {
  ^bb0(%r: tensor<?x8xf32>):
    // expected-note @+1 {{because of an op that is neither a product nor row-wise}}
    %s, %i = moe.top_k %r {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
    moe.yield %s : tensor<?x2xf32>
  }
  return %y : tensor<?x2xf32>
}

// -----

// A result that is not a product would not be zero in rows of no group.
#id = affine_map<(m, n) -> (m, n)>
// CHECK-LABEL: func.func @not_a_product
// CHECK: moe.experts
func.func @not_a_product(%x: tensor<?x8xf32>, %o: tensor<5xi32>) -> tensor<?x8xf32> {
  // expected-remark @+1 {{stays a loop over experts}}
  %y = moe.experts rows(%x : tensor<?x8xf32>) groups(%o : tensor<5xi32>) -> tensor<?x8xf32> {
  ^bb0(%r: tensor<?x8xf32>):
    %a = linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%r : tensor<?x8xf32>) {
    ^bb1(%out: f32):
      %m = math.exp %out : f32
      linalg.yield %m : f32
    } -> tensor<?x8xf32>
    // expected-note @+1 {{because of a result that is not a product with a parameter}}
    moe.yield %a : tensor<?x8xf32>
  }
  return %y : tensor<?x8xf32>
}

// -----

// A body that reads another row of its group, in a branch: rows are not independent.
#xk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>
#id = affine_map<(m, n) -> (m, n)>
// CHECK-LABEL: func.func @first_row_of_the_group
// CHECK: moe.experts
func.func @first_row_of_the_group(%x: tensor<?x8xf32>, %o: tensor<5xi32>, %w: tensor<4x16x8xf32>) -> tensor<?x16xf32> {
  // expected-remark @+1 {{stays a loop over experts}}
  %y = moe.experts rows(%x : tensor<?x8xf32>) groups(%o : tensor<5xi32>) params(%w : tensor<4x16x8xf32>) -> tensor<?x16xf32> {
  ^bb0(%r: tensor<?x8xf32>, %u: tensor<16x8xf32>):
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %n = tensor.dim %r, %c0 : tensor<?x8xf32>
    %e0 = tensor.empty(%n) : tensor<?x8xf32>
    // expected-note @+1 {{because of a linalg op that is neither a product with a parameter nor row-wise}}
    %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%r : tensor<?x8xf32>) outs(%e0 : tensor<?x8xf32>) {
    ^bb1(%in: f32, %out: f32):
      %positive = arith.cmpf ogt, %in, %zero : f32
      %v = scf.if %positive -> (f32) {
        %first = tensor.extract %r[%c0, %c0] : tensor<?x8xf32>
        scf.yield %first : f32
      } else {
        scf.yield %in : f32
      }
      linalg.yield %v : f32
    } -> tensor<?x8xf32>
    %e1 = tensor.empty(%n) : tensor<?x16xf32>
    %z1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %h = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%a, %u : tensor<?x8xf32>, tensor<16x8xf32>) outs(%z1 : tensor<?x16xf32>) -> tensor<?x16xf32>
    moe.yield %h : tensor<?x16xf32>
  }
  return %y : tensor<?x16xf32>
}

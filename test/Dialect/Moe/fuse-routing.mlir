// RUN: moe-opt %s --moe-fuse-routing --canonicalize --cse --split-input-file | FileCheck %s

#id = affine_map<(t, n) -> (t, n)>
#row = affine_map<(t, n) -> (t)>
#column = affine_map<(t, n) -> (n)>

// A gate with a norm before the router, sigmoid scores, a bias that only chooses, and weights that are summed up and scaled:
// one loop. The norm's rows, which experts read too, the logits, experts and weights are its results; scores and sums are not.
// CHECK-LABEL: func.func @composed
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>
// CHECK-NOT: linalg.{{fill|generic}}
// CHECK-NOT: moe.{{grouped_matmul|top_k}}
// CHECK: %[[GATE:.*]]:4 = scf.forall (%[[I:.*]]) = (0) to (%{{.*}}) step (16)
// CHECK-SAME: -> (tensor<?x32xf32>, tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
// CHECK: %[[N:.*]] = affine.min
// The rows before the product one by one, the product for all of them, the rows behind it one by one.
// CHECK: %[[NORM:.*]] = scf.forall (%{{.*}}) in (%[[N]])
// CHECK:   linalg.fill
// CHECK:   linalg.generic {{.*}}"reduction"
// CHECK:   linalg.generic
// CHECK: %[[LOGITS:.*]] = moe.grouped_matmul rows(%[[NORM]] : tensor<?x32xf32>) {{.*}}moe.scores
// CHECK: %[[ROUTE:.*]]:2 = scf.forall (%[[R:.*]]) in (%[[N]])
// CHECK:   tensor.extract_slice %[[LOGITS]][%[[R]], 0] [1, 8]
// CHECK:   linalg.generic
// CHECK:   linalg.generic
// CHECK:   moe.top_k %{{.*}} keys(%{{.*}} : tensor<1x8xf32>) {{.*}} : tensor<1x8xf32> -> tensor<1x2xf32>, tensor<1x2xi32>
// CHECK:   linalg.generic {{.*}}"reduction"
// CHECK:   linalg.generic
// CHECK: scf.forall.in_parallel
// CHECK: scf.forall.in_parallel
// CHECK-NOT: linalg.generic
// CHECK: moe.plan %[[GATE]]#2
func.func @composed(%x: tensor<?x32xf32>, %w: tensor<1x8x32xf32>, %bias: tensor<8xf32>)
    -> (tensor<?x32xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<9xi32>) {
  %c0 = arith.constant 0 : index
  %first = arith.constant 0 : i32
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x32xf32>
  %end = arith.index_cast %n : index to i32
  %rows = tensor.from_elements %first, %end : tensor<2xi32>
  %e0 = tensor.empty(%n) : tensor<?xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e0 : tensor<?xf32>) -> tensor<?xf32>
  %squares = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<?x32xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%a: f32, %s: f32):
    %m = arith.mulf %a, %a : f32
    %r = arith.addf %s, %m : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %e1 = tensor.empty(%n) : tensor<?x32xf32>
  %h = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %squares : tensor<?x32xf32>, tensor<?xf32>) outs(%e1 : tensor<?x32xf32>) {
  ^bb0(%a: f32, %s: f32, %o: f32):
    %q = math.rsqrt %s : f32
    %r = arith.mulf %a, %q : f32
    linalg.yield %r : f32
  } -> tensor<?x32xf32>
  %e2 = tensor.empty(%n) : tensor<?x8xf32>
  %logits = moe.grouped_matmul rows(%h : tensor<?x32xf32>) weights(%w : tensor<1x8x32xf32>) groups(%rows : tensor<2xi32>) outs(%e2 : tensor<?x8xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x8xf32>
  %scores = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%logits : tensor<?x8xf32>) outs(%e2 : tensor<?x8xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.negf %a : f32
    %e = math.exp %m : f32
    %d = arith.addf %e, %one : f32
    %r = arith.divf %one, %d : f32
    linalg.yield %r : f32
  } -> tensor<?x8xf32>
  %keys = linalg.generic {indexing_maps = [#id, #column, #id], iterator_types = ["parallel", "parallel"]} ins(%scores, %bias : tensor<?x8xf32>, tensor<8xf32>) outs(%e2 : tensor<?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %r = arith.addf %a, %b : f32
    linalg.yield %r : f32
  } -> tensor<?x8xf32>
  %chosen, %index = moe.top_k %scores keys(%keys : tensor<?x8xf32>) {k = 2 : i64, groups = #moe.groups<count = 4, keep = 2, score = sum_top2, masked = "zero">} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %total = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%chosen : tensor<?x2xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%a: f32, %s: f32):
    %r = arith.addf %s, %a : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %e3 = tensor.empty(%n) : tensor<?x2xf32>
  %weights = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%chosen, %total : tensor<?x2xf32>, tensor<?xf32>) outs(%e3 : tensor<?x2xf32>) {
  ^bb0(%a: f32, %s: f32, %o: f32):
    %r = arith.divf %a, %s : f32
    linalg.yield %r : f32
  } -> tensor<?x2xf32>
  %offsets, %choices, %slots = moe.plan %index {experts = 8} : tensor<?x2xi32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>
  return %h, %logits, %weights, %offsets : tensor<?x32xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<9xi32>
}

// -----

#id = affine_map<(t, n) -> (t, n)>
#column = affine_map<(t, n) -> (n)>

// A sum over all tokens needs every row: what depends on it comes after the loop, and what chooses by it is not fused.
// CHECK-LABEL: func.func @balance
// CHECK: scf.forall
// CHECK: moe.top_k
// CHECK: scf.forall.in_parallel
// CHECK: %[[LOAD:.*]] = linalg.generic {{.*}}["reduction", "parallel"]
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %[[LOAD]]
func.func @balance(%x: tensor<?x8xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x8xf32>
  %e = tensor.empty(%n) : tensor<?x8xf32>
  %scores = linalg.exp ins(%x : tensor<?x8xf32>) outs(%e : tensor<?x8xf32>) -> tensor<?x8xf32>
  %chosen, %index = moe.top_k %scores {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %e1 = tensor.empty() : tensor<2xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e1 : tensor<2xf32>) -> tensor<2xf32>
  %load = linalg.generic {indexing_maps = [#id, #column], iterator_types = ["reduction", "parallel"]} ins(%chosen : tensor<?x2xf32>) outs(%z : tensor<2xf32>) {
  ^bb0(%a: f32, %s: f32):
    %r = arith.addf %s, %a : f32
    linalg.yield %r : f32
  } -> tensor<2xf32>
  %e2 = tensor.empty(%n) : tensor<?x2xf32>
  %w = linalg.generic {indexing_maps = [#id, #column, #id], iterator_types = ["parallel", "parallel"]} ins(%chosen, %load : tensor<?x2xf32>, tensor<2xf32>) outs(%e2 : tensor<?x2xf32>) {
  ^bb0(%a: f32, %s: f32, %o: f32):
    %r = arith.divf %a, %s : f32
    linalg.yield %r : f32
  } -> tensor<?x2xf32>
  return %w, %chosen : tensor<?x2xf32>, tensor<?x2xf32>
}

// -----

#id = affine_map<(t, n) -> (t, n)>
#column = affine_map<(t, n) -> (n)>

// Here the choice itself depends on all rows: nothing can be done for some rows alone.
// CHECK-LABEL: func.func @chooses_by_all
// CHECK-NOT: scf.forall
func.func @chooses_by_all(%x: tensor<?x8xf32>) -> tensor<?x2xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x8xf32>
  %e = tensor.empty(%n) : tensor<?x8xf32>
  %scores = linalg.exp ins(%x : tensor<?x8xf32>) outs(%e : tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = tensor.empty() : tensor<8xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e1 : tensor<8xf32>) -> tensor<8xf32>
  %load = linalg.generic {indexing_maps = [#id, #column], iterator_types = ["reduction", "parallel"]} ins(%scores : tensor<?x8xf32>) outs(%z : tensor<8xf32>) {
  ^bb0(%a: f32, %s: f32):
    %r = arith.addf %s, %a : f32
    linalg.yield %r : f32
  } -> tensor<8xf32>
  %keys = linalg.generic {indexing_maps = [#id, #column, #id], iterator_types = ["parallel", "parallel"]} ins(%scores, %load : tensor<?x8xf32>, tensor<8xf32>) outs(%e : tensor<?x8xf32>) {
  ^bb0(%a: f32, %s: f32, %o: f32):
    %r = arith.subf %a, %s : f32
    linalg.yield %r : f32
  } -> tensor<?x8xf32>
  %chosen, %index = moe.top_k %scores keys(%keys : tensor<?x8xf32>) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return %chosen : tensor<?x2xf32>
}

// -----

#id = affine_map<(t, n) -> (t, n)>
#row = affine_map<(t, n) -> (t)>

// What else is made by rows of the rows that the router multiplies: their largest elements, and codes.
// CHECK-LABEL: func.func @codes_of_rows
// CHECK-NOT: linalg.generic
// CHECK: %[[GATE:.*]]:4 = scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (16)
// CHECK:   moe.grouped_matmul
// CHECK:   scf.forall
// CHECK:     moe.top_k
// CHECK:     linalg.generic {{.*}}"reduction"
// CHECK:     arith.fptosi
// CHECK: scf.forall.in_parallel
// CHECK: scf.forall.in_parallel
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @codes_of_rows(%x: tensor<?x32xf32>, %w: tensor<1x8x32xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>, tensor<?xf32>, tensor<?x32xi8>) {
  %c0 = arith.constant 0 : index
  %first = arith.constant 0 : i32
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x32xf32>
  %end = arith.index_cast %n : index to i32
  %rows = tensor.from_elements %first, %end : tensor<2xi32>
  %e0 = tensor.empty(%n) : tensor<?x8xf32>
  %logits = moe.grouped_matmul rows(%x : tensor<?x32xf32>) weights(%w : tensor<1x8x32xf32>) groups(%rows : tensor<2xi32>) outs(%e0 : tensor<?x8xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x8xf32>
  %s, %e = moe.top_k %logits {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %e1 = tensor.empty(%n) : tensor<?xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %most = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<?x32xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%a: f32, %m: f32):
    %r = arith.maximumf %a, %m : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %e2 = tensor.empty(%n) : tensor<?x32xi8>
  %codes = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %most : tensor<?x32xf32>, tensor<?xf32>) outs(%e2 : tensor<?x32xi8>) {
  ^bb0(%a: f32, %m: f32, %o: i8):
    %d = arith.divf %a, %m : f32
    %r = arith.fptosi %d : f32 to i8
    linalg.yield %r : i8
  } -> tensor<?x32xi8>
  return %s, %e, %most, %codes : tensor<?x2xf32>, tensor<?x2xi32>, tensor<?xf32>, tensor<?x32xi8>
}

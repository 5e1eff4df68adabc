// RUN: moe-opt %s --moe-fuse-grouped-matmuls --canonicalize -split-input-file | FileCheck %s

#id = affine_map<(m, n) -> (m, n)>

// The gather, gate and up, and what is done to them become one op. exp(0) * 0 is 0 in rows of no group.
// CHECK-LABEL: func.func @gate_up
// CHECK-SAME: %[[X:.*]]: tensor<?x8xf32>, %[[C:.*]]: tensor<?xi32>, %[[O:.*]]: tensor<5xi32>, %[[G:.*]]: tensor<4x16x8xf32>, %[[U:.*]]: tensor<4x16x8xf32>
// CHECK-NOT: moe.dispatch
// CHECK: %[[Z:.*]] = linalg.fill ins(%[[ZERO:.*]] : f32)
// CHECK: moe.grouped_matmul rows(%[[X]] : {{.*}}) weights(%[[G]], %[[U]] : {{.*}}) groups(%[[O]] : {{.*}}) choices(%[[C]] : {{.*}}) outs(%[[Z]] : {{.*}}) attributes {fanout = 2 : i64}
// CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
// CHECK-NEXT: %[[E:.*]] = math.exp %[[A]]
// CHECK-NEXT: %[[P:.*]] = arith.mulf %[[E]], %[[B]]
// CHECK-NEXT: moe.yield %[[P]]
// CHECK-NOT: linalg.generic
func.func @gate_up(%x: tensor<?x8xf32>, %c: tensor<?xi32>, %o: tensor<5xi32>, %g: tensor<4x16x8xf32>, %u: tensor<4x16x8xf32>,
                   %empty: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %zero = arith.constant 0.0 : f32
  %xs = moe.dispatch %x[%c] {fanout = 2} : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = moe.grouped_matmul rows(%xs : tensor<?x8xf32>) weights(%g : tensor<4x16x8xf32>) groups(%o : tensor<5xi32>) outs(%z : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %b = moe.grouped_matmul rows(%xs : tensor<?x8xf32>) weights(%u : tensor<4x16x8xf32>) groups(%o : tensor<5xi32>) outs(%z : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %b : tensor<?x16xf32>, tensor<?x16xf32>) outs(%empty : tensor<?x16xf32>) {
  ^bb1(%p: f32, %q: f32, %out: f32):
    %e = math.exp %p : f32
    %m = arith.mulf %e, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x16xf32>
  return %h : tensor<?x16xf32>
}

// -----

#id = affine_map<(m, n) -> (m, n)>
// What the epilogue makes of zero stands in rows of no group: here exp(0) = 1. A rounding moves along.
// CHECK-LABEL: func.func @not_zero_at_zero
// CHECK-DAG: %[[ONE:.*]] = arith.constant 1.000000e+00 : bf16
// CHECK: linalg.fill ins(%[[ONE]] : bf16)
// CHECK: moe.grouped_matmul
// CHECK: math.exp
// CHECK: arith.truncf
// CHECK: moe.yield %{{.*}} : bf16
func.func @not_zero_at_zero(%x: tensor<?x8xf32>, %o: tensor<5xi32>, %w: tensor<4x16x8xf32>, %empty: tensor<?x16xf32>, %out: tensor<?x16xbf16>) -> tensor<?x16xbf16> {
  %zero = arith.constant 0.0 : f32
  %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<4x16x8xf32>) groups(%o : tensor<5xi32>) outs(%z : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%a : tensor<?x16xf32>) outs(%out : tensor<?x16xbf16>) {
  ^bb1(%p: f32, %o1: bf16):
    %e = math.exp %p : f32
    %t = arith.truncf %e : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  return %h : tensor<?x16xbf16>
}

// -----

#id = affine_map<(m, n) -> (m, n)>
// A product that something else reads too is not fused away.
// CHECK-LABEL: func.func @two_uses
// CHECK: moe.grouped_matmul
// CHECK: linalg.generic
func.func @two_uses(%x: tensor<?x8xf32>, %o: tensor<5xi32>, %w: tensor<4x16x8xf32>, %empty: tensor<?x16xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %zero = arith.constant 0.0 : f32
  %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<4x16x8xf32>) groups(%o : tensor<5xi32>) outs(%z : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%a : tensor<?x16xf32>) outs(%empty : tensor<?x16xf32>) {
  ^bb1(%p: f32, %o1: f32):
    %e = math.exp %p : f32
    linalg.yield %e : f32
  } -> tensor<?x16xf32>
  return %a, %h : tensor<?x16xf32>, tensor<?x16xf32>
}

// -----

#id = affine_map<(m, n) -> (m, n)>
// All rows are in the one group, though their number is written as that of another tensor: no zeros are needed.
// CHECK-LABEL: func.func @all_rows
// CHECK: moe.grouped_matmul {{.*}} outs(%{{.*}} : tensor<?x16xbf16>)
// CHECK: arith.truncf
// CHECK: moe.yield %{{.*}} : bf16
func.func @all_rows(%x: tensor<?x8xf32>, %w: tensor<1x16x8xf32>) -> tensor<?x16xbf16> {
  %zero = arith.constant 0 : i32
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %x, %c0 : tensor<?x8xf32>
  %end = arith.index_cast %rows : index to i32
  %o = tensor.from_elements %zero, %end : tensor<2xi32>
  %xe = tensor.empty(%rows) : tensor<?x8xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<?x8xf32>) outs(%xe : tensor<?x8xf32>) {
  ^bb0(%in: f32, %out: f32):
    %n = arith.negf %in : f32
    linalg.yield %n : f32
  } -> tensor<?x8xf32>
  %e = tensor.empty(%rows) : tensor<?x16xf32>
  %a = moe.grouped_matmul rows(%y : tensor<?x8xf32>) weights(%w : tensor<1x16x8xf32>) groups(%o : tensor<2xi32>) outs(%e : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %re = tensor.empty(%rows) : tensor<?x16xbf16>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%a : tensor<?x16xf32>) outs(%re : tensor<?x16xbf16>) {
  ^bb0(%in: f32, %out: bf16):
    %t = arith.truncf %in : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  return %r : tensor<?x16xbf16>
}

// One row fewer than x has: the last one keeps what the output held, unrounded.
// CHECK-LABEL: func.func @not_all_rows
// CHECK: moe.grouped_matmul {{.*}} outs(%{{.*}} : tensor<?x16xf32>)
// CHECK: linalg.generic
func.func @not_all_rows(%x: tensor<?x8xf32>, %w: tensor<1x16x8xf32>, %init: tensor<?x16xf32>) -> tensor<?x16xbf16> {
  %zero = arith.constant 0 : i32
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %rows = tensor.dim %x, %c0 : tensor<?x8xf32>
  %fewer = arith.subi %rows, %c1 : index
  %end = arith.index_cast %fewer : index to i32
  %o = tensor.from_elements %zero, %end : tensor<2xi32>
  %a = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<1x16x8xf32>) groups(%o : tensor<2xi32>) outs(%init : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %re = tensor.empty(%rows) : tensor<?x16xbf16>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%a : tensor<?x16xf32>) outs(%re : tensor<?x16xbf16>) {
  ^bb0(%in: f32, %out: bf16):
    %t = arith.truncf %in : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  return %r : tensor<?x16xbf16>
}

// -----

#id = affine_map<(b, s, h, d) -> (b, s, h, d)>
// Attention rounds its result itself, where nothing else reads it.
// CHECK-LABEL: func.func @rounded_attention
// CHECK: %[[Y:.*]] = moe.attention {{.*}} -> tensor<?x?x4x8xbf16>
// CHECK: return %[[Y]]
func.func @rounded_attention(%q: tensor<?x?x4x8xbf16>, %k: tensor<?x?x2x8xbf16>, %past: index, %out: tensor<?x?x4x8xbf16>) -> tensor<?x?x4x8xbf16> {
  %y = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32} : tensor<?x?x4x8xbf16>, tensor<?x?x2x8xbf16>, tensor<?x?x2x8xbf16> -> tensor<?x?x4x8xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%y : tensor<?x?x4x8xf32>) outs(%out : tensor<?x?x4x8xbf16>) {
  ^bb0(%in: f32, %o: bf16):
    %t = arith.truncf %in : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x?x4x8xbf16>
  return %r : tensor<?x?x4x8xbf16>
}

// A size is no reader: it stays the same.
// CHECK-LABEL: func.func @rounded_attention_with_size
// CHECK: moe.attention {{.*}} -> tensor<?x?x4x8xbf16>
// CHECK-NOT: linalg.generic
func.func @rounded_attention_with_size(%q: tensor<?x?x4x8xbf16>, %k: tensor<?x?x2x8xbf16>, %past: index) -> tensor<?x?x4x8xbf16> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %y = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32} : tensor<?x?x4x8xbf16>, tensor<?x?x2x8xbf16>, tensor<?x?x2x8xbf16> -> tensor<?x?x4x8xf32>
  %b = tensor.dim %y, %c0 : tensor<?x?x4x8xf32>
  %s = tensor.dim %y, %c1 : tensor<?x?x4x8xf32>
  %out = tensor.empty(%b, %s) : tensor<?x?x4x8xbf16>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%y : tensor<?x?x4x8xf32>) outs(%out : tensor<?x?x4x8xbf16>) {
  ^bb0(%in: f32, %o: bf16):
    %t = arith.truncf %in : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x?x4x8xbf16>
  return %r : tensor<?x?x4x8xbf16>
}

// CHECK-LABEL: func.func @two_readers_of_attention
// CHECK: moe.attention {{.*}} -> tensor<?x?x4x8xf32>
// CHECK: linalg.generic
func.func @two_readers_of_attention(%q: tensor<?x?x4x8xbf16>, %k: tensor<?x?x2x8xbf16>, %past: index, %out: tensor<?x?x4x8xbf16>) -> (tensor<?x?x4x8xbf16>, tensor<?x?x4x8xf32>) {
  %y = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32} : tensor<?x?x4x8xbf16>, tensor<?x?x2x8xbf16>, tensor<?x?x2x8xbf16> -> tensor<?x?x4x8xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%y : tensor<?x?x4x8xf32>) outs(%out : tensor<?x?x4x8xbf16>) {
  ^bb0(%in: f32, %o: bf16):
    %t = arith.truncf %in : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x?x4x8xbf16>
  return %r, %y : tensor<?x?x4x8xbf16>, tensor<?x?x4x8xf32>
}

// -----

// Slots of the plan, and products of the same groups, never reach rows in no group.
// CHECK-LABEL: func.func @rows_nobody_reads
// CHECK-NOT: linalg.fill
// CHECK: moe.combine
func.func @rows_nobody_reads(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<4x16x8xf32>, %v: tensor<4x8x16xf32>, %h: tensor<?x16xf32>, %out: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %zero = arith.constant 0.0 : f32
  %offsets, %choices, %slots = moe.plan %e {experts = 4} : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  %z = linalg.fill ins(%zero : f32) outs(%h : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<4x16x8xf32>) groups(%offsets : tensor<5xi32>) choices(%choices : tensor<?xi32>) outs(%z : tensor<?x16xf32>) attributes {fanout = 2} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %z2 = linalg.fill ins(%zero : f32) outs(%out : tensor<?x8xf32>) -> tensor<?x8xf32>
  %b = moe.grouped_matmul rows(%a : tensor<?x16xf32>) weights(%v : tensor<4x8x16xf32>) groups(%offsets : tensor<5xi32>) outs(%z2 : tensor<?x8xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x8xf32>
  %y = moe.combine %b[%slots] : tensor<?x8xf32>, tensor<?x2xi32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Slots from elsewhere might.
// CHECK-LABEL: func.func @slots_from_elsewhere
// CHECK: linalg.fill
// CHECK: moe.grouped_matmul
func.func @slots_from_elsewhere(%x: tensor<?x8xf32>, %o: tensor<5xi32>, %slots: tensor<?x2xi32>, %w: tensor<4x16x8xf32>, %h: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %zero = arith.constant 0.0 : f32
  %z = linalg.fill ins(%zero : f32) outs(%h : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<4x16x8xf32>) groups(%o : tensor<5xi32>) outs(%z : tensor<?x16xf32>) {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x16xf32>
  %y = moe.combine %a[%slots] : tensor<?x16xf32>, tensor<?x2xi32> -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

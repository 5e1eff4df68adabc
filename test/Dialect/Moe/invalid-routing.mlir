// RUN: moe-opt %s -split-input-file -verify-diagnostics

//===----------------------------------------------------------------------===//
// moe.top_k
//===----------------------------------------------------------------------===//

func.func @no_k(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{'moe.top_k' op expected either the attribute 'k' or the operand of 'k(...)' but got neither}}
  %0:2 = moe.top_k %v : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @two_k(%v: tensor<?x8xf32>, %k: index) {
  // expected-error@+1 {{expected either the attribute 'k' or the operand of 'k(...)' but got both}}
  %0:2 = moe.top_k %v k(%k) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @dynamic_experts_in_groups(%v: tensor<?x?xf32>) {
  // expected-error@+1 {{expected a static number of experts with 'groups' but got 'tensor<?x?xf32>'}}
  %0:2 = moe.top_k %v {k = 2, groups = #moe.groups<count = 2, keep = 1, score = max, masked = "zero">}
    : tensor<?x?xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @no_experts(%v: tensor<?x0xf32>, %k: index) {
  // expected-error@+1 {{expected at least one expert but got 'tensor<?x0xf32>'}}
  %0:2 = moe.top_k %v k(%k) : tensor<?x0xf32> -> tensor<?x?xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @zero_k_of_many(%v: tensor<?x?xf32>) {
  // expected-error@+1 {{expected 'k' between 1 and the number of experts, ?, but got 0}}
  %0:2 = moe.top_k %v {k = 0} : tensor<?x?xf32> -> tensor<?x0xf32>, tensor<?x0xi32>
  return
}

// -----

func.func @zero_k(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected 'k' between 1 and the number of experts, 8, but got 0}}
  %0:2 = moe.top_k %v {k = 0} : tensor<?x8xf32> -> tensor<?x0xf32>, tensor<?x0xi32>
  return
}

// -----

func.func @large_k(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected 'k' between 1 and the number of experts, 8, but got 9}}
  %0:2 = moe.top_k %v {k = 9} : tensor<?x8xf32> -> tensor<?x9xf32>, tensor<?x9xi32>
  return
}

// -----

func.func @columns(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected 2 columns in the results but got 'tensor<?x3xf32>'}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x3xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @static_columns_for_dynamic_k(%v: tensor<?x8xf32>, %k: index) {
  // expected-error@+1 {{expected results with a dynamic number of columns for a dynamic k but got 'tensor<?x3xf32>'}}
  %0:2 = moe.top_k %v k(%k) : tensor<?x8xf32> -> tensor<?x3xf32>, tensor<?x3xi32>
  return
}

// -----

func.func @index_columns(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected as many columns in 'index' as in 'selected', 2, but got 3}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x3xi32>
  return
}

// -----

func.func @dynamic_index_columns(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected as many columns in 'index' as in 'selected', 2, but got ?}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @tokens(%v: tensor<4x8xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'selected' to be 4 (tokens) but got 5}}
  %0:2 = moe.top_k %v {k = 2} : tensor<4x8xf32> -> tensor<5x2xf32>, tensor<4x2xi32>
  return
}

// -----

func.func @index_tokens(%v: tensor<4x8xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'index' to be 4 (tokens) but got 5}}
  %0:2 = moe.top_k %v {k = 2} : tensor<4x8xf32> -> tensor<4x2xf32>, tensor<5x2xi32>
  return
}

// -----

func.func @element_type(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected element type 'f32' of 'selected' but got 'bf16'}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x2xbf16>, tensor<?x2xi32>
  return
}

// -----

func.func @keys_tokens(%v: tensor<4x8xf32>, %keys: tensor<3x8xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'keys' to be 4 (tokens) but got 3}}
  %0:2 = moe.top_k %v keys(%keys : tensor<3x8xf32>) {k = 2} : tensor<4x8xf32> -> tensor<4x2xf32>, tensor<4x2xi32>
  return
}

// -----

func.func @keys_experts(%v: tensor<4x8xf32>, %keys: tensor<4x7xf32>) {
  // expected-error@+1 {{expected dimension 1 of 'keys' to be 8 (experts) but got 7}}
  %0:2 = moe.top_k %v keys(%keys : tensor<4x7xf32>) {k = 2} : tensor<4x8xf32> -> tensor<4x2xf32>, tensor<4x2xi32>
  return
}

// -----

func.func @uneven_groups(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected the group count to divide the number of experts, 8, but got count = 3}}
  %0:2 = moe.top_k %v {k = 2, groups = #moe.groups<count = 3, keep = 2, score = max, masked = "-inf">}
    : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @small_groups(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected groups of at least 2 experts for the score 'sum_top2' but got 1 expert per group}}
  %0:2 = moe.top_k %v {k = 2, groups = #moe.groups<count = 8, keep = 2, score = sum_top2, masked = "-inf">}
    : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @integer_scores(%v: tensor<?x8xi32>) {
  // expected-error@+1 {{operand #0 must be 2D tensor of 16-bit float or bfloat16 type or 32-bit float or 64-bit float values}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xi32> -> tensor<?x2xi32>, tensor<?x2xi32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// moe.drop
//===----------------------------------------------------------------------===//

func.func @drop_no_experts(%i: tensor<?x2xi32>, %c: index) {
  // expected-error@+1 {{'moe.drop' op expected 'experts' between 1 and 2147483647 but got 0}}
  %0 = moe.drop %i capacity(%c) {experts = 0, order = "token"} : tensor<?x2xi32>
  return
}

// -----

func.func @order(%i: tensor<?x2xi32>, %c: index) {
  // expected-error@+1 {{attribute 'order' failed to satisfy constraint: one of "token", "choice", "priority"}}
  %0 = moe.drop %i capacity(%c) {experts = 4, order = "random"} : tensor<?x2xi32>
  return
}

// -----

func.func @order_not_text(%i: tensor<?x2xi32>, %c: index) {
  // expected-error@+1 {{attribute 'order' failed to satisfy constraint: one of "token", "choice", "priority"}}
  %0 = moe.drop %i capacity(%c) {experts = 4, order = 1 : i64} : tensor<?x2xi32>
  return
}

// -----

func.func @priority_missing(%i: tensor<?x2xi32>, %c: index) {
  // expected-error@+1 {{expected a 'priority' operand for order "priority" but got none}}
  %0 = moe.drop %i capacity(%c) {experts = 4, order = "priority"} : tensor<?x2xi32>
  return
}

// -----

func.func @priority_unused(%i: tensor<?x2xi32>, %p: tensor<?x2xf32>, %c: index) {
  // expected-error@+1 {{expected no 'priority' operand for order "token" but got 'tensor<?x2xf32>'}}
  %0 = moe.drop %i priority(%p : tensor<?x2xf32>) capacity(%c) {experts = 4, order = "token"} : tensor<?x2xi32>
  return
}

// -----

func.func @priority_tokens(%i: tensor<3x2xi32>, %p: tensor<4x2xf32>, %c: index) {
  // expected-error@+1 {{expected dimension 0 of 'priority' to be 3 (tokens) but got 4}}
  %0 = moe.drop %i priority(%p : tensor<4x2xf32>) capacity(%c) {experts = 4, order = "priority"} : tensor<3x2xi32>
  return
}

// -----

func.func @priority_choices(%i: tensor<3x2xi32>, %p: tensor<3x1xf32>, %c: index) {
  // expected-error@+1 {{expected dimension 1 of 'priority' to be 2 (k) but got 1}}
  %0 = moe.drop %i priority(%p : tensor<3x1xf32>) capacity(%c) {experts = 4, order = "priority"} : tensor<3x2xi32>
  return
}

// -----

func.func @segments_tokens(%i: tensor<3x2xi32>, %s: tensor<4xi32>, %c: index) {
  // expected-error@+1 {{expected dimension 0 of 'segments' to be 3 (tokens) but got 4}}
  %0 = moe.drop %i segments(%s : tensor<4xi32>) capacity(%c) {experts = 4, order = "token"} : tensor<3x2xi32>
  return
}

// -----

func.func @kept(%i: tensor<3x2xi32>, %c: index) {
  // expected-error@+1 {{failed to verify that all of {indices, kept} have same type}}
  %0 = "moe.drop"(%i, %c) <{experts = 4 : i64, order = "token", operandSegmentSizes = array<i32: 1, 0, 0, 1>}>
    : (tensor<3x2xi32>, index) -> tensor<4x2xi32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// moe.plan
//===----------------------------------------------------------------------===//

func.func @plan_no_experts(%i: tensor<?x2xi32>) {
  // expected-error@+1 {{'moe.plan' op expected 'experts' between 1 and 2147483647 but got -1}}
  %0:3 = moe.plan %i {experts = -1} : tensor<?x2xi32> -> tensor<0xi32>, tensor<?xi32>, tensor<?x2xi32>
  return
}

// -----

func.func @plan_too_many_experts(%i: tensor<?x2xi32>) {
  // expected-error@+1 {{expected 'experts' between 1 and 2147483647 but got 9223372036854775807}}
  %0:3 = moe.plan %i {experts = 9223372036854775807} : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  return
}

// -----

func.func @offsets(%i: tensor<?x2xi32>) {
  // expected-error@+1 {{expected dimension 0 of 'offsets' to be 5 (experts + 1) but got 4}}
  %0:3 = moe.plan %i {experts = 4} : tensor<?x2xi32> -> tensor<4xi32>, tensor<?xi32>, tensor<?x2xi32>
  return
}

// -----

func.func @dynamic_offsets(%i: tensor<?x2xi32>) {
  // expected-error@+1 {{expected static 'offsets' but got 'tensor<?xi32>'}}
  %0:3 = moe.plan %i {experts = 4} : tensor<?x2xi32> -> tensor<?xi32>, tensor<?xi32>, tensor<?x2xi32>
  return
}

// -----

func.func @choices(%i: tensor<3x2xi32>) {
  // expected-error@+1 {{expected dimension 0 of 'choices' to be 6 (tokens * k) but got 3}}
  %0:3 = moe.plan %i {experts = 4} : tensor<3x2xi32> -> tensor<5xi32>, tensor<3xi32>, tensor<3x2xi32>
  return
}

// -----

func.func @slots_tokens(%i: tensor<3x2xi32>) {
  // expected-error@+1 {{expected dimension 0 of 'slots' to be 3 (tokens) but got 2}}
  %0:3 = moe.plan %i {experts = 4} : tensor<3x2xi32> -> tensor<5xi32>, tensor<6xi32>, tensor<2x2xi32>
  return
}

// -----

func.func @slots_choices(%i: tensor<3x2xi32>) {
  // expected-error@+1 {{expected dimension 1 of 'slots' to be 2 (k) but got 3}}
  %0:3 = moe.plan %i {experts = 4} : tensor<3x2xi32> -> tensor<5xi32>, tensor<6xi32>, tensor<3x3xi32>
  return
}

// -----

func.func @wide_indices(%i: tensor<3x2xi64>) {
  // expected-error@+1 {{operand #0 must be 2D tensor of 32-bit signless integer values, but got 'tensor<3x2xi64>'}}
  %0:3 = moe.plan %i {experts = 4} : tensor<3x2xi64> -> tensor<5xi32>, tensor<6xi32>, tensor<3x2xi32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// moe.gaussian
//===----------------------------------------------------------------------===//

func.func @dynamic_columns(%ids: tensor<?xi64>) {
  // expected-error@+1 {{'moe.gaussian' op expected a static number of columns but got 'tensor<?x?xf32>'}}
  %0 = moe.gaussian rows(%ids) {seed = 1, stream = 0} : tensor<?xi64> -> tensor<?x?xf32>
  return
}

// -----

func.func @ids(%ids: tensor<3xi64>) {
  // expected-error@+1 {{expected dimension 0 of 'noise' to be 3 (ids) but got 4}}
  %0 = moe.gaussian rows(%ids) {seed = 1, stream = 0} : tensor<3xi64> -> tensor<4x2xf32>
  return
}

// -----

func.func @ids_type(%ids: tensor<3xi16>) {
  // expected-error@+1 {{operand #0 must be 1D tensor of 32-bit signless integer or 64-bit signless integer values}}
  %0 = moe.gaussian rows(%ids) {seed = 1, stream = 0} : tensor<3xi16> -> tensor<3x2xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

// expected-error@+1 {{expected at least one group but got count = 0}}
func.func private @no_groups() attributes {a = #moe.groups<count = 0, keep = 0, score = max, masked = "-inf">}

// -----

// expected-error@+1 {{expected 'keep' between 1 and count = 4 but got 0}}
func.func private @keep_none() attributes {a = #moe.groups<count = 4, keep = 0, score = max, masked = "-inf">}

// -----

// expected-error@+1 {{expected 'keep' between 1 and count = 4 but got 5}}
func.func private @keep_more() attributes {a = #moe.groups<count = 4, keep = 5, score = max, masked = "-inf">}

// -----

// expected-error@+1 {{expected 'masked' to be "-inf" or "zero" but got "nan"}}
func.func private @masked() attributes {a = #moe.groups<count = 4, keep = 1, score = max, masked = "nan">}

// -----

// expected-error@+1 {{expected tensor names as sources but got 3 : i64}}
func.func private @sources() attributes {a = #moe.prepared<@f, ["up", 3]> : tensor<4xf32>}

// -----

func.func @schedule_outputs(%e: tensor<?x2xi32>, %o: tensor<9xi32>) {
  // expected-error @below {{expected 5 outputs (offsets, choices, slots, tiles, count) but got 1}}
  %r = moe.schedule %e : tensor<?x2xi32> outs(%o : tensor<9xi32>) {block = 128} -> tensor<9xi32>
  return
}

// -----

func.func @schedule_type(%e: memref<?x2xi32>, %o: memref<9xi32>, %c: memref<?xi64>, %s: memref<?x2xi32>, %t: memref<?x3xi32>, %n: memref<i32>) {
  // expected-error @below {{expected an output of 1 dimensions of i32 but got 'memref<?xi64>'}}
  moe.schedule %e : memref<?x2xi32> outs(%o, %c, %s, %t, %n : memref<9xi32>, memref<?xi64>, memref<?x2xi32>, memref<?x3xi32>, memref<i32>) {block = 128}
  return
}

// -----

func.func @schedule_choices(%e: memref<?x?xi32>, %o: memref<9xi32>, %c: memref<?xi32>, %s: memref<?x?xi32>, %t: memref<?x3xi32>, %n: memref<i32>) {
  // expected-error @below {{expected indices with a static number of choices per token but got 'memref<?x?xi32>'}}
  moe.schedule %e : memref<?x?xi32> outs(%o, %c, %s, %t, %n : memref<9xi32>, memref<?xi32>, memref<?x?xi32>, memref<?x3xi32>, memref<i32>) {block = 128}
  return
}

// -----

func.func @schedule_offsets(%e: memref<?x2xi32>, %o: memref<?xi32>, %c: memref<?xi32>, %s: memref<?x2xi32>, %t: memref<?x3xi32>, %n: memref<i32>) {
  // expected-error @below {{expected static offsets of at least 2 elements (experts + 1) but got 'memref<?xi32>'}}
  moe.schedule %e : memref<?x2xi32> outs(%o, %c, %s, %t, %n : memref<?xi32>, memref<?xi32>, memref<?x2xi32>, memref<?x3xi32>, memref<i32>) {block = 128}
  return
}

// -----

func.func @schedule_tiles(%e: memref<?x2xi32>, %o: memref<9xi32>, %c: memref<?xi32>, %s: memref<?x2xi32>, %t: memref<?x4xi32>, %n: memref<i32>) {
  // expected-error @below {{expected tiles of 3 numbers (group, first row, rows) but got 'memref<?x4xi32>'}}
  moe.schedule %e : memref<?x2xi32> outs(%o, %c, %s, %t, %n : memref<9xi32>, memref<?xi32>, memref<?x2xi32>, memref<?x4xi32>, memref<i32>) {block = 128}
  return
}

// -----

func.func @schedule_block(%e: memref<?x2xi32>, %o: memref<9xi32>, %c: memref<?xi32>, %s: memref<?x2xi32>, %t: memref<?x3xi32>, %n: memref<i32>) {
  // expected-error @below {{expected 'block' of at least 1 but got 0}}
  moe.schedule %e : memref<?x2xi32> outs(%o, %c, %s, %t, %n : memref<9xi32>, memref<?xi32>, memref<?x2xi32>, memref<?x3xi32>, memref<i32>) {block = 0}
  return
}

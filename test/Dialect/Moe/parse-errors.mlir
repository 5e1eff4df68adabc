// RUN: moe-opt %s -split-input-file -verify-diagnostics

func.func @top_k_no_arrow(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected '->'}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xf32>
  return
}

// -----

func.func @top_k_keys_without_type(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected ':'}}
  %0:2 = moe.top_k %v keys(%v) {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  return
}

// -----

func.func @top_k_one_result_type(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{expected ','}}
  %0:2 = moe.top_k %v {k = 2} : tensor<?x8xf32> -> tensor<?x2xf32>
  return
}

// -----

func.func @drop_no_capacity(%i: tensor<?x2xi32>) {
  // expected-error@+1 {{expected 'capacity'}}
  %0 = moe.drop %i {experts = 4, order = "token"} : tensor<?x2xi32>
  return
}

// -----

func.func @drop_no_experts(%i: tensor<?x2xi32>, %c: index) {
  // expected-error@+1 {{requires attribute 'experts'}}
  %0 = moe.drop %i capacity(%c) {order = "token"} : tensor<?x2xi32>
  return
}

// -----

func.func @plan_no_experts(%i: tensor<?x2xi32>) {
  // expected-error@+1 {{requires attribute 'experts'}}
  %0:3 = moe.plan %i : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  return
}

// -----

func.func @gaussian_no_rows(%ids: tensor<?xi64>) {
  // expected-error@+1 {{expected 'rows'}}
  %0 = moe.gaussian %ids {seed = 1, stream = 0} : tensor<?xi64> -> tensor<?x2xf32>
  return
}

// -----

func.func @dispatch_no_brackets(%x: tensor<?x4xf32>, %c: tensor<?xi32>) {
  // expected-error@+1 {{expected '['}}
  %0 = moe.dispatch %x, %c {fanout = 2} : tensor<?x4xf32>, tensor<?xi32> -> tensor<?x4xf32>
  return
}

// -----

func.func @combine_weights_without_type(%ys: tensor<?x4xf32>, %s: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // expected-error@+1 {{expected ':'}}
  %0 = moe.combine %ys[%s] weights(%w) : tensor<?x4xf32>, tensor<?x2xi32> -> tensor<?x4xf32>
  return
}

// -----

func.func @experts_no_groups(%x: tensor<?x4xf32>) {
  // expected-error@+1 {{expected 'groups'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @experts_rows_types(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{number of operands and types do not match: got 2 operands and 1 types}}
  %0 = moe.experts rows(%x, %x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @experts_no_region(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected '{' to begin a region}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_no_outs(%x: tensor<?x4xf32>, %w: tensor<3x4x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected 'outs'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x4xf32>) weights(%w : tensor<3x4x4xf32>) groups(%g : tensor<4xi32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_order_of_clauses(%x: tensor<?x4xf32>, %w: tensor<3x4x4xf32>, %g: tensor<4xi32>, %c: tensor<?xi32>, %i: tensor<?x4xf32>) {
  // expected-error@+1 {{expected 'groups'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x4xf32>) weights(%w : tensor<3x4x4xf32>) choices(%c : tensor<?xi32>)
      groups(%g : tensor<4xi32>) outs(%i : tensor<?x4xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x4xf32>
  return
}

// -----

func.func @attention_no_past(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>) {
  // expected-error@+1 {{expected 'past'}}
  %0 = moe.attention %q, %k, %k {scale = 1.0 : f32} : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @attention_no_scale(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{requires attribute 'scale'}}
  %0 = moe.attention %q, %k, %k past(%past) : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @unknown_op(%v: tensor<?x8xf32>) {
  // expected-error@+1 {{custom op 'moe.route' is unknown}}
  moe.route %v
  return
}

// -----

// expected-error@+1 {{expected ','}}
func.func private @groups_incomplete() attributes {a = #moe.groups<count = 4, keep = 1, score = max>}

// -----

// expected-error@+2 {{expected ::moe::GroupScore to be one of: max, sum_top2}}
// expected-error@+1 {{failed to parse Moe_GroupsAttr parameter 'score'}}
func.func private @groups_score() attributes {a = #moe.groups<count = 4, keep = 1, score = mean, masked = "zero">}

// -----

// expected-error@+1 {{expected ','}}
func.func private @prepared_no_sources() attributes {a = #moe.prepared<@f> : tensor<4xf32>}

// -----

// expected-error@+1 {{unknown attribute `plan` in dialect `moe`}}
func.func private @unknown_attribute() attributes {a = #moe.plan<4>}

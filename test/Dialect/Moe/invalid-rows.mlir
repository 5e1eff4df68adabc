// RUN: moe-opt %s -split-input-file -verify-diagnostics

//===----------------------------------------------------------------------===//
// moe.dispatch
//===----------------------------------------------------------------------===//

func.func @fanout(%x: tensor<?x4xf32>, %c: tensor<?xi32>) {
  // expected-error@+1 {{'moe.dispatch' op expected 'fanout' of at least 1 but got 0}}
  %0 = moe.dispatch %x[%c] {fanout = 0} : tensor<?x4xf32>, tensor<?xi32> -> tensor<?x4xf32>
  return
}

// -----

func.func @rank(%x: tensor<?x4xf32>, %c: tensor<?xi32>) {
  // expected-error@+1 {{expected 'rows' of rank 2 but got 'tensor<?xf32>'}}
  %0 = moe.dispatch %x[%c] {fanout = 2} : tensor<?x4xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}

// -----

func.func @element_type(%x: tensor<?x4xf32>, %c: tensor<?xi32>) {
  // expected-error@+1 {{expected element type 'f32' of 'rows' but got 'bf16'}}
  %0 = moe.dispatch %x[%c] {fanout = 2} : tensor<?x4xf32>, tensor<?xi32> -> tensor<?x4xbf16>
  return
}

// -----

func.func @number_of_rows(%x: tensor<?x4xf32>, %c: tensor<6xi32>) {
  // expected-error@+1 {{expected dimension 0 of 'rows' to be 6 (choices) but got 3}}
  %0 = moe.dispatch %x[%c] {fanout = 2} : tensor<?x4xf32>, tensor<6xi32> -> tensor<3x4xf32>
  return
}

// -----

func.func @columns(%x: tensor<?x4x2xf32>, %c: tensor<?xi32>) {
  // expected-error@+1 {{expected dimension 2 of 'rows' to be 2 (the size in 'x') but got 4}}
  %0 = moe.dispatch %x[%c] {fanout = 2} : tensor<?x4x2xf32>, tensor<?xi32> -> tensor<?x4x4xf32>
  return
}

// -----

func.func @scalar(%x: tensor<f32>, %c: tensor<?xi32>) {
  // expected-error@+1 {{operand #0 must be 1D/2D/3D/4D tensor of}}
  %0 = moe.dispatch %x[%c] {fanout = 2} : tensor<f32>, tensor<?xi32> -> tensor<?xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// moe.combine
//===----------------------------------------------------------------------===//

func.func @tokens(%ys: tensor<6x4xf32>, %s: tensor<3x2xi32>) {
  // expected-error@+1 {{'moe.combine' op expected dimension 0 of 'result' to be 3 (tokens) but got 6}}
  %0 = moe.combine %ys[%s] : tensor<6x4xf32>, tensor<3x2xi32> -> tensor<6x4xf32>
  return
}

// -----

func.func @result_columns(%ys: tensor<6x4xf32>, %s: tensor<3x2xi32>) {
  // expected-error@+1 {{expected dimension 1 of 'result' to be 4 (columns of 'ys') but got 5}}
  %0 = moe.combine %ys[%s] : tensor<6x4xf32>, tensor<3x2xi32> -> tensor<3x5xf32>
  return
}

// -----

func.func @weights_tokens(%ys: tensor<6x4xf32>, %s: tensor<3x2xi32>, %w: tensor<2x2xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'weights' to be 3 (tokens) but got 2}}
  %0 = moe.combine %ys[%s] weights(%w : tensor<2x2xf32>) : tensor<6x4xf32>, tensor<3x2xi32> -> tensor<3x4xf32>
  return
}

// -----

func.func @weights_choices(%ys: tensor<6x4xf32>, %s: tensor<3x2xi32>, %w: tensor<3x1xf32>) {
  // expected-error@+1 {{expected dimension 1 of 'weights' to be 2 (k) but got 1}}
  %0 = moe.combine %ys[%s] weights(%w : tensor<3x1xf32>) : tensor<6x4xf32>, tensor<3x2xi32> -> tensor<3x4xf32>
  return
}

// -----

func.func @result_type(%ys: tensor<6x4xbf16>, %s: tensor<3x2xi32>) {
  // expected-error@+1 {{result #0 must be 2D tensor of 32-bit float values, but got 'tensor<3x4xbf16>'}}
  %0 = moe.combine %ys[%s] : tensor<6x4xbf16>, tensor<3x2xi32> -> tensor<3x4xbf16>
  return
}

// -----

//===----------------------------------------------------------------------===//
// moe.attention
//===----------------------------------------------------------------------===//

func.func @result_sizes(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{'moe.attention' op expected dimension 2 of 'result' to be 4 (the size in 'query') but got 2}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x2x8xf32>
  return
}

// -----

func.func @value_sizes(%q: tensor<?x?x4x8xf32>, %k: tensor<?x7x2x8xf32>, %v: tensor<?x9x2x8xf32>, %past: index) {
  // expected-error@+1 {{expected dimension 1 of 'values' to be 7 (the size in 'keys') but got 9}}
  %0 = moe.attention %q, %k, %v past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x7x2x8xf32>, tensor<?x9x2x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @sequences(%q: tensor<3x?x4x8xf32>, %k: tensor<2x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{expected dimension 0 of 'keys' to be 3 (sequences) but got 2}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<3x?x4x8xf32>, tensor<2x?x2x8xf32>, tensor<2x?x2x8xf32> -> tensor<3x?x4x8xf32>
  return
}

// -----

func.func @head_size(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x6xf32>, %past: index) {
  // expected-error@+1 {{expected dimension 3 of 'keys' to be 8 (head size) but got 6}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x6xf32>, tensor<?x?x2x6xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @dynamic_heads(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x?x8xf32>, %past: index) {
  // expected-error@+1 {{expected static head counts and head size but got 'tensor<?x?x4x8xf32>' and 'tensor<?x?x?x8xf32>'}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x?x8xf32>, tensor<?x?x?x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @dynamic_head_size(%q: tensor<?x?x4x?xf32>, %k: tensor<?x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{expected static head counts and head size but got}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x?xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x?xf32>
  return
}

// -----

func.func @heads(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x3x8xf32>, %past: index) {
  // expected-error@+1 {{expected the number of key-value heads to divide the number of query heads, 4, but got 3}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x3x8xf32>, tensor<?x?x3x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @no_heads(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x0x8xf32>, %past: index) {
  // expected-error@+1 {{expected the number of key-value heads to divide the number of query heads, 4, but got 0}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x0x8xf32>, tensor<?x?x0x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @window(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{expected 'window' of at least 1 but got 0}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32, window = 0}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @mixed(%q: tensor<?x?x4x8xf32>, %k: memref<?x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{expected operands that are all tensors or all memrefs but got}}
  %0 = moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, memref<?x?x2x8xf32>, memref<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// -----

func.func @no_outs(%q: memref<?x?x4x8xf32>, %k: memref<?x?x2x8xf32>, %past: index) {
  // expected-error@+1 {{expected 'outs' and no result with operands on memrefs}}
  moe.attention %q, %k, %k past(%past) {scale = 1.0 : f32}
    : memref<?x?x4x8xf32>, memref<?x?x2x8xf32>, memref<?x?x2x8xf32>
  return
}

// -----

func.func @outs_type(%q: tensor<?x?x4x8xf32>, %k: tensor<?x?x2x8xf32>, %past: index, %out: tensor<?x?x4x8xf16>) {
  // expected-error@+1 {{expected 'outs' of the type of the result, 'tensor<?x?x4x8xf32>', but got 'tensor<?x?x4x8xf16>'}}
  %0 = moe.attention %q, %k, %k past(%past) outs(%out : tensor<?x?x4x8xf16>) {scale = 1.0 : f32}
    : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32> -> tensor<?x?x4x8xf32>
  return
}

// RUN: moe-opt %s -split-input-file -verify-diagnostics

func.func @dynamic_offsets(%x: tensor<?x4xf32>, %g: tensor<?xi32>) {
  // expected-error@+1 {{'moe.experts' op expected static offsets of at least 2 elements (experts + 1) but got 'tensor<?xi32>'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<?xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @no_experts(%x: tensor<?x4xf32>, %g: tensor<1xi32>) {
  // expected-error@+1 {{expected static offsets of at least 2 elements (experts + 1) but got 'tensor<1xi32>'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<1xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @no_rows(%g: tensor<4xi32>) {
  // expected-error@+1 {{expected at least one row operand}}
  %0 = "moe.experts"(%g) <{operandSegmentSizes = array<i32: 0, 1, 0>}> ({
    %1 = arith.constant dense<0.0> : tensor<4xf32>
    moe.yield %1 : tensor<4xf32>
  }) : (tensor<4xi32>) -> tensor<4xf32>
  return
}

// -----

func.func @no_results(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected at least one result}}
  "moe.experts"(%x, %g) <{operandSegmentSizes = array<i32: 1, 1, 0>}> ({
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield
  }) : (tensor<?x4xf32>, tensor<4xi32>) -> ()
  return
}

// -----

func.func @number_of_arguments(%x: tensor<?x4xf32>, %g: tensor<4xi32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{expected 2 block arguments (one per row operand, one per parameter) but got 1}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) params(%w : tensor<3x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @row_argument(%x: tensor<6x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected block argument 0 of type 'tensor<?x4xf32>' but got 'tensor<6x4xf32>'}}
  %0 = moe.experts rows(%x : tensor<6x4xf32>) groups(%g : tensor<4xi32>) -> tensor<6x4xf32> {
  ^bb0(%r: tensor<6x4xf32>):
    %c = tensor.cast %r : tensor<6x4xf32> to tensor<?x4xf32>
    moe.yield %c : tensor<?x4xf32>
  }
  return
}

// -----

func.func @parameter_argument(%x: tensor<?x4xf32>, %g: tensor<4xi32>, %w: tensor<3x4xf32>) {
  // expected-error@+1 {{expected block argument 1 of type 'tensor<4xf32>' but got 'tensor<3x4xf32>'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) params(%w : tensor<3x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>, %p: tensor<3x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @parameter_slices(%x: tensor<?x4xf32>, %g: tensor<4xi32>, %w: tensor<4x4xf32>) {
  // expected-error@+1 {{expected a slice per expert, 3, on dimension 0 of parameter 0 but got 'tensor<4x4xf32>'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) params(%w : tensor<4x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>, %p: tensor<4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @scalar_parameter(%x: tensor<?x4xf32>, %g: tensor<4xi32>, %w: tensor<f32>) {
  // expected-error@+1 {{expected a slice per expert, 3, on dimension 0 of parameter 0 but got 'tensor<f32>'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) params(%w : tensor<f32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>, %p: tensor<f32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @rows_differ(%x: tensor<6x4xf32>, %w: tensor<5xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected dimension 0 of 'rows' to be 6 (rows of the first row operand) but got 5}}
  %0 = moe.experts rows(%x, %w : tensor<6x4xf32>, tensor<5xf32>) groups(%g : tensor<4xi32>) -> tensor<6x4xf32> {
  ^bb0(%r: tensor<?x4xf32>, %s: tensor<?xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @result_rows(%x: tensor<6x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected dimension 0 of 'results' to be 6 (rows) but got 5}}
  %0 = moe.experts rows(%x : tensor<6x4xf32>) groups(%g : tensor<4xi32>) -> tensor<5x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @dynamic_result(%x: tensor<?x?xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expected results whose only dynamic size is the rows but got 'tensor<?x?xf32>'}}
  %0 = moe.experts rows(%x : tensor<?x?xf32>) groups(%g : tensor<4xi32>) -> tensor<?x?xf32> {
  ^bb0(%r: tensor<?x?xf32>):
    moe.yield %r : tensor<?x?xf32>
  }
  return
}

// -----

func.func @empty(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expects a non-empty block}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
  }
  return
}

// -----

func.func @other_terminator(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{'moe.experts' op expected a region that ends with 'moe.yield' but got 'llvm.unreachable'}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    llvm.unreachable
  }
  return
}

// -----

func.func @two_blocks(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  // expected-error@+1 {{expects region #0 to have 0 or 1 blocks}}
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    cf.br ^bb1
  ^bb1:
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @number_of_values(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x4xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    // expected-error@+1 {{'moe.yield' op expected 1 values, one per result, but got 2}}
    moe.yield %r, %r : tensor<?x4xf32>, tensor<?x4xf32>
  }
  return
}

// -----

func.func @value_type(%x: tensor<?x4xf32>, %g: tensor<4xi32>) {
  %0 = moe.experts rows(%x : tensor<?x4xf32>) groups(%g : tensor<4xi32>) -> tensor<?x5xf32> {
  ^bb0(%r: tensor<?x4xf32>):
    // expected-error@+1 {{'moe.yield' op expected value 0 of type 'tensor<?x5xf32>' but got 'tensor<?x4xf32>'}}
    moe.yield %r : tensor<?x4xf32>
  }
  return
}

// -----

func.func @yield_parent(%x: tensor<?x4xf32>) {
  // expected-error@+1 {{'moe.yield' op expects parent op to be one of 'moe.experts, moe.grouped_matmul'}}
  moe.yield %x : tensor<?x4xf32>
}

// RUN: moe-opt %s -split-input-file -verify-diagnostics

func.func @rows_rank(%x: tensor<?x6x1xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{'moe.grouped_matmul' op expected 'rows' of rank 2 but got 'tensor<?x6x1xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6x1xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @outs_rank(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?xf32>) {
  // expected-error@+1 {{expected 'outs' of rank 2 but got 'tensor<?xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?xf32>
  return
}

// -----

func.func @groups_rank(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4x1xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 'groups' of rank 1 but got 'tensor<4x1xi32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4x1xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @unranked(%x: tensor<*xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{operand #0 must be ranked tensor of any type values or memref of any type values, but got 'tensor<*xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<*xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @vector(%x: vector<2x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{operand #0 must be ranked tensor of any type values or memref of any type values, but got 'vector<2x6xf32>'}}
  %0 = moe.grouped_matmul rows(%x : vector<2x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @offsets_type(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi64>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected static i32 offsets of at least 2 elements (experts + 1) but got 'tensor<4xi64>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi64>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @offsets_dynamic(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<?xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected static i32 offsets of at least 2 elements (experts + 1) but got 'tensor<?xi32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<?xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @offsets_few(%x: tensor<?x6xf32>, %w0: tensor<0x20x6xf32>, %g: tensor<1xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected static i32 offsets of at least 2 elements (experts + 1) but got 'tensor<1xi32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<0x20x6xf32>) groups(%g : tensor<1xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @dynamic_depth(%x: tensor<?x?xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected rows of a float type or i8 with a static number of columns but got 'tensor<?x?xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x?xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @integer_rows(%x: tensor<?x6xi8>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weights of i8 but got 'tensor<3x20x6xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xi8>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @mixed(%x: memref<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected operands that are all tensors or all memrefs but got 'memref<?x6xf32>' and 'tensor<?x20xf32>'}}
  %0 = moe.grouped_matmul rows(%x : memref<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @no_result(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected a result of the type of 'outs' but got none}}
  moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  }
  return
}

// -----

func.func @result_type(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected a result of the type of 'outs' but got 'tensor<?x21xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x21xf32>
  return
}

// -----

func.func @result_on_memrefs(%x: memref<?x6xf32>, %w0: memref<3x20x6xf32>, %g: memref<4xi32>, %init: memref<?x20xf32>) {
  // expected-error@+1 {{expected no result on memrefs but got 'tensor<?x20xf32>'}}
  %0 = moe.grouped_matmul rows(%x : memref<?x6xf32>) weights(%w0 : memref<3x20x6xf32>) groups(%g : memref<4xi32>)
      outs(%init : memref<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @weight_rank(%x: tensor<?x6xf32>, %w0: tensor<20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weights of rank 3 (plain), 4 (panels) or 5 (panels of pairs) but got 'tensor<20x6xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @weight_experts(%x: tensor<?x6xf32>, %w0: tensor<2x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 20, 6] but got 'tensor<2x20x6xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<2x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @weight_columns(%x: tensor<?x6xf32>, %w0: tensor<3x21x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 20, 6] but got 'tensor<3x21x6xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x21x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @weight_transposed(%x: tensor<?x6xf32>, %w0: tensor<3x6x20xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 20, 6] but got 'tensor<3x6x20xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x6x20xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @second_weight(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %w1: tensor<3x20x7xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 1 of shape [3, 20, 6] but got 'tensor<3x20x7xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0, %w1 : tensor<3x20x6xf32>, tensor<3x20x7xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @second_weight_rank(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %w1: tensor<3x2x6x16xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 1 of shape [3, 20, 6] but got 'tensor<3x2x6x16xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0, %w1 : tensor<3x20x6xf32>, tensor<3x2x6x16xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @panels(%x: tensor<?x6xf32>, %w0: tensor<3x1x6x16xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 2, 6, 16] but got 'tensor<3x1x6x16xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x1x6x16xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @pairs(%x: tensor<?x6xf32>, %w0: tensor<3x2x6x16x2xbf16>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 2, 3, 16, 2] but got 'tensor<3x2x6x16x2xbf16>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x2x6x16x2xbf16>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @weight_type(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weights of a float type but got 'tensor<3x20x6xi8>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xi8>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @choices_rank(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %c: tensor<?x1xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 'choices' of rank 1 but got 'tensor<?x1xi32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      choices(%c : tensor<?x1xi32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @choices_type(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %c: tensor<?xi64>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected element type 'i32' of 'choices' but got 'i64'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      choices(%c : tensor<?xi64>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @choices_rows(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %c: tensor<7xi32>, %init: tensor<8x20xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'choices' to be 8 (rows of 'outs') but got 7}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      choices(%c : tensor<7xi32>) outs(%init : tensor<8x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<8x20xf32>
  return
}

// -----

func.func @fanout(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %c: tensor<?xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 'fanout' of at least 1 but got 0}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      choices(%c : tensor<?xi32>) outs(%init : tensor<?x20xf32>) attributes {fanout = 0 : i64} {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @number_of_rows(%x: tensor<7x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<8x20xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'rows' to be 8 (rows of 'outs') but got 7}}
  %0 = moe.grouped_matmul rows(%x : tensor<7x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<8x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<8x20xf32>
  return
}

// -----

func.func @row_scalar_rank(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %r0: tensor<?x1xf32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 'row_scalars' of rank 1 but got 'tensor<?x1xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      row_scalars(%r0 : tensor<?x1xf32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @row_scalar_rows(%x: tensor<8x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %r0: tensor<7xf32>, %init: tensor<8x20xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'row_scalars' to be 8 (rows of 'outs') but got 7}}
  %0 = moe.grouped_matmul rows(%x : tensor<8x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      row_scalars(%r0 : tensor<7xf32>) outs(%init : tensor<8x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<8x20xf32>
  return
}

// -----

func.func @column_scalar_rank(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %s0: tensor<20xf32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 'column_scalars' of rank 2 but got 'tensor<20xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      column_scalars(%s0 : tensor<20xf32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @column_scalar_experts(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %s0: tensor<1x20xf32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected dimension 0 of 'column_scalars' to be 3 (experts) but got 1}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      column_scalars(%s0 : tensor<1x20xf32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @column_scalar_columns(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %s0: tensor<3x21xf32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected dimension 1 of 'column_scalars' to be 20 (columns of 'outs') but got 21}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      column_scalars(%s0 : tensor<3x21xf32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32, %a1: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @epilogue_arguments(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %s0: tensor<3x20xbf16>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected epilogue arguments ('f32', 'bf16') but got ('f32')}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      column_scalars(%s0 : tensor<3x20xbf16>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    moe.yield %a0 : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @epilogue_accumulator(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected epilogue arguments ('f32') but got ('f64')}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f64):
    moe.yield %a0 : f64
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @other_terminator(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected a region that ends with 'moe.yield' but got 'llvm.unreachable'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    llvm.unreachable
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @yield_type(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xbf16>) {
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xbf16>) {
  ^bb0(%a0: f32):
    // expected-error@+1 {{'moe.yield' op expected one value of the element type of 'outs', 'bf16', but got ('f32')}}
    moe.yield %a0 : f32
  } -> tensor<?x20xbf16>
  return
}

// -----

func.func @yield_two(%x: tensor<?x6xf32>, %w0: tensor<3x20x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  %0 = moe.grouped_matmul rows(%x : tensor<?x6xf32>) weights(%w0 : tensor<3x20x6xf32>) groups(%g : tensor<4xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a0: f32):
    // expected-error@+1 {{'moe.yield' op expected one value of the element type of 'outs', 'f32', but got ('f32', 'f32')}}
    moe.yield %a0, %a0 : f32, f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @no_weights(%x: tensor<?x6xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected at least one weight operand}}
  %0 = "moe.grouped_matmul"(%x, %g, %init) <{operandSegmentSizes = array<i32: 1, 0, 1, 0, 0, 0, 1, 0>}> ({
    %a = arith.constant 0.0 : f32
    moe.yield %a : f32
  }) : (tensor<?x6xf32>, tensor<4xi32>, tensor<?x20xf32>) -> tensor<?x20xf32>
  return
}

// -----

func.func @partial_panel(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %w: tensor<2x3x8x16xf32>, %out: tensor<?x40xf32>) {
  // expected-error @+1 {{expected a multiple of 16 columns but got 'tensor<?x40xf32>'}}
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x3x8x16xf32>) groups(%o : tensor<3xi32>)
      outs(%out : tensor<?x40xf32>) attributes {column_multiple = 16} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x40xf32>
  return
}

// -----

func.func @no_multiple(%x: tensor<?x8xf32>, %o: tensor<3xi32>, %w: tensor<2x3x8x16xf32>, %out: tensor<?x40xf32>) {
  // expected-error @+1 {{expected 'column_multiple' of at least 1 but got 0}}
  %y = moe.grouped_matmul rows(%x : tensor<?x8xf32>) weights(%w : tensor<2x3x8x16xf32>) groups(%o : tensor<3xi32>)
      outs(%out : tensor<?x40xf32>) attributes {column_multiple = 0} {
  ^bb0(%acc: f32):
    moe.yield %acc : f32
  } -> tensor<?x40xf32>
  return
}

// -----

func.func @dynamic_groups(%offsets: tensor<?xi32>, %rows: index) {
  // expected-error @+1 {{expected static offsets of at least 2 elements (experts + 1) but got 'tensor<?xi32>'}}
  %t, %n = moe.tile_map %offsets rows(%rows) {block = 256} : tensor<?xi32> -> tensor<?x3xi32>, tensor<i32>
  return
}

// -----

func.func @no_rows_in_a_tile(%offsets: tensor<3xi32>, %rows: index) {
  // expected-error @+1 {{expected 'block' of at least 1 but got 0}}
  %t, %n = moe.tile_map %offsets rows(%rows) {block = 0} : tensor<3xi32> -> tensor<?x3xi32>, tensor<i32>
  return
}

// -----

func.func @four_numbers(%offsets: tensor<3xi32>, %rows: index) {
  // expected-error @+1 {{expected tiles of 3 numbers (group, first row, rows) but got 'tensor<?x4xi32>'}}
  %t, %n = moe.tile_map %offsets rows(%rows) {block = 8} : tensor<3xi32> -> tensor<?x4xi32>, tensor<i32>
  return
}

// -----

func.func @rows_of_words(%x: tensor<?x8xi16>, %w: tensor<3x20x8xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected rows of a float type or i8 with a static number of columns but got 'tensor<?x8xi16>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x8xi16>) weights(%w : tensor<3x20x8xi8>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @integer_sums(%x: tensor<?x8xi8>, %w: tensor<3x20x8xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected epilogue arguments ('i32') but got ('f32')}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x8xi8>) weights(%w : tensor<3x20x8xi8>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @integer_panels(%x: tensor<?x8xi8>, %w: tensor<3x2x8x16xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weights of rank 3 (plain), or 5 (packed) but got 'tensor<3x2x8x16xi8>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x8xi8>) weights(%w : tensor<3x2x8x16xi8>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: i32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @quads(%x: tensor<?x9xi8>, %w: tensor<3x2x2x16x4xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 2, 3, 16, 4] but got 'tensor<3x2x2x16x4xi8>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x9xi8>) weights(%w : tensor<3x2x2x16x4xi8>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: i32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @unknown_format(%x: tensor<?x32xf32>, %w: tensor<3x20x16xi8>, %s: tensor<3x20x1xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{attribute 'format' failed to satisfy constraint: one of "int4", "mxfp4"}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x32xf32>) weights(%w : tensor<3x20x16xi8>) scales(%s : tensor<3x20x1xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int5"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @format_without_scales(%x: tensor<?x32xf32>, %w: tensor<3x20x16xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 1 scale operands with 'format' but got 0}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x32xf32>) weights(%w : tensor<3x20x16xi8>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @scales_without_format(%x: tensor<?x32xf32>, %w: tensor<3x20x32xf32>, %s: tensor<3x20x1xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected 0 scale operands without 'format' but got 1}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x32xf32>) weights(%w : tensor<3x20x32xf32>) scales(%s : tensor<3x20x1xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @format_of_integers(%x: tensor<?x32xi8>, %w: tensor<3x20x16xi8>, %s: tensor<3x20x1xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected rows of a float type with 'format' but got 'tensor<?x32xi8>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x32xi8>) weights(%w : tensor<3x20x16xi8>) scales(%s : tensor<3x20x1xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: i32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

// Of 200 k the last 72 have a scale too.
func.func @format_fp8(%x: tensor<?x200xf32>, %w: tensor<3x20x200xi8>, %s: tensor<3x20x1xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected scale operand 0 of shape [3, 20, 2] but got 'tensor<3x20x1xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x200xf32>) weights(%w : tensor<3x20x200xi8>) scales(%s : tensor<3x20x1xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "fp8"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @format_depth(%x: tensor<?x48xf32>, %w: tensor<3x20x24xi8>, %s: tensor<3x20x1xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected rows of a multiple of 32 elements with 'format' but got 'tensor<?x48xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x48xf32>) weights(%w : tensor<3x20x24xi8>) scales(%s : tensor<3x20x1xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @codes_shape(%x: tensor<?x64xf32>, %w: tensor<3x20x64xi8>, %s: tensor<3x20x2xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weight operand 0 of shape [3, 20, 32] but got 'tensor<3x20x64xi8>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%w : tensor<3x20x64xi8>) scales(%s : tensor<3x20x2xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @codes_type(%x: tensor<?x64xf32>, %w: tensor<3x20x32xf32>, %s: tensor<3x20x2xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected weights of i8 but got 'tensor<3x20x32xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%w : tensor<3x20x32xf32>) scales(%s : tensor<3x20x2xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @scales_shape(%x: tensor<?x64xf32>, %w: tensor<3x20x32xi8>, %s: tensor<3x20x4xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected scale operand 0 of shape [3, 20, 2] but got 'tensor<3x20x4xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%w : tensor<3x20x32xi8>) scales(%s : tensor<3x20x4xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @packed_scales_shape(%x: tensor<?x64xf32>, %w: tensor<3x2x8x16x4xi8>, %s: tensor<3x20x2xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected scale operand 0 of shape [3, 2, 2, 16] but got 'tensor<3x20x2xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%w : tensor<3x2x8x16x4xi8>) scales(%s : tensor<3x20x2xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @scales_of_int4(%x: tensor<?x64xf32>, %w: tensor<3x20x32xi8>, %s: tensor<3x20x2xi8>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected scales of a float type with format "int4" but got 'tensor<3x20x2xi8>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%w : tensor<3x20x32xi8>) scales(%s : tensor<3x20x2xi8>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "int4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// -----

func.func @scales_of_mxfp4(%x: tensor<?x64xf32>, %w: tensor<3x20x32xi8>, %s: tensor<3x20x2xf32>, %g: tensor<4xi32>, %init: tensor<?x20xf32>) {
  // expected-error@+1 {{expected scales of i8 with format "mxfp4" but got 'tensor<3x20x2xf32>'}}
  %0 = moe.grouped_matmul rows(%x : tensor<?x64xf32>) weights(%w : tensor<3x20x32xi8>) scales(%s : tensor<3x20x2xf32>) groups(%g : tensor<4xi32>) outs(%init : tensor<?x20xf32>) attributes {format = "mxfp4"} {
  ^bb0(%a: f32):
    %z = arith.constant 0.0 : f32
    moe.yield %z : f32
  } -> tensor<?x20xf32>
  return
}

// Grouped products of bf16 with gathered rows, for check_levels.py: depths that fill AMX tiles or do not, odd depths, a last
// panel that is not full, two weights, blocks of K.
ml_program.global private @k64.weight(#ml_program.extern : tensor<3x96x64xbf16>) : tensor<3x96x64xbf16>
func.func @k64(%x: tensor<?x64xbf16> {moe.name = "x"}, %groups: tensor<4xi32> {moe.name = "groups"},
                %choices: tensor<?xi32> {moe.name = "choices"}) -> (tensor<?x96xf32> {moe.name = "y"}) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %choices, %c0 : tensor<?xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%rows) : tensor<?x96xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x96xf32>) -> tensor<?x96xf32>
  %w = ml_program.global_load_const @k64.weight : tensor<3x96x64xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w : tensor<3x96x64xbf16>) groups(%groups : tensor<4xi32>)
      choices(%choices : tensor<?xi32>) outs(%init : tensor<?x96xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

ml_program.global private @k80.weight(#ml_program.extern : tensor<3x80x80xbf16>) : tensor<3x80x80xbf16>
func.func @k80(%x: tensor<?x80xbf16> {moe.name = "x"}, %groups: tensor<4xi32> {moe.name = "groups"},
                %choices: tensor<?xi32> {moe.name = "choices"}) -> (tensor<?x80xf32> {moe.name = "y"}) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %choices, %c0 : tensor<?xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%rows) : tensor<?x80xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x80xf32>) -> tensor<?x80xf32>
  %w = ml_program.global_load_const @k80.weight : tensor<3x80x80xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x80xbf16>) weights(%w : tensor<3x80x80xbf16>) groups(%groups : tensor<4xi32>)
      choices(%choices : tensor<?xi32>) outs(%init : tensor<?x80xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x80xf32>
  return %y : tensor<?x80xf32>
}

ml_program.global private @k33.weight(#ml_program.extern : tensor<3x97x33xbf16>) : tensor<3x97x33xbf16>
func.func @k33(%x: tensor<?x33xbf16> {moe.name = "x"}, %groups: tensor<4xi32> {moe.name = "groups"},
                %choices: tensor<?xi32> {moe.name = "choices"}) -> (tensor<?x97xf32> {moe.name = "y"}) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %choices, %c0 : tensor<?xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%rows) : tensor<?x97xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x97xf32>) -> tensor<?x97xf32>
  %w = ml_program.global_load_const @k33.weight : tensor<3x97x33xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x33xbf16>) weights(%w : tensor<3x97x33xbf16>) groups(%groups : tensor<4xi32>)
      choices(%choices : tensor<?xi32>) outs(%init : tensor<?x97xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x97xf32>
  return %y : tensor<?x97xf32>
}

ml_program.global private @k7.weight(#ml_program.extern : tensor<3x16x7xbf16>) : tensor<3x16x7xbf16>
func.func @k7(%x: tensor<?x7xbf16> {moe.name = "x"}, %groups: tensor<4xi32> {moe.name = "groups"},
                %choices: tensor<?xi32> {moe.name = "choices"}) -> (tensor<?x16xf32> {moe.name = "y"}) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %choices, %c0 : tensor<?xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%rows) : tensor<?x16xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x16xf32>) -> tensor<?x16xf32>
  %w = ml_program.global_load_const @k7.weight : tensor<3x16x7xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x7xbf16>) weights(%w : tensor<3x16x7xbf16>) groups(%groups : tensor<4xi32>)
      choices(%choices : tensor<?xi32>) outs(%init : tensor<?x16xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

ml_program.global private @pair.weight(#ml_program.extern : tensor<3x48x96xbf16>) : tensor<3x48x96xbf16>
ml_program.global private @pair.up(#ml_program.extern : tensor<3x48x96xbf16>) : tensor<3x48x96xbf16>
func.func @pair(%x: tensor<?x96xbf16> {moe.name = "x"}, %groups: tensor<4xi32> {moe.name = "groups"},
                %choices: tensor<?xi32> {moe.name = "choices"}) -> (tensor<?x48xf32> {moe.name = "y"}) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %choices, %c0 : tensor<?xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%rows) : tensor<?x48xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x48xf32>) -> tensor<?x48xf32>
  %w = ml_program.global_load_const @pair.weight : tensor<3x48x96xbf16>
  %u = ml_program.global_load_const @pair.up : tensor<3x48x96xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x96xbf16>) weights(%w, %u : tensor<3x48x96xbf16>, tensor<3x48x96xbf16>) groups(%groups : tensor<4xi32>)
      choices(%choices : tensor<?xi32>) outs(%init : tensor<?x48xf32>) {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    moe.yield %p : f32
  } -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

ml_program.global private @deep.weight(#ml_program.extern : tensor<3x48x2080xbf16>) : tensor<3x48x2080xbf16>
func.func @deep(%x: tensor<?x2080xbf16> {moe.name = "x"}, %groups: tensor<4xi32> {moe.name = "groups"},
                %choices: tensor<?xi32> {moe.name = "choices"}) -> (tensor<?x48xf32> {moe.name = "y"}) {
  %c0 = arith.constant 0 : index
  %rows = tensor.dim %choices, %c0 : tensor<?xi32>
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty(%rows) : tensor<?x48xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x48xf32>) -> tensor<?x48xf32>
  %w = ml_program.global_load_const @deep.weight : tensor<3x48x2080xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x2080xbf16>) weights(%w : tensor<3x48x2080xbf16>) groups(%groups : tensor<4xi32>)
      choices(%choices : tensor<?xi32>) outs(%init : tensor<?x48xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

// RUN: moe-opt %s --moe-quantize="experts=mxfp4" -split-input-file -verify-diagnostics

ml_program.global private @w(#ml_program.extern : tensor<4x20x48xbf16>) : tensor<4x20x48xbf16>
func.func @depth(%x: tensor<?x48xbf16>, %g: tensor<5xi32>, %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
  %w = ml_program.global_load_const @w : tensor<4x20x48xbf16>
  // expected-error@+1 {{expected rows of a multiple of 32 elements to quantise to mxfp4 but got 48 in 'w'}}
  %y = moe.grouped_matmul rows(%x : tensor<?x48xbf16>) weights(%w : tensor<4x20x48xbf16>) groups(%g : tensor<5xi32>)
      outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}

// -----

// expected-error@below {{expected experts whose weights are parameters, to quantise to mxfp4, but found none}}
module {
  func.func @at_run_time(%x: tensor<?x64xbf16>, %w: tensor<4x20x64xbf16>, %g: tensor<5xi32>, %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
    %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w : tensor<4x20x64xbf16>) groups(%g : tensor<5xi32>)
        outs(%init : tensor<?x20xf32>) {
    ^bb0(%a: f32):
      moe.yield %a : f32
    } -> tensor<?x20xf32>
    return %y : tensor<?x20xf32>
  }
}

// RUN: moe-opt %s --moe-quantize="experts=int8" --canonicalize --cse | FileCheck %s --check-prefix=INT8
// RUN: moe-opt %s --moe-quantize="experts=int4 others=mxfp4" --canonicalize --cse | FileCheck %s --check-prefix=CODES
// RUN: not moe-opt %s --moe-quantize="experts=int7" 2>&1 | FileCheck %s --check-prefix=NAME

// NAME: error: expected one of int8, int4, mxfp4, fp8 but got 'int7'

ml_program.global private @gate(#ml_program.extern : tensor<4x20x64xbf16>) : tensor<4x20x64xbf16>
ml_program.global private @up(#ml_program.extern : tensor<4x20x64xbf16>) : tensor<4x20x64xbf16>
ml_program.global private @router(#ml_program.extern : tensor<1x4x64xbf16>) : tensor<1x4x64xbf16>
ml_program.global private @head(#ml_program.extern : tensor<1x32x64xf32>) : tensor<1x32x64xf32>

// The rows' scale goes with the gather; the epilogue starts from what the sums stand for.
// INT8-LABEL: func.func @experts
// INT8-SAME: %[[X:.*]]: tensor<?x64xbf16>, %[[G:.*]]: tensor<5xi32>, %[[C:.*]]: tensor<?xi32>, %[[R:.*]]: tensor<?xf32>, %[[B:.*]]: tensor<4x20xf32>
// INT8: %[[MOST:.*]] = linalg.generic {{.*}}iterator_types = ["parallel", "reduction"]} ins(%[[X]] :
// INT8: math.absf
// INT8-NEXT: arith.maximumf
// INT8: %[[SCALE:.*]] = linalg.generic {{.*}} ins(%[[MOST]] :
// INT8: arith.divf %{{.*}}, %cst{{.*}} : f32
// INT8: %[[ROWSCALE:.*]] = moe.dispatch %[[SCALE]][%[[C]]] {fanout = 2 : i64} : tensor<?xf32>, tensor<?xi32> -> tensor<?xf32>
// INT8: linalg.generic {{.*}}iterator_types = ["parallel", "parallel", "reduction"]}
// INT8: %[[XQ:.*]] = linalg.generic {{.*}} ins(%[[X]], %{{.*}} : tensor<?x64xbf16>, tensor<?xf32>)
// INT8: arith.bitcast %{{.*}} : f32 to i32
// INT8: arith.trunci %{{.*}} : i32 to i8
// INT8: moe.grouped_matmul rows(%[[XQ]] : tensor<?x64xi8>) weights(%{{.*}}, %{{.*}} : tensor<4x20x64xi8>, tensor<4x20x64xi8>) groups(%[[G]] : tensor<5xi32>)
// INT8-SAME: choices(%[[C]] : tensor<?xi32>) row_scalars(%[[ROWSCALE]], %[[R]] : tensor<?xf32>, tensor<?xf32>)
// INT8-SAME: column_scalars(%{{.*}}, %{{.*}}, %[[B]] : tensor<4x20xf32>, tensor<4x20xf32>, tensor<4x20xf32>)
// INT8-NEXT: ^bb0(%[[S0:.*]]: i32, %[[S1:.*]]: i32, %[[TOKEN:.*]]: f32, %[[ROW:.*]]: f32, %[[N0:.*]]: f32, %[[N1:.*]]: f32, %[[BIAS:.*]]: f32):
// INT8-NEXT: %[[F0:.*]] = arith.sitofp %[[S0]]
// INT8-NEXT: %[[T0:.*]] = arith.mulf %[[TOKEN]], %[[N0]]
// INT8-NEXT: %[[GATE:.*]] = arith.mulf %[[F0]], %[[T0]]
// INT8-NEXT: %[[F1:.*]] = arith.sitofp %[[S1]]
// INT8-NEXT: %[[T1:.*]] = arith.mulf %[[TOKEN]], %[[N1]]
// INT8-NEXT: %[[UP:.*]] = arith.mulf %[[F1]], %[[T1]]
// INT8-NEXT: %[[P:.*]] = arith.mulf %[[GATE]], %[[UP]]
// INT8-NEXT: %[[Q:.*]] = arith.mulf %[[P]], %[[ROW]]
// INT8-NEXT: arith.addf %[[Q]], %[[BIAS]]

// Weights as codes: nothing else changes.
// CODES-LABEL: func.func @experts
// CODES-SAME: %[[X:.*]]: tensor<?x64xbf16>, %[[G:.*]]: tensor<5xi32>
// CODES: tensor.expand_shape %{{.*}} {{\[\[}}0], [1], [2, 3]] output_shape [4, 20, 2, 32] : tensor<4x20x64xbf16> into tensor<4x20x2x32xbf16>
// CODES: linalg.generic {{.*}}"reduction"]}
// CODES: %[[CODES:.*]] = tensor.collapse_shape %{{.*}} : tensor<4x20x2x16xi8> into tensor<4x20x32xi8>
// CODES: moe.grouped_matmul rows(%[[X]] : tensor<?x64xbf16>) weights(%[[CODES]], %{{.*}} : tensor<4x20x32xi8>, tensor<4x20x32xi8>)
// CODES-SAME: scales(%{{.*}}, %{{.*}} : tensor<4x20x2xbf16>, tensor<4x20x2xbf16>) groups(%[[G]] : tensor<5xi32>)
// CODES-SAME: attributes {fanout = 2 : i64, format = "int4"}
// CODES-NEXT: ^bb0(%{{.*}}: f32, %{{.*}}: f32, %{{.*}}: f32, %{{.*}}: f32):
func.func @experts(%x: tensor<?x64xbf16>, %g: tensor<5xi32>, %c: tensor<?xi32>, %r: tensor<?xf32>, %b: tensor<4x20xf32>,
                   %init: tensor<?x20xf32>) -> tensor<?x20xf32> {
  %gate = ml_program.global_load_const @gate : tensor<4x20x64xbf16>
  %up = ml_program.global_load_const @up : tensor<4x20x64xbf16>
  %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%gate, %up : tensor<4x20x64xbf16>, tensor<4x20x64xbf16>)
      groups(%g : tensor<5xi32>) choices(%c : tensor<?xi32>) row_scalars(%r : tensor<?xf32>) column_scalars(%b : tensor<4x20xf32>)
      outs(%init : tensor<?x20xf32>) attributes {fanout = 2 : i64} {
  ^bb0(%a: f32, %u: f32, %row: f32, %bias: f32):
    %p = arith.mulf %a, %u : f32
    %q = arith.mulf %p, %row : f32
    %s = arith.addf %q, %bias : f32
    moe.yield %s : f32
  } -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}

// The products of a dense model are others; scores that choose experts stay as they are.
// INT8-LABEL: func.func @dense
// INT8-NOT: xi8>
// CODES-LABEL: func.func @dense
// CODES: moe.grouped_matmul rows(%{{.*}} : tensor<?x64xbf16>) weights(%{{.*}} : tensor<1x4x64xbf16>)
// CODES: moe.grouped_matmul rows(%{{.*}} : tensor<?x64xf32>) weights(%{{.*}} : tensor<1x32x32xi8>) scales(%{{.*}} : tensor<1x32x2xi8>)
// CODES-SAME: format = "mxfp4"
func.func @dense(%x: tensor<?x64xbf16>, %h: tensor<?x64xf32>, %scores: tensor<?x4xf32>, %init: tensor<?x32xf32>)
    -> (tensor<?x2xi32>, tensor<?x32xf32>) {
  %router = ml_program.global_load_const @router : tensor<1x4x64xbf16>
  %head = ml_program.global_load_const @head : tensor<1x32x64xf32>
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0 : i32
  %rows = tensor.dim %x, %c0 : tensor<?x64xbf16>
  %end = arith.index_cast %rows : index to i32
  %all = tensor.from_elements %zero, %end : tensor<2xi32>
  %logits = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%router : tensor<1x4x64xbf16>) groups(%all : tensor<2xi32>)
      outs(%scores : tensor<?x4xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x4xf32>
  %probs = linalg.softmax dimension(1) ins(%logits : tensor<?x4xf32>) outs(%scores : tensor<?x4xf32>) -> tensor<?x4xf32>
  %w, %e = moe.top_k %probs {k = 2} : tensor<?x4xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %y = moe.grouped_matmul rows(%h : tensor<?x64xf32>) weights(%head : tensor<1x32x64xf32>) groups(%all : tensor<2xi32>)
      outs(%init : tensor<?x32xf32>) {
  ^bb0(%a: f32):
    moe.yield %a : f32
  } -> tensor<?x32xf32>
  return %e, %y : tensor<?x2xi32>, tensor<?x32xf32>
}

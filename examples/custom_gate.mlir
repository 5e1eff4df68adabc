// A gate that no framework has: experts are selected by sigmoid(logits) + bias, and weighted by the square root of the
// sigmoid. It is composed from ordinary ops; around it is a small complete MoE layer (hidden size 8, 4 experts, 2 per
// token, one ReLU layer each). examples/custom_gate.py computes the same in Python.
//
//   moe-compile examples/custom_gate.mlir -o custom_gate
//   ./custom_gate run --input examples/custom_gate.safetensors --output out.safetensors
#id = affine_map<(t, n) -> (t, n)>
#column = affine_map<(t, n) -> (n)>
#x = affine_map<(t, n, k) -> (t, k)>   // a product x . w^T
#w = affine_map<(t, n, k) -> (n, k)>
#y = affine_map<(t, n, k) -> (t, n)>

func.func @layer(%hidden: tensor<?x8xf32> {moe.name = "hidden"}, %router: tensor<4x8xf32> {moe.name = "router"},
                 %bias: tensor<4xf32> {moe.name = "bias"}, %up: tensor<4x16x8xf32> {moe.name = "up"},
                 %down: tensor<4x8x16xf32> {moe.name = "down"})
    -> (tensor<?x8xf32> {moe.name = "hidden"}, tensor<?x2xi32> {moe.name = "topk_index"},
        tensor<?x2xf32> {moe.name = "topk_weight"}) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %tokens = tensor.dim %hidden, %c0 : tensor<?x8xf32>
  %init = tensor.empty(%tokens) : tensor<?x4xf32>
  %start = linalg.fill ins(%zero : f32) outs(%init : tensor<?x4xf32>) -> tensor<?x4xf32>
  %logits = linalg.matmul indexing_maps = [#x, #w, #y]
      ins(%hidden, %router : tensor<?x8xf32>, tensor<4x8xf32>) outs(%start : tensor<?x4xf32>) -> tensor<?x4xf32>

  // The gate: ten lines.
  %weights, %keys = linalg.generic {indexing_maps = [#id, #column, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%logits, %bias : tensor<?x4xf32>, tensor<4xf32>) outs(%init, %init : tensor<?x4xf32>, tensor<?x4xf32>) {
  ^bb0(%logit: f32, %b: f32, %unused: f32, %unused2: f32):
    %minus = arith.negf %logit : f32
    %exp = math.exp %minus : f32
    %sum = arith.addf %one, %exp : f32
    %score = arith.divf %one, %sum : f32
    %key = arith.addf %score, %b : f32       // decides who is selected
    %weight = math.sqrt %score : f32         // decides how much the expert counts
    linalg.yield %weight, %key : f32, f32
  } -> (tensor<?x4xf32>, tensor<?x4xf32>)
  %w, %e = moe.top_k %weights keys(%keys : tensor<?x4xf32>) {k = 2} : tensor<?x4xf32> -> tensor<?x2xf32>, tensor<?x2xi32>

  // The layer: rows grouped by expert, each expert's network on its group, the weighted sum per token.
  %offsets, %choices, %slots = moe.plan %e {experts = 4} : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  %rows = moe.dispatch %hidden[%choices] {fanout = 2} : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  %out = moe.experts rows(%rows : tensor<?x8xf32>) groups(%offsets : tensor<5xi32>)
      params(%up, %down : tensor<4x16x8xf32>, tensor<4x8x16xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: tensor<?x8xf32>, %u: tensor<16x8xf32>, %d: tensor<8x16xf32>):
    %n = tensor.dim %x, %c0 : tensor<?x8xf32>
    %inner_init = tensor.empty(%n) : tensor<?x16xf32>
    %inner_start = linalg.fill ins(%zero : f32) outs(%inner_init : tensor<?x16xf32>) -> tensor<?x16xf32>
    %inner = linalg.matmul indexing_maps = [#x, #w, #y]
        ins(%x, %u : tensor<?x8xf32>, tensor<16x8xf32>) outs(%inner_start : tensor<?x16xf32>) -> tensor<?x16xf32>
    %relu = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
        ins(%inner : tensor<?x16xf32>) outs(%inner_init : tensor<?x16xf32>) {
    ^bb0(%v: f32, %unused: f32):
      %positive = arith.maximumf %v, %zero : f32
      linalg.yield %positive : f32
    } -> tensor<?x16xf32>
    %y_init = tensor.empty(%n) : tensor<?x8xf32>
    %y_start = linalg.fill ins(%zero : f32) outs(%y_init : tensor<?x8xf32>) -> tensor<?x8xf32>
    %y = linalg.matmul indexing_maps = [#x, #w, #y]
        ins(%relu, %d : tensor<?x16xf32>, tensor<8x16xf32>) outs(%y_start : tensor<?x8xf32>) -> tensor<?x8xf32>
    moe.yield %y : tensor<?x8xf32>
  }
  %result = moe.combine %out[%slots] weights(%w : tensor<?x2xf32>) : tensor<?x8xf32>, tensor<?x2xi32> -> tensor<?x8xf32>
  return %result, %e, %w : tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>
}

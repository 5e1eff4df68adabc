// Attention with heads of DEPTH elements, eight query heads for each key-value head.
func.func @main(%q: tensor<?x?x8xDEPTHxbf16>, %k: tensor<?x?x1xDEPTHxbf16>, %v: tensor<?x?x1xDEPTHxbf16>, %past: tensor<i64>)
    -> tensor<?x?x8xDEPTHxbf16> {
  %number = tensor.extract %past[] : tensor<i64>
  %position = arith.index_cast %number : i64 to index
  %y = moe.attention %q, %k, %v past(%position) {scale = 0.125 : f32}
      : tensor<?x?x8xDEPTHxbf16>, tensor<?x?x1xDEPTHxbf16>, tensor<?x?x1xDEPTHxbf16> -> tensor<?x?x8xDEPTHxbf16>
  return %y : tensor<?x?x8xDEPTHxbf16>
}

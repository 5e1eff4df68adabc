//===- Passes.td - passes from moe to moe ------------------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef DIALECT_MOE_TRANSFORMS_PASSES_TD
#define DIALECT_MOE_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// Phase route
//===----------------------------------------------------------------------===//

def MoeCutExperts : Pass<"moe-cut-experts"> {
  let summary = "cut moe.experts into grouped matmuls and row-wise ops";
  let description = [{
    Where an expert's network consists of products with its parameters and of row-wise elementwise ops, the loop over
    experts is not needed: products become `moe.grouped_matmul` on all rows, elementwise ops run on all rows at once. Rows
    in no group are zero in every product, so also in the result. What cannot be cut (a region that routes
    again, parameters used other than as weights) stays a `moe.experts`, with a remark that says why.

    ```mlir
    %ys = moe.experts rows(%xs : tensor<?x8xf32>) groups(%o : tensor<5xi32>) params(%w : tensor<4x16x8xf32>)
        -> tensor<?x16xf32> {
    ^bb0(%x: tensor<?x8xf32>, %we: tensor<16x8xf32>):
      %p = linalg.matmul indexing_maps = [...] ins(%x, %we : ...) outs(%zero : ...) -> tensor<?x16xf32>
      moe.yield %p : tensor<?x16xf32>
    }
    ```
    becomes
    ```mlir
    %ys = moe.grouped_matmul rows(%xs : ...) weights(%w : ...) groups(%o : ...) outs(%zeros : tensor<?x16xf32>) {
    ^bb0(%acc: f32):
      moe.yield %acc : f32
    } -> tensor<?x16xf32>
    ```
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

def MoeGroupMatmuls : Pass<"moe-group-matmuls"> {
  let summary = "turn dense matrix products into grouped matmuls with one group";
  let description = [{
    `x . W^T` with f32 accumulation and a zero start (a `linalg.matmul` or an equal contraction) is `moe.grouped_matmul`
    with the offsets [0, rows]. From here on a target has one kind of matrix product to make fast.
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"];
}

//===----------------------------------------------------------------------===//
// Phase fuse
//===----------------------------------------------------------------------===//

def MoeFuseGroupedMatmuls : Pass<"moe-fuse-grouped-matmuls"> {
  let summary = "fuse the gather before and the elementwise op after grouped matmuls";
  let description = [{
    * prologue: a `moe.dispatch` feeding x becomes the `choices` operand;
    * siblings and epilogue: an elementwise `linalg.generic` that reads the results of grouped matmuls over the same x and
      groups (gate and up), and nothing else of their kind, becomes the epilogue of one grouped matmul with all their weights.

    * a fill of the output goes where nothing reads the rows in no group: by the plan's slots (`moe.combine`) or by the
      same groups (the next product) they are out of reach;

    * an elementwise `linalg.generic` that only rounds the result of `moe.attention` becomes the type of that result.

    No rounding is removed: a `truncf` in the elementwise op moves into the epilogue as it is.
  }];
  let dependentDialects = ["::moe::MoeDialect"];
}

def MoeQuantize : Pass<"moe-quantize"> {
  let summary = "quantise weights of grouped matmuls";
  let description = [{
    Weights that are parameters get the format `experts` or, in products of one group that holds every row, `others`; empty
    leaves them as they are. A product whose result `moe.top_k` chooses by keeps its weights. Activations keep their
    type, but for int8:

    * `int8`: a weight row w becomes round(w * 127 / max |w|), ties to even, and the column scalar max |w| / 127; a row of x
      the same, with a row scalar, when the program runs. The product is one of integers; its epilogue begins with
      `sum * (row scale * column scale)`.
    * `int4`: 32 weights share the scale max |w| / 7, rounded to 5 significant bits, in bf16.
    * `mxfp4`: 32 weights share the smallest scale 2^e with max |w| <= 7 * 2^e.
    * `fp8`: 128 weights of a row share the scale max |w| / 448, in f32.

    The arithmetic on weights is ordinary IR, which `moe-prepare-parameters` moves to compile time. Run behind
    `moe-fuse-grouped-matmuls`: a gather, and gate and up, share the rows that are quantised.

    ```mlir
    %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%w : tensor<8x32x64xbf16>) groups(%o : tensor<9xi32>)
        outs(%init : tensor<?x32xf32>) { ... }
    ```
    becomes, with `experts=int4`,
    ```mlir
    %y = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%codes : tensor<8x32x32xi8>)
        scales(%scales : tensor<8x32x2xbf16>) groups(%o : tensor<9xi32>)
        outs(%init : tensor<?x32xf32>) attributes {format = "int4"} { ... }
    ```
  }];
  let options = [Option<"experts", "experts", "std::string", "\"\"", "Format of the experts' weights: int8, int4, mxfp4, fp8">,
                 Option<"others", "others", "std::string", "\"\"", "Format of the other weights">];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect", "::mlir::tensor::TensorDialect"];
}

def MoeKeepCodes : Pass<"moe-keep-codes"> {
  let summary = "multiply with the codes that a checkpoint stores";
  let description = [{
    Weights that are decoded from f8E4M3FN, `code[n, k] * scale[n / 128, k / 128]` in f32, stay codes: the product gets
    `format = "fp8"`, their bits, and the scales of each row. A group of 128 with a NaN among its codes has NaN as its scale: the
    format has no other. Weights of other kinds, and products of which only some weights are such, stay as they are.

    ```mlir
    %w = linalg.generic {indexing_maps = [(e, n, k) -> (e, n, k), (e, n, k) -> (e, n floordiv 128, k floordiv 128), ...]}
        ins(%c, %s : tensor<8x256x512xf8E4M3FN>, tensor<8x2x4xf32>) ... arith.extf, arith.mulf ... -> tensor<8x256x512xf32>
    %y = moe.grouped_matmul rows(%x : tensor<?x512xbf16>) weights(%w : tensor<8x256x512xf32>) ...
    ```
    becomes
    ```mlir
    %y = moe.grouped_matmul rows(%x : tensor<?x512xbf16>) weights(%bits : tensor<8x256x512xi8>)
        scales(%rows : tensor<8x256x4xf32>) ... attributes {format = "fp8"} { ... }
    ```
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

//===----------------------------------------------------------------------===//
// Phase pack
//===----------------------------------------------------------------------===//

def MoePackWeights : Pass<"moe-pack-weights"> {
  let summary = "lay the weights of grouped matmuls out in panels";
  let description = [{
    Weights that come from parameters or constants alone are packed in panels of 16 columns: [E, N/16, K, 16] for f32,
    [E, N/16, K/2, 16, 2] (pairs along k) for 16-bit types, [E, N/16, K/4, 16, 4] for i8 and likewise for the bytes of
    4-bit codes, whose scales are packed with them (see `moe.grouped_matmul`). One layout serves every instruction set. The packing is a
    `linalg.pack` here; `moe-prepare-parameters` moves it to compile time. Weights only known at run time stay as they are.
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::linalg::LinalgDialect", "::mlir::arith::ArithDialect"];
}

def MoePackCodes : Pass<"moe-pack-codes"> {
  let summary = "lay codes out as the lanes of tensor cores take them";
  let description = [{
    Weights with a `format` that come from parameters alone become [E, N/16, K/32, 256], fp8 [E, N/16, K/16, 256], and their scales
    [E, N/16, K/G, 16] (see `moe.grouped_matmul`): a lane loads its codes at once, and a block of threads copies 256 bytes that
    lie side by side. mxfp4's exponents become bf16, so that kernels need not decode them; 2^-127 to 2^127 are exact.
    Where the rows are not bf16 or f16, or N is no multiple of 16, weights stay as they are.
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::linalg::LinalgDialect", "::mlir::arith::ArithDialect",
                           "::mlir::tensor::TensorDialect"];
}

def MoePrepareParameters : Pass<"moe-prepare-parameters", "::mlir::ModuleOp"> {
  let summary = "move what depends on parameters alone into module @prepare";
  let description = [{
    Every value computed from `ml_program.global_load_const` (and constants) alone, and used by something else, becomes a
    parameter of its own: a function in the nested module `@prepare` says how it is computed, an `ml_program.global` with
    `#moe.prepared` says from which tensors. Equal computations share one function, so there are as many functions as
    there are kinds of layers. moe-compile runs them and stores the results with the executable.

    ```mlir
    %a = ml_program.global_load_const @a : tensor<4x8xbf16>
    %f = linalg.generic ... ins(%a) ... arith.extf ... -> tensor<4x8xf32>
    "use"(%f)
    ```
    becomes
    ```mlir
    module @prepare { func.func @prepare.0(%a: tensor<4x8xbf16>) -> tensor<4x8xf32> { ... } }
    ml_program.global private @param.0(#moe.prepared<@prepare.0, ["a"]> : tensor<4x8xf32>) : tensor<4x8xf32>
    ...
    %f = ml_program.global_load_const @param.0 : tensor<4x8xf32>
    "use"(%f)
    ```
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::func::FuncDialect", "::mlir::ml_program::MLProgramDialect"];
}

def MoeParametersToArguments : Pass<"moe-parameters-to-arguments", "::mlir::ModuleOp"> {
  let summary = "pass parameters as function arguments";
  let description = [{
    Weights are memory mapped, so they have no address at link time, and a `memref.global` without a value would fold to
    undef. Each `ml_program.global_load_const` becomes a function argument; callers pass it on. In entry functions the
    argument has `moe.role = "parameter"` and `moe.parameter = @global`, and is not writable; the runtime fills it in.
    Functions that differed only in their parameters (the layers of a model) are equal afterwards.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::mlir::bufferization::BufferizationDialect"];
}

//===----------------------------------------------------------------------===//
// Phase tile
//===----------------------------------------------------------------------===//

def MoeErasePrepare : Pass<"moe-erase-prepare", "::mlir::ModuleOp"> {
  let summary = "erase module @prepare and the parameters' globals";
  let description = [{
    The compiler has taken `@prepare` and the table of parameters by now; what follows sees parameters as arguments only.
  }];
}

def MoeFuseRouting : Pass<"moe-fuse-routing", "::mlir::func::FuncOp"> {
  let summary = "a gate as one parallel loop over rows";
  let description = [{
    What makes the rows that a `moe.top_k` chooses from (norms and casts, the router's product, scores), the choice, and
    what is done by rows to the weights of the chosen become one `scf.forall` over `row-block` rows: one kernel. No family's gate
    is known here: any op takes part that can be done for some rows alone. A product is done for the rows of an iteration
    together, and gets the attribute `moe.scores`; the ops between products are an inner `scf.forall` with one row each. What
    else is made by rows of the router's rows (their codes and scales, where experts are int8) is made here, too. What
    something else reads (logits, experts, weights) is a result of the loop.

    ```mlir
    %logits = moe.grouped_matmul rows(%x : tensor<?x128xbf16>) weights(%w : tensor<1x16x128xbf16>) ...
    %scores = linalg.softmax dimension(1) ins(%logits : tensor<?x16xf32>) ...
    %s, %e = moe.top_k %scores {k = 2} : tensor<?x16xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
    // becomes
    %e, %s = scf.forall (%i) = (0) to (%rows) step (16) shared_outs(%experts = ..., %weights = ...) {
      %logits = moe.grouped_matmul rows(%rows_of_x : tensor<?x128xbf16>) weights(%w : tensor<1x16x128xbf16>) ...
      %some:2 = scf.forall (%r) in (%n) shared_outs(...) {
        %scores = linalg.softmax dimension(1) ins(%row : tensor<1x16xf32>) ...
        %s, %e = moe.top_k %scores {k = 2} : tensor<1x16xf32> -> tensor<1x2xf32>, tensor<1x2xi32>
        ...
    ```
  }];
  let options = [Option<"rowBlock", "row-block", "int64_t", "16", "Rows of an iteration">];
  let dependentDialects = ["::mlir::scf::SCFDialect", "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::linalg::LinalgDialect"];
}

def MoeFuseCombine : Pass<"moe-fuse-combine", "::mlir::func::FuncOp"> {
  let summary = "for one token, the second product and the combine in one loop over columns";
  let description = [{
    For at most one token, `moe.combine`, the grouped matmul that makes its rows and elementwise ops behind it become one parallel
    loop over ranges of 16 columns, one kernel: an iteration multiplies with one expert after the other and sums up in slot
    order. For more tokens everything stays as it is; the number of tokens is known when the loop starts.

    ```mlir
    %y = moe.combine %product[%slots] ...
    // becomes
    %y = scf.if %at_most_one_token {
      scf.forall (%column) = (0) to (2048) step (16) ... {
        %rows = scf.for %tile = 0 to %count ... { moe.grouped_matmul ... }
        moe.combine %rows[%slots] ...
    } else { ... }
    ```
  }];
  let options = [Option<"matmulRows", "matmul-rows", "int64_t", "128", "Most rows in a tile of a grouped matmul">,
                 Option<"remarks", "remarks", "bool", "false", "Tell which combines stay as they are, and why">];
  let dependentDialects = ["::mlir::scf::SCFDialect", "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
                           "::mlir::bufferization::BufferizationDialect", "::mlir::tensor::TensorDialect"];
}

def MoeFuseRows : Pass<"moe-fuse-rows", "::mlir::func::FuncOp"> {
  let summary = "make the rows of a product of integers in its tiles";
  let description = [{
    Codes of activations and their scales are made from whole rows, so the blocks of the product before, which have some columns
    each, cannot make them. Where a tile of a product of i8 takes rows that ops on rows made of others, these are made in the
    tile, by an inner `scf.forall` with one row each; where a block does one tile after the other (`moe-fuse-combine`),
    all of them before the first one. Scales gathered by `moe.dispatch` are gathered for the rows of a tile, too. What nothing
    else needs is not computed for all rows any more. Tiles of more than 1 MiB of rows stay as they are.

    ```mlir
    %codes = linalg.generic ... ins(%h, %inverse : tensor<?x768xbf16>, tensor<?xf32>) ... -> tensor<?x768xi8>
    scf.forall (%tile) in (%count) ... {
      %part = tensor.extract_slice %codes[%row, 0] [%rows, 768] [1, 1] : tensor<?x768xi8> to tensor<?x768xi8>
      moe.grouped_matmul rows(%part : tensor<?x768xi8>) ...
    // becomes
    scf.forall (%tile) in (%count) ... {
      %part = scf.forall (%r) in (%rows) shared_outs(...) {
        %codes = linalg.generic ... ins(%row_of_h, %inverse : tensor<1x768xbf16>, tensor<1xf32>) ...
      moe.grouped_matmul rows(%part : tensor<?x768xi8>) ...
    ```
  }];
  let options = [Option<"matmulRows", "matmul-rows", "int64_t", "128", "Most rows in a tile of a grouped matmul">,
                 Option<"remarks", "remarks", "bool", "false", "Tell which products stay as they are, and why">];
  let dependentDialects = ["::mlir::scf::SCFDialect", "::mlir::affine::AffineDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::linalg::LinalgDialect"];
}

def MoeTile : Pass<"moe-tile", "::mlir::func::FuncOp"> {
  let summary = "tile ops into scf.forall loops that threads can share";
  let description = [{
    Outermost ops with a parallel loop become `scf.forall` over tiles: grouped matmuls over a tile map (rows of one group)
    and ranges of columns, attention over sequences, blocks of queries and heads, everything else over blocks of rows. No
    reduction is ever split: results do not depend on the tiling, nor on the number of threads. One tile or none runs
    without the thread pool.
  }];
  let options = [Option<"rowBlock", "row-block", "int64_t", "16", "Rows of a tile">,
                 Option<"matmulRows", "matmul-rows", "int64_t", "0",
                        "Most rows in a tile of a grouped matmul; 0: chosen by the cost model">,
                 Option<"linalg", "linalg", "bool", "true", "Tile linalg ops, too: not before what they are fused with is one">,
                 Option<"tuneFor", "tune-for", "std::string", [{""}],
                        "File with the machine that the cost model chooses for (default: a fixed one)">];
  let dependentDialects = ["::mlir::scf::SCFDialect", "::mlir::affine::AffineDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::linalg::LinalgDialect"];
}

def MoeSchedulePlans : Pass<"moe-schedule-plans", "::mlir::func::FuncOp"> {
  let summary = "a plan and its tile map as one op";
  let description = [{
    `moe.plan` and the `moe.tile_map`s of its offsets that have the same block become one `moe.schedule`, which a target does in
    one kernel. Run behind `moe-tile`, which makes the maps. A plan without one stays, and so does one of more than 2048 experts.
  }];
  let dependentDialects = ["::moe::MoeDialect", "::mlir::affine::AffineDialect", "::mlir::tensor::TensorDialect"];
}

//===----------------------------------------------------------------------===//
// Phase bufferize
//===----------------------------------------------------------------------===//

def MoeDropStateResults : Pass<"moe-drop-state-results", "::mlir::ModuleOp"> {
  let summary = "update states in place instead of returning them";
  let description = [{
    A result of an entry function with `moe.role = "state"` is the new value of the state argument of the same
    `moe.name`. On buffers the two are one: the result goes, after a copy into the argument in case bufferization had
    to make a buffer of its own for it. (Upstream's `drop-equivalent-buffer-results` leaves public functions alone.)

    ```mlir
    func.func @main(%cache: memref<?x8xf32> {moe.name = "cache", moe.role = "state"})
        -> (memref<?x8xf32> {moe.name = "cache", moe.role = "state"}) { ... return %cache : memref<?x8xf32> }
    ```
    becomes
    ```mlir
    func.func @main(%cache: memref<?x8xf32> {moe.name = "cache", moe.role = "state"}) { ... return }
    ```
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def MoeLowerPack : Pass<"moe-lower-pack"> {
  let summary = "lower linalg.pack to ops that bufferize";
  let description = [{
    `linalg.pack` becomes pad, expand_shape and transpose. Run on module `@prepare` before it is bufferized.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect", "::mlir::arith::ArithDialect"];
}

#endif // DIALECT_MOE_TRANSFORMS_PASSES_TD

//===- MoeOps.td - operations of the moe dialect -----------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_OPS_TD
#define MOE_OPS_TD

include "dialect/Moe/IR/MoeAttrs.td"
include "dialect/Moe/IR/MoeInterfaces.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/TilingInterface.td"

//===----------------------------------------------------------------------===//
// Base classes and type constraints
//===----------------------------------------------------------------------===//

class Moe_Op<string mnemonic, list<Trait> traits = []> : Op<Moe_Dialect, mnemonic, traits>;

// Value semantics: pure, and its dynamic result sizes can be computed from the operands.
class Moe_TensorOp<string mnemonic, list<Trait> traits = []>
    : Moe_Op<mnemonic, traits # [Pure, DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>]>;

def Moe_ScoreTensor : TensorRankOf<[F16, BF16, F32, F64], [2]>;        // [T, E]
def Moe_ChoiceTensor : TensorRankOf<[I32], [2]>;                       // [T, k]
def Moe_IndexVector : TensorRankOf<[I32], [1]>;
def Moe_RowTensor : TensorRankOf<[AnyFloat, AnyInteger], [1, 2, 3, 4]>; // [R, ...]
def Moe_FloatMatrix : TensorRankOf<[F16, BF16, F32, F64], [2]>;
def Moe_F32Matrix : TensorRankOf<[F32], [2]>;
def Moe_HeadsBuffer : AnyTypeOf<[TensorRankOf<[AnyFloat], [4]>, MemRefRankOf<[AnyFloat], [4]>]>; // [B, S, heads, D]
def Moe_Buffer : AnyTypeOf<[AnyRankedTensor, AnyMemRef]>;               // before and after bufferization

//===----------------------------------------------------------------------===//
// Routing
//===----------------------------------------------------------------------===//

def Moe_TopKOp : Moe_TensorOp<"top_k", [AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<TilingInterface, ["getLoopIteratorTypes", "getIterationDomain", "getTiledImplementation",
                                                "getResultTilePosition"]>]> {
  let summary = "selects each token's k best experts";
  let description = [{
    For each row t of `values` [T, E] selects k distinct experts by `keys` [T, E] (`values` where there are none) and returns
    the `values` at the selection [T, k] and the experts' indices [T, k], best key first.

    * Equal keys (0 and -0 are equal): lowest index first. NaN keys are below -inf and equal to each other.
    * With `groups` the keys of experts outside the best groups are masked first (see `#moe.groups`); `selected` still
      holds the original values.
    * `values` may be anything; only keys decide.
    * k is the attribute `k`, or the operand of `k(...)` for one that is known at run time (1 <= k <= E, unchecked).
    * E is static where it counts experts. Where the candidates are tokens (expert choice: the rows are experts) it may be
      dynamic, without `groups`; then k <= E is unchecked as well.

    Selection by bias-corrected scores (DeepSeek-V3) or noisy logits (Shazeer et al. 2017, eq. 3-5) is a matter of `keys`.

    Made by: import. Lowered in: tile (and by `--moe-to-linalg`).

    ```mlir
    %w, %e = moe.top_k %probs keys(%logits : tensor<?x64xf32>) {k = 8}
        : tensor<?x64xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
    ```
  }];
  let arguments = (ins Moe_ScoreTensor:$values, Optional<Moe_ScoreTensor>:$keys, Optional<Index>:$dynamicK,
                       OptionalAttr<I64Attr>:$k, OptionalAttr<Moe_GroupsAttr>:$groups);
  let results = (outs Moe_ScoreTensor:$selected, Moe_ChoiceTensor:$index);
  let assemblyFormat = [{
    $values (`keys` `(` $keys^ `:` type($keys) `)`)? (`k` `(` $dynamicK^ `)`)? attr-dict
    `:` type($values) `->` type($selected) `,` type($index)
  }];
  let extraClassDeclaration = [{
    /// What is compared: `keys`, or `values` where there are none.
    ::mlir::Value getSelectionKeys() { return getKeys() ? getKeys() : getValues(); }
    /// Candidates per row, ShapedType::kDynamic where that is only known at run time.
    int64_t getNumExperts() { return ::llvm::cast<::mlir::RankedTensorType>(getValues().getType()).getDimSize(1); }
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def Moe_DropOp : Moe_TensorOp<"drop", [AttrSizedOperandSegments, AllTypesMatch<["indices", "kept"]>]> {
  let summary = "drops the choices beyond an expert's capacity";
  let description = [{
    Walks the choices of `indices` [T, k] in `order`; each takes one of `capacity` places of its expert while there is one,
    else it becomes -1. A choice of -1 takes no place; a token that names an expert twice takes two. Dropping does not
    renumber. With `segments` [T] (any ids, in any order: sequences, GShard groups) the capacity holds for each pair of
    segment and expert.

    | order | walk |
    |---|---|
    | "token" | by t * k + j |
    | "choice" | all first choices by t, then all second ones, ... (GShard) |
    | "priority" | `priority` [T, k] f32, highest first, equal: lowest t * k + j, NaN last |

    Batch prioritised routing is order "priority" with priority[t, j] = max_e p[t, e] - j.

    Made by: import, for gates with a capacity. Lowered in: tile (and by `--moe-to-linalg`).

    ```mlir
    %kept = moe.drop %e segments(%sequence : tensor<?xi32>) capacity(%c) {experts = 64, order = "token"} : tensor<?x2xi32>
    ```
  }];
  let arguments = (ins Moe_ChoiceTensor:$indices, Optional<Moe_FloatMatrix>:$priority, Optional<Moe_IndexVector>:$segments,
                       Index:$capacity, I64Attr:$experts, Moe_DropOrder:$order);
  let results = (outs Moe_ChoiceTensor:$kept);
  let assemblyFormat = [{
    $indices (`priority` `(` $priority^ `:` type($priority) `)`)? (`segments` `(` $segments^ `:` type($segments) `)`)?
    `capacity` `(` $capacity `)` attr-dict `:` type($indices)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Moe_PlanOp : Moe_TensorOp<"plan"> {
  let summary = "groups the choices of all tokens by expert";
  let description = [{
    A stable counting sort of `indices` [T, k]: group e holds expert e's choices in the order of t * k + j.

    * `offsets` [experts + 1]: group e is the rows offsets[e] .. offsets[e + 1]; offsets[experts] rows are used.
    * `choices` [T * k]: choices[r] = t * k + j is the choice that row r serves; -1 past the used rows.
    * `slots` [T, k]: the row of each choice, the inverse of `choices`; -1 for an index of -1, which takes no row.

    Nothing is dropped or padded. Expert choice is e[t, j] = selected ? j : -1 with k = experts.

    Made by: import. Lowered in: tile (and by `--moe-to-linalg`).

    ```mlir
    %offsets, %choices, %slots = moe.plan %e {experts = 64}
        : tensor<?x8xi32> -> tensor<65xi32>, tensor<?xi32>, tensor<?x8xi32>
    ```
  }];
  let arguments = (ins Moe_ChoiceTensor:$indices, I64Attr:$experts);
  let results = (outs Moe_IndexVector:$offsets, Moe_IndexVector:$choices, Moe_ChoiceTensor:$slots);
  let assemblyFormat = [{
    $indices attr-dict `:` type($indices) `->` type($offsets) `,` type($choices) `,` type($slots)
  }];
  let hasVerifier = 1;
}

def Moe_GaussianOp : Moe_TensorOp<"gaussian"> {
  let summary = "standard normal noise that depends on row ids only";
  let description = [{
    Noise for noisy gates (Shazeer et al. 2017, eq. 4): out[t, n] ~ N(0, 1), a function of (`seed`, `stream`, ids[t], n) alone,
    hence the same for every batch split, target and rank count.

    Philox4x32-10 (Salmon et al., SC 2011) with key (seed low, seed high) and counter (id low, id high, n / 4, stream) gives
    four words x0..x3 for columns 4 * (n / 4) .. + 3. Box-Muller in f32: u = (word + 1) * 2^-32 in (0, 1] for x0 and x2,
    v = word * 2^-32 for x1 and x3; columns 0 and 1 of a quad are sqrt(-2 ln u0) * (cos, sin)(2 pi v1), columns 2 and 3
    the same of x2, x3. Ids are taken as 64-bit integers (i32 ids are sign-extended).

    Made by: import. Lowered in: tile (and by `--moe-to-linalg`).

    ```mlir
    %noise = moe.gaussian rows(%ids) {seed = 42, stream = 3} : tensor<?xi64> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins TensorRankOf<[I32, I64], [1]>:$ids, I64Attr:$seed, I64Attr:$stream);
  let results = (outs Moe_F32Matrix:$noise);
  let assemblyFormat = "`rows` `(` $ids `)` attr-dict `:` type($ids) `->` type($noise)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

def Moe_DispatchOp : Moe_TensorOp<"dispatch"> {
  let summary = "gathers the rows of a plan";
  let description = [{
    rows[r] = x[choices[r] / fanout], zero where choices[r] is -1. With `fanout` = k, x is [T, ...] (activations); with
    `fanout` = 1, x is [T * k, ...]: flattened combine weights give each row its weight.

    Made by: import. fuse turns it into the gather prologue of `moe.grouped_matmul`; else lowered in tile.

    ```mlir
    %xs = moe.dispatch %x[%choices] {fanout = 8} : tensor<?x2048xbf16>, tensor<?xi32> -> tensor<?x2048xbf16>
    ```
  }];
  let arguments = (ins Moe_RowTensor:$x, Moe_IndexVector:$choices, I64Attr:$fanout);
  let results = (outs Moe_RowTensor:$rows);
  let assemblyFormat = "$x `[` $choices `]` attr-dict `:` type($x) `,` type($choices) `->` type($rows)";
  let hasVerifier = 1;
}

def Moe_CombineOp : Moe_TensorOp<"combine"> {
  let summary = "sums each token's rows in slot order";
  let description = [{
    out[t] = sum over j ascending of weights[t, j] * ys[slots[t, j]], in f32, starting at 0; without `weights` every weight
    is 1. A slot of -1 adds nothing, whatever its weight; unused rows of `ys` are never read. One fixed order, no atomics:
    the same bits on every target.

    Made by: import. Lowered in: tile (and by `--moe-to-linalg`).

    ```mlir
    %out = moe.combine %ys[%slots] weights(%w : tensor<?x8xf32>) : tensor<?x2048xf32>, tensor<?x8xi32> -> tensor<?x2048xf32>
    ```
  }];
  let arguments = (ins Moe_FloatMatrix:$ys, Moe_ChoiceTensor:$slots, Optional<Moe_FloatMatrix>:$weights);
  let results = (outs Moe_F32Matrix:$result);
  let assemblyFormat = [{
    $ys `[` $slots `]` (`weights` `(` $weights^ `:` type($weights) `)`)? attr-dict
    `:` type($ys) `,` type($slots) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}
//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

def Moe_ExpertsOp : Moe_Op<"experts", [AttrSizedOperandSegments, SingleBlock, RecursiveMemoryEffects,
    RecursivelySpeculatable, DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>,
    DeclareOpInterfaceMethods<Moe_PerExpertOpInterface>]> {
  let summary = "runs each expert's network on its group of rows";
  let description = [{
    For each expert e runs the region on the rows offsets[e] .. offsets[e + 1] of every `rows` operand and on slice e of
    every `params` operand. One block argument per row operand (tensor<? x ...>: the leading size is the group's), then one
    per parameter (the operand's type without dimension 0). The region is one expert's network: any tensor program, which
    may itself route (hierarchical MoE, Shazeer et al. 2017, appendix B). It yields one tensor per result, with as many
    rows as it was given.

    Rows in no group are zero in the results; empty groups cost nothing. The region may use values from above.

    Made by: import. route cuts it into `moe.grouped_matmul` where it can; what it cannot cut is a loop over experts
    after tile (and after `--moe-to-linalg`).

    ```mlir
    %ys = moe.experts rows(%xs : tensor<?x64xf32>) groups(%offsets : tensor<9xi32>) params(%w : tensor<8x32x64xf32>)
        -> tensor<?x32xf32> {
    ^bb0(%x: tensor<?x64xf32>, %we: tensor<32x64xf32>):
      ...
      moe.yield %y : tensor<?x32xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<Moe_RowTensor>:$rows, Moe_IndexVector:$offsets, Variadic<AnyRankedTensor>:$params);
  let results = (outs Variadic<Moe_RowTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `rows` `(` $rows `:` type($rows) `)` `groups` `(` $offsets `:` type($offsets) `)`
    (`params` `(` $params^ `:` type($params) `)`)? attr-dict-with-keyword `->` type($results) $body
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def Moe_GroupedMatmulOp : Moe_Op<"grouped_matmul", [AttrSizedOperandSegments, SingleBlock, DestinationStyleOpInterface,
    DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>, DeclareOpInterfaceMethods<Moe_PerExpertOpInterface>]> {
  let summary = "one matrix product per group of rows, with an epilogue";
  let description = [{
    The waist of the compiler: every target implements this one op. For a row r of group e and a column n

        acc_i = sum over k ascending of x[row(r), k] * weights_i[e, n, k]    (one accumulator: f32, or i32 if x is i8)
        out[r, n] = epilogue(acc_0, .., row scalars[r].., column scalars[e, n]..)

    row(r) is r, or choices[r] / fanout with `choices` (the gather prologue; a choice of -1 is a row of zeros). Several weight
    operands share x: gate and up. Rows in no group keep the value they have in `outs`. A dense matrix product is the
    case of one group.

    | operand | shape |
    |---|---|
    | x | [R, K], or [T, K] with choices |
    | weights | [E, N, K], or packed in panels of 16 columns: [E, N/16, K, 16], [E, N/16, K/2, 16, 2] (16-bit pairs), or [E, N/16, K/4, 16, 4] (i8 quads); codes as below |
    | scales | with `format`: one per weight operand, [E, N, K/G], or [E, N/16, K/G, 16] beside packed weights |
    | offsets | [E + 1], i32, ascending |
    | choices | [R], i32 |
    | row_scalars | [R] each: a row's gate weight |
    | column_scalars | [E, N] each: biases, scales |
    | outs | [R, N] |

    Quantised weights, in two kinds:

    * int8: x and weights are i8, products and sums exact in i32. What one unit stands for (a scale per row, one per column) is
      the epilogue's business.
    * `format`: x is of a float type, weights are codes in i8, with a scale for every G along k. The weight is
      decode(code) * scale, in f32. A target may scale the sum over the G instead of each of its terms.

      | format | code | scales | G |
      |---|---|---|---|
      | `"int4"` | 4 bits, a two's complement integer | floats | 32 |
      | `"mxfp4"` (OCP MX) | 4 bits, e2m1: from 0 to 7 the values 0, 0.5, 1, 1.5, 2, 3, 4, 6, plus 8 their negatives | e8m0 in i8: 2^(s - 127), 255 is NaN | 32 |
      | `"fp8"` | 8 bits, e4m3 with no NaN: 127 is 480. A weight that is NaN has a scale that is | floats | 128 |

      4-bit codes are two to a byte, [E, N, K/2], the even k in the low half; K is a multiple of 32. Codes of 8 bits are
      [E, N, K], and the last group may be shorter. Packed weights are [E, N/16, K/C, 16, 4] with C = 8 codes of 4 bits or 4
      of 8: of the 32 bits of a column the low half holds those of even k, the high half those of odd k, ascending from the
      lowest bits.
      Or codes stand in the order in which the lanes of an mma.sync m16n8k16 take them, with N a multiple of 16:
      [E, N/16, K/32, 256] for codes of 4 bits, [E, N/16, K/16, 256] for 8, K then padded to a multiple of 32. Of 32 or 16 k, lane
      4 * c + t has 8 bytes, 4 for each of the columns 4 * (c / 2) + c % 2 + 2 * m (m = 0, 1) of the panel, and in these the
      codes of k = 8 * j + 2 * t + h (h < 2; j < 4 or 2) from bit 16 * h + 4 * j or 16 * h + 8 * j on. Scales then stand in the
      order 2 * c + m of their columns, and are floats for mxfp4, too. A target that multiplies decoded weights in x's
      type rounds them to it.

    N need not be a multiple of 16: the last panel is padded with zeros. Same for K and pairs or quads. Where N is dynamic (a
    tile of columns), `column_multiple` is a number that divides it; without, it may be anything. `large_result`: where there are
    many rows, the result will not stay in a cache until it is read, and may as well be stored past it.
    The epilogue is a region on scalars: the accumulators, one value per row scalar and column scalar, in their element
    types; it yields out's element type. Each rounding to a storage type is in it, where a pass can see it.

    Made by: route. Quantised weights: fuse. Packed weights: pack. Cut into tiles of one group by: tile. Lowered in: kernel
    (to vector loops on memrefs), or by `--moe-to-linalg`.

    ```mlir
    %h = moe.grouped_matmul rows(%x : tensor<?x64xbf16>) weights(%gate, %up : tensor<8x32x64xbf16>, tensor<8x32x64xbf16>)
        groups(%offsets : tensor<9xi32>) outs(%init : tensor<?x32xbf16>) {
    ^bb0(%g: f32, %u: f32):
      %s = math.absf %g : f32
      %p = arith.mulf %s, %u : f32
      %t = arith.truncf %p : f32 to bf16
      moe.yield %t : bf16
    } -> tensor<?x32xbf16>
    ```
  }];
  let arguments = (ins Moe_Buffer:$x, Variadic<Moe_Buffer>:$weights, Moe_Buffer:$offsets, Optional<Moe_Buffer>:$choices,
                       Variadic<Moe_Buffer>:$rowScalars, Variadic<Moe_Buffer>:$columnScalars, Moe_Buffer:$init,
                       DefaultValuedAttr<I64Attr, "1">:$fanout, OptionalAttr<I64Attr>:$column_multiple, Variadic<Moe_Buffer>:$scales,
                       OptionalAttr<Moe_WeightFormat>:$format, UnitAttr:$large_result);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let regions = (region SizedRegion<1>:$epilogue);
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$x, "::mlir::ValueRange":$weights,
                                 "::mlir::Value":$offsets, "::mlir::Value":$choices, "::mlir::ValueRange":$rowScalars,
                                 "::mlir::ValueRange":$columnScalars, "::mlir::Value":$init, "uint64_t":$fanout,
                                 CArg<"::mlir::IntegerAttr", "{}">:$columnMultiple), [{
    build($_builder, $_state, result, x, weights, offsets, choices, rowScalars, columnScalars, init, fanout,
          columnMultiple, /*scales=*/::mlir::ValueRange(), /*format=*/nullptr, /*large_result=*/false);
  }]>];
  let assemblyFormat = [{
    `rows` `(` $x `:` type($x) `)` `weights` `(` $weights `:` type($weights) `)`
    (`scales` `(` $scales^ `:` type($scales) `)`)?
    `groups` `(` $offsets `:` type($offsets) `)`
    (`choices` `(` $choices^ `:` type($choices) `)`)?
    (`row_scalars` `(` $rowScalars^ `:` type($rowScalars) `)`)?
    (`column_scalars` `(` $columnScalars^ `:` type($columnScalars) `)`)?
    `outs` `(` $init `:` type($init) `)` attr-dict-with-keyword $epilogue (`->` type($result)^)?
  }];
  let extraClassDeclaration = [{
    static constexpr int64_t panelWidth = 16;
    /// Bits of a weight in `format`, and how many along k share a scale.
    static int64_t codeBits(::llvm::StringRef format) { return format == "fp8" ? 8 : 4; }
    static int64_t scaleGroup(::llvm::StringRef format) { return format == "fp8" ? 128 : 32; }
    /// Elements along k in the 256 bytes that codes packed for tensor cores come in.
    static int64_t depthOfLaneTile(::llvm::StringRef format) { return 128 / codeBits(format); }
    /// Those of this op, which has a format.
    int64_t getCodeBits() { return codeBits(*getFormat()); }
    int64_t getScaleGroup() { return scaleGroup(*getFormat()); }
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); }
    /// Rank of the weights: 3 plain, 4 panels or codes for tensor cores, 5 panels of pairs, quads or codes.
    int64_t getWeightRank() { return ::llvm::cast<::mlir::ShapedType>(getWeights().front().getType()).getRank(); }
    bool isPacked() { return getWeightRank() > 3; }
    /// Codes in the order in which lanes take them.
    bool isPackedForTensorCores() { return getFormat() && getWeightRank() == 4; }
    /// Where the code of a column and an element along k is: the indices of its byte and scale behind the expert's, and
    /// which part of the byte.
    struct CodePlace {
      ::llvm::SmallVector<::mlir::AffineExpr> byte, scale;
      ::mlir::AffineExpr part;
    };
    /// With `format` only.
    CodePlace placeOfCode(::mlir::AffineExpr n, ::mlir::AffineExpr k);
    /// i8 times i8, with i32 sums.
    bool isInteger() { return ::llvm::cast<::mlir::ShapedType>(getX().getType()).getElementType().isInteger(8); }
    /// Element type of the sums: f32 or i32.
    ::mlir::Type getAccumulatorType();
    /// A number that divides the number of columns: that number itself where it is static.
    int64_t getColumnDivisor();
    /// Columns of the output (dynamic in a tile) and length of a sum.
    int64_t getNumColumns() { return ::llvm::cast<::mlir::ShapedType>(getInit().getType()).getDimSize(1); }
    int64_t getDepth() { return ::llvm::cast<::mlir::ShapedType>(getX().getType()).getDimSize(1); }
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def Moe_YieldOp : Moe_Op<"yield", [Pure, ReturnLike, Terminator, ParentOneOf<["ExpertsOp", "GroupedMatmulOp"]>]> {
  let summary = "ends a region of a moe op with its values";
  let description = [{
    Tensors in `moe.experts`, one scalar in the epilogue of `moe.grouped_matmul`. Goes with its parent.
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

def Moe_TileMapOp : Moe_TensorOp<"tile_map"> {
  let summary = "cuts the groups of a plan into tiles of rows";
  let description = [{
    Each group of `offsets` is cut into tiles of `block` rows, the last one of a group being shorter. `tiles` [B, 3] lists
    (group, first row, number of rows) by group and row, `count` how many there are; rows of `tiles` past `count` are zero.
    `rows` is a number that offsets[E] does not exceed. B = rows / block + min(E, rows): no group adds more than one tile
    that is not full, so the size of the map is known before the offsets are.

    Made by: tile, which then removes it (and so does `--moe-to-linalg`).

    ```mlir
    %tiles, %count = moe.tile_map %offsets rows(%rows) {block = 256} : tensor<65xi32> -> tensor<?x3xi32>, tensor<i32>
    ```
  }];
  let arguments = (ins Moe_IndexVector:$offsets, Index:$rows, I64Attr:$block);
  let results = (outs TensorRankOf<[I32], [2]>:$tiles, TensorRankOf<[I32], [0]>:$count);
  let assemblyFormat = [{
    $offsets `rows` `(` $rows `)` attr-dict `:` type($offsets) `->` type($tiles) `,` type($count)
  }];
  let hasVerifier = 1;
}

def Moe_ScheduleOp : Moe_Op<"schedule", [DestinationStyleOpInterface, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "a plan and its tile map in one, with outputs";
  let description = [{
    What `moe.plan` makes of `indices` [T, k] (offsets [experts + 1], choices [T * k], slots [T, k]), and what
    `moe.tile_map` makes of the offsets (tiles [B, 3], count) with tiles of `block` rows; of `tiles`, only the first `count` rows
    are written. For targets that do both in one kernel, without passing over memory in between.

    Made by: tile, for GPUs. Lowered in: kernel.

    ```mlir
    %o, %c, %s, %t, %n = moe.schedule %e : tensor<?x8xi32>
        outs(%o0, %c0, %s0, %t0, %n0 : tensor<65xi32>, tensor<?xi32>, tensor<?x8xi32>, tensor<?x3xi32>, tensor<i32>) {block = 128}
        -> tensor<65xi32>, tensor<?xi32>, tensor<?x8xi32>, tensor<?x3xi32>, tensor<i32>
    ```
  }];
  let arguments = (ins Moe_Buffer:$indices, Variadic<Moe_Buffer>:$inits, I64Attr:$block);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    $indices `:` type($indices) `outs` `(` $inits `:` type($inits) `)` attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitsMutable(); }
    ::mlir::Value getOffsets() { return getInits()[0]; }
    ::mlir::Value getChoices() { return getInits()[1]; }
    ::mlir::Value getSlots() { return getInits()[2]; }
    ::mlir::Value getTiles() { return getInits()[3]; }
    ::mlir::Value getCount() { return getInits()[4]; }
    int64_t getNumExperts() { return ::llvm::cast<::mlir::ShapedType>(getOffsets().getType()).getDimSize(0) - 1; }
  }];
  let hasVerifier = 1;
}

def Moe_WorkersOp : Moe_Op<"workers", [Pure]> {
  let summary = "how many workers share a parallel loop";
  let description = [{
    The number of threads, or of blocks that a device runs at once. For choosing how finely to cut work: results never
    depend on it.

    Made by: tile. Lowered in: kernel, to a call of the runtime.
  }];
  let results = (outs Index:$count);
  let assemblyFormat = "attr-dict";
}

//===----------------------------------------------------------------------===//
// What surrounds the experts
//===----------------------------------------------------------------------===//

def Moe_AttentionOp : Moe_Op<"attention", [
    DeclareOpInterfaceMethods<TilingInterface, ["getLoopIteratorTypes", "getIterationDomain", "getTiledImplementation",
                                                "getResultTilePosition"]>,
    DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "causal grouped-query attention over a key-value cache";
  let description = [{
    For sequence b, query s and head h, with p = past + s the query's absolute position and g = h / (Hq / Hkv) its
    key-value head:

        z[q] = scale * sum over d ascending of query[b, s, h, d] * keys[b, q, g, d]     for max(0, p - window + 1) <= q <= p
        out[b, s, h] = sum over q ascending of softmax(z)[q] * values[b, q, g]

    all in f32, and at last rounded to the element type of the result. Cache positions after p have no part in it, so the result of a token is the same bits whether it comes alone,
    in a batch, or in any split of its sequence. One exception: tensor cores of GPUs multiply values of positions that a query does not see by weights of 0 where other queries of
    the call see them, so there an infinity or NaN among such values reaches queries whose own values have none.

    | operand | shape |
    |---|---|
    | query | [B, S, Hq, D] |
    | keys, values | [B, capacity, Hkv, D], capacity >= past + S |
    | past | index |
    | outs | [B, S, Hq, D]: where the result goes, in tiles and on memrefs; its value is not read |
    | result | [B, S, Hq, D], of tensors only |

    `window` counts visible positions including the own one; absent: all.

    Made by: import, with a result of f32; fuse lets it round. Tiled over sequences, queries and key-value heads (a head and the query heads that share it stay
    together) by: tile. Lowered in: kernel (to vector loops on memrefs), or by `--moe-to-linalg`.

    ```mlir
    %y = moe.attention %q, %k, %v past(%past) {scale = 0.125 : f32}
        : tensor<?x?x32x64xbf16>, tensor<?x?x4x64xbf16>, tensor<?x?x4x64xbf16> -> tensor<?x?x32x64xf32>
    ```
  }];
  let arguments = (ins Moe_HeadsBuffer:$query, Moe_HeadsBuffer:$keys, Moe_HeadsBuffer:$cachedValues, Index:$past,
                       Optional<Moe_HeadsBuffer>:$init, F32Attr:$scale, OptionalAttr<I64Attr>:$window);
  let results = (outs Optional<TensorRankOf<[AnyFloat], [4]>>:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $cachedValues `past` `(` $past `)` (`outs` `(` $init^ `:` type($init) `)`)? attr-dict
    `:` type($query) `,` type($keys) `,` type($cachedValues) (`->` type($result)^)?
  }];
  let extraClassDeclaration = [{
    bool hasPureTensorSemantics() { return ::llvm::isa<::mlir::TensorType>(getQuery().getType()); }
    /// Query heads that share a key-value head.
    int64_t getGroupSize() {
      return ::llvm::cast<::mlir::ShapedType>(getQuery().getType()).getDimSize(2) /
             ::llvm::cast<::mlir::ShapedType>(getKeys().getType()).getDimSize(2);
    }
    /// Queries of a tile: so many that reading keys and values once for all of them and their heads pays.
    int64_t getQueriesPerTile() { return ::std::max<int64_t>(64 / getGroupSize(), 1); }
  }];
  let hasVerifier = 1;
}

#endif // MOE_OPS_TD

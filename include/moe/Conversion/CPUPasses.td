//===- CPUPasses.td - TilesToCPU: phases kernel and llvm ---*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_CONVERSION_CPUPASSES_TD
#define MOE_CONVERSION_CPUPASSES_TD

include "mlir/Pass/PassBase.td"

def GroupedMatmulToLoops : Pass<"moe-grouped-matmul-to-loops", "::mlir::ModuleOp"> {
  let summary = "lower moe.grouped_matmul on memrefs to loops around register-tiled kernels";
  let description = [{
    Packed weights: how rows and panels are multiplied is a recipe, chosen by the level of the function (`moe.isa`) and the
    types of the op:

    | recipe | level | types |
    |---|---|---|
    | tiles of 16 rows, 16 columns and 32 k of bf16 or 64 of i8 in AMX registers | amx | bf16, weights in pairs; i8, in quads; bf16, codes of 4 bits |
    | dot products of pairs (vdpbf16ps, bfdot) | avx512bf16, aarch64-bf16 | bf16, weights in pairs |
    | dot products of quads (vpdpbusd) or multiplications | all others | i8, weights in quads |
    | f32 fused multiply-add on decoded weights | all | others with codes of 4 bits |
    | f32 fused multiply-add | all | any |

    For each group, rows are taken in blocks; a block of few rows, where the time goes to reading weights, is read in place
    with many panels at once, a larger one is gathered into a scratch buffer first. For each step over panels, the sums of
    rows of the block go to a second scratch buffer; then the epilogue runs on them, row by row, 16 columns at a time. In
    AMX tiles that is done for some rows while others are multiplied; rows too deep for the cache are done in blocks of K,
    with the sums of up to 128 panels in memory in between, which changes no bit.

    Codes of 4 bits are bf16 in AMX tiles, without their scale: one scale is for 32 k, a tile. Its product starts at zero, and
    is added to the sum when it is scaled, one rounding each.

    Where the level has an instruction for it, the epilogue's last rounding to bf16 is that instruction: it takes denormal
    numbers as zeros.

    The inner loops form a static ladder of rows and panels with all sums in registers. There are no masks in them; the
    last panel, where N is no multiple of 16, is stored by a narrower vector.

    With fused multiply-add every element of the result is one chain acc = fma(x[r, k], w[n, k], acc) over ascending k that
    starts at 0, for plain weights (rank 3, scalar loops) too. The other recipes have the order of their instruction. An op
    has one recipe whatever the number of rows, so the bits do not depend on the batch or on how columns are tiled.

    The epilogue is cloned on vectors over a panel's columns: row scalars are broadcast, column scalars loaded as vectors.
    What is not elementwise in it is cloned once per column.

    With `choices` a row of x is found through a view of that row; choice -1 takes a row of zeros instead.

    Before:

    ```mlir
    moe.grouped_matmul rows(%x : memref<?x64xf32>) weights(%w : memref<8x2x64x16xf32>) groups(%o : memref<9xi32>)
        outs(%y : memref<?x32xf32>) {
    ^bb0(%acc: f32):
      moe.yield %acc : f32
    }
    ```

    After (the inner loop of one kernel; %rows is the scratch buffer of gathered rows):

    ```mlir
    scf.for %panel = %c0 to %c2 step %c1 {
      scf.for %r = %c0 to %end6 step %c6 {
        %row0 = memref.subview %rows[%r, 0] [1, 80] [1, 1] : ...
        %acc:6 = scf.for %k = %c0 to %c64 step %c1 iter_args(%a0 = %zero, ...) -> (vector<16xf32>, ...) {
          %w0 = vector.load %w[%e, %panel, %k, %c0] : memref<8x2x64x16xf32>, vector<16xf32>
          %x0 = memref.load %row0[%k] : ...
          %b0 = vector.broadcast %x0 : f32 to vector<16xf32>
          %s0 = math.fma %b0, %w0, %a0 : vector<16xf32>
          ...
        }
        vector.store %acc#0, %sums[%r, %c0, %c0] : memref<..x1x16xf32>, vector<16xf32>
    ```

    Elements of x and of the weights may be f32, bf16 or f16 (extended to f32 exactly); the last dimension of packed
    weights must be contiguous. Offsets and choices are trusted.
  }];
  let dependentDialects = ["::mlir::amx::AMXDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::mlir::x86vector::X86VectorDialect"];
}

def TopKToVectors : Pass<"moe-top-k-to-vectors"> {
  let summary = "lower moe.top_k on tensors to loops over 16 candidates at a time";
  let description = [{
    Each key becomes an integer with the order of the keys: 0 and -0 are equal, NaN comes below -inf, what does not exist below
    that. Round j looks through all candidates for the best one that comes after the choice of round j - 1 in the order (key
    falling, index rising); so nothing has to be marked, and equal keys go to the lowest index. Each of 16 lanes keeps its best,
    then the lanes are compared.

    Takes keys of f32, bf16 and f16; `moe.top_k` with groups or keys of f64 stays, for `moe-to-linalg`.

    ```mlir
    %w, %e = moe.top_k %probs keys(%logits : tensor<?x64xf32>) {k = 8} : tensor<?x64xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
    // becomes
    scf.for %t = ... {
      scf.for %j = %c0 to %c8 step %c1 iter_args(%key = %most, %index = %none, ...) -> (vector<16xi32>, ...) {
        %best:2 = scf.for %c = %c0 to %c64 step %c16 ... {
          %k = vector.transfer_read %logits[%t, %c] ...
          ... arith.select ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::vector::VectorDialect"];
}

def AttentionToLoops : Pass<"moe-attention-to-loops"> {
  let summary = "lower moe.attention on memrefs to blocked vector loops";
  let description = [{
    Queries are taken in chunks (with all query heads of a key-value head together), keys in blocks of 64 that start at
    absolute positions divisible by 64. Per chunk and block, keys are widened to f32 and transposed, values widened, once for
    all rows (pairs of query and head); then, for 4 rows at a time: scores, softmax, weighted sum, each with its sums in
    registers. Nothing is as large as queries times keys: the scratch has a static size.

    The softmax is the online one: with m the largest score so far, l (16 lanes by position mod 16) and acc the sums so far, a
    block with scores z gives

        m' = max(m, max z);  a = exp(m - m');  p = exp(z - m');  l' = a * l + p;  acc' = a * acc + p[q] * v[q], q ascending

    and out = acc / (the lanes of l through a fixed tree). Scores are chains of fused multiply-adds over ascending d. A row
    starts where its window does and ends at its own position; hidden keys get p = 0 and hidden values are not touched. So the
    order of every sum depends on absolute positions only: results are the same bits for any batch, any split of a sequence,
    any tiling and any number of threads. m starts at the lowest finite number, so that a block without a visible key changes
    nothing.

    The attribute `moe.isa` of the function decides how many accumulators are kept in registers, never the order of a sum.

    ```mlir
    moe.attention %q, %k, %v past(%p) outs(%y : memref<?x?x4x32xf32>) {scale = 1.0 : f32}
        : memref<?x?x4x32xbf16>, memref<?x?x2x32xbf16>, memref<?x?x2x32xbf16>
    // becomes
    %keys = memref.alloc() : memref<32x64xf32>  // and other scratch
    scf.for %block = %first to %end step %c64 {
      ... // transpose keys, widen values
      scf.for %row = %c0 to %rows step %c4 {
        %scores:16 = scf.for %d = %c0 to %c32 step %c1 iter_args(...) -> (vector<16xf32>, ...) {
          ... math.fma ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ExpandCopies : Pass<"moe-expand-copies"> {
  let summary = "turn memref.copy between strided buffers into a linalg copy";
  let description = [{
    A copy between contiguous buffers becomes a memcpy later. Any other would become a call of MLIR's runner library, which
    executables do not have; here it becomes a linalg.generic, hence loops.

    ```mlir
    memref.copy %a, %b : memref<4x8xf32, strided<[16, 1]>> to memref<4x8xf32>
    // becomes
    linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
        ins(%a : memref<4x8xf32, strided<[16, 1]>>) outs(%b : memref<4x8xf32>) { ... linalg.yield %in : f32 }
    ```
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::memref::MemRefDialect"];
}

def RowReductionsToVectors : Pass<"moe-row-reductions-to-vectors"> {
  let summary = "lower reductions over the innermost dimension to loops, sums and maxima in 16 lanes";
  let description = [{
    Takes linalg ops on memrefs whose only reduction is over the innermost dimension. Where the body combines the old value
    by arith.addf, maximumf, minimumf, maxnumf or minnumf in f32 with an elementwise function of the inputs (the sums and
    maxima of norms and softmax), element k goes to lane k mod 16 of a vector<16xf32>, in ascending order; lanes start
    with the identity of the operation. Then lane i takes lane i + 8, then i + 4, i + 2, i + 1, and at last the initial value of
    the output is combined with lane 0, in this order. So there is one order of operations for every level, whatever the
    length, the tiling and the number of rows; a lane without elements changes nothing, and elements that are
    the identity (hidden positions) change nothing either.

    Chunks of 16 are loaded as vectors. A last chunk that is not full is read by a narrower vector where the length is
    static, by a masked load where it is not: nothing is read out of bounds.

    Any other body (chains of math.fma above all, whose order is ascending k) is lowered in that order, element by element;
    the old value travels in a register, and four rows are done side by side. So are reductions of an input that is not contiguous along the row: that is a
    property of the program, not of its tiling.

    ```mlir
    linalg.generic {indexing_maps = [(i, k) -> (i, k), (i, k) -> (i)], iterator_types = ["parallel", "reduction"]}
        ins(%x : memref<?x128xf32>) outs(%y : memref<?xf32>) { ^bb0(%in, %out): ... arith.addf %out, %in ... }
    // becomes
    scf.for %i = ... {
      %initial = memref.load %y[%i]
      %lanes = scf.for %k = 0 to 128 step 16 iter_args(%sums = dense<-0.0>) -> vector<16xf32> {
        %v = vector.load %x[%i, %k] : memref<?x128xf32>, vector<16xf32>
        scf.yield (arith.addf %sums, %v)
      }
      %s8 = arith.addf %lanes[0..8], %lanes[8..16]
      ...
      memref.store (arith.addf %initial, %s1), %y[%i]
    }
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ElementwiseToVectors : Pass<"moe-elementwise-to-vectors"> {
  let summary = "lower linalg ops with a parallel innermost dimension to loops over vectors of 16 elements";
  let description = [{
    Takes linalg ops on memrefs in parallel loops with one output, whose innermost dimension is parallel and has a static
    length, a multiple of 16, along which every operand is contiguous or the same. What is the same along the row is loaded and computed once per row; a
    branch on it stays a branch. Elements of another tensor that the body takes are loaded as a vector where they are neighbours
    (`moe.combine`, whose rows lie at slots). Other dimensions become loops in their order, so sums over them keep theirs.

    Any other op is left for `convert-linalg-to-loops`: rows of other lengths, transposed operands, gathers, bodies with
    something that has no vector form.

    ```mlir
    linalg.generic {indexing_maps = [(i, k) -> (i, k), (i, k) -> (i), (i, k) -> (i, k)], iterator_types = ["parallel", "parallel"]}
        ins(%x, %s : memref<?x128xf32>, memref<?xf32>) outs(%y : memref<?x128xf32>) { ^bb0(%in, %scale, %out): ... arith.mulf %in, %scale ... }
    // becomes
    scf.for %i = ... {
      %scale = memref.load %s[%i]
      scf.for %k = 0 to 128 step 16 {
        %v = vector.load %x[%i, %k] : memref<?x128xf32>, vector<16xf32>
        vector.store (arith.mulf %v, (vector.broadcast %scale)), %y[%i, %k]
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ExpandReshapes : Pass<"moe-expand-reshapes"> {
  let summary = "turn memref.expand_shape with several dynamic sizes into a reinterpret_cast";
  let description = [{
    Upstream's `expand-strided-metadata` infers the one dynamic size of a group of dimensions, and does not take groups with
    more ([T] as [B, S]), although `output_shape` names them. Here sizes and strides are written out.

    ```mlir
    %e = memref.expand_shape %m [[0, 1]] output_shape [%b, %s] : memref<?xf32> into memref<?x?xf32>
    // becomes
    %base, %offset, %size, %stride = memref.extract_strided_metadata %m : memref<?xf32> -> ...
    %e = memref.reinterpret_cast %base to offset: [0], sizes: [%b, %s], strides: [%s, 1] : memref<f32> to memref<?x?xf32>
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::memref::MemRefDialect"];
}

def ExpandMath : Pass<"moe-expand-math"> {
  let summary = "expand math functions to arithmetic, the same for every target";
  let description = [{
    Replaces exp, exp2, expm1, log, log2, log10, log1p, tanh, erf, sin, cos, sincos, rsqrt, powf and fpowi on f32 and (erf
    excepted) f64, scalars and vectors, by polynomials in arith and math.fma. Results are the same for scalars and vectors.
    sqrt, fma, rounding, absf, copysign and classification stay: they are instructions (or expanded for a level without
    them by moe-multiversion). erfc, atan, atan2, asin, acos, tan, sinh, cosh, asinh, acosh, atanh use upstream's expansions,
    whose error is not measured here. Any other math function (and arith.remf, which would be fmod) is an error: nothing
    may be left that needs libm. arith.extf from f8E4M3FN to f32, which LLVM has no instruction for, becomes arithmetic too.

    Largest error of f32 results against the exact value, in units in the last place, sampled over all arguments with a
    finite result (sin, cos: up to 1e6), with fused multiply-add and with a multiplication and an addition instead:

    | function | fused | not fused |
    |---|---|---|
    | exp | 1.0 | 1.0 |
    | exp2 | 1.0 | 1.2 |
    | tanh | 1.3 | 1.3 |
    | erf | 1.2 | 1.3 |
    | rsqrt | 1.5 | 1.5 |
    | expm1, log, log2, log10, log1p, sin, cos, powf | 0.501 | 0.501 |

    Special values: NaN in, NaN out; exp(-inf) = 0, exp(x) = inf above 88.73, results below the smallest normal number are
    denormal, not flushed; log(0) = -inf, log(x) = NaN for x < 0; tanh and erf reach 1 exactly. sin and cos are
    meant for |x| <= 1e6 (positions of rotary embeddings); beyond 2^20 * pi / 2 their error grows. powf follows C's pow.
    The relative error of f64 results is below 1e-15 (powf: 1e-12; sin, cos: absolute error). rsqrt is 1 / sqrt, never an
    approximate instruction.

    ```mlir
    %y = math.rsqrt %x : vector<16xf32>
    // becomes
    %s = math.sqrt %x : vector<16xf32>
    %one = arith.constant dense<1.0> : vector<16xf32>
    %y = arith.divf %one, %s : vector<16xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

def LowerWorkers : Pass<"moe-lower-workers", "::mlir::ModuleOp"> {
  let summary = "ask the runtime how many workers there are";
  let description = [{
    `moe.workers` becomes a call of the runtime's `moe_rt_worker_count`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
}

def MarkStages : Pass<"moe-mark-stages", "::mlir::ModuleOp"> {
  let summary = "tell the runtime which stage of the cost model begins";
  let description = [{
    The driver names the stages of an entry after phase fuse, in the locations of the ops (StageLocation.h). Ahead of each
    outermost loop, and each destination-style op that stands alone, whose location names another stage than the one before
    it, a call of the runtime's `moe_rt_stage` is put, with the name. `bench --stages` compares the times between these calls with the
    predicted ones.

    ```mlir
    scf.forall ... loc(fused<"gate/up">["layer.mlir":7:3])
    // becomes
    %name = llvm.mlir.addressof @moe_stage : !llvm.ptr
    call @moe_rt_stage(%name) : (!llvm.ptr) -> ()
    scf.forall ...
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::func::FuncDialect"];
}

def OutlineParallel : Pass<"moe-outline-parallel", "::mlir::ModuleOp"> {
  let summary = "turn parallel loops into functions called through moe_rt_parallel_for";
  let description = [{
    Each outermost scf.forall or scf.parallel without results becomes a private function (context, begin, end, scratch) that
    runs the iterations begin .. end, and one call of the runtime's moe_rt_parallel_for. The context is a struct on the
    caller's stack that holds the values the body uses (of a memref its buffer and the sizes, strides and offset that its type
    leaves open); constants and memref.get_global are cloned instead.
    Several dimensions are linearised, the last one fastest. Parallel loops inside become scf.for. Of equal functions one
    is kept.

    Bodies allocate nothing: a memref.alloc in a body (or a memref.alloca of more than 4 KB or of dynamic size) becomes a
    memref.view of the worker's scratch memory, of which the runtime gives each thread as many bytes as the call says. So its
    size must be known, or have an upper bound, before the loop: it is constant, computed there, or bounded by what is
    (affine.min of a tile size, say). Deallocations vanish; buffers of sibling blocks share their place. Other allocations
    stay; `remarks` tells which, and why.

    A smaller memref.alloca in a body moves to the entry of the new function: an alloca in a loop would eat the stack.

    The last number of the call is about how many operations one iteration takes, 0 if that cannot be told before the loop:
    the runtime does not share a loop with little work.

    Before:

    ```mlir
    func.func @f(%a: memref<?x64xf32>, %n: index) {
      scf.forall (%i) in (%n) {
        %t = memref.alloc() : memref<64xf32>
        ...
        memref.dealloc %t : memref<64xf32>
      }
    ```

    After:

    ```mlir
    func.func @f(%a: memref<?x64xf32>, %n: index) {
      %context = llvm.alloca %one x !llvm.struct<(struct<(ptr, ptr, i64)>, i64)> : (i64) -> !llvm.ptr
      ...
      %body = func.constant @f.parallel.0 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
      call @moe_rt_parallel_for(%body, %context, %count, %c256, %work)

    func.func private @f.parallel.0(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr {llvm.noalias}) {
      %captured = llvm.load %context : ...
      %memory = memref.reinterpret_cast ... to memref<256xi8>
      scf.for %i = %begin to %end step %c1 {
        %t = memref.view %memory[%c0][] : memref<256xi8> to memref<64xf32>
        ...
      }
    ```
  }];
  let options = [Option<"remarks", "remarks", "bool", "false", "Tell which allocations stay in a body, and why">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def EmitEntryPoints : Pass<"moe-emit-entry-points", "::mlir::ModuleOp"> {
  let summary = "wrap public functions in the entry functions the runtime calls";
  let description = [{
    For each public function F on memrefs makes `moe_entry_F`, which takes a table of pointers (include/moe/Runtime/Abi.h):
    entry i points to the descriptor of argument i, entry n to room for the descriptors of the results, one after the
    other. F itself and all other functions with a body become private, with internal linkage.

    ```mlir
    func.func @f(%a: memref<?xf32>) -> memref<f32> { ... }
    // becomes
    func.func private @f(%a: memref<?xf32>) -> memref<f32> attributes {llvm.linkage = #llvm.linkage<internal>} { ... }
    func.func @moe_entry_f(%args: !llvm.ptr) {
      %p = llvm.load %args : !llvm.ptr -> !llvm.ptr
      %d = llvm.load %p : !llvm.ptr -> !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
      %a = builtin.unrealized_conversion_cast %d : ... to memref<?xf32>
      %r = call @f(%a) : (memref<?xf32>) -> memref<f32>
      ... llvm.store of the result's descriptor through args[1]
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::func::FuncDialect"];
}

def LowerAmx : Pass<"moe-lower-amx", "::mlir::ModuleOp"> {
  let summary = "AMX tiles become registers, or memory where AMX is emulated";
  let description = [{
    Operations of the amx dialect become LLVM's intrinsics, tiles (those that loops carry too) LLVM's type for tile
    registers. It runs before loops become branches: upstream's conversions do not take tiles as arguments of blocks.

    In functions of level `amx-emulated` a tile is a buffer on the stack, and a multiplication a call of the runtime's
    moe_rt_tile_dot_bf16 or moe_rt_tile_dot_i8, which add in the processor's order. So kernels of level amx can be
    tested on any machine.

    ```mlir
    %s = scf.for ... iter_args(%t = %zero) -> !amx.tile<16x16xf32> {
      %n = amx.tile_mulf %a, %b, %t : !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x16xf32>
    // becomes
    %s = scf.for ... iter_args(%t = %zero) -> !llvm.x86_amx {
      %n = llvm.call_intrinsic "llvm.x86.tdpbf16ps.internal"(%c16, %c64, %c64, %t, %a, %b) : (...) -> !llvm.x86_amx
    // or
    %s = scf.for ... iter_args(%t = %zero) -> memref<16x16xf32> {
      ... // copies %t to %n
      call @moe_rt_tile_dot_bf16(%n, %a, %b) : (memref<16x16xf32>, memref<16x32xbf16>, memref<16x32xbf16>) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def StoreBf16AsIntegers : Pass<"moe-store-bf16-as-integers", "::mlir::ModuleOp"> {
  let summary = "represent bf16 by i16 in the LLVM dialect";
  let description = [{
    After arith-expand nothing computes with bf16; it is only moved. LLVM's x86 backend still rounds (by a call of
    __truncsfbf2) when it builds or shuffles vectors of bf16; with integers of the same bits it cannot. An error where
    arithmetic on bf16 is left.

    ```mlir
    %v = llvm.load %p : !llvm.ptr -> vector<16xbf16>
    // becomes
    %v = llvm.load %p : !llvm.ptr -> vector<16xi16>
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def Multiversion : Pass<"moe-multiversion", "::mlir::ModuleOp"> {
  let summary = "clone every function once per instruction-set level";
  let description = [{
    Replaces each func.func that has a body by one clone per level, named `<function>.<level>`, with the attribute `moe.isa`;
    references between functions stay within a level. Data and declarations are shared. It comes just before the kernels
    of products are chosen: they look the level up at their function.

    A level above avx512 or aarch64 differs from the one below by its kernels for moe.grouped_matmul. Where the module has no
    op that gets one, the level below takes its place. The module's attribute `moe.isa_levels` lists the levels there are.
    All levels are of one architecture.

    The level `amx-emulated`, which is not among the default ones, is for tests: code of level amx that runs on every
    machine.

    ```mlir
    func.func @f(%a: memref<4xf32>) { ... func.call @g ... }
    // with levels=avx2,x86-64 becomes
    func.func @f.avx2(%a: memref<4xf32>) attributes {moe.isa = "avx2"} { ... func.call @g.avx2 ... }
    func.func @f.x86-64(%a: memref<4xf32>) attributes {moe.isa = "x86-64"} { ... func.call @"g.x86-64" ... }
    ```
  }];
  let options = [ListOption<"levels", "levels", "std::string",
                            "instruction-set levels, names of the table in IsaLevels.cpp; none: all of this machine's architecture">];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

def ShareLevels : Pass<"moe-share-levels", "::mlir::ModuleOp"> {
  let summary = "keep one copy of functions that instruction-set levels have in common";
  let description = [{
    Comes after moe-outline-parallel, where functions are either bodies of parallel loops or what starts the loops.

    A body that is the same at a lower level, and in which LLVM would find the same processor (`cpu` of the table in
    IsaLevels.cpp), is dropped for the lower level's: kernels differ between amx and avx512, rows of a norm do not.

    Functions that start loops are the same but for the loops' bodies, and for constants that these decide: bytes of scratch
    memory and work. The copy of the lowest level is kept, named without a level. It takes a table of these as its first
    argument (attribute `moe.loop_table`: the number of rows), and `moe_loop_table.<level>` writes that table.
    moe-emit-entry-points makes an entry for each level again. Where the copies differ in anything else, or do arithmetic on floats
    or vectors, all are kept.

    ```mlir
    func.func @f.avx2(%n: index) { ... call @moe_rt_parallel_for(@f.avx2.parallel.0, %ctx, %n, 64, 0) }
    func.func @"f.x86-64"(%n: index) { ... call @moe_rt_parallel_for(@"f.x86-64.parallel.0", %ctx, %n, 128, 0) }
    // becomes
    func.func @f(%table: !llvm.ptr {moe.loop_table = 1}, %n: index) attributes {moe.isa = "x86-64"} {
      %body = llvm.load %table[0, 0]
      %scratch = llvm.load %table[0, 1]
      %work = llvm.load %table[0, 2]
      call @moe_rt_parallel_for(%body, %ctx, %n, %scratch, %work)
    }
    func.func private @moe_loop_table.avx2(%table: !llvm.ptr) { ... }
    func.func private @"moe_loop_table.x86-64"(%table: !llvm.ptr) { ... }
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::func::FuncDialect"];
}

def TargetFeatures : Pass<"moe-target-features", "::mlir::ModuleOp"> {
  let summary = "tell LLVM what the functions of a level may use";
  let description = [{
    Functions with the attribute `moe.isa` get LLVM's target-cpu and target-features of that level instead (and the level as
    a text attribute, for whoever reads the LLVM IR). For a level without an instruction the function is legalised so that no
    library call is left: fused multiply-add becomes a multiplication and an addition, f16 conversions and rounding become
    integer arithmetic of the same result.

    ```mlir
    llvm.func @f.avx2(%a: f32) -> f32 attributes {moe.isa = "avx2"} { %b = llvm.intr.fma(%a, %a, %a) ... }
    llvm.func @"f.x86-64"(%a: f32) -> f32 attributes {moe.isa = "x86-64"} { %b = llvm.intr.fma(%a, %a, %a) ... }
    // becomes
    llvm.func @f.avx2(%a: f32) -> f32 attributes {passthrough = [["moe.isa", "avx2"]], target_cpu = "x86-64-v3"} { ... llvm.intr.fma ... }
    llvm.func @"f.x86-64"(%a: f32) -> f32 attributes {passthrough = ..., target_cpu = "x86-64"} { ... llvm.fmul ... llvm.fadd ... }
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // MOE_CONVERSION_CPUPASSES_TD

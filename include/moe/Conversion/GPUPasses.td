//===- GPUPasses.td - TilesToGPU: phases kernel and llvm ---*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_CONVERSION_GPUPASSES_TD
#define MOE_CONVERSION_GPUPASSES_TD

include "mlir/Pass/PassBase.td"

def TopKToReductions : Pass<"moe-top-k-to-reductions"> {
  let summary = "lower moe.top_k of one row to reductions that lanes share";
  let description = [{
    A candidate's rank is an integer of 64 bits: its key, as in `moe-top-k-to-vectors`, above its position. Round j takes the
    largest rank below that of round j - 1, which is a reduction by maximum; `moe-distribute-kernels` shares it out to a warp.

    Takes one row without groups, with keys of f32, bf16 and f16; anything else stays.

    ```mlir
    %w, %e = moe.top_k %probs keys(%logits : tensor<1x64xf32>) {k = 8} : tensor<1x64xf32> -> tensor<1x8xf32>, tensor<1x8xi32>
    // becomes
    scf.for %j = %c0 to %c8 step %c1 iter_args(%last = %most, ...) -> (i64, tensor<1x8xf32>, tensor<1x8xi32>) {
      %best = linalg.generic ... iterator_types = ["parallel", "reduction"] ins(%logits, %last : tensor<1x64xf32>, i64) ... {
        ... arith.maxsi ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect"];
}

def FormKernels : Pass<"moe-form-kernels", "::mlir::ModuleOp"> {
  let summary = "split functions into host code and the kernels it launches";
  let description = [{
    Whatever reads or writes the contents of buffers becomes a kernel (`gpu.func` in `gpu.module @kernels`); allocations,
    views, calls and arithmetic on sizes stay with the host. Numbers computed from contents (how many tiles there are) stay
    on the device: arithmetic on them is repeated in each kernel that needs it, and what one kernel loads or counts another
    one reads from memory. The host never waits.

    * A `scf.forall` is one kernel. Its iterations are taken in turn by teams of threads: a block where it multiplies
      matrices, attends or has a `scf.forall` in it (whose iterations its warps take), a warp elsewhere. The grid has as many teams as iterations, or, where their number is known on
      the device alone, as many blocks as the device runs at once.
      A product that tensor cores can do gets two kernels or three, for blocks of different numbers of rows
      (`moe.block_rows`); the host launches one of them by the rows that the groups have on average. Which there are, and from how many rows on, is
      decided by the cost model for the GPU that `architecture` stands for. Attention gets one for many rows and one for few, and two
      more for few sequences with long caches (`moe.attention_part`): several blocks make sums over chunks of a sequence's
      keys, which lie in memory of their own, and others merge them.
    * Large elementwise ops are kernels in which each thread of the grid is on its own; ops that do not depend on each other
      share one.
    * What is left between them (loops that count, scan and fill a tile map) is one warp's work, in order.

    A body is still the program of a team, not of a thread; `moe.team` names the team, and `moe-distribute-kernels` shares
    it out. A kernel takes the address of each buffer and what its type leaves open. Buffers of bodies are shared memory
    where they are small, else a part of a buffer that the host allocates. Of equal kernels one is kept.

    Before:

    ```mlir
    func.func @f(%a: memref<?x64xf32>, %count: memref<i32>) {
      %c = memref.load %count[] : memref<i32>
      %n = arith.index_cast %c : i32 to index
      scf.forall (%i) in (%n) { ... }
    ```

    After:

    ```mlir
    func.func @f(%a: memref<?x64xf32>, %count: memref<i32>) {
      %slot = memref.alloc() : memref<i32>
      gpu.launch_func @kernels::@f_0_serial blocks in (%c1, %c1, %c1) threads in (%c32, %c1, %c1) args(%count ..., %slot ...)
      %workers = moe.workers
      gpu.launch_func @kernels::@f_1_rows blocks in (%workers, %c1, %c1) threads in (%c128, %c1, %c1) args(%slot ..., %a ...)

    gpu.module @kernels {
      gpu.func @f_1_rows(%p: memref<i32>, %q: memref<f32>, %rows: index) kernel attributes {moe.team = "warp", ...} {
        ...
        %c = memref.load %slot[] : memref<i32>
        %n = arith.index_cast %c : i32 to index
        scf.for %i = %team to %n step %teams { ... }
    ```
  }];
  let options = [Option<"architecture", "architecture", "std::string", [{"sm_80"}],
                       "GPU that the rows of blocks are chosen for (see docs/CostModel.md)">];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::moe::MoeDialect"];
}

def JoinKernels : Pass<"moe-join-kernels", "::mlir::ModuleOp"> {
  let summary = "one launch where one block does the work of two kernels";
  let description = [{
    A kernel of one block that is launched behind another kernel of blocks joins it where that has only one block, too: few
    tokens are routed and sorted by expert by one block. Which it is, the host decides at run time by the size of the grid.

    ```mlir
    gpu.launch_func @kernels::@a blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>)
    gpu.launch_func @kernels::@b blocks in (%c1, %c1, %c1) threads in (%c512, %c1, %c1) args(%y : memref<f32>)
    // becomes
    %single = arith.cmpi eq, %n, %c1 : index
    scf.if %single {
      gpu.launch_func @kernels::@a_joined blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<f32>, %y : memref<f32>)
    } else {
      ... // as before
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect", "::mlir::scf::SCFDialect"];
}

def AddWgmmaKernels : Pass<"moe-add-wgmma-kernels", "::mlir::ModuleOp"> {
  let summary = "kernels for sm_90a beside those of products of many rows";
  let description = [{
    A kernel that does nothing but a product of tiles of many rows, of bf16 or f16, gets a twin for sm_90a (attribute
    `moe.arch`): a block of three warpgroups, one of which has tiles copied into a ring of stages in shared memory, by TMA and
    where rows are gathered by asynchronous copies, while two multiply 64 rows each with 256 columns of all weights together
    (128 where there are not more) by wgmma m64n256k16. Barriers in shared memory (mbarrier) tell the roles of full and of
    empty stages. Each sum has the same order as in the other kernel: k ascending, 16 at a time.

    The host launches the twin where the runtime has a device of sm_90 and the groups have `many-rows` rows or more on
    average. The twin's last parameters are tensor maps by value, which the host makes for each launch.

    ```mlir
    gpu.launch_func @kernels::@k blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(...)
    // becomes
    %arch = call @moe_rt_gpu_architecture() : () -> i32
    %fits = ... // %arch is 90, and there are many rows
    scf.if %fits {
      call @moe_rt_gpu_tensor_map(%map, ...)
      gpu.launch_func @kernels::@k_sm_90a blocks in (%n, %c1, %c1) threads in (%c384, %c1, %c1)
          dynamic_shared_memory_size %bytes args(..., %map : !llvm.ptr)
    } else {
      ... // as before
    }
    ```
  }];
  let options = [
    Option<"manyRows", "many-rows", "int64_t", "128", "Rows of a group, on average, from which on the host takes these kernels">
  ];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect", "::mlir::gpu::GPUDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def FreeDeviceBuffers : Pass<"moe-free-device-buffers", "::mlir::func::FuncOp"> {
  let summary = "free buffers of host functions after their last use";
  let description = [{
    Device memory is given back in the order of the stream, so a buffer can be freed as soon as the last kernel that uses it
    is launched. Buffers that are returned, and those that calls return, belong to the caller.

    ```mlir
    %b = memref.alloc(%n) : memref<?xf32>
    gpu.launch_func @kernels::@k ... args(%b ...)
    // gets
    memref.dealloc %b : memref<?xf32>
    ```
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def DistributeKernels : Pass<"moe-distribute-kernels", "::mlir::gpu::GPUFuncOp"> {
  let summary = "share the work of a team out to its threads";
  let description = [{
    The body of a kernel with `moe.team` becomes the program of one thread:

    * points of the parallel loops of a linalg op go to the threads in turn. With less than 32 points, a long reduction by
      addition, maximum or minimum goes to the lanes of a warp, whose results are combined in a fixed tree; so the order of
      operations depends on static sizes alone;
    * arithmetic, loops and loads are done by all threads, and stores by the first;
    * the warps of a block take the iterations of an inner `scf.forall` in turn, each being the work of one warp;
    * `moe.grouped_matmul` and `moe.attention` stay for the passes behind this one.

    Threads meet (a barrier of the block or of the warp) before an op that reads what others may have written, or writes
    what others may still read.

    ```mlir
    linalg.fill ins(%zero : f32) outs(%a : memref<256xf32>)
    %x = memref.load %a[%i] : memref<256xf32>
    // becomes, in a warp
    scf.for %p = %lane to %c256 step %c32 { memref.store %zero, %a[%p] : memref<256xf32> }
    nvvm.bar.warp.sync %all : i32
    %x = memref.load %a[%i] : memref<256xf32>
    ```
  }];
  let dependentDialects = ["::mlir::NVVM::NVVMDialect", "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def GroupedMatmulToThreads : Pass<"moe-grouped-matmul-to-threads", "::mlir::gpu::GPUFuncOp"> {
  let summary = "lower moe.grouped_matmul in kernels";
  let description = [{
    For plain weights. A tile of one group with rows and weights of bf16 or f16 goes to tensor cores (mma.sync m16n8k16,
    f32 sums): the block takes 128 rows and 128 columns (of all weights together: gate and up lie side by side, and their sums
    meet in one thread), or 16 or 64 rows if the attribute `moe.block_rows` says so. Rows are gathered on the way into shared memory by asynchronous
    copies in three or four stages; rows and columns that do not exist are filled with zeros. Each sum has one order (k
    ascending, 16 at a time), whatever the shape of the block. Rows and weights of f32 are multiplied in two parts of 11 bits
    (three mma.sync m16n8k8 of tf32, whose sum is added to the others in f32), in blocks of 16 or 32 rows; but not where the
    attribute `moe.scores` says that experts are chosen by the sums. Copies are 16 bytes long, or 8 or 4 where rows only begin at
    multiples of that; a thread stores 16 bytes at once where rows of the result allow it.

    Anything else (scores of f32, rows of an odd number of 16-bit elements) is one chain of fused multiply-adds per element, k ascending, in one thread.

    ```mlir
    moe.grouped_matmul rows(%x : memref<?x64xf32>) weights(%w : memref<1x32x64xf32>) groups(%o : memref<2xi32>)
        outs(%y : memref<?x32xf32>) attributes {moe.scores} { ... }
    // becomes
    scf.for %element = %thread to %elements step %threads {
      %acc = scf.for %k = 0 to 64 step 1 iter_args(%sum = 0.0) -> f32 { ... math.fma ... }
      ...
      memref.store %result, %y[%row, %column] : memref<?x32xf32>
    }
    // and with bf16
    scf.for %column = 0 to %columns step 128 {
      scf.for %row = 0 to %rows step 128 {
        nvvm.cp.async.shared.global ...
        %sums:64 = scf.for %k = 0 to 64 step 32 iter_args(...) -> ... {
          %fragment = nvvm.ldmatrix ...
          nvvm.cp.async.shared.global ...
          nvvm.mma.sync ...
    ```
  }];
  let options = [Option<"noTensorCores", "no-tensor-cores", "bool", "false", "Chains of multiply-adds for all types">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def ScheduleToThreads : Pass<"moe-schedule-to-threads", "::mlir::gpu::GPUFuncOp"> {
  let summary = "lower moe.schedule in kernels";
  let description = [{
    One block sorts: warps count their ranges of the choices, 32 at a time, in counters of their own (in shared memory, as
    many as fit); the counters are summed up over warps and experts; in a second pass each choice finds its row. Lanes with
    the same expert find each other by a match, so no two add to one counter at a time, and nothing depends on an order of
    execution.

    ```mlir
    moe.schedule %e : memref<?x8xi32> outs(%offsets, %choices, %slots, %tiles, %count : ...) {block = 128}
    // becomes, twice,
    scf.for %first = %begin to %end step %c32 {
      %expert = memref.load %e[...]
      %same = nvvm.match.sync any %all, %expert : i32 -> i32
      %rank = math.ctpop ...
    ```
  }];
  let dependentDialects = ["::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def AttentionToWarps : Pass<"moe-attention-to-warps", "::mlir::gpu::GPUFuncOp"> {
  let summary = "lower moe.attention in kernels: tensor cores, or loops of a warp over positions";
  let description = [{
    bf16 and f16 on tensor cores, in blocks of 128 threads: heads in multiples of 16 elements up to 128, of one sequence and one
    key-value head. A block has 64 rows (queries of the heads that share the key-value head), 16 for each warp. Keys and
    values come in tiles of 64, which begin at multiples of 64, by asynchronous copies into three slots of shared memory; what rows
    do not see is hidden only in tiles where that can be. With the attribute `moe.block_rows` a block has 16 rows, each warp does
    every fourth tile, and merges some columns of all tiles. With `moe.attention_part` too (which moe-form-kernels puts there)
    a kernel makes the sums of chunks of 256 keys alone, every gridDim.y-th, or merges those sums.

    Every tile has its own largest score, sum of weights and weighted sum of values; the four tiles of a chunk, which begins at a
    multiple of 256, are merged in ascending order, and then the chunks. So a row's bits depend neither on batch, cuts of a
    prompt, other rows nor on which of the kernels does it. Weights are multiplied as two 16-bit
    numbers each; all sums are f32.

    Anything else (f32, other heads): a warp has one query of one head at a time. Its lanes share the elements of a vector; the
    softmax is kept as a running maximum and sum over ascending positions.

    ```mlir
    moe.attention %q, %k, %v past(%past) outs(%o : ...) {scale = 0.125 : f32} : ...
    // becomes
    scf.for %pair = %warp to %pairs step %c4 {
      %state:3 = scf.for %p = %begin to %end step %c1 iter_args(%most, %sum, %out) -> (f32, f32, f32) {
        ... gpu.shuffle xor ... math.exp ...
      }
      ...
    }
    // and with bf16
    scf.for %row = %c0 to %rows step %c64 {
      nvvm.cp.async.shared.global ...
      %state:71 = scf.for %tile = %first to %end step %c1 iter_args(...) -> ... {
        nvvm.cp.async.shared.global ...
        ... nvvm.ldmatrix ... nvvm.mma.sync ...     // queries x keys
        ... gpu.shuffle xor ... math.fma ...
        ... nvvm.ldmatrix ... nvvm.mma.sync ...     // weights x values
        ... math.fma ...
      }
      ...
    }
    ```
  }];
  let options = [Option<"noTensorCores", "no-tensor-cores", "bool", "false", "Loops over positions for all types">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::gpu::GPUDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def KeepIntrinsics : Pass<"moe-keep-intrinsics", "::mlir::gpu::GPUModuleOp"> {
  let summary = "keep square roots and rounding as LLVM intrinsics in kernels";
  let description = [{
    Upstream's `convert-gpu-to-nvvm` turns LLVM's math operations into calls of a device library. Those that are
    instructions on the device become calls of the intrinsic by name, which it leaves alone. Everything else was expanded by
    `moe-expand-math`.

    ```mlir
    %y = llvm.intr.sqrt(%x) : (f32) -> f32
    // becomes
    %y = llvm.call_intrinsic "llvm.sqrt"(%x) : (f32) -> f32
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def EmitDeviceEntryPoints : Pass<"moe-emit-device-entry-points", "::mlir::ModuleOp"> {
  let summary = "wrap public functions in entry functions that copy inputs and results";
  let description = [{
    As `moe-emit-entry-points`, for a program whose buffers are on a device. For each public function F makes
    `moe_entry_F.cuda`: inputs are copied to the device, results to memory of the host; parameters and states are
    device memory already, and `past` and `keep` are read by the host.

    ```mlir
    func.func @f(%a: memref<?xf32>) -> memref<f32> { ... }
    // becomes
    func.func @moe_entry_f.cuda(%args: !llvm.ptr) {
      ...
      %d = call @moe_rt_gpu_alloc(%bytes) : (i64) -> !llvm.ptr
      call @moe_rt_gpu_copy_in(%d, %host, %bytes) : (!llvm.ptr, !llvm.ptr, i64) -> ()
      %r = call @f(%a) : (memref<?xf32>) -> memref<f32>
      ...
      call @moe_rt_gpu_copy_out(%memory, %device, %size) : (!llvm.ptr, !llvm.ptr, i64) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::func::FuncDialect"];
}

def LowerLaunches : Pass<"moe-lower-launches", "::mlir::ModuleOp"> {
  let summary = "turn launches and allocations of the host into calls of the GPU runtime";
  let description = [{
    `gpu.launch_func`, `memref.alloc`, `memref.dealloc` and `moe.workers` in functions of the host become calls of the C
    interface in moe/Runtime/Gpu.h. The kernel K is known to the runtime by the external constant `moe_gpu_kernel_K`.

    ```mlir
    gpu.launch_func @kernels::@k blocks in (%n, %c1, %c1) threads in (%c128, %c1, %c1) args(%base : memref<f32>)
    // becomes
    %k = llvm.mlir.addressof @moe_gpu_kernel_k : !llvm.ptr
    ...
    call @moe_rt_gpu_launch(%k, %n, %one, %one, %c128, %one, %one, %shared, %table, %count) : ...
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect"];
}

#endif // MOE_CONVERSION_GPUPASSES_TD

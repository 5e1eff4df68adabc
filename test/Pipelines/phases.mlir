// What each phase has made, and what it must have removed, on one MoE layer.
// RUN: moe-opt %s --moe-to-route | FileCheck %s --check-prefix=ROUTE
// RUN: moe-opt %s --moe-to-distribute | FileCheck %s --check-prefix=ROUTE
// RUN: moe-opt %s --moe-to-fuse | FileCheck %s --check-prefix=FUSE
// RUN: moe-opt %s --moe-to-pack | FileCheck %s --check-prefix=PACK
// RUN: moe-opt %s --moe-to-tile | FileCheck %s --check-prefix=TILE
// RUN: moe-opt %s --moe-to-bufferize | FileCheck %s --check-prefix=BUFFERIZE
// RUN: moe-opt %s --moe-to-kernel | FileCheck %s --check-prefix=KERNEL
// RUN: moe-opt %s --moe-to-llvm="isa=avx2,x86-64" | FileCheck %s --check-prefix=LLVM
// A phase after the ones before it is the pipeline up to it.
// RUN: moe-opt %s --moe-to-fuse --moe-phase-pack --moe-phase-tile -o %t.one
// RUN: moe-opt %s --moe-to-tile -o %t.all
// RUN: diff %t.one %t.all
// The reference lowering has neither fused ops nor threads.
// RUN: moe-opt %s --moe-to-kernel=reference=true | FileCheck %s --check-prefix=REFERENCE

// ROUTE-NOT: moe.experts
// ROUTE: moe.top_k
// ROUTE: moe.plan
// ROUTE: moe.dispatch
// ROUTE-COUNT-3: moe.grouped_matmul
// ROUTE: moe.combine

// FUSE-NOT: moe.dispatch
// FUSE: moe.grouped_matmul {{.*}} weights(%{{.*}}, %{{.*}} : {{.*}} choices(
// FUSE: moe.grouped_matmul
// FUSE-NOT: moe.grouped_matmul

// PACK: func.func @layer
// PACK-SAME: moe.role = "parameter"
// PACK-NOT: ml_program.global_load_const
// PACK: moe.grouped_matmul {{.*}} weights(%{{.*}} : tensor<4x1x8x16xf32>
// PACK: #moe.prepared<@prepare.
// PACK: module @prepare

// TILE-NOT: module @prepare
// TILE: scf.forall
// TILE-NOT: moe.{{top_k|plan|dispatch|combine|experts|drop|attention}}

// BUFFERIZE-NOT: tensor<
// BUFFERIZE: moe.grouped_matmul rows(%{{.*}} : memref<

// KERNEL-NOT: moe.grouped_matmul
// KERNEL-NOT: linalg.
// KERNEL-NOT: scf.forall
// KERNEL-NOT: math.exp
// KERNEL: call @moe_rt_parallel_for

// LLVM-NOT: func.func
// LLVM-DAG: llvm.func @moe_entry_layer.avx2(
// LLVM-DAG: llvm.func @"moe_entry_layer.x86-64"(
// LLVM-NOT: llvm.func @moe_entry_layer.avx512(

// REFERENCE-NOT: moe_rt_parallel_for

#xk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>
#id = affine_map<(m, n) -> (m, n)>
ml_program.global private @gate(#ml_program.extern : tensor<4x9x8xf32>) : tensor<4x9x8xf32>
ml_program.global private @up(#ml_program.extern : tensor<4x9x8xf32>) : tensor<4x9x8xf32>
ml_program.global private @down(#ml_program.extern : tensor<4x8x9xf32>) : tensor<4x8x9xf32>
func.func @layer(%x: tensor<?x8xf32>, %scores: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %g = ml_program.global_load_const @gate : tensor<4x9x8xf32>
  %u = ml_program.global_load_const @up : tensor<4x9x8xf32>
  %d = ml_program.global_load_const @down : tensor<4x8x9xf32>
  %w, %e = moe.top_k %scores {k = 2} : tensor<?x4xf32> -> tensor<?x2xf32>, tensor<?x2xi32>
  %offsets, %choices, %slots = moe.plan %e {experts = 4} : tensor<?x2xi32> -> tensor<5xi32>, tensor<?xi32>, tensor<?x2xi32>
  %xs = moe.dispatch %x[%choices] {fanout = 2} : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  %ys = moe.experts rows(%xs : tensor<?x8xf32>) groups(%offsets : tensor<5xi32>)
      params(%g, %u, %d : tensor<4x9x8xf32>, tensor<4x9x8xf32>, tensor<4x8x9xf32>) -> tensor<?x8xf32> {
  ^bb0(%r: tensor<?x8xf32>, %ge: tensor<9x8xf32>, %ue: tensor<9x8xf32>, %de: tensor<8x9xf32>):
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %n = tensor.dim %r, %c0 : tensor<?x8xf32>
    %e1 = tensor.empty(%n) : tensor<?x9xf32>
    %z1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?x9xf32>) -> tensor<?x9xf32>
    %a = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%r, %ge : tensor<?x8xf32>, tensor<9x8xf32>) outs(%z1 : tensor<?x9xf32>) -> tensor<?x9xf32>
    %b = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%r, %ue : tensor<?x8xf32>, tensor<9x8xf32>) outs(%z1 : tensor<?x9xf32>) -> tensor<?x9xf32>
    %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %b : tensor<?x9xf32>, tensor<?x9xf32>) outs(%e1 : tensor<?x9xf32>) {
    ^bb1(%p: f32, %q: f32, %out: f32):
      %ex = math.exp %p : f32
      %m = arith.mulf %ex, %q : f32
      linalg.yield %m : f32
    } -> tensor<?x9xf32>
    %e2 = tensor.empty(%n) : tensor<?x8xf32>
    %z2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<?x8xf32>) -> tensor<?x8xf32>
    %y = linalg.matmul indexing_maps = [#xk, #nk, #mn] ins(%h, %de : tensor<?x9xf32>, tensor<8x9xf32>) outs(%z2 : tensor<?x8xf32>) -> tensor<?x8xf32>
    moe.yield %y : tensor<?x8xf32>
  }
  %out = moe.combine %ys[%slots] weights(%w : tensor<?x2xf32>) : tensor<?x8xf32>, tensor<?x2xi32> -> tensor<?x8xf32>
  return %out : tensor<?x8xf32>
}

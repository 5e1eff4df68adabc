// RUN: split-file %s %t
// RUN: moe-opt %t/free.mlir --moe-free-device-buffers --verify-diagnostics --split-input-file | FileCheck %s --check-prefix=FREE
// RUN: moe-opt %t/entry.mlir --moe-emit-device-entry-points | FileCheck %s --check-prefix=ENTRY
// RUN: moe-opt %t/launch.mlir --moe-lower-launches | FileCheck %s --check-prefix=LAUNCH
// RUN: moe-opt %t/math.mlir --pass-pipeline='builtin.module(gpu.module(moe-keep-intrinsics))' | FileCheck %s --check-prefix=MATH

//--- free.mlir
func.func private @use(%a: memref<?xf32>)

// A buffer goes after the last use of it or of a view; the returned one is the caller's.
// FREE-LABEL: func.func @free
// FREE: %[[A:.*]] = memref.alloc
// FREE: %[[B:.*]] = memref.alloc
// FREE: call @use(%[[A]])
// FREE: %[[V:.*]] = memref.subview %[[A]]
// FREE: call @use(%[[V]])
// FREE-NEXT: memref.dealloc %[[A]]
// FREE: return %[[B]]
func.func @free(%n: index) -> memref<?xf32> {
  %a = memref.alloc(%n) : memref<?xf32>
  %b = memref.alloc(%n) : memref<?xf32>
  call @use(%a) : (memref<?xf32>) -> ()
  %v = memref.subview %a[0] [%n] [1] : memref<?xf32> to memref<?xf32>
  call @use(%v) : (memref<?xf32>) -> ()
  call @use(%b) : (memref<?xf32>) -> ()
  return %b : memref<?xf32>
}

// -----

// expected-error @below {{expected 1 results in buffers of their own but got 0}}
func.func @same(%a: memref<?xf32>) -> memref<?xf32> {
  return %a : memref<?xf32>
}

//--- entry.mlir
// Inputs are copied to the device, the number of positions is not, results come back.
// ENTRY-LABEL: func.func @moe_entry_f.cuda(
// ENTRY: %[[IN:.*]] = call @moe_rt_gpu_alloc
// ENTRY: call @moe_rt_gpu_copy_in(%[[IN]],
// ENTRY-NOT: call @moe_rt_gpu_copy_in
// ENTRY: call @f(
// ENTRY: call @moe_rt_gpu_free(%[[IN]])
// ENTRY: %[[OUT:.*]] = call @_mlir_memref_to_llvm_alloc
// ENTRY: call @moe_rt_gpu_copy_out(%[[OUT]],
// ENTRY: call @moe_rt_gpu_free
// ENTRY: func.func private @f
func.func @f(%a: memref<?x8xbf16> {moe.name = "a"}, %past: memref<i64> {moe.name = "past", moe.role = "past"},
             %s: memref<?xf32> {moe.name = "s", moe.role = "state"}, %w: memref<8xf32> {moe.name = "w", moe.role = "parameter"})
    -> (memref<?xf32> {moe.name = "r"}) {
  %n = arith.constant 8 : index
  %r = memref.alloc(%n) : memref<?xf32>
  return %r : memref<?xf32>
}

//--- launch.mlir
module attributes {gpu.container_module} {
  // LAUNCH: llvm.mlir.global external constant @moe_gpu_kernel_k() {{.*}} : !llvm.struct<(ptr, ptr, ptr, ptr, i64)>
  // LAUNCH-LABEL: func.func @launch
  func.func @launch(%n: index, %x: f32) {
    %one = arith.constant 1 : index
    // LAUNCH: %[[TABLE:.*]] = llvm.alloca %{{.*}} x !llvm.array<3 x ptr>
    // LAUNCH: call @moe_rt_gpu_alloc(%{{.*}}) : (i64) -> !llvm.ptr
    %a = memref.alloc(%n) : memref<?x4xf32>
    %base, %o, %s:2, %t:2 = memref.extract_strided_metadata %a : memref<?x4xf32> -> memref<f32>, index, index, index, index, index
    // LAUNCH: call @moe_rt_gpu_multiprocessors() : () -> i64
    %blocks = moe.workers
    // LAUNCH-COUNT-6: llvm.store
    // LAUNCH: %[[K:.*]] = llvm.mlir.addressof @moe_gpu_kernel_k
    // LAUNCH: call @moe_rt_gpu_launch(%[[K]], %{{.*}}, %[[TABLE]], %{{.*}})
    gpu.launch_func @kernels::@k blocks in (%blocks, %one, %one) threads in (%one, %one, %one)
        args(%base : memref<f32>, %n : index, %x : f32)
    // LAUNCH: call @moe_rt_gpu_free
    memref.dealloc %a : memref<?x4xf32>
    return
  }
  // What a kernel takes by value lies in memory already.
  // LAUNCH-LABEL: func.func @by_value(
  // LAUNCH-SAME:    %[[MAP:.*]]: !llvm.ptr)
  // LAUNCH: %[[TABLE:.*]] = llvm.alloca %{{.*}} x !llvm.array<1 x ptr>
  // LAUNCH: %[[SLOT:.*]] = llvm.getelementptr %[[TABLE]][0, 0]
  // LAUNCH: llvm.store %[[MAP]], %[[SLOT]]
  // LAUNCH: call @moe_rt_gpu_launch
  func.func @by_value(%map: !llvm.ptr) {
    %one = arith.constant 1 : index
    gpu.launch_func @kernels::@m blocks in (%one, %one, %one) threads in (%one, %one, %one) args(%map : !llvm.ptr)
    return
  }
  gpu.module @kernels {
    gpu.func @k(%a: memref<f32>, %n: index, %x: f32) kernel {
      gpu.return
    }
    gpu.func @m(%map: !llvm.ptr) kernel {
      gpu.return
    }
  }
}

//--- math.mlir
gpu.module @kernels {
  // MATH-LABEL: llvm.func @root
  // MATH: llvm.call_intrinsic "llvm.sqrt"
  // MATH: llvm.call_intrinsic "llvm.roundeven"
  llvm.func @root(%x: f32) -> f32 {
    %y = llvm.intr.sqrt(%x) : (f32) -> f32
    %z = llvm.intr.roundeven(%y) : (f32) -> f32
    llvm.return %z : f32
  }
}

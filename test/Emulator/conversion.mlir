// The host code of kernels: what is called, what is left, where shared memory lies.

// RUN: split-file %s %t
// RUN: moe-emulate-kernels %t/kernels.ll --llvm-ir --print-ir | FileCheck %s
// RUN: moe-emulate-kernels %t/kernels.ll --llvm-ir --print-ir --no-instrument | FileCheck %s --check-prefix=PLAIN

// The parts of MoeGpuKernel and MoeSimtKernel. @common is used by both kernels, so it comes first in both; what only one
// of them uses follows, then dynamic memory.
// CHECK-DAG: @moe_gpu_kernel_first = hidden constant { ptr, ptr, ptr, ptr, i64, ptr } { ptr @[[NAME:.*]], ptr null, ptr @moe_kernel_first, ptr @[[DETAILS:.*]], i64 3, ptr null }
// CHECK-DAG: @[[NAME]] = private constant [6 x i8] c"first\00"
// CHECK-DAG: @[[DETAILS]] = private constant { ptr, ptr, i64, i64 } { ptr @moe.module, ptr @[[RANGES:.*]], i64 2, i64 112 }
// CHECK-DAG: @[[RANGES]] = private constant [2 x { ptr, i64 }] [{ ptr, i64 } { ptr null, i64 64 }, { ptr, i64 } { ptr inttoptr (i64 64 to ptr), i64 40 }]
// CHECK-DAG: @moe_gpu_kernel_second = hidden constant {{.*}}, i64 0, ptr null }
// CHECK-DAG: private constant { ptr, ptr, i64, i64 } { ptr @moe.module, ptr {{.*}}, i64 2, i64 72 }
// The architecture is that of the kernel for the newest one.
// CHECK-DAG: @moe_simt_architecture = weak_odr hidden constant i32 90
// CHECK-DAG: @moe.executions = private global [3 x i64] zeroinitializer
// CHECK-NOT: addrspace(3) global
// CHECK-NOT: llvm.nvvm

// CHECK-LABEL: define internal void @first(ptr addrspace(1) %p, i32 %n, float %x)
// CHECK:         call void @moe_simt_access(ptr %{{.*}}, i32 [[#LOAD:]])
// CHECK-NEXT:    load float, ptr addrspace(1) %p
// CHECK-LABEL: define hidden void @moe_kernel_first(ptr %0)

// PLAIN-NOT: moe.executions
// PLAIN-NOT: moe_simt_access
// PLAIN:     %[[BASE:.*]] = call ptr @moe_simt_dynamic_shared_memory()
// PLAIN:     call i32 @moe_simt_register(i32 0)
// PLAIN:     %[[WORDS:.*]] = load ptr, ptr @moe_simt_lane
// PLAIN:     call void @moe_simt_collective(i32 3, i32 -1, i32 [[#]])
// PLAIN:     %[[RESULT:.*]] = getelementptr inbounds i32, ptr %[[WORDS]], i32 16
// PLAIN:     load float, ptr %[[RESULT]]
// PLAIN:     call i32 @moe_simt_barrier(i32 0, i32 0, i32 1, i32 0, i32 [[#]])

//--- kernels.ll
@common = internal addrspace(3) global [16 x float] undef, align 16
@mine = internal addrspace(3) global [10 x float] undef, align 4
@other = internal addrspace(3) global [2 x float] undef, align 4
@dynamic = external addrspace(3) global [0 x i8], align 16

define ptx_kernel void @first(ptr addrspace(1) noalias %p, i32 %n, float %x) "nvvm.maxntid"="128" {
  %tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %v = load float, ptr addrspace(1) %p
  %w = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v, i32 1, i32 31)
  %a = getelementptr float, ptr addrspace(3) @common, i32 %tid
  store float %w, ptr addrspace(3) %a
  store float %x, ptr addrspace(3) getelementptr inbounds (i8, ptr addrspace(3) @mine, i64 8)
  store float %x, ptr addrspace(3) @dynamic
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  ret void
}

define ptx_kernel void @second() "moe.arch"="sm_90a" {
  call void @helper()
  store float 1.0, ptr addrspace(3) @other
  ret void
}

define void @helper() {
  store float 1.0, ptr addrspace(3) @common
  ret void
}

declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare float @llvm.nvvm.shfl.sync.bfly.f32(i32, float, i32, i32)
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)

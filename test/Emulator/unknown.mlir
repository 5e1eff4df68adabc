// What the emulator does not know is an error of the compiler, not of the kernel that runs.

// RUN: split-file %s %t
// RUN: not moe-emulate-kernels %t/intrinsic.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=INTRINSIC
// INTRINSIC: error: the kernel emulator does not know the intrinsic 'llvm.nvvm.sust.b.1d.i32.trap' in function 'k'
// RUN: not moe-emulate-kernels %t/product.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=PRODUCT
// PRODUCT: error: the kernel emulator does not know the intrinsic 'llvm.nvvm.mma.m16n8k4.row.col.f64' in function 'k'
// RUN: not moe-emulate-kernels %t/assembly.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=ASSEMBLY
// ASSEMBLY: error: the kernel emulator does not know the assembly 'bfind.u32 $0, $1;' in function 'helper'
// RUN: not moe-emulate-kernels %t/function.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=FUNCTION
// FUNCTION: error: the kernel emulator does not know the function '__nv_expf', which is called but not defined, in function 'k'
// RUN: not moe-emulate-kernels %t/no-kernel.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=NO-KERNEL
// NO-KERNEL: error: the module has no kernel
// Products of warpgroups with a transposed matrix, copies for several blocks, and accumulators that go nobody knows where.
// RUN: not moe-emulate-kernels %t/transposed.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=TRANSPOSED
// TRANSPOSED: error: the kernel emulator does not know the assembly '{
// TRANSPOSED: wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16
// TRANSPOSED: ' in function 'k'
// RUN: not moe-emulate-kernels %t/multicast.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=MULTICAST
// MULTICAST: error: the kernel emulator does not know the intrinsic 'llvm.nvvm.cp.async.bulk.tensor.g2s.tile.1d' in function 'k'
// RUN: not moe-emulate-kernels %t/stored.ll --llvm-ir 2>&1 | FileCheck %s --check-prefix=STORED
// STORED: error: the kernel emulator does not know what happens to the accumulators of a product in function 'k': expected them one by one

//--- intrinsic.ll
define ptx_kernel void @k(i64 %s, i32 %x) {
  call void @llvm.nvvm.sust.b.1d.i32.trap(i64 %s, i32 %x, i32 %x)
  ret void
}
declare void @llvm.nvvm.sust.b.1d.i32.trap(i64, i32, i32)

//--- product.ll
define ptx_kernel void @k(double %x) {
  %d = call { double, double, double, double } @llvm.nvvm.mma.m16n8k4.row.col.f64(double %x, double %x, double %x, double %x, double %x, double %x, double %x)
  ret void
}
declare { double, double, double, double } @llvm.nvvm.mma.m16n8k4.row.col.f64(double, double, double, double, double, double, double)

//--- assembly.ll
define ptx_kernel void @k(i32 %x) {
  %y = call i32 @helper(i32 %x)
  ret void
}
define i32 @helper(i32 %x) {
  %y = call i32 asm "bfind.u32 $0, $1;", "=r,r"(i32 %x)
  ret i32 %y
}

//--- function.ll
define ptx_kernel void @k(float %x) {
  %y = call float @__nv_expf(float %x)
  ret void
}
declare float @__nv_expf(float)

//--- no-kernel.ll
define void @k() {
  ret void
}

//--- transposed.ll
define ptx_kernel void @k(i64 %d) {
  %r = call { float, float, float, float } asm sideeffect "{\0A.reg .pred p;\0Asetp.ne.b32 p, $10, 0;\0Awgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, $8, $9, p, $11,  $12, $13,  $14;\0A}\0A", "=f,=f,=f,=f,0,1,2,3,l,l,n,n,n,n,n"(float 0.0, float 0.0, float 0.0, float 0.0, i64 %d, i64 %d, i32 1, i32 1, i32 1, i32 0, i32 1)
  ret void
}

//--- multicast.ll
define ptx_kernel void @k(ptr %map, ptr addrspace(3) %p, ptr addrspace(7) %q) {
  call void @llvm.nvvm.cp.async.bulk.tensor.g2s.tile.1d(ptr addrspace(7) %q, ptr addrspace(3) %p, ptr %map, i32 0, i16 3, i64 0, i1 true, i1 false, i32 0)
  ret void
}
declare void @llvm.nvvm.cp.async.bulk.tensor.g2s.tile.1d(ptr addrspace(7), ptr addrspace(3), ptr, i32, i16, i64, i1, i1, i32)

//--- stored.ll
define ptx_kernel void @k(i64 %d, ptr addrspace(1) %p) {
  %r = call { float, float, float, float } asm sideeffect "{\0A.reg .pred p;\0Asetp.ne.b32 p, $10, 0;\0Awgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, $8, $9, p, $11,  $12, $13,  $14;\0A}\0A", "=f,=f,=f,=f,0,1,2,3,l,l,n,n,n,n,n"(float 0.0, float 0.0, float 0.0, float 0.0, i64 %d, i64 %d, i32 1, i32 1, i32 1, i32 0, i32 0)
  store { float, float, float, float } %r, ptr addrspace(1) %p
  ret void
}

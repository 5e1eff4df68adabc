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

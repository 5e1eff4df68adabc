// RUN: moe-emulate-kernels %s --seeds=0,1,2 | FileCheck %s
// RUN: moe-emulate-kernels %s --no-instrument | FileCheck %s --check-prefix=PLAIN

// Threads of several blocks, a last block that is not full, and the counters of perfectly coalesced accesses.

// EMULATE: buffer a f32 500 random 1
// EMULATE: buffer b f32 500 random 2
// EMULATE: buffer c f32 500
// EMULATE: launch add grid 4 block 128 args a b c i32:500
// EMULATE: counters
// EMULATE: buffer expected f32 500
// EMULATE: launch add_all grid 1 block 1 args a b expected i32:500
// EMULATE: same c expected
// EMULATE: print c 3

// The last request of a and of b has 20 lanes: 15 x 4 sectors and 3.
// CHECK: seed 0
// CHECK-NEXT: {"block":[128,1,1],"counters":{"barriers":0,"global":{"bytes":6000,"different_sectors_read":126,"different_sectors_written":63,"requests":48,"sector_bytes_used":6000,"sectors":189},"mma":0,
// CHECK-SAME: "thread_instructions":8096,"warp_operations":0},"grid":[4,1,1],"kernel":"add"}
// CHECK-NEXT: {"function":"add","global":{"bytes":2000,"requests":16,"sector_bytes_used":2000,"sectors":63},"operation":"{{.*}} = load float, {{.*}}"}
// CHECK-NEXT: = load float,
// CHECK-NEXT: "operation":"store float
// CHECK-NEXT: same c expected: 500 elements, largest difference 0
// CHECK-NEXT: c: {{[-0-9.]+ [-0-9.]+ [-0-9.]+$}}
// CHECK: seed 1
// CHECK: seed 2
// CHECK: same c expected: 500 elements, largest difference 0
// PLAIN: "thread_instructions":0,
// PLAIN: same c expected: 500 elements, largest difference 0

gpu.module @kernels {
  llvm.func @add(%a: !llvm.ptr<1>, %b: !llvm.ptr<1>, %c: !llvm.ptr<1>, %n: i32) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %block = nvvm.read.ptx.sreg.ctaid.x : i32
    %size = nvvm.read.ptx.sreg.ntid.x : i32
    %base = llvm.mul %block, %size : i32
    %i = llvm.add %base, %tid : i32
    %inside = llvm.icmp "slt" %i, %n : i32
    llvm.cond_br %inside, ^work, ^end
  ^work:
    %pa = llvm.getelementptr %a[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %pb = llvm.getelementptr %b[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %pc = llvm.getelementptr %c[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %x = llvm.load %pa : !llvm.ptr<1> -> f32
    %y = llvm.load %pb : !llvm.ptr<1> -> f32
    %z = llvm.fadd %x, %y : f32
    llvm.store %z, %pc : f32, !llvm.ptr<1>
    llvm.br ^end
  ^end:
    llvm.return
  }

  llvm.func @add_all(%a: !llvm.ptr<1>, %b: !llvm.ptr<1>, %c: !llvm.ptr<1>, %n: i32) attributes {gpu.kernel, nvvm.kernel} {
    %zero = llvm.mlir.constant(0 : i32) : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    llvm.br ^loop(%zero : i32)
  ^loop(%i: i32):
    %inside = llvm.icmp "slt" %i, %n : i32
    llvm.cond_br %inside, ^work, ^end
  ^work:
    %pa = llvm.getelementptr %a[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %pb = llvm.getelementptr %b[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %pc = llvm.getelementptr %c[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %x = llvm.load %pa : !llvm.ptr<1> -> f32
    %y = llvm.load %pb : !llvm.ptr<1> -> f32
    %z = llvm.fadd %x, %y : f32
    llvm.store %z, %pc : f32, !llvm.ptr<1>
    %next = llvm.add %i, %one : i32
    llvm.br ^loop(%next : i32)
  ^end:
    llvm.return
  }
}

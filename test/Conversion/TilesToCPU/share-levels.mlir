// RUN: moe-opt %s --moe-share-levels --split-input-file | FileCheck %s
// RUN: moe-opt %s --moe-share-levels --moe-emit-entry-points --split-input-file | FileCheck %s --check-prefix=ENTRY

// The bodies of avx512bf16 and avx512 differ in one loop only; what starts the loops is the same but for scratch memory
// and work.
// CHECK-LABEL: module attributes {moe.isa_levels = ["avx512bf16", "avx512", "avx2"]}
module attributes {moe.isa_levels = ["avx512bf16", "avx512", "avx2"]} {
func.func private @moe_rt_parallel_for((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64)

// CHECK-NOT: func.func @f.avx512
// CHECK-NOT: func.func private @f.avx512bf16.parallel.0(
func.func @f.avx512bf16(%size: memref<i64>) attributes {moe.isa = "avx512bf16"} {
  %context = llvm.mlir.zero : !llvm.ptr
  %n = memref.load %size[] : memref<i64>
  %c64 = arith.constant 64 : i64
  %work = arith.constant 7 : i64
  %first = constant @f.avx512bf16.parallel.0 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  call @moe_rt_parallel_for(%first, %context, %n, %c64, %n) : ((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64) -> ()
  %second = constant @f.avx512bf16.parallel.1 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  call @moe_rt_parallel_for(%second, %context, %n, %c64, %work) : ((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64) -> ()
  return
}
func.func private @f.avx512bf16.parallel.0(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr) attributes {moe.isa = "avx512bf16"} {
  %c1 = arith.constant 1 : i64
  %sum = arith.addi %begin, %c1 : i64
  llvm.store %sum, %context : i64, !llvm.ptr
  return
}
// CHECK: func.func private @f.avx512bf16.parallel.1(
func.func private @f.avx512bf16.parallel.1(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr) attributes {moe.isa = "avx512bf16"} {
  %c2 = arith.constant 2 : i64
  %sum = arith.addi %begin, %c2 : i64
  llvm.store %sum, %context : i64, !llvm.ptr
  return
}

func.func @f.avx512(%size: memref<i64>) attributes {moe.isa = "avx512"} {
  %context = llvm.mlir.zero : !llvm.ptr
  %n = memref.load %size[] : memref<i64>
  %first = constant @f.avx512.parallel.0 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  %second = constant @f.avx512.parallel.1 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  %c64 = arith.constant 64 : i64
  %c128 = arith.constant 128 : i64
  %work = arith.constant 8 : i64
  call @moe_rt_parallel_for(%first, %context, %n, %c64, %n) : ((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64) -> ()
  call @moe_rt_parallel_for(%second, %context, %n, %c128, %work) : ((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64) -> ()
  return
}
// CHECK: func.func private @f.avx512.parallel.0(
// CHECK: func.func private @f.avx512.parallel.1(
func.func private @f.avx512.parallel.0(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr) attributes {moe.isa = "avx512"} {
  %c2 = arith.constant 2 : i64
  %c1 = arith.constant 1 : i64
  %sum = arith.addi %begin, %c1 : i64
  llvm.store %sum, %context : i64, !llvm.ptr
  return
}
func.func private @f.avx512.parallel.1(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr) attributes {moe.isa = "avx512"} {
  %c1 = arith.constant 1 : i64
  %sum = arith.addi %begin, %c1 : i64
  llvm.store %sum, %context : i64, !llvm.ptr
  return
}

// CHECK: func.func @f(%[[TABLE:.*]]: !llvm.ptr {moe.loop_table = 2 : i64}, %{{.*}}: memref<i64>) attributes {moe.isa = "avx2"}
// CHECK: %[[CONTEXT:.*]] = llvm.mlir.zero
// CHECK: %[[N:.*]] = memref.load
// CHECK: %[[A:.*]] = llvm.getelementptr %[[TABLE]][0, 0]
// CHECK: %[[P:.*]] = llvm.load %[[A]] : !llvm.ptr -> !llvm.ptr
// CHECK: %[[BODY:.*]] = builtin.unrealized_conversion_cast %[[P]]
// CHECK: %[[A:.*]] = llvm.getelementptr %[[TABLE]][0, 1]
// CHECK: %[[SCRATCH:.*]] = llvm.load %[[A]] : !llvm.ptr -> i64
// CHECK: call @moe_rt_parallel_for(%[[BODY]], %[[CONTEXT]], %[[N]], %[[SCRATCH]], %[[N]])
// CHECK: llvm.getelementptr %[[TABLE]][1, 0]
// CHECK: %[[A:.*]] = llvm.getelementptr %[[TABLE]][1, 2]
// CHECK: %[[WORK:.*]] = llvm.load %[[A]] : !llvm.ptr -> i64
// CHECK: call @moe_rt_parallel_for({{.*}}, %[[WORK]])
func.func @f.avx2(%size: memref<i64>) attributes {moe.isa = "avx2"} {
  %context = llvm.mlir.zero : !llvm.ptr
  %n = memref.load %size[] : memref<i64>
  %c64 = arith.constant 64 : i64
  %work = arith.constant 7 : i64
  %first = constant @f.avx2.parallel.0 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  call @moe_rt_parallel_for(%first, %context, %n, %c64, %n) : ((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64) -> ()
  %second = constant @f.avx2.parallel.1 : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  call @moe_rt_parallel_for(%second, %context, %n, %c64, %work) : ((!llvm.ptr, i64, i64, !llvm.ptr) -> (), !llvm.ptr, i64, i64, i64) -> ()
  return
}
// Equal to the others', but LLVM makes other code of it.
// CHECK: func.func private @f.avx2.parallel.0(
func.func private @f.avx2.parallel.0(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr) attributes {moe.isa = "avx2"} {
  %c1 = arith.constant 1 : i64
  %sum = arith.addi %begin, %c1 : i64
  llvm.store %sum, %context : i64, !llvm.ptr
  return
}
func.func private @f.avx2.parallel.1(%context: !llvm.ptr, %begin: i64, %end: i64, %scratch: !llvm.ptr) attributes {moe.isa = "avx2"} {
  return
}
}
// CHECK: func.func private @moe_loop_table.avx512bf16(%[[TABLE:.*]]: !llvm.ptr) attributes {moe.isa = "avx512bf16"}
// CHECK: constant @f.avx512.parallel.0
// CHECK: llvm.getelementptr %[[TABLE]][0, 0]
// CHECK: constant @f.avx512bf16.parallel.1
// CHECK: llvm.getelementptr %[[TABLE]][1, 0]
// CHECK: arith.constant 7 : i64
// CHECK: llvm.getelementptr %[[TABLE]][1, 2]
// CHECK: func.func private @moe_loop_table.avx512(
// CHECK: arith.constant 128 : i64
// CHECK: arith.constant 8 : i64
// CHECK: func.func private @moe_loop_table.avx2(

// ENTRY-LABEL: func.func @moe_entry_f(
// ENTRY-SAME: %[[ARGS:.*]]: !llvm.ptr, %[[TABLE:.*]]: !llvm.ptr) attributes {moe.isa = "avx2"}
// ENTRY: call @f(%[[TABLE]],
// ENTRY-LABEL: func.func @moe_entry_f.avx512bf16(
// ENTRY-SAME: %[[ARGS:.*]]: !llvm.ptr) attributes {moe.isa = "avx512bf16"}
// ENTRY: %[[TABLE:.*]] = llvm.alloca %{{.*}} x !llvm.array<2 x struct<(ptr, i64, i64)>>
// ENTRY: call @moe_loop_table.avx512bf16(%[[TABLE]])
// ENTRY: call @moe_entry_f(%[[ARGS]], %[[TABLE]])
// ENTRY-LABEL: func.func @moe_entry_f.avx2(

// -----

// Arithmetic outside of loops gains by a level's instructions, so nothing is shared.
// CHECK-LABEL: func.func @g.avx2(
// CHECK-LABEL: func.func @"g.x86-64"(
// CHECK-NOT: moe.loop_table
module attributes {moe.isa_levels = ["avx2", "x86-64"]} {
func.func @g.avx2(%a: memref<4xf32>) attributes {moe.isa = "avx2"} {
  %c0 = arith.constant 0 : index
  %x = memref.load %a[%c0] : memref<4xf32>
  %y = arith.addf %x, %x : f32
  memref.store %y, %a[%c0] : memref<4xf32>
  return
}
func.func @"g.x86-64"(%a: memref<4xf32>) attributes {moe.isa = "x86-64"} {
  %c0 = arith.constant 0 : index
  %x = memref.load %a[%c0] : memref<4xf32>
  %y = arith.addf %x, %x : f32
  memref.store %y, %a[%c0] : memref<4xf32>
  return
}
}

// -----

// Copies that differ stay, and a callee's with them; constants may stand anywhere.
// CHECK-LABEL: func.func @h.avx2(
// CHECK-LABEL: func.func @"h.x86-64"(
// CHECK-LABEL: func.func private @callee.avx2(
// CHECK-LABEL: func.func private @"callee.x86-64"(
// CHECK-NOT: moe.loop_table
module attributes {moe.isa_levels = ["avx2", "x86-64"]} {
func.func @h.avx2(%a: memref<4xi32>) attributes {moe.isa = "avx2"} {
  call @callee.avx2(%a) : (memref<4xi32>) -> ()
  return
}
func.func @"h.x86-64"(%a: memref<4xi32>) attributes {moe.isa = "x86-64"} {
  call @"callee.x86-64"(%a) : (memref<4xi32>) -> ()
  call @"callee.x86-64"(%a) : (memref<4xi32>) -> ()
  return
}
func.func private @callee.avx2(%a: memref<4xi32>) attributes {moe.isa = "avx2"} {
  return
}
func.func private @"callee.x86-64"(%a: memref<4xi32>) attributes {moe.isa = "x86-64"} {
  return
}
}

// -----

// Calls between functions that are shared hand the table on.
// CHECK-LABEL: func.func @k(
// CHECK-SAME: %[[TABLE:.*]]: !llvm.ptr {moe.loop_table = 0 : i64}, %[[A:.*]]: memref<4xi32>)
// CHECK: call @inner(%[[TABLE]], %[[A]])
// CHECK-LABEL: func.func private @inner(
module attributes {moe.isa_levels = ["avx2", "x86-64"]} {
func.func @k.avx2(%a: memref<4xi32>) attributes {moe.isa = "avx2"} {
  call @inner.avx2(%a) : (memref<4xi32>) -> ()
  return
}
func.func @"k.x86-64"(%a: memref<4xi32>) attributes {moe.isa = "x86-64"} {
  call @"inner.x86-64"(%a) : (memref<4xi32>) -> ()
  return
}
func.func private @inner.avx2(%a: memref<4xi32>) attributes {moe.isa = "avx2"} {
  return
}
func.func private @"inner.x86-64"(%a: memref<4xi32>) attributes {moe.isa = "x86-64"} {
  return
}
}

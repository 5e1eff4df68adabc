// f16 and bf16: rounding, arithmetic, vectors, comparisons; conversions and approximations of the hardware.

// RUN: moe-emulate-kernels %s | FileCheck %s

// Two ties, one to each side; then more and less than a tie.
// EMULATE: buffer down f32 8 fill 1.00390625
// EMULATE: buffer up f32 8 fill 1.01171875
// EMULATE: buffer more f32 8 fill 1.00390637
// EMULATE: buffer big f32 8 fill 3.4e38
// EMULATE: buffer b bf16 8
// EMULATE: buffer h f16 8
// EMULATE: launch round grid 1 block 1 args down b h
// EMULATE: print b
// EMULATE: print h 1
// EMULATE: launch round grid 1 block 1 args up b h
// EMULATE: print b
// EMULATE: launch round grid 1 block 1 args more b h
// EMULATE: print b
// EMULATE: launch round grid 1 block 1 args big b h
// EMULATE: print b 1
// EMULATE: print h
// CHECK:      b: 1 1 1 1 1 1 1 1{{$}}
// CHECK-NEXT: h: 1.00391{{$}}
// CHECK-NEXT: b: 1.01562 1.01562 1.01562 1.01562 1.01562 1.01562 1.01562 1.01562{{$}}
// CHECK-NEXT: b: 1.00781 1.00781 1.00781 1.00781 1.00781 1.00781 1.00781 1.00781{{$}}
// CHECK-NEXT: b: inf{{$}}
// CHECK-NEXT: h: inf inf inf inf inf inf inf inf{{$}}

// EMULATE: buffer x bf16 4 iota
// EMULATE: buffer y bf16 4 fill 1.0078125
// EMULATE: buffer r f32 8
// EMULATE: launch bf16 grid 1 block 4 args x y r
// EMULATE: print r
// Sum and square plus 1.0078125, each rounded to bf16: 3 * 3 + 1.0078125 = 10.0078 becomes 10.
// CHECK-NEXT: r: 1.00781 2 3 4 1.00781 2 5 10{{$}}

// EMULATE: buffer s f16 4 iota
// EMULATE: buffer t f16 4 fill 0.333251953125
// EMULATE: launch f16 grid 1 block 4 args s t r
// EMULATE: print r
// The quotients by a third, rounded, and the larger of both operands.
// CHECK-NEXT: r: 0 3 6 9 0.333252 1 2 3{{$}}

// EMULATE: launch hardware grid 1 block 1 args r
// EMULATE: print r
// 2^-3, 1 / sqrt(16), two bf16 in a word as f32, tf32 of 1 + 3 * 2^-12 (away from zero), log2, bytes, tanh
// CHECK-NEXT: r: 0.125 0.25 1.5 -2 1.00098 5 513 0{{$}}

gpu.module @kernels {
  gpu.func @round(%x: memref<8xf32, 1>, %b: memref<8xbf16, 1>, %h: memref<8xf16, 1>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    scf.for %i = %c0 to %c4 step %c1 {
      %v = memref.load %x[%i] : memref<8xf32, 1>
      %r = arith.truncf %v : f32 to bf16
      %s = arith.truncf %v : f32 to f16
      memref.store %r, %b[%i] : memref<8xbf16, 1>
      memref.store %s, %h[%i] : memref<8xf16, 1>
    }
    %v = vector.load %x[%c4] : memref<8xf32, 1>, vector<4xf32>
    %r = arith.truncf %v : vector<4xf32> to vector<4xbf16>
    %s = arith.truncf %v : vector<4xf32> to vector<4xf16>
    vector.store %r, %b[%c4] : memref<8xbf16, 1>, vector<4xbf16>
    vector.store %s, %h[%c4] : memref<8xf16, 1>, vector<4xf16>
    gpu.return
  }

  gpu.func @bf16(%x: memref<4xbf16, 1>, %y: memref<4xbf16, 1>, %r: memref<8xf32, 1>) kernel {
    %i = gpu.thread_id x
    %j = affine.apply affine_map<(i) -> (i + 4)>(%i)
    %a = memref.load %x[%i] : memref<4xbf16, 1>
    %b = memref.load %y[%i] : memref<4xbf16, 1>
    %sum = arith.addf %a, %b : bf16
    %square = arith.mulf %a, %a : bf16
    %both = arith.addf %square, %b : bf16
    %f = arith.extf %sum : bf16 to f32
    %g = arith.extf %both : bf16 to f32
    memref.store %f, %r[%i] : memref<8xf32, 1>
    memref.store %g, %r[%j] : memref<8xf32, 1>
    gpu.return
  }

  gpu.func @f16(%x: memref<4xf16, 1>, %y: memref<4xf16, 1>, %r: memref<8xf32, 1>) kernel {
    %i = gpu.thread_id x
    %j = affine.apply affine_map<(i) -> (i + 4)>(%i)
    %a = memref.load %x[%i] : memref<4xf16, 1>
    %b = memref.load %y[%i] : memref<4xf16, 1>
    %quotient = arith.divf %a, %b : f16
    %isMore = arith.cmpf ogt, %a, %b : f16
    %most = arith.select %isMore, %a, %b : f16
    %f = arith.extf %quotient : f16 to f32
    %g = arith.extf %most : f16 to f32
    memref.store %f, %r[%i] : memref<8xf32, 1>
    memref.store %g, %r[%j] : memref<8xf32, 1>
    gpu.return
  }

  gpu.func @hardware(%r: memref<8xf32, 1>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c5 = arith.constant 5 : index
    %c6 = arith.constant 6 : index
    %c7 = arith.constant 7 : index
    %zero = arith.constant 0.0 : f32
    %n3 = arith.constant -3.0 : f32
    %n2 = arith.constant -2.0 : f32
    %x15 = arith.constant 1.5 : f32
    %x16 = arith.constant 16.0 : f32
    %x32 = arith.constant 32.0 : f32
    %tie = arith.constant 1.000732421875 : f32
    %v0 = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f32"(%n3) : (f32) -> f32
    %v1 = llvm.call_intrinsic "llvm.nvvm.rsqrt.approx.ftz.f"(%x16) : (f32) -> f32
    %pair = llvm.call_intrinsic "llvm.nvvm.ff2bf16x2.rn"(%n2, %x15) : (f32, f32) -> vector<2xbf16>
    %low = vector.extract %pair[0] : bf16 from vector<2xbf16>
    %high = vector.extract %pair[1] : bf16 from vector<2xbf16>
    %v2 = arith.extf %low : bf16 to f32
    %v3 = arith.extf %high : bf16 to f32
    %bits = llvm.call_intrinsic "llvm.nvvm.f2tf32.rna"(%tie) : (f32) -> i32
    %v4 = llvm.bitcast %bits : i32 to f32
    %v5 = llvm.call_intrinsic "llvm.nvvm.lg2.approx.f"(%x32) : (f32) -> f32
    %bytes = arith.constant 0x00000201 : i32
    %none = arith.constant 0 : i32
    %order = arith.constant 0x3210 : i32
    %same = llvm.call_intrinsic "llvm.nvvm.prmt"(%bytes, %none, %order) : (i32, i32, i32) -> i32
    %v6 = arith.sitofp %same : i32 to f32
    %v7 = llvm.inline_asm "tanh.approx.f32 $0, $1;", "=f,f" %zero : (f32) -> f32
    memref.store %v0, %r[%c0] : memref<8xf32, 1>
    memref.store %v1, %r[%c1] : memref<8xf32, 1>
    memref.store %v2, %r[%c2] : memref<8xf32, 1>
    memref.store %v3, %r[%c3] : memref<8xf32, 1>
    memref.store %v4, %r[%c4] : memref<8xf32, 1>
    memref.store %v5, %r[%c5] : memref<8xf32, 1>
    memref.store %v6, %r[%c6] : memref<8xf32, 1>
    memref.store %v7, %r[%c7] : memref<8xf32, 1>
    gpu.return
  }
}

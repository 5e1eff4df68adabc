// RUN: moe-opt %s --moe-row-reductions-to-vectors --convert-linalg-to-loops --expand-strided-metadata --lower-affine \
// RUN:   --convert-scf-to-cf --convert-vector-to-llvm --finalize-memref-to-llvm --convert-arith-to-llvm --convert-math-to-llvm \
// RUN:   --convert-index-to-llvm --convert-cf-to-llvm --convert-func-to-llvm --reconcile-unrealized-casts \
// RUN: | mlir-runner -O2 -e main --entry-point-result=void \
// RUN:   --shared-libs=%mlir-lib-dir/libmlir_c_runner_utils.so,%mlir-lib-dir/libmlir_runner_utils.so | FileCheck %s

// Sums and maxima against the documented order written out by hand, bit by bit, and against ascending order within a
// tolerance, for lengths around the width of a vector. What lies behind a row is NaN: reading it would show.

#row = affine_map<(i, k) -> (i, k)>
#out = affine_map<(i, k) -> (i)>
!x = memref<2x?xf32, strided<[40, 1]>>
!x17 = memref<2x17xf32, strided<[40, 1]>>
!x33 = memref<2x33xf32, strided<[40, 1]>>

func.func private @sum(%x: !x, %scale: memref<2xf32>, %y: memref<2xf32>) {
  linalg.generic {indexing_maps = [#row, #out, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x, %scale : !x, memref<2xf32>) outs(%y : memref<2xf32>) {
  ^bb0(%in: f32, %s: f32, %old: f32):
    %p = arith.mulf %in, %s : f32
    %r = arith.addf %old, %p : f32
    linalg.yield %r : f32
  }
  return
}

func.func private @sum17(%x: !x17, %scale: memref<2xf32>, %y: memref<2xf32>) {
  linalg.generic {indexing_maps = [#row, #out, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x, %scale : !x17, memref<2xf32>) outs(%y : memref<2xf32>) {
  ^bb0(%in: f32, %s: f32, %old: f32):
    %p = arith.mulf %in, %s : f32
    %r = arith.addf %old, %p : f32
    linalg.yield %r : f32
  }
  return
}

func.func private @sum33(%x: !x33, %scale: memref<2xf32>, %y: memref<2xf32>) {
  linalg.generic {indexing_maps = [#row, #out, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x, %scale : !x33, memref<2xf32>) outs(%y : memref<2xf32>) {
  ^bb0(%in: f32, %s: f32, %old: f32):
    %p = arith.mulf %in, %s : f32
    %r = arith.addf %old, %p : f32
    linalg.yield %r : f32
  }
  return
}

func.func private @max(%x: !x, %y: memref<2xf32>) {
  linalg.generic {indexing_maps = [#row, #out], iterator_types = ["parallel", "reduction"]}
      ins(%x : !x) outs(%y : memref<2xf32>) {
  ^bb0(%in: f32, %old: f32):
    %r = arith.maximumf %in, %old : f32
    linalg.yield %r : f32
  }
  return
}

// Numbers of both signs whose sums have to round.
func.func private @fill(%all: memref<2x40xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c40 = arith.constant 40 : index
  %nan = arith.constant 0x7FC00000 : f32
  %factor = arith.constant 1103515245 : i32
  %scale = arith.constant 4.65661287E-10 : f32
  scf.for %i = %c0 to %c2 step %c1 {
    scf.for %k = %c0 to %c40 step %c1 {
      %at = affine.apply affine_map<(i, k) -> (i * 40 + k + 3)>(%i, %k)
      %i32 = arith.index_cast %at : index to i32
      %mixed = arith.muli %i32, %factor : i32
      %f = arith.sitofp %mixed : i32 to f32
      %v = arith.mulf %f, %scale : f32
      %exists = arith.cmpi ult, %k, %n : index
      %r = arith.select %exists, %v, %nan : f32
      memref.store %r, %all[%i, %k] : memref<2x40xf32>
    }
  }
  return
}

// The order of the pass, and ascending order: (lanes, ascending).
func.func private @expected(%x: !x, %n: index, %i: index, %scale: f32, %initial: f32) -> (f32, f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c8 = arith.constant 8 : index
  %c16 = arith.constant 16 : index
  %none = arith.constant -0.0 : f32
  %lanes = memref.alloca() : memref<16xf32>
  scf.for %lane = %c0 to %c16 step %c1 {
    memref.store %none, %lanes[%lane] : memref<16xf32>
  }
  %ascending = scf.for %k = %c0 to %n step %c1 iter_args(%sum = %initial) -> (f32) {
    %v = memref.load %x[%i, %k] : !x
    %p = arith.mulf %v, %scale : f32
    %lane = arith.remui %k, %c16 : index
    %old = memref.load %lanes[%lane] : memref<16xf32>
    %new = arith.addf %old, %p : f32
    memref.store %new, %lanes[%lane] : memref<16xf32>
    %next = arith.addf %sum, %p : f32
    scf.yield %next : f32
  }
  %last = scf.while (%half = %c8) : (index) -> index {
    %more = arith.cmpi ugt, %half, %c0 : index
    scf.condition(%more) %half : index
  } do {
  ^bb0(%half: index):
    scf.for %lane = %c0 to %half step %c1 {
      %other = arith.addi %lane, %half : index
      %low = memref.load %lanes[%lane] : memref<16xf32>
      %high = memref.load %lanes[%other] : memref<16xf32>
      %both = arith.addf %low, %high : f32
      memref.store %both, %lanes[%lane] : memref<16xf32>
    }
    %next = arith.divui %half, %c2 : index
    scf.yield %next : index
  }
  %tree = memref.load %lanes[%c0] : memref<16xf32>
  %result = arith.addf %initial, %tree : f32
  return %result, %ascending : f32, f32
}

func.func private @isSame(%a: f32, %b: f32) -> i1 {
  %x = arith.bitcast %a : f32 to i32
  %y = arith.bitcast %b : f32 to i32
  %same = arith.cmpi eq, %x, %y : i32
  return %same : i1
}

// Prints the length and 1 1 1 where bits, tolerance and maximum are right.
func.func private @case(%n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c17 = arith.constant 17 : index
  %c33 = arith.constant 33 : index
  %true = arith.constant true
  %tolerance = arith.constant 1.0e-5 : f32
  %initial = arith.constant 0.3 : f32
  %lowest = arith.constant 0xFF800000 : f32
  %all = memref.alloca() : memref<2x40xf32>
  %scales = memref.alloca() : memref<2xf32>
  %y = memref.alloca() : memref<2xf32>
  %m = memref.alloca() : memref<2xf32>
  %s0 = arith.constant 1.1 : f32
  %s1 = arith.constant -0.7 : f32
  memref.store %s0, %scales[%c0] : memref<2xf32>
  memref.store %s1, %scales[%c1] : memref<2xf32>
  call @fill(%all, %n) : (memref<2x40xf32>, index) -> ()
  scf.for %i = %c0 to %c2 step %c1 {
    memref.store %initial, %y[%i] : memref<2xf32>
    memref.store %lowest, %m[%i] : memref<2xf32>
  }
  %x = memref.subview %all[0, 0] [2, %n] [1, 1] : memref<2x40xf32> to !x
  func.call @max(%x, %m) : (!x, memref<2xf32>) -> ()
  %is17 = arith.cmpi eq, %n, %c17 : index
  %is33 = arith.cmpi eq, %n, %c33 : index
  func.call @sum(%x, %scales, %y) : (!x, memref<2xf32>, memref<2xf32>) -> ()
  %ok:3 = scf.for %i = %c0 to %c2 step %c1 iter_args(%a = %true, %b = %true, %c = %true) -> (i1, i1, i1) {
    %scale = memref.load %scales[%i] : memref<2xf32>
    %expected:2 = func.call @expected(%x, %n, %i, %scale, %initial) : (!x, index, index, f32, f32) -> (f32, f32)
    %got = memref.load %y[%i] : memref<2xf32>
    %same = func.call @isSame(%got, %expected#0) : (f32, f32) -> i1
    %difference = arith.subf %got, %expected#1 : f32
    %size = math.absf %difference : f32
    %near = arith.cmpf olt, %size, %tolerance : f32
    %highest = scf.for %k = %c0 to %n step %c1 iter_args(%h = %lowest) -> (f32) {
      %v = memref.load %x[%i, %k] : !x
      %h2 = arith.maximumf %h, %v : f32
      scf.yield %h2 : f32
    }
    %gotMax = memref.load %m[%i] : memref<2xf32>
    %sameMax = func.call @isSame(%gotMax, %highest) : (f32, f32) -> i1
    %a2 = arith.andi %a, %same : i1
    %b2 = arith.andi %b, %near : i1
    %c3 = arith.andi %c, %sameMax : i1
    scf.yield %a2, %b2, %c3 : i1, i1, i1
  }
  vector.print %n : index
  vector.print %ok#0 : i1
  vector.print %ok#1 : i1
  vector.print %ok#2 : i1

  // A static length gives the bits of a dynamic one.
  %z = memref.alloca() : memref<2xf32>
  memref.store %initial, %z[%c0] : memref<2xf32>
  memref.store %initial, %z[%c1] : memref<2xf32>
  %isStatic = arith.ori %is17, %is33 : i1
  scf.if %is17 {
    %x17 = memref.cast %x : !x to !x17
    func.call @sum17(%x17, %scales, %z) : (!x17, memref<2xf32>, memref<2xf32>) -> ()
  }
  scf.if %is33 {
    %x33 = memref.cast %x : !x to !x33
    func.call @sum33(%x33, %scales, %z) : (!x33, memref<2xf32>, memref<2xf32>) -> ()
  }
  scf.if %isStatic {
    scf.for %i = %c0 to %c2 step %c1 {
      %dynamic = memref.load %y[%i] : memref<2xf32>
      %static = memref.load %z[%i] : memref<2xf32>
      %same = func.call @isSame(%dynamic, %static) : (f32, f32) -> i1
      vector.print %same : i1
    }
  }
  return
}

// CHECK: {{^}}0{{$}}
// CHECK-COUNT-3: {{^}}1{{$}}
// CHECK-NEXT: {{^}}1{{$}}
// CHECK-COUNT-3: {{^}}1{{$}}
// CHECK-NEXT: 15
// CHECK-COUNT-3: {{^}}1{{$}}
// CHECK-NEXT: 16
// CHECK-COUNT-3: {{^}}1{{$}}
// CHECK-NEXT: 17
// CHECK-COUNT-5: {{^}}1{{$}}
// CHECK-NEXT: 33
// CHECK-COUNT-5: {{^}}1{{$}}
// CHECK-NOT: {{.}}
func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c15 = arith.constant 15 : index
  %c16 = arith.constant 16 : index
  %c17 = arith.constant 17 : index
  %c33 = arith.constant 33 : index
  call @case(%c0) : (index) -> ()
  call @case(%c1) : (index) -> ()
  call @case(%c15) : (index) -> ()
  call @case(%c16) : (index) -> ()
  call @case(%c17) : (index) -> ()
  call @case(%c33) : (index) -> ()
  return
}

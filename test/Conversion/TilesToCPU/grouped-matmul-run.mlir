// RUN: moe-opt %s --moe-grouped-matmul-to-loops --moe-expand-math --arith-expand=include-bf16 --expand-strided-metadata \
// RUN:   --lower-affine --convert-scf-to-cf --convert-vector-to-llvm --convert-math-to-llvm --finalize-memref-to-llvm \
// RUN:   --convert-arith-to-llvm --convert-index-to-llvm --convert-cf-to-llvm --convert-func-to-llvm --reconcile-unrealized-casts \
// RUN:   --moe-store-bf16-as-integers \
// RUN: | mlir-runner -O2 -e main --entry-point-result=void \
// RUN:   --shared-libs=%mlir-lib-dir/libmlir_c_runner_utils.so,%mlir-lib-dir/libmlir_runner_utils.so | FileCheck %s
// REQUIRES: avx2

// All layouts give the bits of one chain of fused multiply-adds, for ragged and empty groups, odd depth, a narrow last
// panel, two weight operands and a gather with missing choices; rows of f32, and of bf16 with pairs.

!x = memref<?x5xf32>
!narrow = memref<?x5xbf16>
!plain = memref<3x20x5xbf16>
!panels = memref<3x2x5x16xbf16>
!pairs = memref<3x2x3x16x2xbf16>
!y = memref<?x20xf32>

memref.global "private" constant @groups : memref<4x4xi32> = dense<[[0, 0, 1, 4], [0, 5, 22, 22], [0, 0, 0, 0], [2, 8, 12, 24]]>

// Eight significant bits and exponents that differ: sums have to round, so their order shows.
func.func private @value(%i: index) -> bf16 {
  %factor = arith.constant 1103515245 : i32
  %c8 = arith.constant 8 : i32
  %c7 = arith.constant 7 : i32
  %c255 = arith.constant 255 : i32
  %c128 = arith.constant 128 : i32
  %one = arith.constant 1 : i32
  %i32 = arith.index_cast %i : index to i32
  %mixed = arith.muli %i32, %factor : i32
  %shifted = arith.shrui %mixed, %c8 : i32
  %byte = arith.andi %shifted, %c255 : i32
  %signed = arith.subi %byte, %c128 : i32
  %places = arith.andi %i32, %c7 : i32
  %divisor = arith.shli %one, %places : i32
  %a = arith.sitofp %signed : i32 to f32
  %b = arith.sitofp %divisor : i32 to f32
  %c = arith.divf %a, %b : f32
  %r = arith.truncf %c : f32 to bf16
  return %r : bf16
}

func.func private @fill(%plain: !plain, %panels: !panels, %pairs: !pairs, %salt: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c5 = arith.constant 5 : index
  %c16 = arith.constant 16 : index
  %c20 = arith.constant 20 : index
  scf.for %e = %c0 to %c3 step %c1 {
    scf.for %n = %c0 to %c20 step %c1 {
      scf.for %k = %c0 to %c5 step %c1 {
        %i = affine.apply affine_map<(e, n, k)[s] -> (e * 100 + n * 5 + k + s)>(%e, %n, %k)[%salt]
        %v = func.call @value(%i) : (index) -> bf16
        %p = arith.divui %n, %c16 : index
        %q = arith.remui %n, %c16 : index
        %k2 = arith.divui %k, %c2 : index
        %half = arith.remui %k, %c2 : index
        memref.store %v, %plain[%e, %n, %k] : !plain
        memref.store %v, %panels[%e, %p, %k, %q] : !panels
        memref.store %v, %pairs[%e, %p, %k2, %q, %half] : !pairs
      }
    }
  }
  return
}

func.func private @fill_all(%y: !y, %v: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c20 = arith.constant 20 : index
  %rows = memref.dim %y, %c0 : !y
  scf.for %r = %c0 to %rows step %c1 {
    scf.for %n = %c0 to %c20 step %c1 {
      memref.store %v, %y[%r, %n] : !y
    }
  }
  return
}

// What the op's documentation says, one element at a time.
func.func private @reference(%x: !x, %w: !plain, %u: !plain, %offsets: memref<4xi32>, %choices: memref<?xi32>, %y: !y) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c5 = arith.constant 5 : index
  %c20 = arith.constant 20 : index
  %zero = arith.constant 0.0 : f32
  %none = arith.constant 0 : i32
  scf.for %e = %c0 to %c3 step %c1 {
    %next = arith.addi %e, %c1 : index
    %first32 = memref.load %offsets[%e] : memref<4xi32>
    %last32 = memref.load %offsets[%next] : memref<4xi32>
    %first = arith.index_cast %first32 : i32 to index
    %last = arith.index_cast %last32 : i32 to index
    scf.for %r = %first to %last step %c1 {
      %choice = memref.load %choices[%r] : memref<?xi32>
      %exists = arith.cmpi sge, %choice, %none : i32
      scf.for %n = %c0 to %c20 step %c1 {
        %sums:2 = scf.for %k = %c0 to %c5 step %c1 iter_args(%a = %zero, %b = %zero) -> (f32, f32) {
          %xk = scf.if %exists -> f32 {
            %at = arith.index_cast %choice : i32 to index
            %row = arith.divui %at, %c2 : index
            %v = memref.load %x[%row, %k] : !x
            scf.yield %v : f32
          } else {
            scf.yield %zero : f32
          }
          %wk = memref.load %w[%e, %n, %k] : !plain
          %uk = memref.load %u[%e, %n, %k] : !plain
          %wf = arith.extf %wk : bf16 to f32
          %uf = arith.extf %uk : bf16 to f32
          %a1 = math.fma %xk, %wf, %a : f32
          %b1 = math.fma %xk, %uf, %b : f32
          scf.yield %a1, %b1 : f32, f32
        }
        %p = arith.mulf %sums#0, %sums#1 : f32
        %s = arith.addf %p, %sums#1 : f32
        memref.store %s, %y[%r, %n] : !y
      }
    }
  }
  return
}

func.func private @differences(%a: !y, %b: !y) -> index {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c20 = arith.constant 20 : index
  %rows = memref.dim %a, %c0 : !y
  %count = scf.for %r = %c0 to %rows step %c1 iter_args(%outer = %c0) -> (index) {
    %inner = scf.for %n = %c0 to %c20 step %c1 iter_args(%so_far = %outer) -> (index) {
      %va = memref.load %a[%r, %n] : !y
      %vb = memref.load %b[%r, %n] : !y
      %same = arith.cmpf oeq, %va, %vb : f32
      %more = arith.addi %so_far, %c1 : index
      %next = arith.select %same, %so_far, %more : index
      scf.yield %next : index
    }
    scf.yield %inner : index
  }
  return %count : index
}

func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c24 = arith.constant 24 : index
  %c7000 = arith.constant 7000 : index
  %c90000 = arith.constant 90000 : index
  %untouched = arith.constant 42.0 : f32
  %x = memref.alloc(%c24) : !x
  %rounded = memref.alloc(%c24) : !x
  %narrow = memref.alloc(%c24) : !narrow
  %third = arith.constant 0.333333343 : f32
  %choices = memref.alloc(%c24) : memref<?xi32>
  %w = memref.alloc() : !plain
  %u = memref.alloc() : !plain
  %wp = memref.alloc() : !panels
  %up = memref.alloc() : !panels
  %wq = memref.alloc() : !pairs
  %uq = memref.alloc() : !pairs
  %want = memref.alloc(%c24) : !y
  %y = memref.alloc(%c24) : !y
  func.call @fill(%w, %wp, %wq, %c7000) : (!plain, !panels, !pairs, index) -> ()
  func.call @fill(%u, %up, %uq, %c90000) : (!plain, !panels, !pairs, index) -> ()
  scf.for %r = %c0 to %c24 step %c1 {
    scf.for %k = %c0 to %c5 step %c1 {
      %i = affine.apply affine_map<(r, k) -> (r * 5 + k)>(%r, %k)
      %v = func.call @value(%i) : (index) -> bf16
      %wide = arith.extf %v : bf16 to f32
      %full = arith.mulf %wide, %third : f32
      memref.store %full, %x[%r, %k] : !x
      memref.store %wide, %rounded[%r, %k] : !x
      memref.store %v, %narrow[%r, %k] : !narrow
    }
    // Every fifth row has no choice.
    %c = affine.apply affine_map<(r) -> ((r * 7) mod 48 - ((r mod 5) floordiv 4) * 48)>(%r)
    %c32 = arith.index_cast %c : index to i32
    %minus = arith.constant -1 : i32
    %bounded = arith.maxsi %c32, %minus : i32
    memref.store %bounded, %choices[%r] : memref<?xi32>
  }
  %groups = memref.get_global @groups : memref<4x4xi32>
  scf.for %g = %c0 to %c4 step %c1 {
    %row = memref.subview %groups[%g, 0] [1, 4] [1, 1] : memref<4x4xi32> to memref<4xi32, strided<[1], offset: ?>>
    %offsets = memref.alloc() : memref<4xi32>
    scf.for %i = %c0 to %c4 step %c1 {
      %o = memref.load %row[%i] : memref<4xi32, strided<[1], offset: ?>>
      memref.store %o, %offsets[%i] : memref<4xi32>
    }
    func.call @fill_all(%want, %untouched) : (!y, f32) -> ()
    func.call @reference(%x, %w, %u, %offsets, %choices, %want) : (!x, !plain, !plain, memref<4xi32>, memref<?xi32>, !y) -> ()

    func.call @fill_all(%y, %untouched) : (!y, f32) -> ()
    moe.grouped_matmul rows(%x : !x) weights(%w, %u : !plain, !plain) groups(%offsets : memref<4xi32>)
        choices(%choices : memref<?xi32>) outs(%y : !y) attributes {fanout = 2 : i64} {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %p, %b : f32
      moe.yield %s : f32
    }
    %plain = func.call @differences(%want, %y) : (!y, !y) -> index
    vector.print %plain : index

    func.call @fill_all(%y, %untouched) : (!y, f32) -> ()
    moe.grouped_matmul rows(%x : !x) weights(%wp, %up : !panels, !panels) groups(%offsets : memref<4xi32>)
        choices(%choices : memref<?xi32>) outs(%y : !y) attributes {fanout = 2 : i64} {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %p, %b : f32
      moe.yield %s : f32
    }
    %panels = func.call @differences(%want, %y) : (!y, !y) -> index
    vector.print %panels : index

    func.call @fill_all(%y, %untouched) : (!y, f32) -> ()
    moe.grouped_matmul rows(%x : !x) weights(%wq, %uq : !pairs, !pairs) groups(%offsets : memref<4xi32>)
        choices(%choices : memref<?xi32>) outs(%y : !y) attributes {fanout = 2 : i64} {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %p, %b : f32
      moe.yield %s : f32
    }
    %pairs = func.call @differences(%want, %y) : (!y, !y) -> index
    vector.print %pairs : index

    func.call @fill_all(%want, %untouched) : (!y, f32) -> ()
    func.call @reference(%rounded, %w, %u, %offsets, %choices, %want) : (!x, !plain, !plain, memref<4xi32>, memref<?xi32>, !y) -> ()
    func.call @fill_all(%y, %untouched) : (!y, f32) -> ()
    moe.grouped_matmul rows(%narrow : !narrow) weights(%wq, %uq : !pairs, !pairs) groups(%offsets : memref<4xi32>)
        choices(%choices : memref<?xi32>) outs(%y : !y) attributes {fanout = 2 : i64} {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %p, %b : f32
      moe.yield %s : f32
    }
    %narrow_pairs = func.call @differences(%want, %y) : (!y, !y) -> index
    vector.print %narrow_pairs : index
  }
  // CHECK-COUNT-16: {{^}}0{{$}}
  return
}

// RUN: moe-opt %s --moe-expand-math --convert-scf-to-cf --convert-math-to-llvm --convert-vector-to-llvm --convert-arith-to-llvm \
// RUN:   --convert-cf-to-llvm --convert-func-to-llvm --reconcile-unrealized-casts \
// RUN: | mlir-runner -O2 -e main --entry-point-result=void \
// RUN:   --shared-libs=%mlir-lib-dir/libmlir_c_runner_utils.so,%mlir-lib-dir/libmlir_runner_utils.so | FileCheck %s
// REQUIRES: avx2

// The errors that moe-expand-math promises, against the C library in f64, over every 20011th float of each range.

// The error in units in the last place of f32; below the normal numbers these are 2^-149.
func.func private @error(%got: f32, %want: f64) -> f64 {
  %smallest = arith.constant 1.1754943508222875e-38 : f64
  %exponent_bits = arith.constant 0x7ff0000000000000 : i64
  %last_place = arith.constant 1.1920928955078125e-7 : f64
  %size = math.absf %want : f64
  %bounded = arith.maximumf %size, %smallest : f64
  %bits = arith.bitcast %bounded : f64 to i64
  %power_bits = arith.andi %bits, %exponent_bits : i64
  %power = arith.bitcast %power_bits : i64 to f64
  %unit = arith.mulf %power, %last_place : f64
  %wide = arith.extf %got : f32 to f64
  %difference = arith.subf %wide, %want : f64
  %absolute = math.absf %difference : f64
  %error = arith.divf %absolute, %unit : f64
  return %error : f64
}

// Prints "ok", or the largest error and where it is. An overflow must be one in both.
func.func private @sweep(%ours: (f32) -> f32, %theirs: (f64) -> f64, %from: i64, %to: i64, %bound: f64) {
  %zero = arith.constant 0.0 : f64
  %step = arith.constant 20011 : i64
  %nowhere = arith.constant 0.0 : f32
  %infinity = arith.constant 0x7f800000 : f32
  %most, %where = scf.for %i = %from to %to step %step iter_args(%most = %zero, %where = %nowhere) -> (f64, f32) : i64 {
    %bits = arith.trunci %i : i64 to i32
    %x = arith.bitcast %bits : i32 to f32
    %wide = arith.extf %x : f32 to f64
    %got = func.call_indirect %ours(%x) : (f32) -> f32
    %want = func.call_indirect %theirs(%wide) : (f64) -> f64
    %rounded = arith.truncf %want : f64 to f32
    %is_infinite = arith.cmpf oeq, %rounded, %infinity : f32
    %same = arith.cmpf oeq, %got, %rounded : f32
    %both = arith.andi %is_infinite, %same : i1
    %error = func.call @error(%got, %want) : (f32, f64) -> f64
    %counted = arith.select %both, %zero, %error : f64
    // Not "greater": a NaN is an error too.
    %fine = arith.cmpf ole, %counted, %most : f64
    %next = arith.select %fine, %most, %counted : f64
    %at = arith.select %fine, %where, %x : f32
    scf.yield %next, %at : f64, f32
  }
  %good = arith.cmpf ole, %most, %bound : f64
  scf.if %good {
    vector.print str "ok\n"
  } else {
    vector.print %most : f64
    vector.print %where : f32
  }
  return
}

func.func private @exp(f64) -> f64
func.func private @exp2(f64) -> f64
func.func private @tanh(f64) -> f64
func.func private @erf(f64) -> f64
func.func private @expm1(f64) -> f64
func.func private @log(f64) -> f64
func.func private @log2(f64) -> f64
func.func private @log10(f64) -> f64
func.func private @log1p(f64) -> f64
func.func private @sin(f64) -> f64
func.func private @cos(f64) -> f64
func.func private @our_exp(%x: f32) -> f32 {
  %y = math.exp %x : f32
  return %y : f32
}
func.func private @our_exp2(%x: f32) -> f32 {
  %y = math.exp2 %x : f32
  return %y : f32
}
func.func private @our_tanh(%x: f32) -> f32 {
  %y = math.tanh %x : f32
  return %y : f32
}
func.func private @our_erf(%x: f32) -> f32 {
  %y = math.erf %x : f32
  return %y : f32
}
func.func private @our_expm1(%x: f32) -> f32 {
  %y = math.expm1 %x : f32
  return %y : f32
}
func.func private @our_log(%x: f32) -> f32 {
  %y = math.log %x : f32
  return %y : f32
}
func.func private @our_log2(%x: f32) -> f32 {
  %y = math.log2 %x : f32
  return %y : f32
}
func.func private @our_log10(%x: f32) -> f32 {
  %y = math.log10 %x : f32
  return %y : f32
}
func.func private @our_log1p(%x: f32) -> f32 {
  %y = math.log1p %x : f32
  return %y : f32
}
func.func private @our_sin(%x: f32) -> f32 {
  %y = math.sin %x : f32
  return %y : f32
}
func.func private @our_cos(%x: f32) -> f32 {
  %y = math.cos %x : f32
  return %y : f32
}
func.func @main() {
  %exp = constant @exp : (f64) -> f64
  %our_exp = constant @our_exp : (f32) -> f32
  %bound_exp = arith.constant 1.0 : f64
  %lo_exp0 = arith.constant 0 : i64
  %hi_exp0 = arith.constant 1118961664 : i64
  // CHECK: ok
  call @sweep(%our_exp, %exp, %lo_exp0, %hi_exp0, %bound_exp) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_exp1 = arith.constant -2147483648 : i64
  %hi_exp1 = arith.constant -1026555904 : i64
  // CHECK: ok
  call @sweep(%our_exp, %exp, %lo_exp1, %hi_exp1, %bound_exp) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %exp2 = constant @exp2 : (f64) -> f64
  %our_exp2 = constant @our_exp2 : (f32) -> f32
  %bound_exp2 = arith.constant 1.2 : f64
  %lo_exp20 = arith.constant 0 : i64
  %hi_exp20 = arith.constant 1124073472 : i64
  // CHECK: ok
  call @sweep(%our_exp2, %exp2, %lo_exp20, %hi_exp20, %bound_exp2) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_exp21 = arith.constant -2147483648 : i64
  %hi_exp21 = arith.constant -1021968384 : i64
  // CHECK: ok
  call @sweep(%our_exp2, %exp2, %lo_exp21, %hi_exp21, %bound_exp2) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %tanh = constant @tanh : (f64) -> f64
  %our_tanh = constant @our_tanh : (f32) -> f32
  %bound_tanh = arith.constant 1.3 : f64
  %lo_tanh0 = arith.constant 0 : i64
  %hi_tanh0 = arith.constant 1101004800 : i64
  // CHECK: ok
  call @sweep(%our_tanh, %tanh, %lo_tanh0, %hi_tanh0, %bound_tanh) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_tanh1 = arith.constant -2147483648 : i64
  %hi_tanh1 = arith.constant -1046478848 : i64
  // CHECK: ok
  call @sweep(%our_tanh, %tanh, %lo_tanh1, %hi_tanh1, %bound_tanh) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %erf = constant @erf : (f64) -> f64
  %our_erf = constant @our_erf : (f32) -> f32
  %bound_erf = arith.constant 1.3 : f64
  %lo_erf0 = arith.constant 0 : i64
  %hi_erf0 = arith.constant 1092616192 : i64
  // CHECK: ok
  call @sweep(%our_erf, %erf, %lo_erf0, %hi_erf0, %bound_erf) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_erf1 = arith.constant -2147483648 : i64
  %hi_erf1 = arith.constant -1054867456 : i64
  // CHECK: ok
  call @sweep(%our_erf, %erf, %lo_erf1, %hi_erf1, %bound_erf) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %expm1 = constant @expm1 : (f64) -> f64
  %our_expm1 = constant @our_expm1 : (f32) -> f32
  %bound_expm1 = arith.constant 0.501 : f64
  %lo_expm10 = arith.constant 0 : i64
  %hi_expm10 = arith.constant 1118830592 : i64
  // CHECK: ok
  call @sweep(%our_expm1, %expm1, %lo_expm10, %hi_expm10, %bound_expm1) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_expm11 = arith.constant -2147483648 : i64
  %hi_expm11 = arith.constant -1026555904 : i64
  // CHECK: ok
  call @sweep(%our_expm1, %expm1, %lo_expm11, %hi_expm11, %bound_expm1) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %log = constant @log : (f64) -> f64
  %our_log = constant @our_log : (f32) -> f32
  %bound_log = arith.constant 0.501 : f64
  %lo_log0 = arith.constant 1 : i64
  %hi_log0 = arith.constant 2139095039 : i64
  // CHECK: ok
  call @sweep(%our_log, %log, %lo_log0, %hi_log0, %bound_log) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %log2 = constant @log2 : (f64) -> f64
  %our_log2 = constant @our_log2 : (f32) -> f32
  %bound_log2 = arith.constant 0.501 : f64
  %lo_log20 = arith.constant 1 : i64
  %hi_log20 = arith.constant 2139095039 : i64
  // CHECK: ok
  call @sweep(%our_log2, %log2, %lo_log20, %hi_log20, %bound_log2) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %log10 = constant @log10 : (f64) -> f64
  %our_log10 = constant @our_log10 : (f32) -> f32
  %bound_log10 = arith.constant 0.501 : f64
  %lo_log100 = arith.constant 1 : i64
  %hi_log100 = arith.constant 2139095039 : i64
  // CHECK: ok
  call @sweep(%our_log10, %log10, %lo_log100, %hi_log100, %bound_log10) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %log1p = constant @log1p : (f64) -> f64
  %our_log1p = constant @our_log1p : (f32) -> f32
  %bound_log1p = arith.constant 0.501 : f64
  %lo_log1p0 = arith.constant 1 : i64
  %hi_log1p0 = arith.constant 2139095039 : i64
  // CHECK: ok
  call @sweep(%our_log1p, %log1p, %lo_log1p0, %hi_log1p0, %bound_log1p) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_log1p1 = arith.constant -2147483648 : i64
  %hi_log1p1 = arith.constant -1082132110 : i64
  // CHECK: ok
  call @sweep(%our_log1p, %log1p, %lo_log1p1, %hi_log1p1, %bound_log1p) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %sin = constant @sin : (f64) -> f64
  %our_sin = constant @our_sin : (f32) -> f32
  %bound_sin = arith.constant 0.501 : f64
  %lo_sin0 = arith.constant 0 : i64
  %hi_sin0 = arith.constant 1232348160 : i64
  // CHECK: ok
  call @sweep(%our_sin, %sin, %lo_sin0, %hi_sin0, %bound_sin) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_sin1 = arith.constant -2147483648 : i64
  %hi_sin1 = arith.constant -915135488 : i64
  // CHECK: ok
  call @sweep(%our_sin, %sin, %lo_sin1, %hi_sin1, %bound_sin) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %cos = constant @cos : (f64) -> f64
  %our_cos = constant @our_cos : (f32) -> f32
  %bound_cos = arith.constant 0.501 : f64
  %lo_cos0 = arith.constant 0 : i64
  %hi_cos0 = arith.constant 1232348160 : i64
  // CHECK: ok
  call @sweep(%our_cos, %cos, %lo_cos0, %hi_cos0, %bound_cos) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  %lo_cos1 = arith.constant -2147483648 : i64
  %hi_cos1 = arith.constant -915135488 : i64
  // CHECK: ok
  call @sweep(%our_cos, %cos, %lo_cos1, %hi_cos1, %bound_cos) : ((f32) -> f32, (f64) -> f64, i64, i64, f64) -> ()
  return
}

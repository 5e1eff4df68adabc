//===- MathFunctions.h - elementary functions as arithmetic ---------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Emits arith and math.fma operations that compute elementary functions. No tables, no branches: the same code for
// scalars, vectors, CPUs and GPUs. Errors are stated in Passes.td (moe-expand-math) and measured by
// test/Conversion/TilesToCPU/math-accuracy.mlir.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_COMMON_MATHFUNCTIONS_H
#define MOE_LIB_CONVERSION_COMMON_MATHFUNCTIONS_H

#include "mlir/IR/Builders.h"

namespace moe {

/// Which logarithm.
enum class LogKind { Natural, Base2, Base10, OnePlus };

/// Writes functions of values of one shape (a scalar or a vector) at the insertion point of a builder. Arguments and
/// results are f32 or f64, as each function says.
class MathFunctions {
public:
  MathFunctions(mlir::OpBuilder &b, mlir::Location loc, mlir::Type shape) : b(b), loc(loc), shape(shape) {}

  mlir::Value exp(mlir::Value x);  ///< f32 or f64
  mlir::Value exp2(mlir::Value x); ///< f32 or f64
  /// 2^x for an f32 -127 <= x <= 0 (or a little above), in half the instructions of exp2 and to the same bits where the
  /// result is normal. Below 2^-126 some number below that; of -127, 0.
  mlir::Value exp2OfWeight(mlir::Value x);
  mlir::Value expm1(mlir::Value x);                        ///< f32 or f64
  mlir::Value log(mlir::Value x, LogKind kind);            ///< f32 or f64
  mlir::Value tanh(mlir::Value x);                         ///< f32 or f64
  mlir::Value erf(mlir::Value x);                          ///< f32
  mlir::Value sinOrCos(mlir::Value x, bool cosine);        ///< f32 or f64
  mlir::Value rsqrt(mlir::Value x);                        ///< f32 or f64
  mlir::Value pow(mlir::Value base, mlir::Value exponent); ///< f32 or f64

private:
  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type shape;
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_COMMON_MATHFUNCTIONS_H

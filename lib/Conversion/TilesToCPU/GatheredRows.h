//===- GatheredRows.h - rows of x side by side ----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A buffer for rows that inner loops broadcast element by element: converted once, and at a stride that spreads them
// over the sets of the first-level cache, where rows of x may lie 4 KB apart.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_GATHEREDROWS_H
#define MOE_LIB_CONVERSION_TILESTOCPU_GATHEREDROWS_H

#include "mlir/IR/Builders.h"

namespace moe {

class GatheredRows {
public:
  /// Rows of `depth` elements of `element`: f32, or the rows' own type. Of bf16 an odd `depth` is filled up to pairs
  /// with a zero.
  GatheredRows(mlir::Location loc, int64_t depth, mlir::Type element);

  /// Elements from a row to the next: an odd number of cache lines.
  int64_t stride() const;
  int64_t bytesPerRow() const;
  /// Of the buffer for `rows` rows.
  mlir::MemRefType typeOf(int64_t rows) const;
  void setBuffer(mlir::Value buffer) { this->buffer = buffer; }

  /// Copies `row`, of rank 1, as row `position`.
  void gather(mlir::OpBuilder &b, mlir::Value row, mlir::Value position) const;
  /// View of row `position`, of rank 1, which is as long as the stride.
  mlir::Value row(mlir::OpBuilder &b, mlir::Value position) const;

private:
  mlir::Location loc;
  int64_t depth;
  mlir::Type element;
  mlir::Value buffer;
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_GATHEREDROWS_H

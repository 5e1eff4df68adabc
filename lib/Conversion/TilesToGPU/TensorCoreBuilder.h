//===- TensorCoreBuilder.h - what kernels on tensor cores share -----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_TENSORCOREBUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_TENSORCOREBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Builders.h"

#include <optional>

namespace moe {

/// The element type of a memref, and its bytes.
inline mlir::Type elementOf(mlir::Value memref) {
  return mlir::cast<mlir::MemRefType>(memref.getType()).getElementType();
}
inline int64_t elementBytes(mlir::Value memref) {
  return llvm::divideCeil(elementOf(memref).getIntOrFloatBitWidth(), 8);
}

/// The distance of the rows along dimension `dim` in elements, where it is static; none for rows that are not
/// contiguous.
std::optional<int64_t> rowStride(mlir::Value memref, unsigned dim);

/// Writes code of a thread whose block multiplies on tensor cores: arithmetic on i32 and index, asynchronous copies
/// from global to shared memory, ldmatrix and mma.sync. A kernel's builder derives from it.
class TensorCoreBuilder {
protected:
  /// An ldmatrix.x4 loads 16 x 16 elements of 16 bits: all of A for an mma, B for two.
  static constexpr int64_t fragment = 16;
  /// What is copied or loaded at once: a row of an 8 x 8 matrix.
  static constexpr int64_t chunkBytes = 16;

  TensorCoreBuilder(mlir::Operation *op) : b(op), loc(op->getLoc()) {}

  mlir::Value i32(int64_t value) { return mlir::arith::ConstantIntOp::create(b, loc, static_cast<int32_t>(value), 32); }
  mlir::Value index(int64_t value) { return mlir::arith::ConstantIndexOp::create(b, loc, value); }
  mlir::Value toIndex(mlir::Value value) { return mlir::arith::IndexCastOp::create(b, loc, b.getIndexType(), value); }
  mlir::Value toI32(mlir::Value value) { return mlir::arith::IndexCastOp::create(b, loc, b.getI32Type(), value); }
  template <typename Op> mlir::Value make(mlir::Value left, mlir::Value right) {
    return Op::create(b, loc, left, right);
  }
  template <typename Op> mlir::Value make(mlir::Value left, int64_t right) {
    mlir::Value constant = left.getType().isIndex() ? index(right) : i32(right);
    return Op::create(b, loc, left, constant);
  }
  mlir::Value less(mlir::Value left, mlir::Value right) {
    return mlir::arith::CmpIOp::create(b, loc, mlir::arith::CmpIPredicate::slt, left, right);
  }
  mlir::Value select(mlir::Value condition, mlir::Value left, mlir::Value right) {
    return mlir::arith::SelectOp::create(b, loc, condition, left, right);
  }

  /// Gives `kernel` that much shared memory, which `shared` points to from now on.
  void allocateShared(mlir::gpu::GPUFuncOp kernel, int64_t bytes);
  /// `offset` (i32) + `more` bytes from the beginning of the shared memory.
  mlir::Value sharedAt(mlir::Value offset, int64_t more);
  /// The address of the first element of `memref`, as a number.
  mlir::Value addressOf(mlir::Value memref);
  /// The global memory at `address` (index).
  mlir::Value globalPointer(mlir::Value address);
  mlir::Value globalAt(mlir::Value pointer, mlir::Value offset);
  mlir::Value globalAt(mlir::Value pointer, int64_t offset);

  /// Starts to copy `bytes` (4, 8 or 16), of which those behind the first `size` (i32) become zeros and are not read.
  void copyAsync(mlir::Value to, mlir::Value from, int64_t bytes, mlir::Value size);
  /// The four registers of an ldmatrix.x4 whose rows this thread's `address` belongs to.
  llvm::SmallVector<mlir::Value, 4> loadMatrices(mlir::Value address, bool transposed = false);
  /// sums (16 x 8, four f32 or i32 of a thread) += a (16 rows of 32 bytes, four registers) * columns (8 of 32 bytes,
  /// two registers), of `element`s: bf16, f16, i8, or f32 of which the low 13 bits do not count (tf32).
  void multiplyAdd(mlir::Type element, llvm::ArrayRef<mlir::Value> a, llvm::ArrayRef<mlir::Value> columns,
                   llvm::MutableArrayRef<mlir::Value> sums);

  mlir::OpBuilder b;
  mlir::Location loc;
  mlir::Value shared; ///< pointer
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_TENSORCOREBUILDER_H

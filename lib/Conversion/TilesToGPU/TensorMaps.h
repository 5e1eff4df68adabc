//===- TensorMaps.h - how kernels have tensors copied by TMA --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From sm_90 on a thread can have a box of a tensor copied to shared memory. What the tensor is like the host writes
// into a tensor map, 128 bytes that a kernel gets as a parameter by value.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_TENSORMAPS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_TENSORMAPS_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Builders.h"

#include <optional>

namespace moe {

class RuntimeCalls;

/// A whole contiguous buffer that a kernel gets as an argument.
struct KernelBuffer {
  mlir::BlockArgument base;
  mlir::memref::ReinterpretCastOp whole;

  /// The buffer that `memref` is a part of; none for buffers that are not contiguous, or made in the kernel.
  static std::optional<KernelBuffer> of(mlir::Value memref);

  mlir::MemRefType type() { return mlir::cast<mlir::MemRefType>(whole.getType()); }
};

/// A matrix of 16-bit elements, the rows of a buffer of any rank, as boxes of some rows and 64 columns (128 bytes).
struct TensorMap {
  KernelBuffer buffer;
  int64_t boxRows;
  /// Of 4 * run rows, that with the number run * i + 2 * g + j (i < 4, j < 2) comes to the place 8 * g + 2 * i + j:
  /// what a thread of a wgmma has neighbouring sums of are `run` neighbouring rows. 2: all rows stay where they are.
  int64_t run;

  static constexpr int64_t boxColumns = 64;

  /// What a box's coordinates count: rows, or sets of 4 * run rows.
  int64_t rowsPerCoordinate() const { return run == 2 ? 1 : 4 * run; }
  /// Zeros between the coordinates of the column and of the row.
  int64_t middleDimensions() const { return run == 2 ? 0 : 3; }
};

/// Emits the host code that makes `map` for `launch`, in front of it; returns a pointer to the map on the stack.
mlir::Value emitTensorMap(mlir::OpBuilder &b, const TensorMap &map, mlir::gpu::LaunchFuncOp launch,
                          RuntimeCalls &runtime);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_TENSORMAPS_H

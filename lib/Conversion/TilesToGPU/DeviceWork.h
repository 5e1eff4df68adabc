//===- DeviceWork.h - what of a host function runs on the device ----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_DEVICEWORK_H
#define MOE_LIB_CONVERSION_TILESTOGPU_DEVICEWORK_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

namespace moe {

/// What becomes of an operation of a host function.
enum class Place {
  Host,    ///< stays: allocations, views, arithmetic on sizes
  Control, ///< stays, and its regions are host code again
  Sync,    ///< stays, and device work does not move across it: calls, returns
  Sunk,    ///< arithmetic on numbers that only the device knows: cloned into each kernel that needs it
  Forall,  ///< a kernel of its own
  Grid,    ///< elementwise work on a buffer: all threads of a grid
  Serial,  ///< loops that depend on what they wrote, single loads and stores: one team
};

/// Tells the operations of a function apart. Everything that reads or writes the contents of buffers is work of the
/// device; so are numbers computed from such contents. Reads of arguments with `moe.role` past or keep are the host's.
class DeviceWork {
public:
  Place placeOf(mlir::Operation *op);

  /// Whether only the device knows `value`.
  bool isDeviceValue(mlir::Value value);

  /// Whether `value` is made by an operation of a kernel, not by arithmetic on such values.
  bool isProduced(mlir::Value value);

private:
  bool isHostLoad(mlir::Operation *op);
  bool holdsKernels(mlir::Operation *op);

  llvm::DenseMap<mlir::Operation *, Place> places;
};

/// The buffer that `memref` is a view of.
mlir::Value rootBuffer(mlir::Value memref);

/// Whether a product multiplies rows that are in `memory`: asynchronous copies read them, from global memory only.
bool holdsRows(mlir::Value memory);

/// Whether neither of two linalg ops on buffers writes what the other one reads or writes.
bool isIndependent(mlir::Operation *first, mlir::Operation *second);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_DEVICEWORK_H

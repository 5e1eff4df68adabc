//===- DeviceWork.cpp - what of a host function runs on the device --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "DeviceWork.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace moe;

/// Elements up to which an elementwise op is not worth a kernel of its own.
static constexpr int64_t smallBuffer = 4096;

Value moe::rootBuffer(Value memref) {
  while (Operation *op = memref.getDefiningOp()) {
    auto view = dyn_cast<ViewLikeOpInterface>(op);
    if (!view)
      break;
    memref = view.getViewSource();
  }
  return memref;
}

bool moe::holdsRows(Value memory) {
  return llvm::any_of(memory.getUses(), [](OpOperand &use) {
    if (auto product = dyn_cast<GroupedMatmulOp>(use.getOwner()))
      return product.getX() == use.get();
    auto view = dyn_cast<ViewLikeOpInterface>(use.getOwner());
    return view && view.getViewSource() == use.get() && llvm::any_of(use.getOwner()->getResults(), holdsRows);
  });
}

bool moe::isIndependent(Operation *first, Operation *second) {
  auto roots = [](ValueRange values, llvm::DenseSet<Value> &set) {
    for (Value value : values)
      if (isa<BaseMemRefType>(value.getType()))
        set.insert(rootBuffer(value));
  };
  auto clash = [&](Operation *writer, Operation *other) {
    llvm::DenseSet<Value> written, touched;
    roots(cast<linalg::LinalgOp>(writer).getDpsInits(), written);
    SetVector<Value> above;
    getUsedValuesDefinedAbove(other->getRegions(), above);
    roots(other->getOperands(), touched);
    roots(above.getArrayRef(), touched);
    return llvm::any_of(written, [&](Value root) { return touched.contains(root); });
  };
  return !clash(first, second) && !clash(second, first);
}

bool DeviceWork::isHostLoad(Operation *op) {
  auto load = dyn_cast<memref::LoadOp>(op);
  auto argument = load ? dyn_cast<BlockArgument>(load.getMemRef()) : nullptr;
  auto function = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : nullptr;
  if (!function)
    return false;
  auto role = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "moe.role");
  return role && (role.getValue() == "past" || role.getValue() == "keep");
}

bool DeviceWork::holdsKernels(Operation *op) {
  return op
      ->walk([](Operation *inner) {
        return isa<scf::ForallOp, func::CallOp>(inner) ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

/// Whether an elementwise op has so many elements that a grid pays.
static bool isLarge(linalg::LinalgOp op) {
  if (op.getNumParallelLoops() == 0)
    return false;
  int64_t elements = 1;
  for (int64_t size : op.getStaticLoopRanges()) {
    if (ShapedType::isDynamic(size))
      return true;
    elements *= size;
  }
  return elements > smallBuffer;
}

Place DeviceWork::placeOf(Operation *op) {
  if (auto known = places.find(op); known != places.end())
    return known->second;
  auto decide = [&]() -> Place {
    if (op->hasTrait<OpTrait::IsTerminator>() || isa<CallOpInterface>(op))
      return Place::Sync;
    if (isa<memref::AllocOp>(op) || isHostLoad(op))
      return Place::Host;
    bool device = llvm::any_of(op->getOperands(), [&](Value operand) { return isDeviceValue(operand); });
    if (isMemoryEffectFree(op))
      return device ? Place::Sunk : Place::Host;
    // Constants and views say what they do, but buffers of constants have no effects of their own.
    if (isa<scf::ForallOp>(op))
      return Place::Forall;
    if (isa<scf::IfOp, scf::ForOp>(op) && op->getNumResults() == 0 && !device && holdsKernels(op))
      return Place::Control;
    if (auto structured = dyn_cast<linalg::LinalgOp>(op); structured && isLarge(structured))
      return Place::Grid;
    return Place::Serial;
  };
  Place place = decide();
  places[op] = place;
  return place;
}

bool DeviceWork::isProduced(Value value) {
  Operation *op = value.getDefiningOp();
  return op && !isa<BaseMemRefType>(value.getType()) && placeOf(op) == Place::Serial;
}

bool DeviceWork::isDeviceValue(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  Place place = placeOf(op);
  return place == Place::Sunk || isProduced(value);
}

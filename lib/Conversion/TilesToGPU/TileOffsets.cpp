//===- TileOffsets.cpp - the offsets of a tile with one group -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TileOffsets.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace moe;

bool moe::isTileOffsets(Value memref) {
  if (!isa_and_nonnull<memref::ViewOp, memref::AllocOp, memref::AllocaOp>(memref.getDefiningOp()))
    return false;
  auto type = cast<MemRefType>(memref.getType());
  if (type.getShape() != ArrayRef<int64_t>{2} || !type.getElementType().isInteger(32))
    return false;
  llvm::SmallDenseSet<int64_t> stored;
  for (OpOperand &use : memref.getUses()) {
    if (auto store = dyn_cast<memref::StoreOp>(use.getOwner())) {
      auto at = getConstantIntValue(store.getIndices().front());
      if (store.getValueToStore() == memref || !at || !stored.insert(*at).second)
        return false;
      continue;
    }
    auto matmul = dyn_cast<GroupedMatmulOp>(use.getOwner());
    if (!matmul || matmul.getOffsets() != memref)
      return false;
  }
  return stored.size() == 2;
}

std::pair<Value, Value> moe::getTileOffsets(GroupedMatmulOp op) {
  Value memref = op.getOffsets();
  if (!isTileOffsets(memref))
    return {};
  Value values[2];
  for (Operation *user : memref.getUsers())
    if (auto store = dyn_cast<memref::StoreOp>(user))
      values[*getConstantIntValue(store.getIndices().front())] = store.getValueToStore();
  return {values[0], values[1]};
}

void moe::eraseTileOffsets(Value memref) {
  for (Operation *user : llvm::make_early_inc_range(memref.getUsers()))
    user->erase();
  memref.getDefiningOp()->erase();
}

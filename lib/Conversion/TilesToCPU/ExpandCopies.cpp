//===- ExpandCopies.cpp - memref.copy between strided buffers to linalg ---===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Utils/MemRefUtils.h"

namespace moe {
#define GEN_PASS_DEF_EXPANDCOPIES
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

/// Whether finalize-memref-to-llvm makes a memcpy of a copy from or to this type.
static bool isContiguous(MemRefType type) {
  return type.getLayout().isIdentity() ||
         (type.hasStaticShape() && type.getNumElements() > 0 && memref::isStaticShapeAndContiguousRowMajor(type));
}

namespace {
struct ExpandCopiesPass : moe::impl::ExpandCopiesBase<ExpandCopiesPass> {
  void runOnOperation() override {
    SmallVector<memref::CopyOp> copies;
    getOperation()->walk([&](memref::CopyOp copy) {
      auto from = dyn_cast<MemRefType>(copy.getSource().getType()),
           to = dyn_cast<MemRefType>(copy.getTarget().getType());
      if (from && to && !(isContiguous(from) && isContiguous(to)))
        copies.push_back(copy);
    });
    for (memref::CopyOp copy : copies) {
      OpBuilder b(copy);
      linalg::makeMemRefCopyOp(b, copy.getLoc(), copy.getSource(), copy.getTarget());
      copy.erase();
    }
  }
};
} // namespace

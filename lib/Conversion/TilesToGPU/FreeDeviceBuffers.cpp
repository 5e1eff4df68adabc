//===- FreeDeviceBuffers.cpp - deallocations of device memory -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace moe {
#define GEN_PASS_DEF_FREEDEVICEBUFFERS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

namespace {
/// Who uses a buffer, or views of it, in the block that it is made in.
struct Uses {
  Operation *last;
  bool isReturned = false;

  void follow(Value value, Block *block) {
    for (Operation *user : value.getUsers()) {
      Operation *top = block->findAncestorOpInBlock(*user);
      if (last->isBeforeInBlock(top))
        last = top;
      isReturned |= user->hasTrait<OpTrait::IsTerminator>();
      if (isa<ViewLikeOpInterface>(user) || isa<memref::ExtractStridedMetadataOp>(user))
        for (Value view : user->getResults())
          if (isa<BaseMemRefType>(view.getType()))
            follow(view, block);
    }
  }
};

struct FreeDeviceBuffersPass : moe::impl::FreeDeviceBuffersBase<FreeDeviceBuffersPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isDeclaration())
      return;
    SmallVector<Value> buffers;
    unsigned returned = 0;
    function.walk([&](Operation *op) {
      if (isa<memref::AllocOp, func::CallOp>(op))
        for (Value result : op->getResults())
          if (isa<BaseMemRefType>(result.getType()))
            buffers.push_back(result);
    });
    for (Value buffer : buffers) {
      Operation *made = buffer.getDefiningOp();
      Uses uses{made};
      uses.follow(buffer, made->getBlock());
      if (uses.isReturned) {
        ++returned;
        continue;
      }
      OpBuilder b(made->getContext());
      b.setInsertionPointAfter(uses.last);
      memref::DeallocOp::create(b, made->getLoc(), buffer);
    }
    unsigned wanted = llvm::count_if(function.getResultTypes(), llvm::IsaPred<BaseMemRefType>);
    if (returned != wanted) {
      function.emitOpError("expected ") << wanted << " results in buffers of their own but got " << returned;
      return signalPassFailure();
    }
  }
};
} // namespace

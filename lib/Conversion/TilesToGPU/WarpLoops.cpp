//===- WarpLoops.cpp - parallel loops in the body of a block's loop -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "WarpLoops.h"

#include "Kernel.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace moe;

SmallVector<Operation *> moe::loopsOfWarps(Operation *loop) {
  SmallVector<Operation *> found;
  loop->walk<WalkOrder::PreOrder>([&](scf::ForallOp inner) {
    if (inner == loop || inner.getRank() != 1)
      return WalkResult::advance();
    bool together =
        inner
            ->walk([](Operation *op) {
              return isa<GroupedMatmulOp, AttentionOp>(op) ? WalkResult::interrupt() : WalkResult::advance();
            })
            .wasInterrupted();
    if (together)
      return WalkResult::advance();
    found.push_back(inner);
    return WalkResult::skip();
  });
  return found;
}

void moe::giveToWarps(Operation *loop, const WorkerScratch &scratch, int64_t warps) {
  if (!scratch.memory)
    return;
  OpBuilder b(loop);
  Location loc = loop->getLoc();
  Value size = getValueOrCreateConstantIndexOp(b, loc, scratch.bytes);
  Value count = arith::ConstantIndexOp::create(b, loc, warps);
  SmallVector<Value> sizes;
  int64_t bytes = ShapedType::kDynamic;
  if (auto constant = getConstantIntValue(scratch.bytes))
    bytes = *constant * warps;
  else
    sizes.push_back(arith::MulIOp::create(b, loc, size, count));
  Value all = memref::AllocOp::create(b, loc, MemRefType::get({bytes}, b.getI8Type()), sizes);
  b.setInsertionPointToStart(&loop->getRegion(0).front());
  Value thread = gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x);
  Value warp = arith::DivUIOp::create(b, loc, thread, arith::ConstantIndexOp::create(b, loc, warpSize));
  Value begin = arith::MulIOp::create(b, loc, warp, size);
  for (Operation *user : llvm::to_vector(scratch.memory.getUsers())) {
    auto view = cast<memref::ViewOp>(user);
    b.setInsertionPoint(view);
    Value shift = arith::AddIOp::create(b, loc, view.getByteShift(), begin);
    view.getByteShiftMutable().assign(shift);
    view.getSourceMutable().assign(all);
  }
  scratch.memory.getDefiningOp()->erase();
}

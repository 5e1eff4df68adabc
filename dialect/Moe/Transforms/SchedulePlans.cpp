//===- SchedulePlans.cpp - a plan and its tile map as one op --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOESCHEDULEPLANS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// More counters do not fit a block's memory.
static constexpr int64_t mostExperts = 2048;

/// The tile maps of the offsets of `plan` that cut in the same way as the first of them.
static SmallVector<TileMapOp> mapsOf(PlanOp plan) {
  SmallVector<TileMapOp> maps;
  for (Operation *user : plan.getOffsets().getUsers())
    if (auto map = dyn_cast<TileMapOp>(user); map && (maps.empty() || map.getBlock() == maps.front().getBlock()))
      maps.push_back(map);
  return maps;
}

static void schedule(IRRewriter &rewriter, PlanOp plan, ArrayRef<TileMapOp> maps) {
  Location loc = plan.getLoc();
  rewriter.setInsertionPoint(plan);
  ReifiedRankedShapedTypeDims shapes;
  if (failed(plan.reifyResultShapes(rewriter, shapes)))
    return;
  // A map is as large as that many rows may need. All maps say the number in their own way; this is what it is.
  TileMapOp map = maps.front();
  rewriter.setInsertionPointAfter(plan);
  Value rows = getValueOrCreateConstantIndexOp(rewriter, loc, shapes[1][0]);
  auto sized = TileMapOp::create(rewriter, loc, map->getResultTypes(), plan.getOffsets(), rows, map.getBlock());
  rewriter.setInsertionPoint(sized);
  if (failed(sized.reifyResultShapes(rewriter, shapes)))
    return;
  SmallVector<Value> inits;
  for (const SmallVector<OpFoldResult> &shape : shapes)
    inits.push_back(tensor::EmptyOp::create(rewriter, loc, shape, rewriter.getI32Type()));
  auto op = ScheduleOp::create(rewriter, loc, TypeRange(ValueRange(inits)), plan.getIndices(), inits, map.getBlock());
  auto cast = [&](Value value, Type type) -> Value {
    return value.getType() == type ? value : tensor::CastOp::create(rewriter, loc, type, value);
  };
  rewriter.eraseOp(sized);
  for (TileMapOp same : maps)
    rewriter.replaceOp(same, {cast(op.getResult(3), same.getTiles().getType()), op.getResult(4)});
  SmallVector<Value> results;
  for (auto [number, result] : llvm::enumerate(plan.getResults()))
    results.push_back(cast(op.getResult(number), result.getType()));
  rewriter.replaceOp(plan, results);
}

namespace {
struct MoeSchedulePlansPass : moe::impl::MoeSchedulePlansBase<MoeSchedulePlansPass> {
  void runOnOperation() override {
    SmallVector<PlanOp> plans;
    getOperation().walk([&](PlanOp plan) { plans.push_back(plan); });
    IRRewriter rewriter(&getContext());
    for (PlanOp plan : plans) {
      SmallVector<TileMapOp> maps = mapsOf(plan);
      bool known = !cast<ShapedType>(plan.getIndices().getType()).isDynamicDim(1);
      if (!maps.empty() && known && plan.getExperts() <= mostExperts)
        schedule(rewriter, plan, maps);
    }
  }
};
} // namespace

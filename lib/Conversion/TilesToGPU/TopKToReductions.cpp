//===- TopKToReductions.cpp - moe.top_k for the lanes of a warp -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/NarrowFloats.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <limits>

namespace moe {
#define GEN_PASS_DEF_TOPKTOREDUCTIONS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// One row, and keys that an integer of 32 bits stands for.
static bool applies(TopKOp op) {
  auto keys = cast<RankedTensorType>(op.getSelectionKeys().getType());
  return keys.getDimSize(0) == 1 && !op.getGroups() && isExtendableToF32(keys.getElementType());
}

/// The key as an integer of the same order, above that of its position, where a lower one is better.
static Value rankOf(ImplicitLocOpBuilder &b, Value key, Value position) {
  auto i32 = [&](int32_t value) -> Value { return arith::ConstantIntOp::create(b, value, 32); };
  key = extendToF32(b, b.getLoc(), key);
  // -0 becomes 0.
  key = arith::AddFOp::create(b, key, arith::ConstantOp::create(b, b.getF32FloatAttr(0.0f)));
  Value isNumber = arith::CmpFOp::create(b, arith::CmpFPredicate::ORD, key, key);
  // The integers of negative numbers fall where the numbers rise; NaN is below all of them.
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), key);
  Value flip =
      arith::AndIOp::create(b, arith::ShRSIOp::create(b, bits, i32(31)), i32(std::numeric_limits<int32_t>::max()));
  Value ordered = arith::SelectOp::create(b, isNumber, arith::XOrIOp::create(b, bits, flip),
                                          i32(std::numeric_limits<int32_t>::min() + 1));
  Value high = arith::ShLIOp::create(b, arith::ExtSIOp::create(b, b.getI64Type(), ordered),
                                     arith::ConstantIntOp::create(b, 32, 64));
  Value earlier = arith::XOrIOp::create(b, position, i32(-1));
  return arith::OrIOp::create(b, high, arith::ExtUIOp::create(b, b.getI64Type(), earlier));
}

static void lower(TopKOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value keys = op.getSelectionKeys(), zero = arith::ConstantIndexOp::create(b, 0),
        one = arith::ConstantIndexOp::create(b, 1);
  auto i64 = [&](int64_t value) -> Value { return arith::ConstantIntOp::create(b, value, 64); };
  Value least = i64(std::numeric_limits<int64_t>::min());
  auto room = [&](Value result) -> Value {
    auto type = cast<RankedTensorType>(result.getType());
    SmallVector<Value> sizes(type.getNumDynamicDims(), op.getDynamicK());
    return tensor::EmptyOp::create(b, type, sizes);
  };
  Value rounds = op.getDynamicK() ? op.getDynamicK() : Value(arith::ConstantIndexOp::create(b, *op.getK()));
  auto loop = scf::ForOp::create(
      b, zero, rounds, one,
      ValueRange{i64(std::numeric_limits<int64_t>::max()), room(op.getSelected()), room(op.getIndex())});
  b.setInsertionPointToEnd(loop.getBody());
  Value last = loop.getRegionIterArg(0);

  // The best of those that come after the last one.
  MLIRContext *context = b.getContext();
  AffineExpr row = b.getAffineDimExpr(0);
  AffineMap maps[] = {b.getMultiDimIdentityMap(2), AffineMap::get(2, 0, context), AffineMap::get(2, 0, row)};
  utils::IteratorType loops[] = {utils::IteratorType::parallel, utils::IteratorType::reduction};
  Value empty = tensor::EmptyOp::create(b, ArrayRef<int64_t>{1}, b.getI64Type());
  Value start = linalg::FillOp::create(b, least, empty).getResult(0);
  auto best = linalg::GenericOp::create(
      b, start.getType(), ValueRange{keys, last}, start, maps, loops,
      [&](OpBuilder &builder, Location loc, ValueRange scalars) {
        ImplicitLocOpBuilder inner(loc, builder);
        Value here = arith::IndexCastOp::create(inner, inner.getI32Type(), linalg::IndexOp::create(inner, 1));
        Value rank = rankOf(inner, scalars[0], here);
        Value after = arith::CmpIOp::create(inner, arith::CmpIPredicate::slt, rank, scalars[1]);
        Value candidate = arith::SelectOp::create(inner, after, rank, least);
        linalg::YieldOp::create(inner, arith::MaxSIOp::create(inner, scalars[2], candidate).getResult());
      });
  Value found = tensor::ExtractOp::create(b, best.getResult(0), zero);
  Value index = arith::TruncIOp::create(b, b.getI32Type(), found);
  index = arith::XOrIOp::create(b, index, arith::ConstantIntOp::create(b, -1, 32));
  Value at = arith::IndexCastOp::create(b, b.getIndexType(), index);
  Value value = tensor::ExtractOp::create(b, op.getValues(), ValueRange{zero, at});
  Value place[] = {zero, loop.getInductionVar()};
  Value selected = tensor::InsertOp::create(b, value, loop.getRegionIterArg(1), place);
  Value indices = tensor::InsertOp::create(b, index, loop.getRegionIterArg(2), place);
  scf::YieldOp::create(b, ValueRange{found, selected, indices});
  op.replaceAllUsesWith(ValueRange{loop.getResult(1), loop.getResult(2)});
  op.erase();
}

namespace {
struct TopKToReductionsPass : moe::impl::TopKToReductionsBase<TopKToReductionsPass> {
  void runOnOperation() override {
    SmallVector<TopKOp> ops;
    getOperation()->walk([&](TopKOp op) {
      if (applies(op))
        ops.push_back(op);
    });
    for (TopKOp op : ops)
      lower(op);
  }
};
} // namespace

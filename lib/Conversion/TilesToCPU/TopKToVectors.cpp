//===- TopKToVectors.cpp - moe.top_k, 16 candidates at a time -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "MicroKernelBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/NarrowFloats.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <limits>

namespace moe {
#define GEN_PASS_DEF_TOPKTOVECTORS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static constexpr int64_t lanes = 16;

/// What is not there, and what is not a number: below the integer of -inf.
static constexpr int32_t missing = std::numeric_limits<int32_t>::min();
static constexpr int32_t notANumber = missing + 1;

namespace {
/// Candidates, one per lane: key as an integer and index.
struct Candidates {
  Value key, index;
};

class TopKLowering {
public:
  explicit TopKLowering(TopKOp op) : b(op.getLoc(), op), op(op), words(VectorType::get({lanes}, b.getI32Type())) {}
  static bool applies(TopKOp op) {
    return !op.getGroups() && isExtendableToF32(getElementTypeOrSelf(op.getSelectionKeys().getType()));
  }
  void run();

private:
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
  Value splat(int32_t value) { return arith::ConstantOp::create(b, DenseElementsAttr::get(words, value)); }
  Value toLanes(Value position) {
    return vector::BroadcastOp::create(b, words, arith::IndexCastOp::create(b, b.getI32Type(), position));
  }
  Value compare(arith::CmpIPredicate predicate, Value x, Value y) { return arith::CmpIOp::create(b, predicate, x, y); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }

  /// The candidates of row `token` from `column` on.
  Candidates load(Value token, Value column);
  /// The best candidate of row `token` after `last`, in every lane.
  Candidates bestAfter(Value token, Candidates last);

  ImplicitLocOpBuilder b;
  TopKOp op;
  VectorType words;
};
} // namespace

Candidates TopKLowering::load(Value token, Value column) {
  auto type = cast<RankedTensorType>(op.getSelectionKeys().getType());
  bool whole = !type.isDynamicDim(1) && type.getDimSize(1) % lanes == 0;
  Value padding = arith::ConstantOp::create(b, b.getZeroAttr(type.getElementType()));
  Value key = vector::TransferReadOp::create(b, VectorType::get({lanes}, type.getElementType()), op.getSelectionKeys(),
                                             ValueRange{token, column}, padding, ArrayRef<bool>{whole});
  key = extendToF32(b, b.getLoc(), key);
  // -0 becomes 0.
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(key.getType()));
  key = arith::AddFOp::create(b, key, zero);
  Value isNumber = arith::CmpFOp::create(b, arith::CmpFPredicate::ORD, key, key);
  // The integers of negative numbers fall where the numbers rise.
  Value bits = arith::BitcastOp::create(b, words, key);
  Value negative = arith::ShRSIOp::create(b, bits, splat(31));
  Value flip = arith::AndIOp::create(b, negative, splat(std::numeric_limits<int32_t>::max()));
  Value ordered = select(isNumber, arith::XOrIOp::create(b, bits, flip), splat(notANumber));

  Value places = arith::ConstantOp::create(
      b, DenseElementsAttr::get(words, ArrayRef<int32_t>(llvm::to_vector(llvm::seq<int32_t>(0, lanes)))));
  Value position = arith::AddIOp::create(b, toLanes(column), places);
  if (!whole) {
    Value end = toLanes(b.createOrFold<tensor::DimOp>(op.getSelectionKeys(), 1));
    ordered = select(compare(arith::CmpIPredicate::slt, position, end), ordered, splat(missing));
  }
  return {ordered, position};
}

Candidates TopKLowering::bestAfter(Value token, Candidates last) {
  Value end = b.createOrFold<tensor::DimOp>(op.getSelectionKeys(), 1);
  SmallVector<Value> none{splat(missing), splat(std::numeric_limits<int32_t>::max())};
  auto search = scf::ForOp::create(b, index(0), end, index(lanes), none);
  Candidates best{search.getResult(0), search.getResult(1)};
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(search.getBody());
    Candidates found = load(token, search.getInductionVar());
    Value sameKey = compare(arith::CmpIPredicate::eq, found.key, last.key);
    Value further = compare(arith::CmpIPredicate::sgt, found.index, last.index);
    Value after = arith::OrIOp::create(b, compare(arith::CmpIPredicate::slt, found.key, last.key),
                                       arith::AndIOp::create(b, sameKey, further));
    // Indices rise within a lane: of equal keys the first one stays.
    Value better = compare(arith::CmpIPredicate::sgt, found.key, search.getRegionIterArg(0));
    Value take = arith::AndIOp::create(b, after, better);
    Value key = select(take, found.key, search.getRegionIterArg(0));
    Value position = select(take, found.index, search.getRegionIterArg(1));
    scf::YieldOp::create(b, ValueRange{key, position});
  }
  for (int64_t distance = lanes / 2; distance > 0; distance /= 2) {
    SmallVector<int64_t> mask;
    for (int64_t lane = 0; lane < lanes; ++lane)
      mask.push_back(lane ^ distance);
    Candidates other{vector::ShuffleOp::create(b, best.key, best.key, mask),
                     vector::ShuffleOp::create(b, best.index, best.index, mask)};
    Value sameKey = compare(arith::CmpIPredicate::eq, other.key, best.key);
    Value earlier = compare(arith::CmpIPredicate::slt, other.index, best.index);
    Value take = arith::OrIOp::create(b, compare(arith::CmpIPredicate::sgt, other.key, best.key),
                                      arith::AndIOp::create(b, sameKey, earlier));
    best = {select(take, other.key, best.key), select(take, other.index, best.index)};
  }
  return best;
}

void TopKLowering::run() {
  auto selectedType = cast<RankedTensorType>(op.getSelected().getType());
  SmallVector<OpFoldResult> sizes{tensor::getMixedSize(b, b.getLoc(), op.getValues(), 0),
                                  op.getDynamicK() ? OpFoldResult(op.getDynamicK())
                                                   : OpFoldResult(b.getIndexAttr(*op.getK()))};
  Value rounds = op.getDynamicK() ? op.getDynamicK() : index(*op.getK());
  SmallVector<Value> results{tensor::EmptyOp::create(b, sizes, selectedType.getElementType()),
                             tensor::EmptyOp::create(b, sizes, b.getI32Type())};
  Value tokens = b.createOrFold<tensor::DimOp>(op.getValues(), 0);
  auto rows = scf::ForOp::create(b, index(0), tokens, index(1), results);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(rows.getBody());
    Value token = rows.getInductionVar();
    SmallVector<Value> start{splat(std::numeric_limits<int32_t>::max()), splat(-1), rows.getRegionIterArg(0),
                             rows.getRegionIterArg(1)};
    auto choices = scf::ForOp::create(b, index(0), rounds, index(1), start);
    scf::YieldOp::create(b, choices.getResults().drop_front(2));
    b.setInsertionPointToEnd(choices.getBody());
    Candidates best = bestAfter(token, {choices.getRegionIterArg(0), choices.getRegionIterArg(1)});
    Value chosen = vector::ExtractOp::create(b, best.index, int64_t(0));
    Value expert = arith::IndexCastOp::create(b, b.getIndexType(), chosen);
    SmallVector<Value> place{token, choices.getInductionVar()};
    Value value = tensor::ExtractOp::create(b, op.getValues(), ValueRange{token, expert});
    Value selected = tensor::InsertOp::create(b, value, choices.getRegionIterArg(2), place);
    Value indices = tensor::InsertOp::create(b, chosen, choices.getRegionIterArg(3), place);
    scf::YieldOp::create(b, ValueRange{best.key, best.index, selected, indices});
  }
  for (auto [old, result] : llvm::zip(op->getResults(), rows.getResults())) {
    Value value = result;
    if (value.getType() != old.getType())
      value = tensor::CastOp::create(b, old.getType(), value);
    old.replaceAllUsesWith(value);
  }
}

namespace {
struct TopKToVectorsPass : moe::impl::TopKToVectorsBase<TopKToVectorsPass> {
  void runOnOperation() override {
    SmallVector<TopKOp> ops;
    getOperation()->walk([&](TopKOp op) {
      if (TopKLowering::applies(op))
        ops.push_back(op);
    });
    for (TopKOp op : ops) {
      TopKLowering(op).run();
      op.erase();
    }
  }
};
} // namespace

//===- Routing.cpp - top_k, drop and plan as linalg and scf ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "llvm/ADT/SmallVectorExtras.h"

using namespace mlir;
using namespace moe;
using namespace moe::lowering;

//===----------------------------------------------------------------------===//
// Order of keys
//===----------------------------------------------------------------------===//

/// True if key `a` is better than key `b`: larger, or a number where `b` is NaN. Equal keys (0 and -0, two NaNs) are
/// not better than each other: walking in index order keeps the lowest index.
static Value isBetter(ImplicitLocOpBuilder &b, Value x, Value y) {
  Value larger = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, y);
  Value xIsNumber = arith::CmpFOp::create(b, arith::CmpFPredicate::ORD, x, x);
  Value yIsNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, y, y);
  return arith::OrIOp::create(b, larger, arith::AndIOp::create(b, xIsNumber, yIsNaN));
}

namespace {
/// The best candidate of each row of a [rows.., candidates] tensor: its index (i32) and its key, both [rows..].
struct Best {
  Value index, key;
};
} // namespace

static SmallVector<unsigned> firstLoops(unsigned count) { return llvm::to_vector(llvm::seq(count)); }

/// The best key among those not `taken` (i1, same shape); the first of equal ones.
static Best bestOfRow(ImplicitLocOpBuilder &b, Value keys, Value taken) {
  auto type = cast<RankedTensorType>(keys.getType());
  unsigned rank = type.getRank();
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), keys);
  ArrayRef<OpFoldResult> rows = ArrayRef(sizes).drop_back();
  Value noIndex = filled(b, rows, i32Constant(b, -1));
  Value noKey = filled(b, rows, negativeInfinity(b, cast<FloatType>(type.getElementType())));
  SmallVector<Value> best = generic(
      b, {keys, taken}, {noIndex, noKey}, rank,
      {firstLoops(rank), firstLoops(rank), firstLoops(rank - 1), firstLoops(rank - 1)}, {rank - 1},
      [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
        Value key = s[0], isTaken = s[1], bestIndex = s[2], bestKey = s[3];
        Value first = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, bestIndex, i32Constant(b, 0));
        Value wins = arith::OrIOp::create(b, first, isBetter(b, key, bestKey));
        Value isFree = arith::XOrIOp::create(b, isTaken, arith::ConstantOp::create(b, b.getBoolAttr(true)));
        Value take = arith::AndIOp::create(b, isFree, wins);
        Value here = toI32(b, linalg::IndexOp::create(b, rank - 1));
        return {arith::SelectOp::create(b, take, here, bestIndex), arith::SelectOp::create(b, take, key, bestKey)};
      });
  return {best[0], best[1]};
}

/// `taken` with candidate index[rows..] of each row set.
static Value markTaken(ImplicitLocOpBuilder &b, Value taken, Value index) {
  unsigned rank = cast<RankedTensorType>(taken.getType()).getRank();
  return generic(b, {index}, {taken}, rank, {firstLoops(rank - 1), firstLoops(rank)}, {},
                 [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                   Value here = toI32(b, linalg::IndexOp::create(b, rank - 1));
                   Value isIt = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, here, s[0]);
                   return {arith::OrIOp::create(b, s[1], isIt)};
                 })
      .front();
}

static Value noneTaken(ImplicitLocOpBuilder &b, Value keys) {
  return filled(b, tensor::getMixedSizes(b, b.getLoc(), keys), arith::ConstantOp::create(b, b.getBoolAttr(false)));
}

//===----------------------------------------------------------------------===//
// top_k
//===----------------------------------------------------------------------===//

/// The keys with those outside the best groups replaced; see #moe.groups.
static Value maskGroups(ImplicitLocOpBuilder &b, Value keys, GroupsAttr groups) {
  auto type = cast<RankedTensorType>(keys.getType());
  int64_t count = groups.getCount(), size = type.getDimSize(1) / count;
  SmallVector<ReassociationIndices> fold{{0}, {1, 2}};
  auto grouped = tensor::ExpandShapeOp::create(b, type.clone({type.getDimSize(0), count, size}), keys, fold);

  Value none = noneTaken(b, grouped);
  Best best = bestOfRow(b, grouped, none);
  Value score = best.key; // [T, count]
  if (groups.getScore() == GroupScore::SumTop2) {
    Best second = bestOfRow(b, grouped, markTaken(b, none, best.index));
    score = generic(b, {best.key}, {second.key}, 2, {{0, 1}, {0, 1}}, {},
                    [](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                      return {arith::AddFOp::create(b, s[0], s[1])};
                    })
                .front();
  }
  // After `keep` rounds the taken groups are those that stay.
  Value open = forLoop(b, indexConstant(b, groups.getKeep()), noneTaken(b, score),
                       [&](ImplicitLocOpBuilder &b, Value, ValueRange taken) -> SmallVector<Value> {
                         return {markTaken(b, taken[0], bestOfRow(b, score, taken[0]).index)};
                       })
                   .front();
  auto element = cast<FloatType>(type.getElementType());
  Value fill = groups.getMasked() == "zero" ? floatConstant(b, element, 0.0) : negativeInfinity(b, element);
  Value masked = generic(b, {open}, {grouped}, 3, {{0, 1}, {0, 1, 2}}, {},
                         [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                           return {arith::SelectOp::create(b, s[0], s[1], fill)};
                         })
                     .front();
  return tensor::CollapseShapeOp::create(b, type, masked, fold);
}

/// column[t] -> matrix[t, j].
static Value insertColumn(ImplicitLocOpBuilder &b, Value column, Value matrix, Value j) {
  SmallVector<OpFoldResult> offsets{b.getIndexAttr(0), j}, strides(2, b.getIndexAttr(1));
  SmallVector<OpFoldResult> sizes{tensor::getMixedSize(b, b.getLoc(), matrix, 0), b.getIndexAttr(1)};
  return tensor::InsertSliceOp::create(b, column, matrix, offsets, sizes, strides);
}

namespace {
/// k rounds of: take the best key that is left.
struct LowerTopK : OpRewritePattern<TopKOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(TopKOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value values = op.getValues(), keys = op.getSelectionKeys();
    if (auto groups = op.getGroups())
      keys = maskGroups(b, keys, *groups);

    OpFoldResult tokens = tensor::getMixedSize(b, b.getLoc(), values, 0);
    OpFoldResult k = op.getDynamicK() ? OpFoldResult(op.getDynamicK()) : OpFoldResult(b.getIndexAttr(*op.getK()));
    auto valueType = cast<RankedTensorType>(values.getType()).getElementType();
    Value rounds = op.getDynamicK() ? op.getDynamicK() : indexConstant(b, *op.getK());
    SmallVector<Value> start{noneTaken(b, keys), uninitialized(b, {tokens, k}, valueType),
                             uninitialized(b, {tokens, k}, b.getI32Type())};
    SmallVector<Value> chosen =
        forLoop(b, rounds, start, [&](ImplicitLocOpBuilder &b, Value j, ValueRange carried) -> SmallVector<Value> {
          Best best = bestOfRow(b, keys, carried[0]);
          Value selected = generic(b, {best.index}, {uninitialized(b, {tokens}, valueType)}, 1, {{0}, {0}}, {},
                                   [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                                     Value token = linalg::IndexOp::create(b, 0);
                                     return {tensor::ExtractOp::create(b, values, ValueRange{token, toIndex(b, s[0])})};
                                   })
                               .front();
          return {markTaken(b, carried[0], best.index), insertColumn(b, selected, carried[1], j),
                  insertColumn(b, best.index, carried[2], j)};
        });
    replaceWithCasts(rewriter, op, {chosen[1], chosen[2]});
    return success();
  }
};
} // namespace

//===----------------------------------------------------------------------===//
// drop
//===----------------------------------------------------------------------===//

/// The choices t * k + j in the order of falling priority [T, k]: choice c comes after as many others as are better
/// than it, or equal to it and earlier. Returns [T * k] i32.
static Value orderByPriority(ImplicitLocOpBuilder &b, Value priority, Value choices) {
  Value flat = tensor::CollapseShapeOp::create(b, priority, SmallVector<ReassociationIndices>{{0, 1}});
  OpFoldResult count = tensor::getMixedSize(b, b.getLoc(), flat, 0);
  Value rank = generic(b, {flat, flat}, {filled(b, {count}, i32Constant(b, 0))}, 2, {{0}, {1}, {0}}, {1},
                       [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                         Value mine = s[0], other = s[1];
                         Value better = isBetter(b, other, mine), worse = isBetter(b, mine, other);
                         Value same = arith::XOrIOp::create(b, arith::OrIOp::create(b, better, worse),
                                                            arith::ConstantOp::create(b, b.getBoolAttr(true)));
                         Value earlier =
                             arith::CmpIOp::create(b, arith::CmpIPredicate::ult, linalg::IndexOp::create(b, 1),
                                                   linalg::IndexOp::create(b, 0));
                         Value before = arith::OrIOp::create(b, better, arith::AndIOp::create(b, same, earlier));
                         return {arith::AddIOp::create(b, s[2], arith::ExtUIOp::create(b, b.getI32Type(), before))};
                       })
                   .front();
  return forLoop(b, choices, uninitialized(b, {count}, b.getI32Type()),
                 [&](ImplicitLocOpBuilder &b, Value choice, ValueRange order) -> SmallVector<Value> {
                   Value place = toIndex(b, tensor::ExtractOp::create(b, rank, choice));
                   return {tensor::InsertOp::create(b, toI32(b, choice), order[0], place)};
                 })
      .front();
}

/// A dense id for each token's segment: the first token of the same segment. Returns [T] i32.
static Value firstOfSegment(ImplicitLocOpBuilder &b, Value segments) {
  OpFoldResult tokens = tensor::getMixedSize(b, b.getLoc(), segments, 0);
  return generic(b, {segments, segments}, {filled(b, {tokens}, i32Constant(b, -1))}, 2, {{0}, {1}, {0}}, {1},
                 [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                   Value same = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, s[0], s[1]);
                   Value none = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, s[2], i32Constant(b, 0));
                   Value here = toI32(b, linalg::IndexOp::create(b, 1));
                   return {arith::SelectOp::create(b, arith::AndIOp::create(b, same, none), here, s[2])};
                 })
      .front();
}

namespace {
/// Walks the choices in order with a count of taken places per (segment, expert).
struct LowerDrop : OpRewritePattern<DropOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(DropOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value indices = op.getIndices();
    Value tokens = sizeOf(b, indices, 0), k = sizeOf(b, indices, 1);
    Value choices = arith::MulIOp::create(b, tokens, k);

    Value order, segment;
    if (op.getOrder() == "priority")
      order = orderByPriority(b, op.getPriority(), choices);
    if (op.getSegments())
      segment = firstOfSegment(b, op.getSegments());

    Value zero = i32Constant(b, 0), one = i32Constant(b, 1), capacity = op.getCapacity();
    Value experts = i32Constant(b, op.getExperts());
    OpFoldResult segments = segment ? tensor::getMixedSize(b, b.getLoc(), segment, 0) : OpFoldResult(b.getIndexAttr(1));
    Value taken = filled(b, {segments, b.getIndexAttr(op.getExperts())}, zero);
    Value kept = filled(b, tensor::getMixedSizes(b, b.getLoc(), indices), i32Constant(b, -1));
    SmallVector<Value> walked = forLoop(
        b, choices, {kept, taken}, [&](ImplicitLocOpBuilder &b, Value step, ValueRange carried) -> SmallVector<Value> {
          Value t, j;
          if (op.getOrder() == "choice") {
            j = arith::DivUIOp::create(b, step, tokens);
            t = arith::RemUIOp::create(b, step, tokens);
          } else {
            Value choice = order ? toIndex(b, tensor::ExtractOp::create(b, order, step)) : step;
            t = arith::DivUIOp::create(b, choice, k);
            j = arith::RemUIOp::create(b, choice, k);
          }
          Value expert = tensor::ExtractOp::create(b, indices, ValueRange{t, j});
          // Unsigned: -1 is no expert either.
          Value valid = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, expert, experts);
          return ifThen(b, valid, carried, [&](ImplicitLocOpBuilder &b) -> SmallVector<Value> {
            Value row = segment ? toIndex(b, tensor::ExtractOp::create(b, segment, t)) : indexConstant(b, 0);
            SmallVector<Value> place{row, toIndex(b, expert)};
            Value count = tensor::ExtractOp::create(b, carried[1], place);
            Value room = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, toIndex(b, count), capacity);
            return ifThen(b, room, carried, [&](ImplicitLocOpBuilder &b) -> SmallVector<Value> {
              return {tensor::InsertOp::create(b, expert, carried[0], ValueRange{t, j}),
                      tensor::InsertOp::create(b, arith::AddIOp::create(b, count, one), carried[1], place)};
            });
          });
        });
    replaceWithCasts(rewriter, op, walked[0]);
    return success();
  }
};

//===----------------------------------------------------------------------===//
// plan
//===----------------------------------------------------------------------===//

/// Stable counting sort: count, sum up, place.
struct LowerPlan : OpRewritePattern<PlanOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(PlanOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value indices = op.getIndices(), zero = i32Constant(b, 0), one = i32Constant(b, 1), none = i32Constant(b, -1);
    Value k = sizeOf(b, indices, 1), numChoices = arith::MulIOp::create(b, sizeOf(b, indices, 0), k);
    Value experts = i32Constant(b, op.getExperts());
    SmallVector<OpFoldResult> expertSize{b.getIndexAttr(op.getExperts())};

    /// Runs `body` for the choices that name an expert, in order.
    auto forChoices = [&](ValueRange carried,
                          function_ref<SmallVector<Value>(ImplicitLocOpBuilder &, Value choice, Value t, Value j,
                                                          Value expert, ValueRange carried)>
                              body) {
      return forLoop(
          b, numChoices, carried, [&](ImplicitLocOpBuilder &b, Value choice, ValueRange carried) -> SmallVector<Value> {
            Value t = arith::DivUIOp::create(b, choice, k), j = arith::RemUIOp::create(b, choice, k);
            Value expert = tensor::ExtractOp::create(b, indices, ValueRange{t, j});
            Value valid = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, expert, experts);
            return ifThen(b, valid, carried,
                          [&](ImplicitLocOpBuilder &b) { return body(b, choice, t, j, toIndex(b, expert), carried); });
          });
    };

    Value counts =
        forChoices(
            filled(b, expertSize, zero),
            [&](ImplicitLocOpBuilder &b, Value, Value, Value, Value expert, ValueRange counts) -> SmallVector<Value> {
              Value count = tensor::ExtractOp::create(b, counts[0], expert);
              return {tensor::InsertOp::create(b, arith::AddIOp::create(b, count, one), counts[0], expert)};
            })
            .front();

    // offsets[e + 1] = offsets[e] + counts[e]; next[e] is where expert e's next row goes.
    SmallVector<OpFoldResult> offsetSize{b.getIndexAttr(op.getExperts() + 1)};
    Value unset = uninitialized(b, offsetSize, b.getI32Type());
    SmallVector<Value> start{tensor::InsertOp::create(b, zero, unset, indexConstant(b, 0)),
                             uninitialized(b, expertSize, b.getI32Type())};
    SmallVector<Value> sums =
        forLoop(b, indexConstant(b, op.getExperts()), start,
                [&](ImplicitLocOpBuilder &b, Value expert, ValueRange carried) -> SmallVector<Value> {
                  Value begin = tensor::ExtractOp::create(b, carried[0], expert);
                  Value end = arith::AddIOp::create(b, begin, tensor::ExtractOp::create(b, counts, expert));
                  Value next = arith::AddIOp::create(b, expert, indexConstant(b, 1));
                  return {tensor::InsertOp::create(b, end, carried[0], next),
                          tensor::InsertOp::create(b, begin, carried[1], expert)};
                });

    Value choices = filled(b, OpFoldResult(numChoices), none);
    Value slots = filled(b, tensor::getMixedSizes(b, b.getLoc(), indices), none);
    SmallVector<Value> placed =
        forChoices({choices, slots, sums[1]},
                   [&](ImplicitLocOpBuilder &b, Value choice, Value t, Value j, Value expert,
                       ValueRange carried) -> SmallVector<Value> {
                     Value row = tensor::ExtractOp::create(b, carried[2], expert);
                     return {tensor::InsertOp::create(b, toI32(b, choice), carried[0], toIndex(b, row)),
                             tensor::InsertOp::create(b, row, carried[1], ValueRange{t, j}),
                             tensor::InsertOp::create(b, arith::AddIOp::create(b, row, one), carried[2], expert)};
                   });
    replaceWithCasts(rewriter, op, {sums[0], placed[0], placed[1]});
    return success();
  }
};
} // namespace

void moe::populateRoutingToLinalg(RewritePatternSet &patterns) {
  patterns.add<LowerTopK, LowerDrop, LowerPlan>(patterns.getContext());
}

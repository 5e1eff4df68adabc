//===- Experts.cpp - experts and grouped_matmul as loops over groups ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace moe;
using namespace moe::lowering;

/// Bounds of a group.
namespace {
struct Group {
  Value expert, begin, size;
};
} // namespace

/// Runs `body` for each group with at least one row, in order, with loop-carried `values`.
static SmallVector<Value> forGroups(ImplicitLocOpBuilder &b, Value offsets, ValueRange values,
                                    function_ref<SmallVector<Value>(ImplicitLocOpBuilder &, Group, ValueRange)> body) {
  int64_t experts = cast<ShapedType>(offsets.getType()).getDimSize(0) - 1;
  return forLoop(b, indexConstant(b, experts), values,
                 [&](ImplicitLocOpBuilder &b, Value expert, ValueRange carried) -> SmallVector<Value> {
                   Value next = arith::AddIOp::create(b, expert, indexConstant(b, 1));
                   Value begin = toIndex(b, tensor::ExtractOp::create(b, offsets, expert));
                   Value end = toIndex(b, tensor::ExtractOp::create(b, offsets, next));
                   Value size = arith::SubIOp::create(b, end, begin);
                   Value any = arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, size, indexConstant(b, 0));
                   return ifThen(b, any, carried,
                                 [&](ImplicitLocOpBuilder &b) { return body(b, {expert, begin, size}, carried); });
                 });
}

/// The rows of a group: offsets and sizes of a slice of `rows`.
static void rowsOfGroup(ImplicitLocOpBuilder &b, Value rows, Group group, SmallVector<OpFoldResult> &offsets,
                        SmallVector<OpFoldResult> &sizes) {
  sizes = tensor::getMixedSizes(b, b.getLoc(), rows);
  offsets.assign(sizes.size(), b.getIndexAttr(0));
  offsets[0] = group.begin;
  sizes[0] = group.size;
}

static Value extractRows(ImplicitLocOpBuilder &b, Value rows, Group group) {
  SmallVector<OpFoldResult> offsets, sizes;
  rowsOfGroup(b, rows, group, offsets, sizes);
  return tensor::ExtractSliceOp::create(b, rows, offsets, sizes,
                                        SmallVector<OpFoldResult>(sizes.size(), b.getIndexAttr(1)));
}

static Value insertRows(ImplicitLocOpBuilder &b, Value part, Value rows, Group group) {
  SmallVector<OpFoldResult> offsets, sizes;
  rowsOfGroup(b, rows, group, offsets, sizes);
  return tensor::InsertSliceOp::create(b, part, rows, offsets, sizes,
                                       SmallVector<OpFoldResult>(sizes.size(), b.getIndexAttr(1)));
}

/// Slice e of a parameter [E, ...], without the leading dimension.
static Value sliceOfExpert(ImplicitLocOpBuilder &b, Value parameter, Value expert) {
  auto type = cast<RankedTensorType>(parameter.getType());
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), parameter);
  SmallVector<OpFoldResult> offsets(sizes.size(), b.getIndexAttr(0)), strides(sizes.size(), b.getIndexAttr(1));
  offsets[0] = expert;
  sizes[0] = b.getIndexAttr(1);
  return tensor::ExtractSliceOp::create(b, type.clone(type.getShape().drop_front()), parameter, offsets, sizes,
                                        strides);
}

//===----------------------------------------------------------------------===//
// experts
//===----------------------------------------------------------------------===//

namespace {
struct LowerExperts : OpRewritePattern<ExpertsOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ExpertsOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value numRows = sizeOf(b, op.getRows().front(), 0);
    SmallVector<Value> zeros;
    for (Value result : op.getResults()) {
      auto type = cast<RankedTensorType>(result.getType());
      SmallVector<OpFoldResult> sizes{type.isDynamicDim(0) ? OpFoldResult(numRows)
                                                           : OpFoldResult(b.getIndexAttr(type.getDimSize(0)))};
      for (int64_t size : type.getShape().drop_front())
        sizes.push_back(b.getIndexAttr(size));
      zeros.push_back(filled(b, sizes, arith::ConstantOp::create(b, b.getZeroAttr(type.getElementType()))));
    }
    SmallVector<Value> results = forGroups(
        b, op.getOffsets(), zeros, [&](ImplicitLocOpBuilder &b, Group group, ValueRange carried) -> SmallVector<Value> {
          IRMapping mapping;
          Block &body = op.getBody().front();
          unsigned argument = 0;
          for (Value rows : op.getRows())
            mapping.map(body.getArgument(argument++), extractRows(b, rows, group));
          for (Value parameter : op.getParams())
            mapping.map(body.getArgument(argument++), sliceOfExpert(b, parameter, group.expert));
          for (Operation &inner : body.without_terminator())
            b.clone(inner, mapping);
          SmallVector<Value> next;
          for (auto [value, rows] : llvm::zip(body.getTerminator()->getOperands(), carried))
            next.push_back(insertRows(b, mapping.lookupOrDefault(value), rows, group));
          return next;
        });
    replaceWithCasts(rewriter, op, results);
    return success();
  }
};

//===----------------------------------------------------------------------===//
// grouped_matmul
//===----------------------------------------------------------------------===//

/// acc[m, n] = sum over k ascending of x[m, k] * weight[expert, n, k]: one f32 fma chain per element.
static Value product(ImplicitLocOpBuilder &b, Value x, Value weight, Value expert, Value accumulator) {
  unsigned rank = cast<ShapedType>(weight.getType()).getRank();
  auto multiplyAdd = [](ImplicitLocOpBuilder &b, Value x, Value w, Value acc) -> SmallVector<Value> {
    return {math::FmaOp::create(b, toF32(b, x), toF32(b, w), acc)};
  };
  if (rank == 3)
    return generic(b, {x, sliceOfExpert(b, weight, expert)}, {accumulator}, 3, {{0, 2}, {1, 2}, {0, 1}}, {2},
                   [&](ImplicitLocOpBuilder &b, ValueRange s) { return multiplyAdd(b, s[0], s[1], s[2]); })
        .front();
  // Packed: column n is in panel n / 16 at n % 16; k is a row of the panel, or half of a pair.
  return generic(b, {x}, {accumulator}, 3, {{0, 2}, {0, 1}}, {2},
                 [&](ImplicitLocOpBuilder &b, ValueRange s) {
                   Value n = linalg::IndexOp::create(b, 1), k = linalg::IndexOp::create(b, 2);
                   Value width = indexConstant(b, GroupedMatmulOp::panelWidth), two = indexConstant(b, 2);
                   Value panel = arith::DivUIOp::create(b, n, width), lane = arith::RemUIOp::create(b, n, width);
                   SmallVector<Value> at{expert, panel, k, lane};
                   if (rank == 5)
                     at = {expert, panel, arith::DivUIOp::create(b, k, two), lane, arith::RemUIOp::create(b, k, two)};
                   return multiplyAdd(b, s[0], tensor::ExtractOp::create(b, weight, at), s[1]);
                 })
      .front();
}

struct LowerGroupedMatmul : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    if (!op.hasPureTensorSemantics())
      return rewriter.notifyMatchFailure(op, "on memrefs it is lowered by moe-grouped-matmul-to-loops");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value x = op.getX();
    if (op.getChoices()) {
      auto type = cast<RankedTensorType>(x.getType());
      x = DispatchOp::create(b,
                             type.clone({cast<ShapedType>(op.getInit().getType()).getDimSize(0), type.getDimSize(1)}),
                             x, op.getChoices(), op.getFanout());
    }
    SmallVector<Value> results = forGroups(
        b, op.getOffsets(), op.getInit(),
        [&](ImplicitLocOpBuilder &b, Group group, ValueRange carried) -> SmallVector<Value> {
          Value rows = extractRows(b, x, group), out = extractRows(b, carried[0], group);
          SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), out);
          Value zero = floatConstant(b, b.getF32Type(), 0.0);

          SmallVector<Value> inputs;
          SmallVector<SmallVector<unsigned>> maps;
          for (Value weight : op.getWeights()) {
            inputs.push_back(product(b, rows, weight, group.expert, filled(b, sizes, zero)));
            maps.push_back({0, 1});
          }
          for (Value scalars : op.getRowScalars()) {
            inputs.push_back(extractRows(b, scalars, group));
            maps.push_back({0});
          }
          for (Value scalars : op.getColumnScalars()) {
            inputs.push_back(sliceOfExpert(b, scalars, group.expert));
            maps.push_back({1});
          }
          maps.push_back({0, 1});
          Value part =
              generic(b, inputs, {out}, 2, maps, {}, [&](ImplicitLocOpBuilder &b, ValueRange s) -> SmallVector<Value> {
                IRMapping mapping;
                Block &epilogue = op.getEpilogue().front();
                mapping.map(epilogue.getArguments(), s.drop_back());
                for (Operation &inner : epilogue.without_terminator())
                  b.clone(inner, mapping);
                return {mapping.lookupOrDefault(epilogue.getTerminator()->getOperand(0))};
              }).front();
          return {insertRows(b, part, carried[0], group)};
        });
    replaceWithCasts(rewriter, op, results);
    return success();
  }
};
} // namespace

void moe::populateExpertsToLinalg(RewritePatternSet &patterns) { patterns.add<LowerExperts>(patterns.getContext()); }

void moe::populateGroupedMatmulToLinalg(RewritePatternSet &patterns) {
  patterns.add<LowerGroupedMatmul>(patterns.getContext());
}

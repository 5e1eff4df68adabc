//===- Experts.cpp - experts and grouped_matmul as loops over groups ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
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

namespace {
/// A column and an element along k.
struct Position {
  Value n, k;

  /// Its indices in a packed operand [E, N/16, K, 16], or [E, N/16, K/t, 16, t] with tiles {t}.
  SmallVector<Value> in(ImplicitLocOpBuilder &b, Value expert, ArrayRef<int64_t> tiles) const {
    auto split = [&](Value index, int64_t size, bool rest) -> Value {
      Value by = indexConstant(b, size);
      return rest ? arith::RemUIOp::create(b, index, by).getResult() : arith::DivUIOp::create(b, index, by).getResult();
    };
    constexpr int64_t width = GroupedMatmulOp::panelWidth;
    SmallVector<Value> at{expert, split(n, width, false)};
    at.push_back(tiles.empty() ? k : split(k, tiles[0], false));
    at.push_back(split(n, width, true));
    if (!tiles.empty())
      at.push_back(split(k, tiles[0], true));
    return at;
  }
};
} // namespace

/// The number that a code of e4m3 stands for, where none is NaN.
static Value decodeE4M3(ImplicitLocOpBuilder &b, Value code) {
  auto constant = [&](float value) { return arith::ConstantOp::create(b, b.getF32FloatAttr(value)); };
  auto bits = [&](int64_t mask, int64_t left) -> Value {
    return arith::ShLIOp::create(b, arith::AndIOp::create(b, code, i32Constant(b, mask)), i32Constant(b, left));
  };
  // Exponents are less by 120 than those of f32; what lies below the least is m * 2^-9.
  Value isSmall = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, bits(0x78, 0), i32Constant(b, 0));
  Value small = arith::UIToFPOp::create(b, b.getF32Type(), bits(7, 0));
  small = arith::MulFOp::create(b, small, constant(0x1p-9f));
  Value value = arith::AddIOp::create(b, bits(0x7f, 20), i32Constant(b, 120 << 23));
  value = arith::SelectOp::create(b, isSmall, small, arith::BitcastOp::create(b, b.getF32Type(), value));
  Value sign = arith::BitcastOp::create(b, b.getF32Type(), bits(0x80, 24));
  return math::CopySignOp::create(b, value, sign);
}

/// A code as the number it stands for.
static Value decode(ImplicitLocOpBuilder &b, Value code, StringRef format) {
  if (format == "fp8")
    return decodeE4M3(b, code);
  static constexpr float int4[] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
  static constexpr float e2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6};
  auto type = RankedTensorType::get({16}, b.getF32Type());
  Value table = arith::ConstantOp::create(b, DenseElementsAttr::get(type, ArrayRef(format == "int4" ? int4 : e2m1)));
  return tensor::ExtractOp::create(b, table, toIndex(b, code));
}

/// 2^(e - 127) of an exponent e in i8, 255 is NaN.
static Value decodeE8M0(ImplicitLocOpBuilder &b, Value scale) {
  Value exponent = arith::ExtUIOp::create(b, b.getI32Type(), scale);
  auto equals = [&](int64_t value) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, exponent, i32Constant(b, value));
  };
  Value bits = arith::ShLIOp::create(b, exponent, i32Constant(b, 23));
  bits = arith::SelectOp::create(b, equals(0), i32Constant(b, 0x00400000), bits);
  bits = arith::SelectOp::create(b, equals(255), i32Constant(b, 0x7fc00000), bits);
  return arith::BitcastOp::create(b, b.getF32Type(), bits);
}

/// Weight n, k of an expert, from codes: decode(code) * scale.
static Value decodedWeight(ImplicitLocOpBuilder &b, GroupedMatmulOp op, unsigned number, Value expert, Position at) {
  Value codes = op.getWeights()[number], scales = op.getScales()[number];
  auto apply = [&](AffineExpr expression) -> Value {
    return affine::AffineApplyOp::create(b, AffineMap::get(2, 0, expression), ValueRange{at.n, at.k});
  };
  int64_t bits = op.getCodeBits();
  GroupedMatmulOp::CodePlace place = op.placeOfCode(b.getAffineDimExpr(0), b.getAffineDimExpr(1));
  SmallVector<Value> codeAt{expert}, scaleAt{expert};
  llvm::append_range(codeAt, llvm::map_range(place.byte, apply));
  llvm::append_range(scaleAt, llvm::map_range(place.scale, apply));
  Value byte = arith::ExtUIOp::create(b, b.getI32Type(), tensor::ExtractOp::create(b, codes, codeAt));
  Value shifted = arith::ShRUIOp::create(b, byte, toI32(b, apply(place.part * bits)));
  Value code = arith::AndIOp::create(b, shifted, i32Constant(b, (1 << bits) - 1));
  Value scale = tensor::ExtractOp::create(b, scales, scaleAt);
  scale = scale.getType().isInteger(8) ? decodeE8M0(b, scale) : toF32(b, scale);
  return arith::MulFOp::create(b, decode(b, code, *op.getFormat()), scale);
}

/// acc[m, n] = sum over k ascending of x[m, k] * weights_number[expert, n, k]: one f32 fma chain per element, or an
/// exact sum in i32.
static Value product(ImplicitLocOpBuilder &b, GroupedMatmulOp op, unsigned number, Value x, Value expert,
                     Value accumulator) {
  Value weight = op.getWeights()[number];
  unsigned rank = cast<ShapedType>(weight.getType()).getRank();
  auto multiplyAdd = [&](ImplicitLocOpBuilder &b, Value x, Value w, Value acc) -> SmallVector<Value> {
    if (!op.isInteger())
      return {math::FmaOp::create(b, toF32(b, x), toF32(b, w), acc)};
    auto wide = [&](Value value) -> Value { return arith::ExtSIOp::create(b, b.getI32Type(), value); };
    return {arith::AddIOp::create(b, acc, arith::MulIOp::create(b, wide(x), wide(w)))};
  };
  if (rank == 3 && !op.getFormat())
    return generic(b, {x, sliceOfExpert(b, weight, expert)}, {accumulator}, 3, {{0, 2}, {1, 2}, {0, 1}}, {2},
                   [&](ImplicitLocOpBuilder &b, ValueRange s) { return multiplyAdd(b, s[0], s[1], s[2]); })
        .front();
  // Codes, or packed: column n is in panel n / 16 at n % 16; k is a row of the panel, or part of a pair or quad.
  return generic(b, {x}, {accumulator}, 3, {{0, 2}, {0, 1}}, {2},
                 [&](ImplicitLocOpBuilder &b, ValueRange s) {
                   Position at{linalg::IndexOp::create(b, 1), linalg::IndexOp::create(b, 2)};
                   if (op.getFormat())
                     return multiplyAdd(b, s[0], decodedWeight(b, op, number, expert, at), s[1]);
                   SmallVector<int64_t> tiles;
                   if (rank == 5)
                     tiles.push_back(op.isInteger() ? 4 : 2);
                   Value w = tensor::ExtractOp::create(b, weight, at.in(b, expert, tiles));
                   return multiplyAdd(b, s[0], w, s[1]);
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
          Value zero = arith::ConstantOp::create(b, b.getZeroAttr(op.getAccumulatorType()));

          SmallVector<Value> inputs;
          SmallVector<SmallVector<unsigned>> maps;
          for (unsigned number = 0; number < op.getWeights().size(); ++number) {
            inputs.push_back(product(b, op, number, rows, group.expert, filled(b, sizes, zero)));
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

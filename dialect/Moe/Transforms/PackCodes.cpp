//===- PackCodes.cpp - codes in the order of lanes ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A column n = 16 * panel + 4 * a + 2 * m + b belongs to lanes of c = 2 * a + b, an element k = 8 * j + 2 * t + h of
// the 32 (4 bits) or 16 (8 bits) in a tile of 256 bytes to lanes of t: see moe.grouped_matmul.
//
//===----------------------------------------------------------------------===//

#include "Codes.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEPACKCODES
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

using Body = function_ref<Value(ImplicitLocOpBuilder &, ValueRange)>;

/// An elementwise op whose inputs are `source` seen through each of `maps`.
static Value map(ImplicitLocOpBuilder &b, Value source, ArrayRef<AffineMap> inputs, ArrayRef<int64_t> shape,
                 Type element, Body body) {
  unsigned rank = shape.size();
  SmallVector<AffineMap> maps(inputs);
  maps.push_back(b.getMultiDimIdentityMap(rank));
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  Value init = tensor::EmptyOp::create(b, shape, element);
  auto emit = [&](OpBuilder &builder, Location loc, ValueRange scalars) {
    ImplicitLocOpBuilder inner(loc, builder);
    linalg::YieldOp::create(inner, body(inner, scalars.drop_back()));
  };
  SmallVector<Value> sources(inputs.size(), source);
  return linalg::GenericOp::create(b, init.getType(), sources, init, maps, iterators, emit).getResult(0);
}

static Value expand(ImplicitLocOpBuilder &b, Value value, ArrayRef<int64_t> shape,
                    ArrayRef<ReassociationIndices> groups) {
  auto type = cast<RankedTensorType>(value.getType()).clone(shape);
  return tensor::ExpandShapeOp::create(b, type, value, groups);
}

/// Codes of 4 bits: bytes [E, N, K/2] as [E, N/16, K/32, 256].
static Value packHalfBytes(ImplicitLocOpBuilder &b, Value bytes) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(bytes.getType()).getShape();
  int64_t experts = shape[0], panels = shape[1] / 16, groups = shape[2] / 16;
  // Of 16 bytes number 8 * u + 4 * v + t has the codes of j = 2 * u + v.
  Value source = expand(b, bytes, {experts, panels, 4, 2, 2, groups, 2, 2, 4}, {{0}, {1, 2, 3, 4}, {5, 6, 7, 8}});
  // Loops: expert, panel, group, a, b, t, m, h, u. A byte has the codes of v = 0 and v = 1.
  auto d = [&](unsigned loop) { return b.getAffineDimExpr(loop); };
  auto at = [&](int64_t v) {
    SmallVector<AffineExpr> index{d(0), d(1), d(3), d(6), d(4), d(2), d(8), b.getAffineConstantExpr(v), d(5)};
    return AffineMap::get(9, 0, index, b.getContext());
  };
  Value packed = map(b, source, {at(0), at(1)}, {experts, panels, groups, 4, 2, 4, 2, 2, 2}, b.getI8Type(),
                     [](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
                       auto constant = [&](int64_t value) {
                         return arith::ConstantOp::create(b, b.getI8IntegerAttr(static_cast<int8_t>(value)));
                       };
                       Value h = arith::IndexCastOp::create(b, b.getI8Type(), linalg::IndexOp::create(b, 7));
                       Value four = constant(4), shift = arith::MulIOp::create(b, h, four);
                       Value low = arith::AndIOp::create(b, arith::ShRUIOp::create(b, s[0], shift), constant(15));
                       Value high = arith::ShLIOp::create(b, arith::ShRUIOp::create(b, s[1], shift), four);
                       return arith::OrIOp::create(b, low, high);
                     });
  return tensor::CollapseShapeOp::create(b, packed,
                                         SmallVector<ReassociationIndices>{{0}, {1}, {2}, {3, 4, 5, 6, 7, 8}});
}

/// Codes of 8 bits: [E, N, K] as [E, N/16, K/16, 256], with K padded to a multiple of 32, a step of the kernels.
static Value packBytes(ImplicitLocOpBuilder &b, Value bytes) {
  Value steps = inGroups(b, bytes, 32);
  ArrayRef<int64_t> shape = cast<RankedTensorType>(steps.getType()).getShape();
  int64_t experts = shape[0], panels = shape[1] / 16, count = shape[2];
  // Dimensions: expert, panel, a, m, b, step, half of the step, j, t, h.
  Value source =
      expand(b, steps, {experts, panels, 4, 2, 2, count, 2, 2, 4, 2}, {{0}, {1, 2, 3, 4}, {5}, {6, 7, 8, 9}});
  // Loops: expert, panel, step, half, a, b, t, m, h, j.
  auto d = [&](unsigned loop) { return b.getAffineDimExpr(loop); };
  auto at = AffineMap::get(10, 0, {d(0), d(1), d(4), d(7), d(5), d(2), d(3), d(9), d(6), d(8)}, b.getContext());
  Value packed = map(b, source, at, {experts, panels, count, 2, 4, 2, 4, 2, 2, 2}, b.getI8Type(),
                     [](ImplicitLocOpBuilder &, ValueRange s) { return s[0]; });
  return tensor::CollapseShapeOp::create(b, packed,
                                         SmallVector<ReassociationIndices>{{0}, {1}, {2, 3}, {4, 5, 6, 7, 8, 9}});
}

/// A scale as kernels take it: a float as it is; the exponent of a power of two in i8, of which 255 is NaN, as bf16.
static Value asFloat(ImplicitLocOpBuilder &b, Value scale) {
  Type bf16 = b.getBF16Type();
  if (isa<FloatType>(scale.getType()))
    return scale;
  auto constant = [&](int64_t value) {
    return arith::ConstantOp::create(b, b.getI16IntegerAttr(static_cast<int16_t>(value)));
  };
  Value exponent = arith::ExtUIOp::create(b, b.getI16Type(), scale);
  Value bits = arith::ShLIOp::create(b, exponent, constant(7));
  auto replace = [&](int64_t exponentWas, int64_t by) {
    Value is = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, exponent, constant(exponentWas));
    bits = arith::SelectOp::create(b, is, constant(by), bits);
  };
  replace(0, 0x0040);
  replace(255, 0x7fc0);
  return arith::BitcastOp::create(b, bf16, bits);
}

/// Scales [E, N, K/G] as [E, N/16, K/G, 16].
static Value packScales(ImplicitLocOpBuilder &b, Value scales) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(scales.getType()).getShape();
  int64_t experts = shape[0], panels = shape[1] / 16, groups = shape[2];
  Value source = expand(b, scales, {experts, panels, 4, 2, 2, groups}, {{0}, {1, 2, 3, 4}, {5}});
  // Loops: expert, panel, group, a, b, m.
  auto d = [&](unsigned loop) { return b.getAffineDimExpr(loop); };
  auto at = AffineMap::get(6, 0, {d(0), d(1), d(3), d(5), d(4), d(2)}, b.getContext());
  Type element = getElementTypeOrSelf(scales), kept = isa<FloatType>(element) ? element : b.getBF16Type();
  Value packed = map(b, source, at, {experts, panels, groups, 4, 2, 2}, kept,
                     [](ImplicitLocOpBuilder &b, ValueRange s) { return asFloat(b, s[0]); });
  return tensor::CollapseShapeOp::create(b, packed, SmallVector<ReassociationIndices>{{0}, {1}, {2}, {3, 4, 5}});
}

namespace {
struct PackCodes : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    if (!op.getFormat() || op.isPacked() || !op.hasPureTensorSemantics())
      return rewriter.notifyMatchFailure(op, "no plain codes in tensors");
    Type element = getElementTypeOrSelf(op.getX());
    if (!element.isBF16() && !element.isF16())
      return rewriter.notifyMatchFailure(op, "tensor cores multiply rows of bf16 or f16 with decoded weights");
    if (ShapedType::isDynamic(op.getNumColumns()) || op.getNumColumns() % GroupedMatmulOp::panelWidth)
      return rewriter.notifyMatchFailure(op, "columns do not come in whole panels");
    if (!llvm::all_of(op.getWeights(), isParameterOnly) || !llvm::all_of(op.getScales(), isParameterOnly))
      return rewriter.notifyMatchFailure(op, "a weight or scale is only known at run time");
    bool isBytes = op.getCodeBits() == 8;
    for (Value scale : op.getScales())
      if (Type type = getElementTypeOrSelf(scale); isBytes ? !type.isF32() : !type.isBF16() && !type.isInteger(8))
        return rewriter.notifyMatchFailure(op, isBytes ? "scales are not f32" : "bf16 cannot hold the scales");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    SmallVector<Value> codes, scales;
    for (Value weight : op.getWeights())
      codes.push_back(isBytes ? packBytes(b, weight) : packHalfBytes(b, weight));
    for (Value scale : op.getScales())
      scales.push_back(packScales(b, scale));
    rewriter.modifyOpInPlace(op, [&] {
      op.getWeightsMutable().assign(codes);
      op.getScalesMutable().assign(scales);
    });
    return success();
  }
};

struct MoePackCodesPass : moe::impl::MoePackCodesBase<MoePackCodesPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<PackCodes>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

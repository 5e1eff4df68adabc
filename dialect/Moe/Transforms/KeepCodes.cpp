//===- KeepCodes.cpp - products with the codes of a checkpoint ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "Codes.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEKEEPCODES
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// Blocks of 128 x 128 weights share a scale.
static constexpr int64_t blockSize = 128;

Value moe::inGroups(ImplicitLocOpBuilder &b, Value value, int64_t group) {
  OpFoldResult tile = b.getIndexAttr(group);
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(cast<ShapedType>(value.getType()).getElementType()));
  Value dest = linalg::PackOp::createDestinationTensor(b, b.getLoc(), value, tile, int64_t(2), /*outerDimsPerm=*/{});
  return linalg::PackOp::create(b, value, dest, int64_t(2), tile, zero).getResult();
}

namespace {
/// codes[.., n, k] * scales[.., n / 128, k / 128].
struct Decoded {
  Value codes, scales; ///< f8E4M3FN; a type that widens to f32
};
} // namespace

/// The parts of a weight [.., N, K] that is decoded from blocks; `why` says why another one is not.
static FailureOr<Decoded> matchDecoded(Value weight, StringRef &why) {
  auto no = [&](StringRef reason) {
    why = reason;
    return failure();
  };
  auto op = weight.getDefiningOp<linalg::GenericOp>();
  if (!op || op.getNumDpsInputs() != 2 || op.getNumParallelLoops() != op.getNumLoops())
    return no("a weight is not computed from two tensors element by element");
  Value codes = op.getInputs()[0], scales = op.getInputs()[1];
  if (!isa<Float8E4M3FNType>(getElementTypeOrSelf(codes)))
    return no("a weight is not stored as f8E4M3FN");
  unsigned rank = op.getNumLoops();
  SmallVector<AffineExpr> block;
  for (unsigned dim = 0; dim < rank; ++dim) {
    AffineExpr d = getAffineDimExpr(dim, op.getContext());
    block.push_back(dim + 2 < rank ? d : d.floorDiv(blockSize));
  }
  AffineMap each = AffineMap::getMultiDimIdentityMap(rank, op.getContext());
  SmallVector<AffineMap> maps{each, AffineMap::get(rank, 0, block, op.getContext()), each};
  if (rank < 2 || op.getIndexingMapsArray() != maps)
    return no("the scales of a weight are not those of blocks of 128 by 128");

  Block *body = op.getBlock();
  auto isWidened = [&](Value value, unsigned number) {
    if (auto widen = value.getDefiningOp<arith::ExtFOp>())
      value = widen.getIn();
    return value == body->getArgument(number);
  };
  auto product = body->getTerminator()->getOperand(0).getDefiningOp<arith::MulFOp>();
  if (!product || !product.getType().isF32() || !isWidened(product.getLhs(), 0) || !isWidened(product.getRhs(), 1))
    return no("a weight is not a code times its scale in f32");
  return Decoded{codes, scales};
}

namespace {
/// Emits the operands of one op in front of it.
class CodeKeeper {
public:
  CodeKeeper(Location loc, OpBuilder &builder) : b(loc, builder) {}

  /// [E, N, K] in i8: the bits of codes [N, K] or [E, N, K].
  Value codes(Value stored);
  /// [E, N, K/128] in f32: the scales of each row; NaN where there is one among the codes.
  Value scales(Value stored, Value codes);

private:
  using Body = function_ref<Value(ImplicitLocOpBuilder &, ValueRange)>;
  /// `value` with a leading dimension of one if it has two.
  Value ofExperts(Value value);
  Value map(ValueRange inputs, ArrayRef<AffineMap> maps, RankedTensorType type, Body body);

  ImplicitLocOpBuilder b;
};
} // namespace

Value CodeKeeper::ofExperts(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getRank() == 3)
    return value;
  return tensor::ExpandShapeOp::create(b, type.clone({1, type.getDimSize(0), type.getDimSize(1)}), value,
                                       SmallVector<ReassociationIndices>{{0, 1}, {2}});
}

Value CodeKeeper::map(ValueRange inputs, ArrayRef<AffineMap> maps, RankedTensorType type, Body body) {
  Value init = tensor::EmptyOp::create(b, type.getShape(), type.getElementType());
  SmallVector<AffineMap> all(maps);
  all.push_back(b.getMultiDimIdentityMap(type.getRank()));
  SmallVector<utils::IteratorType> iterators(type.getRank(), utils::IteratorType::parallel);
  auto emit = [&](OpBuilder &inner, Location loc, ValueRange s) {
    ImplicitLocOpBuilder nested(loc, inner);
    linalg::YieldOp::create(nested, body(nested, s));
  };
  return linalg::GenericOp::create(b, type, inputs, init, all, iterators, emit).getResult(0);
}

Value CodeKeeper::codes(Value stored) {
  Value value = ofExperts(stored);
  auto type = cast<RankedTensorType>(value.getType());
  return map(
      value, b.getMultiDimIdentityMap(3), type.clone(b.getI8Type()),
      [](ImplicitLocOpBuilder &b, ValueRange s) -> Value { return arith::BitcastOp::create(b, b.getI8Type(), s[0]); });
}

Value CodeKeeper::scales(Value stored, Value codes) {
  Value blocks = ofExperts(stored), groups = inGroups(b, codes, GroupedMatmulOp::scaleGroup("fp8"));
  auto type = cast<RankedTensorType>(groups.getType());
  // The largest magnitude of a group; that of NaN is 127.
  auto perRow = RankedTensorType::get(type.getShape().drop_back(), b.getI8Type());
  Value zero = arith::ConstantOp::create(b, b.getI8IntegerAttr(0));
  Value init = tensor::EmptyOp::create(b, perRow.getShape(), perRow.getElementType());
  init = linalg::FillOp::create(b, zero, init).getResult(0);
  AffineMap all = b.getMultiDimIdentityMap(4);
  SmallVector<utils::IteratorType> iterators(4, utils::IteratorType::parallel);
  iterators.back() = utils::IteratorType::reduction;
  auto emit = [](OpBuilder &inner, Location loc, ValueRange s) {
    Value mask = arith::ConstantOp::create(inner, loc, inner.getI8IntegerAttr(0x7f));
    Value magnitude = arith::AndIOp::create(inner, loc, s[0], mask);
    linalg::YieldOp::create(inner, loc, arith::MaxUIOp::create(inner, loc, s[1], magnitude).getResult());
  };
  Value most = linalg::GenericOp::create(b, perRow, groups, init, ArrayRef{all, all.dropResult(3)}, iterators, emit)
                   .getResult(0);

  AffineExpr e, n, g;
  bindDims(b.getContext(), e, n, g);
  AffineMap blockOf = AffineMap::get(3, 0, {e, n.floorDiv(blockSize), g}, b.getContext());
  return map({blocks, most}, {blockOf, b.getMultiDimIdentityMap(3)}, perRow.clone(b.getF32Type()),
             [](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
               Value scale = s[0];
               if (!scale.getType().isF32())
                 scale = arith::ExtFOp::create(b, b.getF32Type(), scale);
               Value nan = arith::ConstantOp::create(b, b.getF32FloatAttr(std::numeric_limits<float>::quiet_NaN()));
               Value last = arith::ConstantOp::create(b, b.getI8IntegerAttr(0x7f));
               Value isNaN = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, s[1], last);
               return arith::SelectOp::create(b, isNaN, nan, scale);
             });
}

namespace {
struct KeepCodes : OpRewritePattern<GroupedMatmulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GroupedMatmulOp op, PatternRewriter &rewriter) const override {
    if (op.getFormat() || op.isInteger() || op.isPacked() || !op.hasPureTensorSemantics())
      return rewriter.notifyMatchFailure(op, "its weights are quantised or packed already, or in memory");
    SmallVector<Decoded> decoded;
    for (Value weight : op.getWeights()) {
      if (auto expand = weight.getDefiningOp<tensor::ExpandShapeOp>(); expand && expand.getSrcType().getRank() == 2)
        weight = expand.getSrc();
      StringRef why;
      FailureOr<Decoded> match = matchDecoded(weight, why);
      if (failed(match))
        return rewriter.notifyMatchFailure(op, why);
      decoded.push_back(*match);
    }
    CodeKeeper keeper(op.getLoc(), rewriter);
    SmallVector<Value> codes, scales;
    for (const Decoded &weight : decoded) {
      codes.push_back(keeper.codes(weight.codes));
      scales.push_back(keeper.scales(weight.scales, codes.back()));
    }
    rewriter.modifyOpInPlace(op, [&] {
      op.getWeightsMutable().assign(codes);
      op.getScalesMutable().assign(scales);
      op.setFormat("fp8");
    });
    return success();
  }
};

struct MoeKeepCodesPass : moe::impl::MoeKeepCodesBase<MoeKeepCodesPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<KeepCodes>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

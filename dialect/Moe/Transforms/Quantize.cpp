//===- Quantize.cpp - weights of grouped matmuls in fewer bits ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Everything here is ordinary IR. What concerns weights depends on parameters alone, so phase pack moves it to compile
// time; what concerns activations is row-wise, so the same row gives the same bits in any batch.
//
//===----------------------------------------------------------------------===//

#include "Codes.h"

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MLProgram/IR/MLProgram.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEQUANTIZE
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// Largest codes. int8 and int4 are symmetric: -128 and -8 are not used.
static constexpr double largestInt8 = 127, largestInt4 = 7, largestE4M3 = 448;
/// Rows and groups with no larger element are zero: the inverse of their scale would leave f32.
static constexpr double smallest = 0x1p-100;

namespace {
/// Emits the arithmetic of one op in front of it.
class Quantizer {
public:
  Quantizer(GroupedMatmulOp op, RewriterBase &rewriter) : op(op), b(op.getLoc(), rewriter) {}

  void toInt8();
  void toCodes(StringRef format);

private:
  using Body = function_ref<Value(ImplicitLocOpBuilder &, ValueRange)>;
  using Map = SmallVector<AffineExpr>;

  Value f32(double value) { return arith::ConstantOp::create(b, b.getF32FloatAttr(static_cast<float>(value))); }
  Value i32(int64_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(static_cast<int32_t>(value))); }
  AffineExpr d(unsigned loop) { return b.getAffineDimExpr(loop); }
  /// The loops 0 .. count - 1.
  Map loops(unsigned count) {
    return llvm::map_to_vector(llvm::seq(count), [&](unsigned i) { return d(i); });
  }

  /// linalg.generic with parallel loops, one per dimension of the result; floats reach `body` as f32.
  Value map(ArrayRef<std::pair<Value, Map>> inputs, ArrayRef<OpFoldResult> sizes, Type element, Body body);
  /// The largest magnitude along the last dimension, f32; NaN where there is one.
  Value largest(Value value);
  /// `numerator` / x for each x of `values`, 0 where x is too small for that (or NaN).
  Value inverse(Value values, double numerator);
  /// The integer nearest to x (ties to even) as i32, for |x| < 2^22; only the low byte for anything else.
  Value nearest(ImplicitLocOpBuilder &b, Value x);
  Value int8Rows(Value value, Value magnitudes);
  /// value [.., K] in groups [.., K/G, G] of `format`.
  Value grouped(Value value, StringRef format);
  std::pair<Value, Value> codesAndScales(Value weight, StringRef format);
  std::pair<Value, Value> e4m3CodesAndScales(Value weight);
  Value codeOf(ImplicitLocOpBuilder &b, Value x, StringRef format);

  GroupedMatmulOp op;
  ImplicitLocOpBuilder b;
};
} // namespace

Value Quantizer::map(ArrayRef<std::pair<Value, Map>> inputs, ArrayRef<OpFoldResult> sizes, Type element, Body body) {
  unsigned rank = sizes.size();
  SmallVector<Value> values;
  SmallVector<AffineMap> maps;
  for (auto [value, at] : inputs) {
    values.push_back(value);
    maps.push_back(AffineMap::get(rank, 0, at, b.getContext()));
  }
  maps.push_back(b.getMultiDimIdentityMap(rank));
  Value init = tensor::EmptyOp::create(b, sizes, element);
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  auto emit = [&](OpBuilder &inner, Location loc, ValueRange arguments) {
    ImplicitLocOpBuilder nested(loc, inner);
    SmallVector<Value> scalars;
    for (Value argument : arguments.drop_back())
      scalars.push_back(isa<FloatType>(argument.getType()) && !argument.getType().isF32()
                            ? arith::ExtFOp::create(nested, nested.getF32Type(), argument).getResult()
                            : argument);
    linalg::YieldOp::create(nested, body(nested, scalars));
  };
  return linalg::GenericOp::create(b, init.getType(), values, init, maps, iterators, emit).getResult(0);
}

Value Quantizer::largest(Value value) {
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), value);
  unsigned rank = sizes.size();
  sizes.pop_back();
  Value init = tensor::EmptyOp::create(b, sizes, b.getF32Type());
  init = linalg::FillOp::create(b, f32(0), init).getResult(0);
  AffineMap all = b.getMultiDimIdentityMap(rank);
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  iterators.back() = utils::IteratorType::reduction;
  auto emit = [](OpBuilder &inner, Location loc, ValueRange s) {
    Value x = s[0];
    if (!x.getType().isF32())
      x = arith::ExtFOp::create(inner, loc, inner.getF32Type(), x);
    Value magnitude = math::AbsFOp::create(inner, loc, x);
    Value most = arith::MaximumFOp::create(inner, loc, s[1], magnitude);
    linalg::YieldOp::create(inner, loc, most);
  };
  return linalg::GenericOp::create(b, init.getType(), value, init, ArrayRef{all, all.dropResult(rank - 1)}, iterators,
                                   emit)
      .getResult(0);
}

Value Quantizer::inverse(Value values, double numerator) {
  Value least = f32(smallest), zero = f32(0), over = f32(numerator);
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), values);
  return map({{values, loops(sizes.size())}}, sizes, b.getF32Type(),
             [&](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
               Value enough = arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, s[0], least);
               return arith::SelectOp::create(b, enough, arith::DivFOp::create(b, over, s[0]), zero);
             });
}

Value Quantizer::nearest(ImplicitLocOpBuilder &b, Value x) {
  // In 1.5 * 2^23 + x the unit of the significand is 1: the sum is rounded to an integer, which is its low bits.
  Value shift = arith::ConstantOp::create(b, b.getF32FloatAttr(0x1.8p23f));
  Value sum = arith::AddFOp::create(b, x, shift);
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), sum);
  Value zero = arith::ConstantOp::create(b, b.getI32IntegerAttr(0x4b400000));
  return arith::SubIOp::create(b, bits, zero);
}

/// value [.., K] as i8: the element of largest magnitude becomes 127 or -127.
Value Quantizer::int8Rows(Value value, Value magnitudes) {
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), value);
  unsigned rank = sizes.size();
  return map({{value, loops(rank)}, {inverse(magnitudes, largestInt8), loops(rank - 1)}}, sizes, b.getI8Type(),
             [&](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
               return arith::TruncIOp::create(b, b.getI8Type(), nearest(b, arith::MulFOp::create(b, s[0], s[1])));
             });
}

/// What one unit of codes up to `largest` stands for: magnitude / largest, NaN where there is one.
static Value unitOf(ImplicitLocOpBuilder &b, Value magnitude, double largest) {
  auto constant = [&](double value) {
    return arith::ConstantOp::create(b, b.getF32FloatAttr(static_cast<float>(value)));
  };
  Value tooSmall = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, magnitude, constant(smallest));
  Value scale = arith::DivFOp::create(b, magnitude, constant(largest));
  return arith::SelectOp::create(b, tooSmall, constant(0), scale);
}

void Quantizer::toInt8() {
  Type f32Type = b.getF32Type();
  Value x = op.getX(), magnitudes = largest(x);
  SmallVector<OpFoldResult> tokens{tensor::getMixedSize(b, b.getLoc(), x, 0)};
  auto scaleOf = [](ImplicitLocOpBuilder &b, ValueRange s) { return unitOf(b, s[0], largestInt8); };
  Value rowScale = map({{magnitudes, loops(1)}}, tokens, f32Type, scaleOf);
  if (op.getChoices()) {
    int64_t rows = cast<ShapedType>(op.getInit().getType()).getDimSize(0);
    rowScale = DispatchOp::create(b, RankedTensorType::get({rows}, f32Type), rowScale, op.getChoices(), op.getFanout());
  }
  SmallVector<Value> weights, rowScalars{rowScale}, columnScalars;
  llvm::append_range(rowScalars, op.getRowScalars());
  for (Value weight : op.getWeights()) {
    Value most = largest(weight);
    weights.push_back(int8Rows(weight, most));
    columnScalars.push_back(map({{most, loops(2)}}, tensor::getMixedSizes(b, b.getLoc(), most), f32Type, scaleOf));
  }
  llvm::append_range(columnScalars, op.getColumnScalars());

  auto quantized =
      GroupedMatmulOp::create(b, op->getResultTypes().front(), int8Rows(x, magnitudes), weights, op.getOffsets(),
                              op.getChoices(), rowScalars, columnScalars, op.getInit(), op.getFanout());
  // New arguments: i32 sums, the token's scale, the row scalars, a scale per weight, the column scalars.
  quantized.getEpilogue().takeBody(op.getEpilogue());
  Block &epilogue = quantized.getEpilogue().front();
  unsigned count = weights.size(), oldRowScalars = rowScalars.size() - 1;
  Location loc = b.getLoc();
  Value token = epilogue.insertArgument(count, f32Type, loc);
  SmallVector<Value> perColumn;
  for (unsigned number = 0; number < count; ++number)
    perColumn.push_back(epilogue.insertArgument(count + 1 + oldRowScalars + number, f32Type, loc));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&epilogue);
  for (unsigned number = 0; number < count; ++number) {
    BlockArgument sum = epilogue.getArgument(number);
    sum.setType(b.getI32Type());
    auto real = arith::SIToFPOp::create(b, f32Type, sum);
    Value scale = arith::MulFOp::create(b, token, perColumn[number]);
    Value value = arith::MulFOp::create(b, real, scale);
    sum.replaceAllUsesExcept(value, real);
  }
  op->replaceAllUsesWith(quantized);
  op.erase();
}

Value Quantizer::grouped(Value value, StringRef format) {
  int64_t group = GroupedMatmulOp::scaleGroup(format);
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape(type.getShape());
  SmallVector<ReassociationIndices> groups;
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    groups.push_back({dim});
  groups.back().push_back(type.getRank());
  shape.back() /= group;
  shape.push_back(group);
  return tensor::ExpandShapeOp::create(b, type.clone(shape), value, groups);
}

/// The code nearest to x, i32: ties to even codes.
Value Quantizer::codeOf(ImplicitLocOpBuilder &b, Value x, StringRef format) {
  auto integer = [&](int32_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); };
  if (format == "int4")
    return arith::AndIOp::create(b, nearest(b, x), integer(15));
  // e2m1: as many of the numbers halfway between two codes as lie below.
  static constexpr std::pair<float, bool> halfway[] = {{0.25, false}, {0.75, true}, {1.25, false}, {1.75, true},
                                                       {2.5, false},  {3.5, true},  {5, false}};
  Value magnitude = math::AbsFOp::create(b, x), code = integer(0);
  for (auto [bound, tieIsUp] : halfway) {
    Value limit = arith::ConstantOp::create(b, b.getF32FloatAttr(bound));
    auto predicate = tieIsUp ? arith::CmpFPredicate::OGE : arith::CmpFPredicate::OGT;
    Value beyond = arith::CmpFOp::create(b, predicate, magnitude, limit);
    code = arith::AddIOp::create(b, code, arith::ExtUIOp::create(b, b.getI32Type(), beyond));
  }
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), x);
  Value negative = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, bits, integer(0));
  return arith::OrIOp::create(b, code, arith::SelectOp::create(b, negative, integer(8), integer(0)));
}

/// int4: (scale, 1 / scale) for groups whose largest magnitude is given. The scale is rounded to 5 significant bits:
/// times a code of 3 it has 8, so weights are exact in bf16 and need no rounding when they are decoded.
static Value int4Scale(ImplicitLocOpBuilder &b, Value magnitude) {
  auto integer = [&](int32_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); };
  auto real = [&](double value) { return arith::ConstantOp::create(b, b.getF32FloatAttr(static_cast<float>(value))); };
  Value exact = arith::DivFOp::create(b, magnitude, real(largestInt4));
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), exact);
  bits = arith::AndIOp::create(b, arith::AddIOp::create(b, bits, integer(1 << 18)), integer(-(1 << 19)));
  Value rounded = arith::BitcastOp::create(b, b.getF32Type(), bits);
  Value tooSmall = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, magnitude, real(smallest));
  return arith::SelectOp::create(b, tooSmall, real(0), rounded);
}

/// mxfp4: the exponent e (biased) of the smallest scale 2^e with no magnitude above 7 * 2^e. The largest code stands
/// for 6, so even the largest element is off by no more than rounding can make it. 255, NaN, where an element is not
/// finite.
static Value mxfp4Exponent(ImplicitLocOpBuilder &b, Value magnitude) {
  auto integer = [&](int32_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); };
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), magnitude);
  // 7 = 1.75 * 2^2: a significand beyond 1.75 takes the next exponent.
  Value carried = arith::AddIOp::create(b, bits, integer(0x1fffff));
  Value exponent = arith::SubIOp::create(b, arith::ShRUIOp::create(b, carried, integer(23)), integer(2));
  exponent = arith::MaxSIOp::create(b, exponent, integer(1));
  Value infinite = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, bits, integer(0x7f800000));
  return arith::SelectOp::create(b, infinite, integer(255), exponent);
}

std::pair<Value, Value> Quantizer::codesAndScales(Value weight, StringRef format) {
  Type f32Type = b.getF32Type();
  Value groups = grouped(weight, format), most = largest(groups);
  SmallVector<OpFoldResult> scaleSizes = tensor::getMixedSizes(b, b.getLoc(), most);
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, b.getLoc(), groups);
  Value scales, inverses;
  if (format == "int4") {
    Value rounded = map({{most, loops(3)}}, scaleSizes, f32Type,
                        [](ImplicitLocOpBuilder &b, ValueRange s) { return int4Scale(b, s[0]); });
    inverses = inverse(rounded, 1);
    scales =
        map({{rounded, loops(3)}}, scaleSizes, b.getBF16Type(), [](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
          return arith::TruncFOp::create(b, b.getBF16Type(), s[0]);
        });
  } else {
    scales = map({{most, loops(3)}}, scaleSizes, b.getI8Type(), [](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
      return arith::TruncIOp::create(b, b.getI8Type(), mxfp4Exponent(b, s[0]));
    });
    inverses = map({{scales, loops(3)}}, scaleSizes, f32Type, [](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
      Value exponent = arith::ExtUIOp::create(b, b.getI32Type(), s[0]);
      Value twice = arith::ConstantOp::create(b, b.getI32IntegerAttr(254));
      Value bits = arith::SubIOp::create(b, twice, exponent);
      bits = arith::ShLIOp::create(b, bits, arith::ConstantOp::create(b, b.getI32IntegerAttr(23)));
      return arith::BitcastOp::create(b, b.getF32Type(), bits);
    });
  }
  Value codes = map({{groups, loops(4)}, {inverses, loops(3)}}, sizes, b.getI8Type(),
                    [&](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
                      Value code = codeOf(b, arith::MulFOp::create(b, s[0], s[1]), format);
                      return arith::TruncIOp::create(b, b.getI8Type(), code);
                    });
  // Two to a byte.
  sizes.back() = b.getIndexAttr(GroupedMatmulOp::scaleGroup(format) / 2);
  Map even = loops(4), odd = loops(4);
  even[3] = d(3) * 2;
  odd[3] = d(3) * 2 + 1;
  Value bytes =
      map({{codes, even}, {codes, odd}}, sizes, b.getI8Type(), [](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
        Value four = arith::ConstantOp::create(b, b.getI8IntegerAttr(4));
        return arith::OrIOp::create(b, s[0], arith::ShLIOp::create(b, s[1], four));
      });
  bytes = tensor::CollapseShapeOp::create(b, bytes, SmallVector<ReassociationIndices>{{0}, {1}, {2, 3}});
  return {bytes, scales};
}

/// The code of e4m3 nearest to x, i32: ties to even codes. |x| is at most 448, or x counts for nothing.
static Value e4m3Code(ImplicitLocOpBuilder &b, Value x, Value small) {
  auto integer = [&](int32_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); };
  Value bits = arith::BitcastOp::create(b, b.getI32Type(), x);
  Value magnitude = arith::AndIOp::create(b, bits, integer(INT32_MAX));
  // From 2^-6 on: the upper bits of an f32 whose exponent is less by 120, rounded.
  Value last = arith::AndIOp::create(b, arith::ShRUIOp::create(b, magnitude, integer(20)), integer(1));
  Value rounded = arith::AddIOp::create(b, arith::AddIOp::create(b, magnitude, integer(0x7ffff)), last);
  Value code = arith::SubIOp::create(b, arith::ShRUIOp::create(b, rounded, integer(20)), integer(120 << 3));
  Value isSmall = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, magnitude, integer((127 - 6) << 23));
  code = arith::SelectOp::create(b, isSmall, small, code);
  Value sign = arith::AndIOp::create(b, arith::ShRUIOp::create(b, bits, integer(24)), integer(0x80));
  return arith::OrIOp::create(b, arith::AndIOp::create(b, code, integer(0x7f)), sign);
}

std::pair<Value, Value> Quantizer::e4m3CodesAndScales(Value weight) {
  int64_t group = GroupedMatmulOp::scaleGroup("fp8");
  Value most = largest(inGroups(b, weight, group));
  Value scales = map({{most, loops(3)}}, tensor::getMixedSizes(b, b.getLoc(), most), b.getF32Type(),
                     [](ImplicitLocOpBuilder &b, ValueRange s) { return unitOf(b, s[0], largestE4M3); });
  Map groupOf{d(0), d(1), d(2).floorDiv(group)};
  Value codes =
      map({{weight, loops(3)}, {inverse(most, largestE4M3), groupOf}}, tensor::getMixedSizes(b, b.getLoc(), weight),
          b.getI8Type(), [&](ImplicitLocOpBuilder &b, ValueRange s) -> Value {
            Value x = arith::MulFOp::create(b, s[0], s[1]);
            Value least = arith::ConstantOp::create(b, b.getF32FloatAttr(0x1p9f));
            Value small = nearest(b, math::AbsFOp::create(b, arith::MulFOp::create(b, x, least)));
            return arith::TruncIOp::create(b, b.getI8Type(), e4m3Code(b, x, small));
          });
  return {codes, scales};
}

void Quantizer::toCodes(StringRef format) {
  SmallVector<Value> codes, scales;
  for (Value weight : op.getWeights()) {
    auto [code, scale] = format == "fp8" ? e4m3CodesAndScales(weight) : codesAndScales(weight, format);
    codes.push_back(code);
    scales.push_back(scale);
  }
  op.getWeightsMutable().assign(codes);
  op.getScalesMutable().assign(scales);
  op.setFormat(format);
}

//===----------------------------------------------------------------------===//
// Which products
//===----------------------------------------------------------------------===//

/// A product of all rows with one matrix, as moe-group-matmuls makes them.
static bool isDense(GroupedMatmulOp op) {
  return op.getNumExperts() == 1 && op.getOffsets().getDefiningOp<tensor::FromElementsOp>();
}

/// Scores that moe.top_k chooses by: directly, or through anything but another product. An error of a weight there
/// changes which experts a token meets, and there is little to gain.
static bool isRouter(GroupedMatmulOp op) {
  SetVector<Operation *> users;
  users.insert(op);
  for (unsigned next = 0; next < users.size(); ++next)
    for (Operation *user : users[next]->getUsers()) {
      if (isa<TopKOp>(user))
        return true;
      if (!isa<GroupedMatmulOp, ExpertsOp, AttentionOp>(user))
        users.insert(user);
    }
  return false;
}

/// The name of a parameter that `weight` is computed from, for messages.
static StringRef parameterName(Value weight) {
  while (Operation *op = weight.getDefiningOp()) {
    if (auto load = dyn_cast<ml_program::GlobalLoadConstOp>(op))
      return load.getGlobal().getLeafReference().getValue();
    if (op->getNumOperands() == 0)
      break;
    weight = op->getOperand(0);
  }
  return "a constant";
}

namespace {
struct MoeQuantizePass : moe::impl::MoeQuantizeBase<MoeQuantizePass> {
  using MoeQuantizeBase::MoeQuantizeBase;

  LogicalResult initialize(MLIRContext *context) override {
    for (StringRef format : {StringRef(experts), StringRef(others)})
      if (!format.empty() && !llvm::is_contained({"int8", "int4", "mxfp4", "fp8"}, format))
        return emitError(UnknownLoc::get(context), "expected one of int8, int4, mxfp4, fp8 but got '") << format << "'";
    return success();
  }

  void runOnOperation() override {
    SmallVector<std::pair<GroupedMatmulOp, StringRef>> chosen;
    bool anyExperts = false, failed = false;
    getOperation()->walk([&](GroupedMatmulOp op) {
      bool dense = isDense(op);
      StringRef format = dense ? StringRef(others) : StringRef(experts);
      if (format.empty() || !op.hasPureTensorSemantics() || op.isInteger() || op.getFormat() || op.isPacked() ||
          !llvm::all_of(op.getWeights(), isParameterOnly) || (dense && isRouter(op)))
        return;
      anyExperts |= !dense;
      if ((format == "int4" || format == "mxfp4") && op.getDepth() % GroupedMatmulOp::scaleGroup(format) != 0) {
        op.emitError("expected rows of a multiple of ")
            << GroupedMatmulOp::scaleGroup(format) << " elements to quantise to " << format << " but got "
            << op.getDepth() << " in '" << parameterName(op.getWeights().front()) << "'";
        failed = true;
        return;
      }
      chosen.push_back({op, format});
    });
    if (failed)
      return signalPassFailure();
    if (!experts.empty() && !anyExperts) {
      getOperation()->emitError("expected experts whose weights are parameters, to quantise to ")
          << experts << ", but found none";
      return signalPassFailure();
    }
    IRRewriter rewriter(&getContext());
    for (auto [op, format] : chosen) {
      rewriter.setInsertionPoint(op);
      Quantizer quantizer(op, rewriter);
      if (format == "int8")
        quantizer.toInt8();
      else
        quantizer.toCodes(format);
    }
  }
};
} // namespace

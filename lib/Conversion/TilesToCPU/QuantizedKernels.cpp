//===- QuantizedKernels.cpp - inner loops over quantised weights ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "QuantizedKernels.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/NarrowFloats.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t panelWidth = GroupedMatmulOp::panelWidth;
/// Bytes of a panel that a step takes: 32 bits for each column.
static constexpr int64_t stepBytes = 4 * panelWidth;
/// K of a tile of bf16.
static constexpr int64_t tileDepth = 32;

/// The last two dimensions of packed weights, [.., 16, 4], as one.
static SmallVector<ReassociationIndices> collapseSteps() { return {{0}, {1}, {2}, {3, 4}}; }

static VectorType lanesOf(Type element) { return VectorType::get({panelWidth}, element); }

static Value splat(OpBuilder &b, Location loc, int32_t value) {
  auto type = lanesOf(b.getI32Type());
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, value));
}

static Value splat(OpBuilder &b, Location loc, float value) {
  auto type = lanesOf(b.getF32Type());
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, value));
}

/// 32 bits of each column of a panel.
static Value loadStep(OpBuilder &b, Location loc, Value weights, Value group, Value panel, Value step) {
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value bytes = vector::LoadOp::create(b, loc, VectorType::get({stepBytes}, b.getI8Type()), weights,
                                       ValueRange{group, panel, step, zero});
  return vector::BitCastOp::create(b, loc, lanesOf(b.getI32Type()), bytes);
}

/// Bits first .. first + width of each lane, as a signed number.
static Value signedBits(OpBuilder &b, Location loc, Value lanes, unsigned first, unsigned width) {
  unsigned left = 32 - first - width;
  if (left)
    lanes = arith::ShLIOp::create(b, loc, lanes, splat(b, loc, static_cast<int32_t>(left)));
  return arith::ShRSIOp::create(b, loc, lanes, splat(b, loc, static_cast<int32_t>(32 - width)));
}

/// Whether the function that `op` is in is for a level with 512-bit vectors (and dot products of bytes).
static bool hasAvx512(Operation *op) {
  auto function = op->getParentOfType<FunctionOpInterface>();
  auto level = function ? function->getAttrOfType<StringAttr>("moe.isa") : StringAttr();
  return level && llvm::is_contained({"amx", "avx512bf16", "avx512"}, level.getValue());
}

/// Calls an instruction that MLIR has no op for.
static Value intrinsic(OpBuilder &b, Location loc, StringRef name, Type result, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, loc, result, b.getStringAttr(name), operands).getResult(0);
}

static LogicalResult checkContiguous(GroupedMatmulOp op) {
  if (op.getWeightRank() != 5)
    return op.emitOpError("expected packed weights, which quantised ones are, but got ")
           << op.getWeights().front().getType();
  for (Value weight : op.getWeights()) {
    auto type = cast<MemRefType>(weight.getType());
    if (!type.isLastDimUnitStride() || !memref::CollapseShapeOp::isGuaranteedCollapsible(type, collapseSteps()))
      return op.emitOpError("expected packed weights with contiguous panels but got ") << type;
  }
  return success();
}

static SmallVector<Value> collapsed(OpBuilder &b, GroupedMatmulOp op) {
  return llvm::map_to_vector(op.getWeights(), [&](Value weight) -> Value {
    return memref::CollapseShapeOp::create(b, op.getLoc(), weight, collapseSteps());
  });
}

/// Rows and panels of kernels for `weights` operands whose sums fill 32 vector registers of 16 lanes, or 16 of 8. One
/// row takes several panels at once, or it would wait for the latency of its chains, and as many streams of weights as
/// memory serves best.
static ArrayRef<KernelShape> ladderOf32Registers(size_t weights) {
  static constexpr KernelShape one[] = {{6, 4}, {2, 4}, {1, 8}};
  static constexpr KernelShape two[] = {{6, 2}, {2, 2}, {1, 4}};
  static constexpr KernelShape more[] = {{4, 1}, {1, 1}};
  return weights == 1 ? ArrayRef(one) : weights == 2 ? ArrayRef(two) : ArrayRef(more);
}
static ArrayRef<KernelShape> ladderOf16Registers(size_t weights) {
  static constexpr KernelShape one[] = {{4, 1}, {1, 4}};
  static constexpr KernelShape two[] = {{2, 1}, {1, 2}};
  static constexpr KernelShape more[] = {{1, 1}};
  return weights == 1 ? ArrayRef(one) : weights == 2 ? ArrayRef(two) : ArrayRef(more);
}

//===----------------------------------------------------------------------===//
// int8
//===----------------------------------------------------------------------===//

LogicalResult IntegerKernelBuilder::check(GroupedMatmulOp op) { return checkContiguous(op); }

IntegerKernelBuilder::IntegerKernelBuilder(OpBuilder &b, GroupedMatmulOp op)
    : loc(op.getLoc()), weights(collapsed(b, op)), depth(op.getDepth()), hasDot(hasAvx512(op)) {}

ArrayRef<KernelShape> IntegerKernelBuilder::ladder() const {
  return hasDot ? ladderOf32Registers(weights.size()) : ladderOf16Registers(weights.size());
}

/// `count` elements of a row from 4 * step on, in the bytes of an i32; zeros behind them.
Value IntegerKernelBuilder::loadQuad(OpBuilder &b, Value row, Value step, unsigned count) const {
  Type i32 = b.getI32Type();
  Value first = arith::MulIOp::create(b, loc, step, arith::ConstantIndexOp::create(b, loc, 4));
  if (count == 4 && cast<MemRefType>(row.getType()).isLastDimUnitStride()) {
    Value bytes = vector::LoadOp::create(b, loc, VectorType::get({4}, b.getI8Type()), row, first);
    bytes = vector::BitCastOp::create(b, loc, VectorType::get({1}, i32), bytes);
    return vector::ExtractOp::create(b, loc, bytes, int64_t(0));
  }
  Value quad = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0));
  for (unsigned k = 0; k < count; ++k) {
    Value at = arith::AddIOp::create(b, loc, first, arith::ConstantIndexOp::create(b, loc, k));
    Value byte = arith::ExtUIOp::create(b, loc, i32, memref::LoadOp::create(b, loc, row, at));
    Value shift = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(static_cast<int32_t>(8 * k)));
    quad = arith::OrIOp::create(b, loc, quad, arith::ShLIOp::create(b, loc, byte, shift));
  }
  return quad;
}

SmallVector<Value> IntegerKernelBuilder::multiplyAdd(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                     Value step, unsigned count, ValueRange accumulators) const {
  auto lanes = lanesOf(b.getI32Type());
  SmallVector<SmallVector<Value>> x;
  for (Value row : rows) {
    Value quad = vector::BroadcastOp::create(b, loc, lanes, loadQuad(b, row, step, count));
    SmallVector<Value> &values = x.emplace_back();
    for (unsigned k = 0; k < count; ++k)
      values.push_back(signedBits(b, loc, quad, 8 * k, 8));
  }
  SmallVector<Value> sums(accumulators);
  auto sum = sums.begin();
  for (Value weight : weights) {
    for (Value panel : panels) {
      Value quads = loadStep(b, loc, weight, group, panel, step);
      SmallVector<Value> w;
      for (unsigned k = 0; k < count; ++k)
        w.push_back(signedBits(b, loc, quads, 8 * k, 8));
      for (ArrayRef<Value> values : x) {
        for (unsigned k = 0; k < count; ++k)
          *sum = arith::AddIOp::create(b, loc, *sum, arith::MulIOp::create(b, loc, values[k], w[k]));
        ++sum;
      }
    }
  }
  return sums;
}

/// As multiplyAdd, by dot products of unsigned with signed bytes: with x + 128, which a flipped sign bit is. Behind the
/// accumulators of the rows come those of the excess, 128 times the sums of the weights.
SmallVector<Value> IntegerKernelBuilder::dot(OpBuilder &b, ValueRange rows, Value group, ValueRange panels, Value step,
                                             unsigned count, ValueRange accumulators) const {
  auto lanes = lanesOf(b.getI32Type()), bytes = VectorType::get({stepBytes}, b.getI8Type());
  Value flip = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(static_cast<int32_t>(0x80808080)));
  Value shift = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(bytes, static_cast<int8_t>(-128)));
  SmallVector<Value> x;
  for (Value row : rows) {
    Value quad = arith::XOrIOp::create(b, loc, loadQuad(b, row, step, count), flip);
    x.push_back(vector::BitCastOp::create(b, loc, bytes, vector::BroadcastOp::create(b, loc, lanes, quad)));
  }
  SmallVector<Value> sums(accumulators);
  size_t sum = 0, excess = weights.size() * panels.size() * rows.size();
  for (Value weight : weights) {
    for (Value panel : panels) {
      Value w = vector::BitCastOp::create(b, loc, bytes, loadStep(b, loc, weight, group, panel, step));
      auto add = [&](Value &to, Value from) {
        to = intrinsic(b, loc, "llvm.x86.avx512.vpdpbusd.512", lanes, {to, from, w});
      };
      for (Value values : x)
        add(sums[sum++], values);
      add(sums[excess++], shift);
    }
  }
  return sums;
}

/// Fetches each panel's line of a later step.
void IntegerKernelBuilder::prefetch(OpBuilder &b, Value group, ValueRange panels, Value step) const {
  auto index = [&](int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); };
  int64_t linesAhead = prefetchDistance(weights.size() * panels.size());
  Value later = arith::AddIOp::create(b, loc, step, index(linesAhead));
  for (Value weight : weights)
    for (Value panel : panels)
      memref::PrefetchOp::create(b, loc, weight, ValueRange{group, panel, later, index(0)}, /*isWrite=*/false,
                                 /*localityHint=*/3, /*isDataCache=*/true);
}

SmallVector<Value> IntegerKernelBuilder::build(OpBuilder &b, ValueRange rows, Value group, ValueRange panels) const {
  size_t results = weights.size() * panels.size() * rows.size();
  SmallVector<Value> sums(results + (hasDot ? weights.size() * panels.size() : 0), splat(b, loc, int32_t(0)));
  auto multiply = [&](OpBuilder &b, Value step, unsigned count, ValueRange accumulators) {
    return hasDot ? dot(b, rows, group, panels, step, count, accumulators)
                  : multiplyAdd(b, rows, group, panels, step, count, accumulators);
  };
  Value begin = arith::ConstantIndexOp::create(b, loc, 0), one = arith::ConstantIndexOp::create(b, loc, 1);
  Value end = arith::ConstantIndexOp::create(b, loc, depth / 4);
  auto body = [&](OpBuilder &b, Location, Value step, ValueRange accumulators) {
    if (rows.size() <= 2)
      prefetch(b, group, panels, step);
    scf::YieldOp::create(b, loc, multiply(b, step, 4, accumulators));
  };
  auto loop = scf::ForOp::create(b, loc, begin, end, one, sums, body);
  sums.assign(loop.result_begin(), loop.result_end());
  // The rest of the last quad is padding of the weights; x has no such elements.
  if (depth % 4)
    sums = multiply(b, end, depth % 4, sums);
  for (size_t number = results; number < sums.size(); ++number)
    for (size_t r = 0; r < rows.size(); ++r) {
      Value &sum = sums[(number - results) * rows.size() + r];
      sum = arith::SubIOp::create(b, loc, sum, sums[number]);
    }
  sums.resize(results);
  return sums;
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

LogicalResult CodeKernelBuilder::check(GroupedMatmulOp op) {
  for (Value scales : op.getScales())
    if (!cast<MemRefType>(scales.getType()).isLastDimUnitStride())
      return op.emitOpError("expected packed scales with contiguous panels but got ") << scales.getType();
  return checkContiguous(op);
}

CodeKernelBuilder::CodeKernelBuilder(OpBuilder &b, GroupedMatmulOp op, SumOrder order)
    : loc(op.getLoc()), weights(collapsed(b, op)), scales(op.getScales()), depth(op.getDepth()), bits(op.getCodeBits()),
      scaleGroup(op.getScaleGroup()), order(order), isInt4(*op.getFormat() == "int4"), hasLookup(hasAvx512(op)) {}

/// The sums of a group are what stays in registers; the sums of all of K may go to memory from group to group.
ArrayRef<KernelShape> CodeKernelBuilder::ladder() const {
  if (!hasLookup)
    return ladderOf16Registers(weights.size());
  static constexpr KernelShape one[] = {{6, 2}, {2, 2}, {1, 4}};
  static constexpr KernelShape two[] = {{6, 1}, {2, 1}, {1, 2}};
  static constexpr KernelShape more[] = {{4, 1}, {1, 1}};
  return weights.size() == 1 ? ArrayRef(one) : weights.size() == 2 ? ArrayRef(two) : ArrayRef(more);
}

Value CodeKernelBuilder::loadScale(OpBuilder &b, Value memref, Value group, Value panel, Value block) const {
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Value scale = vector::LoadOp::create(b, loc, lanesOf(element), memref, ValueRange{group, panel, block, zero});
  if (!element.isInteger(8))
    return extendToF32(b, loc, scale);
  // e8m0: the exponent of an f32. 0 is 2^-127, which f32 has no exponent for, and 255 is NaN.
  Value exponent = arith::ExtUIOp::create(b, loc, lanesOf(b.getI32Type()), scale);
  Value bits = arith::ShLIOp::create(b, loc, exponent, splat(b, loc, 23));
  auto replace = [&](int32_t exponentWas, int32_t by) {
    Value is = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, exponent, splat(b, loc, exponentWas));
    bits = arith::SelectOp::create(b, loc, is, splat(b, loc, by), bits);
  };
  replace(0, 0x00400000);
  replace(255, 0x7fc00000);
  return vector::BitCastOp::create(b, loc, lanesOf(b.getF32Type()), bits);
}

Value CodeKernelBuilder::decode(OpBuilder &b, Value codes, unsigned k) const {
  // Even k in the low half of a lane, odd ones in the high half.
  unsigned first = 16 * (k % 2) + bits * (k / 2);
  return bits == 8 ? decode8Bits(b, codes, first) : decode4Bits(b, codes, first);
}

/// e4m3 is seeeemmm. With its magnitude's bits on top of an f32's significand, and 120 as the exponent they are added
/// to, what has a hidden bit is right. The smaller ones are m * 2^-9 but appear as 2^-7 + m * 2^-10 = y: 2 y - 2^-6
/// gives them, and for all others is not less than y.
Value CodeKernelBuilder::decode8Bits(OpBuilder &b, Value codes, unsigned first) const {
  auto lanes = lanesOf(b.getI32Type()), floats = lanesOf(b.getF32Type());
  Value top = codes; // the code in the highest byte
  if (first != 24)
    top = arith::ShLIOp::create(b, loc, codes, splat(b, loc, static_cast<int32_t>(24 - first)));
  Value sign = arith::AndIOp::create(b, loc, top, splat(b, loc, INT32_MIN));
  Value magnitude = arith::ShRUIOp::create(b, loc, top, splat(b, loc, 4));
  magnitude = arith::AndIOp::create(b, loc, magnitude, splat(b, loc, 0x07f00000));
  Value number = arith::AddIOp::create(b, loc, magnitude, splat(b, loc, 120 << 23));
  number = vector::BitCastOp::create(b, loc, floats, number);
  Value twice = arith::AddFOp::create(b, loc, number, number);
  Value small = arith::SubFOp::create(b, loc, twice, splat(b, loc, 0x1p-6f));
  Value isLess = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, small, number);
  number = arith::SelectOp::create(b, loc, isLess, small, number);
  Value signedBits = arith::OrIOp::create(b, loc, vector::BitCastOp::create(b, loc, lanes, number), sign);
  return vector::BitCastOp::create(b, loc, floats, signedBits);
}

Value CodeKernelBuilder::decode4Bits(OpBuilder &b, Value codes, unsigned first) const {
  auto lanes = lanesOf(b.getI32Type()), floats = lanesOf(b.getF32Type());
  if (hasLookup) {
    // A table of 16 in a register; the instruction looks at the lowest 4 bits only.
    static constexpr float integers[] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    static constexpr float e2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6};
    auto values = DenseElementsAttr::get(floats, ArrayRef(isInt4 ? integers : e2m1));
    Value table = arith::ConstantOp::create(b, loc, values), code = codes;
    if (first)
      code = arith::ShRUIOp::create(b, loc, codes, splat(b, loc, static_cast<int32_t>(first)));
    return intrinsic(b, loc, "llvm.x86.avx512.permvar.sf.512", floats, {table, code});
  }
  if (isInt4)
    return arith::SIToFPOp::create(b, loc, floats, signedBits(b, loc, codes, first, 4));
  // e2m1 is seee m: with its magnitude's bits on top of an f32's significand, and 126 as the exponent they are added
  // to, codes from 2 on are right. 0 and 1 have no hidden bit: they are 0 and 0.5.
  Value code = codes;
  if (first)
    code = arith::ShRUIOp::create(b, loc, code, splat(b, loc, static_cast<int32_t>(first)));
  Value magnitude = arith::AndIOp::create(b, loc, code, splat(b, loc, 7));
  Value bits = arith::ShLIOp::create(b, loc, magnitude, splat(b, loc, 22));
  bits = arith::AddIOp::create(b, loc, bits, splat(b, loc, 126 << 23));
  Value value = vector::BitCastOp::create(b, loc, floats, bits);
  Value half = arith::SIToFPOp::create(b, loc, floats, magnitude);
  half = arith::MulFOp::create(b, loc, half, splat(b, loc, 0.5f));
  Value small = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, magnitude, splat(b, loc, 2));
  value = arith::SelectOp::create(b, loc, small, half, value);
  Value sign = arith::ShLIOp::create(b, loc, code, splat(b, loc, 28));
  sign = arith::AndIOp::create(b, loc, sign, splat(b, loc, INT32_MIN));
  bits = arith::OrIOp::create(b, loc, vector::BitCastOp::create(b, loc, lanes, value), sign);
  return vector::BitCastOp::create(b, loc, floats, bits);
}

/// The pair's codes are at the same place in both halves of a lane. The instruction looks at the lowest 5 bits, one
/// more than a code has: the table is there twice.
Value CodeKernelBuilder::lookUpPairs(OpBuilder &b, Value codes, unsigned pair) const {
  auto words = VectorType::get({2 * panelWidth}, b.getI16Type());
  static constexpr float integers[] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
  static constexpr float e2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6};
  SmallVector<int16_t> bf16;
  for (int twice = 0; twice < 2; ++twice)
    for (float value : isInt4 ? ArrayRef(integers) : ArrayRef(e2m1))
      bf16.push_back(static_cast<int16_t>(llvm::bit_cast<uint32_t>(value) >> 16));
  Value table = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(words, ArrayRef<int16_t>(bf16)));
  Value indices = vector::BitCastOp::create(b, loc, words, codes);
  if (pair) {
    auto places = DenseElementsAttr::get(words, static_cast<int16_t>(4 * pair));
    indices = arith::ShRUIOp::create(b, loc, indices, arith::ConstantOp::create(b, loc, places));
  }
  return intrinsic(b, loc, "llvm.x86.avx512.permvar.hi.512", words, {table, indices});
}

/// As decode8Bits in words of 16 bits: all but the smallest numbers have their bits in place, those are in a table. The
/// pair's codes are the low bytes, or the high ones, which have their sign in place.
Value CodeKernelBuilder::decodePairs(OpBuilder &b, Value codes, unsigned pair) const {
  auto words = VectorType::get({2 * panelWidth}, b.getI16Type());
  auto splat = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(words, static_cast<int16_t>(value)));
  };
  Value code = vector::BitCastOp::create(b, loc, words, codes), low = code, sign = code, magnitude;
  if (pair) {
    low = arith::ShRUIOp::create(b, loc, code, splat(8));
    magnitude = arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, code, splat(4)), splat(0x7f0));
  } else {
    sign = arith::ShLIOp::create(b, loc, code, splat(8));
    magnitude = arith::ShLIOp::create(b, loc, arith::AndIOp::create(b, loc, code, splat(0x7f)), splat(4));
  }
  SmallVector<int16_t> smallest(2 * panelWidth, 0);
  for (int mantissa = 0; mantissa < 8; ++mantissa)
    smallest[mantissa] = static_cast<int16_t>(llvm::bit_cast<uint32_t>(float(mantissa) / 512) >> 16);
  Value table = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(words, ArrayRef<int16_t>(smallest)));
  Value small = intrinsic(b, loc, "llvm.x86.avx512.permvar.hi.512", words, {table, low});
  Value number = arith::AddIOp::create(b, loc, magnitude, splat(120 << 7));
  Value exponent = arith::AndIOp::create(b, loc, code, splat(pair ? 0x7800 : 0x78));
  Value isSmall = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, exponent, splat(0));
  number = arith::SelectOp::create(b, loc, isSmall, small, number);
  return arith::OrIOp::create(b, loc, number, arith::AndIOp::create(b, loc, sign, splat(0x8000)));
}

/// A bf16 is the high half of an f32.
Value CodeKernelBuilder::halfOfPairs(OpBuilder &b, Value pairs, bool odd) const {
  Value lanes = vector::BitCastOp::create(b, loc, lanesOf(b.getI32Type()), pairs);
  Value bits = odd ? Value(arith::AndIOp::create(b, loc, lanes, splat(b, loc, -65536)))
                   : Value(arith::ShLIOp::create(b, loc, lanes, splat(b, loc, 16)));
  return vector::BitCastOp::create(b, loc, lanesOf(b.getF32Type()), bits);
}

SmallVector<Value> CodeKernelBuilder::loadPairs(OpBuilder &b, size_t w, Value group, Value panel, Value step) const {
  Value codes = loadStep(b, loc, weights[w], group, panel, step);
  auto type = VectorType::get({2 * panelWidth}, b.getBF16Type());
  SmallVector<Value> values;
  for (unsigned pair = 0; pair < codesOfStep() / 2; ++pair) {
    Value both;
    if (hasLookup) {
      both = bits == 8 ? decodePairs(b, codes, pair) : lookUpPairs(b, codes, pair);
    } else {
      // A bf16 is the high half of an f32.
      auto f32Bits = [&](unsigned k) {
        return vector::BitCastOp::create(b, loc, lanesOf(b.getI32Type()), decode(b, codes, 2 * pair + k));
      };
      Value even = arith::ShRUIOp::create(b, loc, f32Bits(0), splat(b, loc, 16));
      Value odd = arith::AndIOp::create(b, loc, f32Bits(1), splat(b, loc, -65536));
      both = arith::OrIOp::create(b, loc, even, odd);
    }
    values.push_back(vector::BitCastOp::create(b, loc, type, both));
  }
  return values;
}

/// Fetches the same place of the panels that come next, which lie behind these: far enough ahead for memory, and not
/// only where a panel begins far from what was read last. To the second-level cache, as it may be many kilobytes.
void CodeKernelBuilder::prefetchNext(OpBuilder &b, ValueRange operands, Value group, ValueRange panels,
                                     Value place) const {
  Value zero = arith::ConstantIndexOp::create(b, loc, 0), count = arith::ConstantIndexOp::create(b, loc, panels.size());
  for (Value operand : operands)
    for (Value panel : panels) {
      Value next = arith::AddIOp::create(b, loc, panel, count);
      memref::PrefetchOp::create(b, loc, operand, ValueRange{group, next, place, zero}, /*isWrite=*/false,
                                 /*localityHint=*/2, /*isDataCache=*/true);
    }
}

SmallVector<Value> CodeKernelBuilder::multiplyStep(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                   Value step, unsigned count, ValueRange partialSums) const {
  size_t rowCount = rows.size(), panelCount = weights.size() * panels.size();
  SmallVector<Value> sums(partialSums), codes, pairs(panelCount);
  for (Value weight : weights)
    for (Value panel : panels)
      codes.push_back(loadStep(b, loc, weight, group, panel, step));
  Value first = arith::MulIOp::create(b, loc, step, arith::ConstantIndexOp::create(b, loc, codesOfStep()));
  auto loadAll = [](size_t count, function_ref<Value(size_t)> load) {
    return llvm::map_to_vector(llvm::seq(count), load);
  };
  for (unsigned code = 0; code < count; ++code) {
    Value k = first;
    if (code)
      k = arith::AddIOp::create(b, loc, first, arith::ConstantIndexOp::create(b, loc, code));
    auto loadRow = [&](size_t row) -> Value {
      Value element = extendToF32(b, loc, memref::LoadOp::create(b, loc, rows[row], k));
      return vector::BroadcastOp::create(b, loc, lanesOf(b.getF32Type()), element);
    };
    auto decodePanel = [&](size_t panel) {
      if (bits == 4 || !hasLookup)
        return decode(b, codes[panel], code);
      if (code % 2 == 0)
        pairs[panel] = decodePairs(b, codes[panel], code / 2);
      return halfOfPairs(b, pairs[panel], code % 2);
    };
    auto chain = MutableArrayRef(sums).drop_front(code % chainCount() * rowCount * panelCount);
    auto add = [&](size_t row, size_t panel, Value x, Value w) {
      Value &sum = chain[panel * rowCount + row];
      sum = math::FmaOp::create(b, loc, x, w, sum);
    };
    // Of rows and panels the fewer are held in registers while the others pass by.
    if (rowCount > panelCount) {
      SmallVector<Value> held = loadAll(panelCount, decodePanel);
      for (size_t row = 0; row < rowCount; ++row) {
        Value x = loadRow(row);
        for (size_t panel = 0; panel < panelCount; ++panel)
          add(row, panel, x, held[panel]);
      }
    } else {
      SmallVector<Value> held = loadAll(rowCount, loadRow);
      for (size_t panel = 0; panel < panelCount; ++panel) {
        Value w = decodePanel(panel);
        for (size_t row = 0; row < rowCount; ++row)
          add(row, panel, held[row], w);
      }
    }
  }
  return sums;
}

SmallVector<Value> CodeKernelBuilder::sumChains(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                Value firstStep, int64_t count) const {
  SmallVector<Value> zeros(chainCount() * weights.size() * panels.size() * rows.size(), splat(b, loc, 0.0f));
  auto index = [&](int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); };
  auto body = [&](OpBuilder &b, Location, Value number, ValueRange sums) {
    Value step = arith::AddIOp::create(b, loc, firstStep, number);
    if (rows.size() <= 2)
      prefetchCodes(b, group, panels, step);
    scf::YieldOp::create(b, loc, multiplyStep(b, rows, group, panels, step, codesOfStep(), sums));
  };
  int64_t steps = count / codesOfStep(), rest = count % codesOfStep();
  SmallVector<Value> sums = zeros;
  if (steps)
    sums = llvm::to_vector(
        ValueRange(scf::ForOp::create(b, loc, index(0), index(steps), index(1), zeros, body).getResults()));
  if (rest)
    sums = multiplyStep(b, rows, group, panels, arith::AddIOp::create(b, loc, firstStep, index(steps)), rest, sums);
  return sums;
}

SmallVector<Value> CodeKernelBuilder::sumTiles(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                               Value firstStep, int64_t count) const {
  if (order != SumOrder::AsTiles)
    return sumChains(b, rows, group, panels, firstStep, count);
  auto sumOfTile = [&](OpBuilder &b, Value firstStep, int64_t count) {
    SmallVector<Value> chains = sumChains(b, rows, group, panels, firstStep, count), sums;
    for (size_t i = 0; i < chains.size() / 2; ++i)
      sums.push_back(arith::AddFOp::create(b, loc, chains[i], chains[chains.size() / 2 + i]));
    return sums;
  };
  if (count <= tileDepth)
    return sumOfTile(b, firstStep, count);
  auto add = [&](OpBuilder &b, ValueRange sums, ArrayRef<Value> more) {
    return llvm::map_to_vector(llvm::zip_equal(sums, more), [&](auto pair) -> Value {
      return arith::AddFOp::create(b, loc, std::get<0>(pair), std::get<1>(pair));
    });
  };
  int64_t steps = tileDepth / codesOfStep();
  auto index = [&](int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); };
  auto body = [&](OpBuilder &b, Location, Value step, ValueRange sums) {
    Value first = arith::AddIOp::create(b, loc, firstStep, step);
    scf::YieldOp::create(b, loc, add(b, sums, sumOfTile(b, first, tileDepth)));
  };
  SmallVector<Value> zeros(weights.size() * panels.size() * rows.size(), splat(b, loc, 0.0f));
  int64_t end = count / tileDepth * steps;
  auto loop = scf::ForOp::create(b, loc, index(0), index(end), index(steps), zeros, body);
  if (count % tileDepth == 0)
    return llvm::to_vector(ValueRange(loop.getResults()));
  Value rest = arith::AddIOp::create(b, loc, firstStep, index(end));
  return add(b, loop.getResults(), sumOfTile(b, rest, count % tileDepth));
}

SmallVector<Value> CodeKernelBuilder::build(OpBuilder &b, ValueRange rows, Value group, ValueRange panels) const {
  auto index = [&](int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); };
  // The sums with those of `count` weights added that share a scale.
  auto addGroup = [&](OpBuilder &b, Value block, int64_t count, ValueRange sums) {
    Value firstStep = arith::MulIOp::create(b, loc, block, index(scaleGroup / codesOfStep()));
    if (rows.size() <= 2)
      prefetchScales(b, group, panels, block);
    SmallVector<Value> parts = sumTiles(b, rows, group, panels, firstStep, count), next(sums);
    Value scale;
    for (auto [i, part] : llvm::enumerate(parts)) {
      size_t slot = i / rows.size();
      if (i % rows.size() == 0)
        scale = loadScale(b, slot / panels.size(), group, panels[slot % panels.size()], block);
      if (order == SumOrder::AsTiles)
        next[i] = arith::AddFOp::create(b, loc, next[i], arith::MulFOp::create(b, loc, part, scale));
      else
        next[i] = math::FmaOp::create(b, loc, part, scale, next[i]);
    }
    return next;
  };
  SmallVector<Value> sums(weights.size() * panels.size() * rows.size(), splat(b, loc, 0.0f));
  Value groups = index(depth / scaleGroup);
  auto body = [&](OpBuilder &b, Location, Value block, ValueRange sums) {
    scf::YieldOp::create(b, loc, addGroup(b, block, scaleGroup, sums));
  };
  auto loop = scf::ForOp::create(b, loc, index(0), groups, index(1), sums, body);
  sums.assign(loop.result_begin(), loop.result_end());
  return depth % scaleGroup ? addGroup(b, groups, depth % scaleGroup, sums) : sums;
}

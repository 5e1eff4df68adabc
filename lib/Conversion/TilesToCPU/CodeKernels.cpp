//===- CodeKernels.cpp - inner loops over codes of 4 and 8 bits -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedSteps.h"
#include "QuantizedKernels.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/NarrowFloats.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;
using namespace moe::packed;

/// K of a tile of bf16.
static constexpr int64_t tileDepth = 32;

LogicalResult CodeKernelBuilder::check(GroupedMatmulOp op) {
  for (Value scales : op.getScales())
    if (!cast<MemRefType>(scales.getType()).isLastDimUnitStride())
      return op.emitOpError("expected packed scales with contiguous panels but got ") << scales.getType();
  return checkContiguous(op);
}

CodeKernelBuilder::CodeKernelBuilder(OpBuilder &b, GroupedMatmulOp op, SumOrder order)
    : loc(op.getLoc()), weights(collapsed(b, op)), scales(op.getScales()), depth(op.getDepth()), bits(op.getCodeBits()),
      scaleGroup(op.getScaleGroup()), order(order), isInt4(*op.getFormat() == "int4"), hasLookup(hasAvx512(op)) {
  const IsaLevel *level = getIsaLevel(op);
  hasSmallLookup = level && level->architecture == Architecture::X86_64 && level->hasFma; // what has FMA has AVX2
}

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
  auto floats = lanesOf(b.getF32Type());
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
  return decodeE2m1(b, codes, first);
}

/// e2m1 is seem.
Value CodeKernelBuilder::decodeE2m1(OpBuilder &b, Value codes, unsigned first) const {
  auto lanes = lanesOf(b.getI32Type()), floats = lanesOf(b.getF32Type());
  Value sign = codes, number;
  if (first != 28)
    sign = arith::ShLIOp::create(b, loc, codes, splat(b, loc, static_cast<int32_t>(28 - first)));
  sign = arith::AndIOp::create(b, loc, sign, splat(b, loc, INT32_MIN));
  if (hasSmallLookup) {
    // A table of 8 in a register; the instruction looks at the lowest 3 bits only.
    constexpr int64_t width = 8;
    static constexpr float magnitudes[width] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    auto part = VectorType::get({width}, b.getF32Type());
    Value table = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(part, ArrayRef(magnitudes)));
    Value code = codes;
    if (first)
      code = arith::ShRUIOp::create(b, loc, codes, splat(b, loc, static_cast<int32_t>(first)));
    number = splat(b, loc, 0.0f);
    for (int64_t column = 0; column < panelWidth; column += width) {
      Value indices = vector::ExtractStridedSliceOp::create(b, loc, code, column, width, 1);
      Value values = intrinsic(b, loc, "llvm.x86.avx2.permps", part, {table, indices});
      number = vector::InsertStridedSliceOp::create(b, loc, values, number, column, 1);
    }
  } else {
    // With its magnitude's bits on top of an f32's significand, and 126 as the exponent they are added to, codes from 2
    // on are right. 0 and 1 have no hidden bit; they are 0 and 0.5 but appear as y = 0.5 and 0.75: 2 y - 1 gives them,
    // and for all others is not less than y.
    constexpr unsigned place = 22;
    Value magnitude = codes;
    if (first < place)
      magnitude = arith::ShLIOp::create(b, loc, codes, splat(b, loc, static_cast<int32_t>(place - first)));
    else if (first > place)
      magnitude = arith::ShRUIOp::create(b, loc, codes, splat(b, loc, static_cast<int32_t>(first - place)));
    magnitude = arith::AndIOp::create(b, loc, magnitude, splat(b, loc, 7 << place));
    number = arith::AddIOp::create(b, loc, magnitude, splat(b, loc, 126 << 23));
    number = vector::BitCastOp::create(b, loc, floats, number);
    Value small = math::FmaOp::create(b, loc, number, splat(b, loc, 2.0f), splat(b, loc, -1.0f));
    Value isLess = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, small, number);
    number = arith::SelectOp::create(b, loc, isLess, small, number);
  }
  Value bits = arith::OrIOp::create(b, loc, vector::BitCastOp::create(b, loc, lanes, number), sign);
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

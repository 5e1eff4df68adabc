//===- IntegerKernels.cpp - inner loops over weights of i8 ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedSteps.h"
#include "QuantizedKernels.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;
using namespace moe::packed;

LogicalResult IntegerKernelBuilder::check(GroupedMatmulOp op) { return checkContiguous(op); }

IntegerKernelBuilder::IntegerKernelBuilder(OpBuilder &b, GroupedMatmulOp op)
    : loc(op.getLoc()), weights(collapsed(b, op)), depth(op.getDepth()), hasDot(hasAvx512(op)) {
  const IsaLevel *level = getIsaLevel(op);
  if (level && level->architecture == Architecture::X86_64 && !hasDot)
    wordSums = level->hasFma ? 8 : 4; // what has FMA has AVX2
}

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

/// As multiplyAdd, by sums of two products of words (pmaddwd): of the even bytes of a lane, and of the odd ones.
SmallVector<Value> IntegerKernelBuilder::multiplyWords(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                       Value step, unsigned count, ValueRange accumulators) const {
  auto lanes = lanesOf(b.getI32Type()), words = VectorType::get({2 * panelWidth}, b.getI16Type());
  auto part = VectorType::get({wordSums}, b.getI32Type());
  Value eight = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(words, int16_t(8)));
  auto extend = [&](Value quads) -> std::array<Value, 2> {
    Value both = vector::BitCastOp::create(b, loc, words, quads);
    Value even = arith::ShRSIOp::create(b, loc, arith::ShLIOp::create(b, loc, both, eight), eight);
    return {even, arith::ShRSIOp::create(b, loc, both, eight)};
  };
  auto dot = [&](Value x, Value w, Value sums) {
    for (int64_t first = 0; first < panelWidth; first += wordSums) {
      auto slice = [&](Value value, int64_t each) -> Value {
        return vector::ExtractStridedSliceOp::create(b, loc, value, each * first, each * wordSums, 1);
      };
      StringRef name = wordSums == 8 ? "llvm.x86.avx2.pmadd.wd" : "llvm.x86.sse2.pmadd.wd";
      Value products = intrinsic(b, loc, name, part, {slice(x, 2), slice(w, 2)});
      products = arith::AddIOp::create(b, loc, slice(sums, 1), products);
      sums = vector::InsertStridedSliceOp::create(b, loc, products, sums, first, 1);
    }
    return sums;
  };
  SmallVector<std::array<Value, 2>> x;
  for (Value row : rows)
    x.push_back(extend(vector::BroadcastOp::create(b, loc, lanes, loadQuad(b, row, step, count))));
  SmallVector<Value> sums(accumulators);
  auto sum = sums.begin();
  for (Value weight : weights) {
    for (Value panel : panels) {
      std::array<Value, 2> w = extend(loadStep(b, loc, weight, group, panel, step));
      for (const std::array<Value, 2> &values : x) {
        *sum = dot(values[1], w[1], dot(values[0], w[0], *sum));
        ++sum;
      }
    }
  }
  return sums;
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
    if (hasDot)
      return dot(b, rows, group, panels, step, count, accumulators);
    if (wordSums)
      return multiplyWords(b, rows, group, panels, step, count, accumulators);
    return multiplyAdd(b, rows, group, panels, step, count, accumulators);
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

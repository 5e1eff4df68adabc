//===- MicroKernelBuilder.cpp - inner loops of a grouped matmul -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "MicroKernelBuilder.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/NarrowFloats.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t panelWidth = GroupedMatmulOp::panelWidth;

/// The last two dimensions of weights packed in pairs, [.., 16, 2], as one.
static SmallVector<ReassociationIndices> collapsePairs() { return {{0}, {1}, {2}, {3, 4}}; }

LogicalResult MicroKernelBuilder::check(GroupedMatmulOp op) {
  bool pairs = op.getWeightRank() == 5;
  for (Value weight : op.getWeights()) {
    auto type = cast<MemRefType>(weight.getType());
    Type element = type.getElementType();
    if (pairs ? !element.isBF16() && !element.isF16() : !isExtendableToF32(element))
      return op.emitOpError("expected packed weights of ")
             << (pairs ? "bf16 or f16 pairs" : "f32, bf16 or f16") << " but got " << type;
    if (!type.isLastDimUnitStride() ||
        (pairs && !memref::CollapseShapeOp::isGuaranteedCollapsible(type, collapsePairs())))
      return op.emitOpError("expected packed weights with contiguous panels but got ") << type;
  }
  return success();
}

MicroKernelBuilder::MicroKernelBuilder(OpBuilder &b, GroupedMatmulOp op, bool dot, SumOrder order)
    : loc(op.getLoc()), depth(op.getDepth()), pairs(op.getWeightRank() == 5), dot(dot), order(order), neon(false) {
  if (const IsaLevel *level = getIsaLevel(op))
    neon = level->architecture == Architecture::AArch64;
  for (Value weight : op.getWeights()) {
    Type element = cast<MemRefType>(weight.getType()).getElementType();
    if (pairs)
      weight = memref::CollapseShapeOp::create(b, loc, weight, collapsePairs());
    weights.push_back({weight, element});
  }
}

MicroKernelBuilder MicroKernelBuilder::ofWeight(size_t w) const {
  MicroKernelBuilder builder(*this);
  builder.weights = {weights[w]};
  return builder;
}

SmallVector<Value> MicroKernelBuilder::loadWeights(OpBuilder &b, const Operand &weight, Value group, Value panel,
                                                   Value step, unsigned count) const {
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  SmallVector<Value> index{group, panel, step, zero};
  int64_t width = pairs ? 2 * panelWidth : panelWidth;
  Value loaded = vector::LoadOp::create(b, loc, VectorType::get({width}, weight.element), weight.memref, index);
  if (!pairs)
    return {extendToF32(b, loc, loaded)};

  // A lane of 32 bits holds one column's pair, the even k in its low half. As f32, a bf16 is the high half.
  auto lanes = VectorType::get({panelWidth}, b.getI32Type());
  auto floats = VectorType::get({panelWidth}, b.getF32Type());
  auto splat = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(lanes, value));
  };
  Value both = vector::BitCastOp::create(b, loc, lanes, loaded);
  SmallVector<Value> values;
  for (unsigned half = 0; half < count; ++half) {
    if (weight.element.isBF16()) {
      Value bits = half ? Value(arith::AndIOp::create(b, loc, both, splat(-65536)))
                        : Value(arith::ShLIOp::create(b, loc, both, splat(16)));
      values.push_back(vector::BitCastOp::create(b, loc, floats, bits));
      continue;
    }
    Value bits = half ? Value(arith::ShRUIOp::create(b, loc, both, splat(16))) : both;
    bits = arith::TruncIOp::create(b, loc, lanes.clone(b.getI16Type()), bits);
    values.push_back(extendToF32(b, loc, vector::BitCastOp::create(b, loc, lanes.clone(weight.element), bits)));
  }
  return values;
}

SmallVector<Value> MicroKernelBuilder::loadRow(OpBuilder &b, Value row, Value step, unsigned count) const {
  auto type = cast<MemRefType>(row.getType());
  auto floats = VectorType::get({panelWidth}, b.getF32Type());
  Value first = step;
  if (pairs)
    first = arith::MulIOp::create(b, loc, step, arith::ConstantIndexOp::create(b, loc, 2));

  // Two bf16 elements at once: one broadcast of 32 bits, then as for the weights.
  if (count == 2 && type.getElementType().isBF16() && type.isLastDimUnitStride()) {
    auto lanes = VectorType::get({panelWidth}, b.getI32Type());
    Value pair = vector::LoadOp::create(b, loc, VectorType::get({2}, b.getBF16Type()), row, first);
    pair = vector::BitCastOp::create(b, loc, VectorType::get({1}, b.getI32Type()), pair);
    Value both = vector::BroadcastOp::create(b, loc, lanes, vector::ExtractOp::create(b, loc, pair, int64_t(0)));
    auto splat = [&](int32_t value) -> Value {
      return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(lanes, value));
    };
    Value even = arith::ShLIOp::create(b, loc, both, splat(16));
    Value odd = arith::AndIOp::create(b, loc, both, splat(-65536));
    return {vector::BitCastOp::create(b, loc, floats, even), vector::BitCastOp::create(b, loc, floats, odd)};
  }

  SmallVector<Value> values;
  for (unsigned half = 0; half < count; ++half) {
    Value k = first;
    if (half)
      k = arith::AddIOp::create(b, loc, first, arith::ConstantIndexOp::create(b, loc, half));
    Value element = extendToF32(b, loc, memref::LoadOp::create(b, loc, row, k));
    values.push_back(vector::BroadcastOp::create(b, loc, floats, element));
  }
  return values;
}

int64_t moe::prefetchDistance(size_t streams) {
  constexpr int64_t linesInFlight = 64;
  return std::max<int64_t>(linesInFlight / int64_t(streams), 1);
}

SmallVector<Value> MicroKernelBuilder::combine(size_t rowCount, size_t panelCount, ValueRange accumulators,
                                               Load loadRow, Load loadPanel, Combine combine) const {
  SmallVector<Value> sums(accumulators);
  auto loadAll = [](size_t count, Load load) {
    return llvm::map_to_vector(llvm::seq(count), [&](size_t i) { return load(i); });
  };
  auto add = [&](size_t row, size_t panel, ArrayRef<Value> x, ArrayRef<Value> w) {
    Value &sum = sums[panel * rowCount + row];
    sum = combine(x, w, sum);
  };
  if (rowCount > panelCount) {
    auto held = loadAll(panelCount, loadPanel);
    for (size_t row = 0; row < rowCount; ++row) {
      SmallVector<Value> x = loadRow(row);
      for (size_t panel = 0; panel < panelCount; ++panel)
        add(row, panel, x, held[panel]);
    }
  } else {
    auto held = loadAll(rowCount, loadRow);
    for (size_t panel = 0; panel < panelCount; ++panel) {
      SmallVector<Value> w = loadPanel(panel);
      for (size_t row = 0; row < rowCount; ++row)
        add(row, panel, held[row], w);
    }
  }
  return sums;
}

/// Sums of f32 in a vector register of Arm.
static constexpr int64_t neonWidth = 4;

/// sums + x . w, pair by pair of bf16, by instructions that do four pairs each; x has the pair four times.
static Value neonDot(OpBuilder &b, Location loc, Value sums, Value x, Value w) {
  auto type = VectorType::get({neonWidth}, b.getF32Type());
  Value result = sums;
  for (int64_t first = 0; first < panelWidth; first += neonWidth) {
    auto part = [&](Value value, int64_t each) -> Value {
      return vector::ExtractStridedSliceOp::create(b, loc, value, each * first, each * neonWidth, 1);
    };
    Value sum = LLVM::CallIntrinsicOp::create(b, loc, type, b.getStringAttr("llvm.aarch64.neon.bfdot.v4f32.v8bf16"),
                                              ValueRange{part(sums, 1), x, part(w, 2)})
                    .getResult(0);
    result = vector::InsertStridedSliceOp::create(b, loc, sum, result, first, 1);
  }
  return result;
}

SmallVector<Value> MicroKernelBuilder::multiplyAdd(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                   Value step, unsigned count, ValueRange accumulators) const {
  return combine(
      rows.size(), weights.size() * panels.size(), accumulators,
      [&](size_t row) { return loadRow(b, rows[row], step, count); },
      [&](size_t panel) {
        return loadWeights(b, weights[panel / panels.size()], group, panels[panel % panels.size()], step, count);
      },
      [&](ArrayRef<Value> x, ArrayRef<Value> w, Value sum) {
        for (unsigned k = 0; k < count; ++k)
          sum = math::FmaOp::create(b, loc, x[k], w[k], sum);
        return sum;
      });
}

SmallVector<Value> MicroKernelBuilder::multiplyPairs(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                     Value step, ValueRange accumulators) const {
  auto type = VectorType::get({2 * panelWidth}, b.getBF16Type());
  auto lanes = VectorType::get({neon ? neonWidth : panelWidth}, b.getI32Type());
  Value zero = arith::ConstantIndexOp::create(b, loc, 0), two = arith::ConstantIndexOp::create(b, loc, 2);
  Value k = arith::MulIOp::create(b, loc, step, two);
  auto loadPair = [&](size_t row) -> SmallVector<Value> {
    Value pair = vector::LoadOp::create(b, loc, VectorType::get({2}, b.getBF16Type()), rows[row], k);
    pair = vector::BitCastOp::create(b, loc, VectorType::get({1}, b.getI32Type()), pair);
    Value both = vector::BroadcastOp::create(b, loc, lanes, vector::ExtractOp::create(b, loc, pair, int64_t(0)));
    return {vector::BitCastOp::create(b, loc, VectorType::get({2 * lanes.getDimSize(0)}, b.getBF16Type()), both)};
  };
  auto loadPanel = [&](size_t panel) -> SmallVector<Value> {
    SmallVector<Value> indices{group, panels[panel % panels.size()], step, zero};
    return {vector::LoadOp::create(b, loc, type, weights[panel / panels.size()].memref, indices)};
  };
  return combine(rows.size(), weights.size() * panels.size(), accumulators, loadPair, loadPanel,
                 [&](ArrayRef<Value> x, ArrayRef<Value> w, Value sum) -> Value {
                   if (neon)
                     return neonDot(b, loc, sum, x.front(), w.front());
                   return x86vector::DotBF16Op::create(b, loc, sum.getType(), sum, x.front(), w.front());
                 });
}

/// Fetches each panel's line of a later step: several streams that the processor sees ahead.
void MicroKernelBuilder::prefetch(OpBuilder &b, Value group, ValueRange panels, Value step) const {
  int64_t linesAhead = prefetchDistance(weights.size() * panels.size());
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value later = arith::AddIOp::create(b, loc, step, arith::ConstantIndexOp::create(b, loc, linesAhead));
  for (const Operand &weight : weights)
    for (Value panel : panels)
      memref::PrefetchOp::create(b, loc, weight.memref, ValueRange{group, panel, later, zero}, /*isWrite=*/false,
                                 /*localityHint=*/3, /*isDataCache=*/true);
}

SmallVector<Value> MicroKernelBuilder::multiplyAddApart(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                        Value step, ValueRange sums) const {
  SmallVector<Value> next;
  auto load = [&](size_t row) { return loadRow(b, rows[row], step, 2); };
  auto loadPanel = [&](size_t panel) {
    return loadWeights(b, weights[panel / panels.size()], group, panels[panel % panels.size()], step, 2);
  };
  for (unsigned k = 0; k < 2; ++k) {
    auto add = [&](ArrayRef<Value> x, ArrayRef<Value> w, Value sum) -> Value {
      return math::FmaOp::create(b, loc, x[k], w[k], sum);
    };
    ValueRange half = sums.slice(k * sums.size() / 2, sums.size() / 2);
    llvm::append_range(next, combine(rows.size(), weights.size() * panels.size(), half, load, loadPanel, add));
  }
  return next;
}

SmallVector<Value> MicroKernelBuilder::buildAsTiles(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                                    bool prefetches) const {
  constexpr int64_t tileSteps = tileDepth / 2;
  assert(pairs && depth % tileDepth == 0 && "expected tiles of pairs");
  auto index = [&](int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); };
  auto floats = VectorType::get({panelWidth}, b.getF32Type());
  size_t count = weights.size() * panels.size() * rows.size();
  Value zeros = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(floats, 0.0f));
  SmallVector<Value> none(2 * count, zeros);
  auto tile = [&](OpBuilder &b, Location, Value tile, ValueRange sums) {
    Value first = arith::MulIOp::create(b, loc, tile, index(tileSteps));
    auto body = [&](OpBuilder &b, Location, Value number, ValueRange parts) {
      Value step = arith::AddIOp::create(b, loc, first, number);
      if (prefetches)
        prefetch(b, group, panels, step);
      scf::YieldOp::create(b, loc, multiplyAddApart(b, rows, group, panels, step, parts));
    };
    ValueRange parts = scf::ForOp::create(b, loc, index(0), index(tileSteps), index(1), none, body).getResults();
    SmallVector<Value> next;
    for (size_t i = 0; i < count; ++i) {
      Value both = arith::AddFOp::create(b, loc, parts[i], parts[count + i]);
      next.push_back(arith::AddFOp::create(b, loc, sums[i], both));
    }
    scf::YieldOp::create(b, loc, next);
  };
  auto loop = scf::ForOp::create(b, loc, index(0), index(depth / tileDepth), index(1),
                                 ValueRange(none).take_front(count), tile);
  return llvm::to_vector(ValueRange(loop.getResults()));
}

SmallVector<Value> MicroKernelBuilder::build(OpBuilder &b, ValueRange rows, Value group, ValueRange panels,
                                             bool prefetches) const {
  if (order == SumOrder::AsTiles)
    return buildAsTiles(b, rows, group, panels, prefetches);
  auto floats = VectorType::get({panelWidth}, b.getF32Type());
  Value zeros = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(floats, 0.0f));
  SmallVector<Value> sums(weights.size() * panels.size() * rows.size(), zeros);

  unsigned perStep = pairs ? 2 : 1;
  Value begin = arith::ConstantIndexOp::create(b, loc, 0), one = arith::ConstantIndexOp::create(b, loc, 1);
  // The second half of an odd depth's last pair is zero in the weights. The dot product takes it; x has it too then.
  Value end = arith::ConstantIndexOp::create(b, loc, dot ? llvm::divideCeil(depth, perStep) : depth / perStep);
  auto loop = scf::ForOp::create(
      b, loc, begin, end, one, sums, [&](OpBuilder &b, Location, Value step, ValueRange accumulators) {
        if (prefetches)
          prefetch(b, group, panels, step);
        scf::YieldOp::create(b, loc,
                             dot ? multiplyPairs(b, rows, group, panels, step, accumulators)
                                 : multiplyAdd(b, rows, group, panels, step, perStep, accumulators));
      });
  sums.assign(loop.result_begin(), loop.result_end());
  // Otherwise adding 0 * 0 would be harmless, but x has no such element.
  if (!dot && depth % perStep)
    sums = multiplyAdd(b, rows, group, panels, end, 1, sums);
  return sums;
}

//===- VectorRecipe.cpp - products with sums in vector registers ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Outer products: an element of x, broadcast, times the 16 columns of a panel. The inner loops (MicroKernelBuilder)
// hold some rows times some panels of sums in registers. A few rows are read where they lie, with as many panels at
// once as there are registers for, because then the time goes to reading weights; more rows are gathered first, as f32
// (or bf16 for the dot product), at a stride that spreads them over the sets of the first-level cache. Where registers
// are few, many rows meet one weight operand after the other: more rows share what is loaded of it.
//
//===----------------------------------------------------------------------===//

#include "GatheredRows.h"
#include "KernelRecipe.h"
#include "MicroKernelBuilder.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

/// Gathered rows should stay in the second-level cache while panels pass by.
static constexpr int64_t maxBlockBytes = 768 << 10, maxBlockRows = 240;

namespace {
class VectorRecipe : public KernelRecipe {
public:
  VectorRecipe(GroupedMatmulOp op, int accumulators, bool dot);

  void prepare(OpBuilder &b) override;
  void packRows(OpBuilder &b, size_t plan, const RowBlock &rows, const DepthBlock *block) override;
  void multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels, const DepthBlock *block,
                RowsDone done) override;

private:
  bool readsInPlace(size_t plan) const { return plan + 1 < getPlans().size(); }

  GroupedMatmulOp op;
  int64_t depth;
  bool dot;
  GatheredRows gathered;
  /// Rows of the inner loops of a plan, descending to 1: with its first step over panels, and with one panel.
  struct Ladders {
    SmallVector<int64_t, 4> first, single;
  };
  SmallVector<Ladders, 2> ladders;
  bool apart;                                 ///< weight operands are multiplied with most rows one after the other
  SmallVector<MicroKernelBuilder, 2> kernels; ///< of all weight operands; if `apart`, behind it those of each
};
} // namespace

VectorRecipe::VectorRecipe(GroupedMatmulOp op, int accumulators, bool dot)
    : KernelRecipe(op.getLoc()), op(op), depth(op.getDepth()), dot(dot),
      gathered(loc, depth, dot ? Type(BFloat16Type::get(op.getContext())) : Float32Type::get(op.getContext())) {
  int64_t weights = op.getWeights().size();
  auto x = cast<MemRefType>(op.getX().getType());
  bool large = accumulators >= 24;
  apart = !large && weights > 1;
  auto steps = [](int64_t panels) {
    SmallVector<int64_t, 3> list;
    if (panels > 4)
      list.push_back(panels);
    if (panels > 1)
      list.push_back(std::min<int64_t>(panels, 4));
    list.push_back(1);
    return list;
  };
  // A dot product reads pairs of x.
  if (!dot || (x.isLastDimUnitStride() && depth % 2 == 0)) {
    // One row reads as many panels at once as memory serves best.
    int64_t alone = std::min<int64_t>(large ? 8 : 4, accumulators) / weights;
    plans.push_back({1, steps(alone)});
    ladders.push_back({{1}, {1}});
    if (large) {
      plans.push_back({4, steps(4 / weights)});
      ladders.push_back({{4, 2, 1}, {1}});
    }
  }
  int64_t panels = large && weights == 1 ? 2 : 1;
  int64_t most = std::max<int64_t>((large ? 24 : accumulators) / ((apart ? 1 : weights) * panels), 1);
  // Few kinds of inner loops: single panels are what a layer's width leaves over, if anything.
  SmallVector<int64_t, 4> ladder{most};
  if (most > 6)
    ladder.push_back(4);
  else if (most > 2)
    ladder.push_back(2);
  if (most > 1)
    ladder.push_back(1);
  int64_t block = std::clamp<int64_t>(maxBlockBytes / gathered.bytesPerRow(), 2 * most, maxBlockRows) / most * most;
  plans.push_back({block, steps(panels)});
  ladders.push_back({ladder, panels > 1 ? SmallVector<int64_t, 4>{4, 1} : ladder});
}

void VectorRecipe::prepare(OpBuilder &b) {
  kernels.emplace_back(b, op, dot);
  for (size_t w = 0; apart && w < op.getWeights().size(); ++w)
    kernels.push_back(kernels.front().ofWeight(w));
  gathered.setBuffer(allocate(b, gathered.typeOf(getPlans().back().maxRows)));
  allocateSums(b, op.getWeights().size());
}

void VectorRecipe::packRows(OpBuilder &b, size_t plan, const RowBlock &rows, const DepthBlock *) {
  if (readsInPlace(plan))
    return;
  loop(b, rows.begin, rows.end, 1,
       [&](OpBuilder &b, Value row) { gathered.gather(b, rows.source.row(b, row), subtract(b, row, rows.begin)); });
}

void VectorRecipe::multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels,
                            const DepthBlock *, RowsDone done) {
  SmallVector<Value> panelIndices;
  for (int64_t p = 0; p < panels.count; ++p)
    panelIndices.push_back(add(b, panels.first, p));
  Value zero = index(b, 0), first = zero, count = subtract(b, rows.end, rows.begin);
  const Ladders &ladder = ladders[plan];
  for (int64_t together : panels.count == getPlans()[plan].panelSteps.front() ? ladder.first : ladder.single) {
    Value last = count;
    if (together > 1) {
      Value whole = multiplyBy(b, divide(b, subtract(b, count, first), together), together);
      last = add(b, first, whole);
    }
    loop(b, first, last, together, [&](OpBuilder &b, Value position) {
      SmallVector<Value> positions, views;
      for (int64_t r = 0; r < together; ++r) {
        positions.push_back(add(b, position, r));
        views.push_back(readsInPlace(plan) ? rows.source.row(b, add(b, rows.begin, positions.back()))
                                           : gathered.row(b, positions.back()));
      }
      int64_t number = 0;
      auto build = [&](const MicroKernelBuilder &kernel) {
        for (auto [i, sum] : llvm::enumerate(kernel.build(b, views, rows.group, panelIndices, readsInPlace(plan))))
          storeSums(b, plan, sum, positions[i % together], number++ / together);
      };
      // The few rows that are left over are less work than reading the weights.
      if (apart && !readsInPlace(plan) && together == ladder.first.front())
        llvm::for_each(ArrayRef(kernels).drop_front(), build);
      else
        build(kernels.front());
    });
    first = last;
  }
  finishRows(b, plan, rows, done);
}

std::unique_ptr<KernelRecipe> moe::makeBf16DotRecipe(GroupedMatmulOp op, const IsaLevel *level) {
  if (!level || !level->hasBf16Dot || op.getWeightRank() != 5)
    return nullptr;
  auto isBf16 = [](Value value) { return cast<ShapedType>(value.getType()).getElementType().isBF16(); };
  if (!isBf16(op.getX()) || !llvm::all_of(op.getWeights(), isBf16))
    return nullptr;
  return std::make_unique<VectorRecipe>(op, level->accumulators, /*dot=*/true);
}

std::unique_ptr<KernelRecipe> moe::makeFmaRecipe(GroupedMatmulOp op, const IsaLevel *level) {
  // What every machine with fused multiply-add has registers for.
  constexpr int anyMachine = 6;
  return std::make_unique<VectorRecipe>(op, level ? level->accumulators : anyMachine, /*dot=*/false);
}

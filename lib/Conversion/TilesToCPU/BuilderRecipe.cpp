//===- BuilderRecipe.cpp - products by a kernel builder -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "GatheredRows.h"
#include "KernelRecipe.h"
#include "MicroKernelBuilder.h"
#include "QuantizedKernels.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

namespace {
/// Rows of i8 are read where they lie; those that multiply codes are gathered as f32 first.
class BuilderRecipe : public KernelRecipe {
public:
  explicit BuilderRecipe(GroupedMatmulOp op)
      : KernelRecipe(op.getLoc()), op(op), gathered(loc, op.getDepth(), Float32Type::get(op.getContext())) {}

  Type getSumType(MLIRContext *context) const override {
    return op.isInteger() ? Type(IntegerType::get(context, 32)) : KernelRecipe::getSumType(context);
  }
  void prepare(OpBuilder &b) override;
  void packRows(OpBuilder &b, size_t plan, const RowBlock &rows, const DepthBlock *block) override;
  void multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels, const DepthBlock *block,
                RowsDone done) override;

private:
  mutable GroupedMatmulOp op;
  std::unique_ptr<KernelBuilder> builder;
  GatheredRows gathered;
  SmallVector<SmallVector<int64_t, 4>, 2> ladders; ///< rows of the kernels of each plan
};
} // namespace

void BuilderRecipe::prepare(OpBuilder &b) {
  if (op.isInteger())
    builder = std::make_unique<IntegerKernelBuilder>(b, op);
  else
    builder = std::make_unique<CodeKernelBuilder>(b, op);
  // Gathered rows should stay in the second-level cache while panels pass by.
  constexpr int64_t mostRows = 240, mostBytes = 768 << 10;
  int64_t maxRows = mostRows;
  if (!op.isInteger())
    maxRows = std::clamp<int64_t>(mostBytes / gathered.bytesPerRow() / 12 * 12, 12, mostRows);
  auto addPlan = [&](int64_t maxRows, int64_t panels, ArrayRef<int64_t> rows) {
    Plan &plan = plans.emplace_back(Plan{maxRows, {panels}});
    if (panels > 4)
      plan.panelSteps.push_back(4);
    if (panels > 1)
      plan.panelSteps.push_back(1);
    ladders.emplace_back(rows);
  };
  ArrayRef<KernelShape> shapes = builder->ladder();
  addPlan(1, shapes.back().panels, {1});
  if (shapes.size() > 1)
    addPlan(maxRows, shapes.front().panels,
            llvm::map_to_vector(shapes, [](const KernelShape &shape) { return shape.rows; }));
  else
    plans.back().maxRows = maxRows;
  if (!op.isInteger())
    gathered.setBuffer(allocate(b, gathered.typeOf(maxRows)));
  allocateSums(b, op.getWeights().size());
}

void BuilderRecipe::packRows(OpBuilder &b, size_t, const RowBlock &rows, const DepthBlock *) {
  if (op.isInteger())
    return;
  loop(b, rows.begin, rows.end, 1,
       [&](OpBuilder &b, Value row) { gathered.gather(b, rows.source.row(b, row), subtract(b, row, rows.begin)); });
}

void BuilderRecipe::multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels,
                             const DepthBlock *, RowsDone done) {
  SmallVector<Value> panelIndices;
  for (int64_t p = 0; p < panels.count; ++p)
    panelIndices.push_back(add(b, panels.first, p));
  Value first = rows.begin;
  for (int64_t together : ladders[plan]) {
    Value last = add(b, first, multiplyBy(b, divide(b, subtract(b, rows.end, first), together), together));
    loop(b, first, last, together, [&](OpBuilder &b, Value row) {
      SmallVector<Value> positions, views;
      for (int64_t r = 0; r < together; ++r) {
        positions.push_back(subtract(b, add(b, row, r), rows.begin));
        views.push_back(op.isInteger() ? rows.source.row(b, add(b, row, r)) : gathered.row(b, positions.back()));
      }
      SmallVector<Value> results = builder->build(b, views, rows.group, panelIndices);
      for (auto [number, result] : llvm::enumerate(results))
        storeSums(b, plan, result, positions[number % together], number / together);
    });
    first = last;
  }
  finishRows(b, plan, rows, done);
}

std::unique_ptr<KernelRecipe> moe::makeBuilderRecipe(GroupedMatmulOp op, const IsaLevel *) {
  if (!op.isInteger() && !op.getFormat())
    return nullptr;
  return std::make_unique<BuilderRecipe>(op);
}

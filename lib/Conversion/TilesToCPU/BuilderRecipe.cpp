//===- BuilderRecipe.cpp - products by a kernel builder -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "KernelRecipe.h"
#include "MicroKernelBuilder.h"
#include "QuantizedKernels.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

namespace {
/// Rows are not packed: a builder's kernels read them where they lie.
class BuilderRecipe : public KernelRecipe {
public:
  explicit BuilderRecipe(GroupedMatmulOp op) : KernelRecipe(op.getLoc()), op(op) {}

  Type getSumType(MLIRContext *context) const override {
    return op.isInteger() ? Type(IntegerType::get(context, 32)) : KernelRecipe::getSumType(context);
  }
  void prepare(OpBuilder &b) override;
  void packRows(OpBuilder &, size_t, const RowBlock &, const DepthBlock *) override {}
  void multiply(OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels, const DepthBlock *block,
                RowsDone done) override;

private:
  mutable GroupedMatmulOp op;
  std::unique_ptr<KernelBuilder> builder;
  SmallVector<SmallVector<int64_t, 4>, 2> ladders; ///< rows of the kernels of each plan
};
} // namespace

void BuilderRecipe::prepare(OpBuilder &b) {
  if (op.isInteger())
    builder = std::make_unique<IntegerKernelBuilder>(b, op);
  else
    builder = std::make_unique<CodeKernelBuilder>(b, op);
  auto addPlan = [&](int64_t maxRows, int64_t panels, ArrayRef<int64_t> rows) {
    Plan &plan = plans.emplace_back(Plan{maxRows, {panels}});
    if (panels > 1)
      plan.panelSteps.push_back(1);
    ladders.emplace_back(rows);
  };
  ArrayRef<KernelShape> shapes = builder->ladder();
  addPlan(1, shapes.back().panels, {1});
  if (shapes.size() > 1)
    addPlan(240, shapes.front().panels,
            llvm::map_to_vector(shapes, [](const KernelShape &shape) { return shape.rows; }));
  else
    plans.back().maxRows = 240;
  allocateSums(b, op.getWeights().size());
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
        views.push_back(rows.source.row(b, add(b, row, r)));
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

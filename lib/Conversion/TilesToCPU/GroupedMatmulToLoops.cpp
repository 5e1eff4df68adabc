//===- GroupedMatmulToLoops.cpp - moe.grouped_matmul on memrefs to loops --===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What surrounds the micro-kernel: groups, row blocks, panels, the gather of rows, the epilogue and the stores.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "KernelRecipe.h"
#include "MicroKernelBuilder.h"
#include "QuantizedKernels.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/Epilogue.h"
#include "lib/Conversion/Common/NarrowFloats.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"
#include "mlir/IR/SymbolTable.h"

#include "llvm/Support/FormatVariadic.h"

namespace moe {
#define GEN_PASS_DEF_GROUPEDMATMULTOLOOPS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static constexpr int64_t panelWidth = GroupedMatmulOp::panelWidth, lineBytes = 64;

namespace {
/// Which columns of a panel exist.
struct Columns {
  Value first;          ///< the panel's first column
  int64_t count;        ///< how many there are, 1 .. 16
  Value mask = nullptr; ///< set where the number of columns is dynamic: vector<16xi1>
};

/// Lowers one op. All values are created in front of it.
class Lowering : private RowSource {
public:
  Lowering(OpBuilder &b, GroupedMatmulOp op) : b(b), op(op), loc(op.getLoc()) {}

  /// False for what this lowering cannot do, with an error at the op.
  LogicalResult check();
  void run();

private:
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
  Value loadIndex(Value memref, Value at) {
    return arith::IndexCastOp::create(b, loc, b.getIndexType(), memref::LoadOp::create(b, loc, memref, at));
  }
  /// scf.for with a body written by `body`; the insertion point stays behind the loop.
  void loop(Value begin, Value end, int64_t step, function_ref<void(Value)> body);

  void prepareGather();
  Value rowView(Value row);
  void lowerPlain(Value group, Value begin, Value end);
  void preparePacked();
  void lowerPacked(Value group, Value begin, Value end);
  void lowerPlan(size_t plan, const RowBlock &rows);
  void lowerPanels(size_t plan, const RowBlock &rows, Value from, Value end, const DepthBlock *block);
  void lowerNarrowPanel(size_t plan, const RowBlock &rows, Value panel, const DepthBlock *block);
  void emitPanels(size_t plan, const RowBlock &rows, Value firstPanel, ArrayRef<Columns> panels,
                  const DepthBlock *block);
  Value row(OpBuilder &, Value row) override { return rowView(row); }
  Columns wholePanel(Value firstColumn) { return {firstColumn, panelWidth}; }
  Value loadColumns(Value memref, Value group, const Columns &columns);
  void storeColumns(Value vector, Value row, const Columns &columns, bool mayPassCaches);
  void preparePassingCaches();
  Value roundByInstruction(Value result);

  OpBuilder &b;
  GroupedMatmulOp op;
  Location loc;
  MemRefType rowType;                   ///< of rowView
  Value zeroRow;                        ///< with choices: what choice -1 reads
  std::unique_ptr<KernelRecipe> recipe; ///< of packed weights
  Value passesCaches;                   ///< a large result consists of whole lines: i1; null if that is not asked
};
} // namespace

void Lowering::loop(Value begin, Value end, int64_t step, function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, loc, begin, end, index(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop.getBody()->getTerminator());
  body(loop.getInductionVar());
}

LogicalResult Lowering::check() {
  Type element = cast<MemRefType>(op.getX().getType()).getElementType();
  if (!op.isInteger() && !isExtendableToF32(element))
    return op.emitOpError("expected rows of f32, bf16, f16 or i8 but got ") << op.getX().getType();
  if (op.isPackedForTensorCores())
    return op.emitOpError("expected weights packed for vectors but got ") << op.getWeights().front().getType();
  if (op.isPacked()) {
    auto init = cast<MemRefType>(op.getInit().getType());
    if (init.isDynamicDim(1)) {
      for (Value value :
           llvm::concat<Value>(SmallVector<Value>(op.getColumnScalars()), SmallVector<Value>{op.getInit()}))
        if (!cast<MemRefType>(value.getType()).isLastDimUnitStride())
          return op.emitOpError("expected contiguous columns where their number is dynamic but got ")
                 << value.getType();
    }
    if (op.isInteger())
      return IntegerKernelBuilder::check(op);
    return op.getFormat() ? CodeKernelBuilder::check(op) : MicroKernelBuilder::check(op);
  }
  if (op.isInteger() || op.getFormat())
    return op.emitOpError("expected packed weights where they are quantised but got ")
           << op.getWeights().front().getType();
  for (Value weight : op.getWeights())
    if (!isExtendableToF32(cast<MemRefType>(weight.getType()).getElementType()))
      return op.emitOpError("expected weights of f32, bf16 or f16 but got ") << weight.getType();
  return success();
}

/// Settles the type of row views; with choices, makes the row that a choice of -1 reads.
void Lowering::prepareGather() {
  auto x = cast<MemRefType>(op.getX().getType());
  int64_t stride = x.isLastDimUnitStride() ? 1 : ShapedType::kDynamic;
  auto layout = StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, {stride});
  rowType = MemRefType::get({x.getDimSize(1)}, x.getElementType(), layout, x.getMemorySpace());
  if (!op.getChoices())
    return;

  auto zeroType = MemRefType::get({x.getDimSize(1)}, x.getElementType());
  auto zero = DenseElementsAttr::get(RankedTensorType::get(zeroType.getShape(), zeroType.getElementType()),
                                     b.getZeroAttr(zeroType.getElementType()));
  auto module = op->getParentOfType<ModuleOp>();
  std::string name = llvm::formatv("moe_zeros_{0}x{1}", zeroType.getDimSize(0), zeroType.getElementType());
  auto global = module.lookupSymbol<memref::GlobalOp>(name);
  if (!global) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    global = memref::GlobalOp::create(b, loc, name, b.getStringAttr("private"), zeroType, zero, /*constant=*/true,
                                      /*alignment=*/IntegerAttr());
  }
  zeroRow = memref::GetGlobalOp::create(b, loc, zeroType, name);
  zeroRow = memref::CastOp::create(b, loc, rowType, zeroRow);
}

/// The row of x that row `row` of the output multiplies.
Value Lowering::rowView(Value row) {
  Value exists;
  if (op.getChoices()) {
    Value choice = memref::LoadOp::create(b, loc, op.getChoices(), row);
    Value none = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0));
    exists = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, choice, none);
    row = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), arith::MaxSIOp::create(b, loc, choice, none));
    row = arith::DivUIOp::create(b, loc, row, index(op.getFanout()));
  }
  SmallVector<OpFoldResult> offsets{row, b.getIndexAttr(0)};
  SmallVector<OpFoldResult> sizes{b.getIndexAttr(1), b.getIndexAttr(rowType.getDimSize(0))};
  SmallVector<OpFoldResult> strides(2, b.getIndexAttr(1));
  auto x = cast<MemRefType>(op.getX().getType());
  auto type = memref::SubViewOp::inferRankReducedResultType(rowType.getShape(), x, offsets, sizes, strides);
  Value view = memref::SubViewOp::create(b, loc, type, op.getX(), offsets, sizes, strides);
  if (type != rowType)
    view = memref::CastOp::create(b, loc, rowType, view);
  if (exists)
    view = arith::SelectOp::create(b, loc, exists, view, zeroRow);
  return view;
}

/// A panel's values of a column scalar [E, N]; columns that do not exist are zero.
Value Lowering::loadColumns(Value memref, Value group, const Columns &columns) {
  auto type = cast<MemRefType>(memref.getType());
  auto vectorType = VectorType::get({panelWidth}, type.getElementType());
  SmallVector<Value> at{group, columns.first};
  if (columns.count == panelWidth && !columns.mask && type.isLastDimUnitStride())
    return vector::LoadOp::create(b, loc, vectorType, memref, at);

  Value vector = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
  if (columns.mask)
    return vector::MaskedLoadOp::create(b, loc, vectorType, memref, at, columns.mask, vector);
  if (type.isLastDimUnitStride()) {
    auto narrow = VectorType::get({columns.count}, type.getElementType());
    Value loaded = vector::LoadOp::create(b, loc, narrow, memref, at);
    return vector::InsertStridedSliceOp::create(b, loc, loaded, vector, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{1});
  }
  for (int64_t column = 0; column < columns.count; ++column) {
    at[1] = arith::AddIOp::create(b, loc, columns.first, index(column));
    vector = vector::InsertOp::create(b, loc, memref::LoadOp::create(b, loc, memref, at), vector, column);
  }
  return vector;
}

/// Storing past the caches takes lines that begin where the processor's do.
void Lowering::preparePassingCaches() {
  auto type = cast<MemRefType>(op.getInit().getType());
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  const IsaLevel *level = getIsaLevel(op);
  bool isAsked = op.getLargeResult() && level && level->architecture == Architecture::X86_64 &&
                 llvm::any_of(recipe->getPlans(), [](const KernelRecipe::Plan &plan) { return plan.passesCaches; });
  if (!isAsked || panelWidth * bytes != lineBytes || !type.isLastDimUnitStride())
    return;
  auto metadata = memref::ExtractStridedMetadataOp::create(b, loc, op.getInit());
  Value size = index(bytes), base = memref::ExtractAlignedPointerAsIndexOp::create(b, loc, op.getInit());
  auto times = [&](Value number) -> Value { return arith::MulIOp::create(b, loc, number, size); };
  Value begin = arith::AddIOp::create(b, loc, base, times(metadata.getOffset()));
  Value either = arith::OrIOp::create(b, loc, begin, times(metadata.getStrides().front()));
  Value inLine = arith::AndIOp::create(b, loc, either, index(lineBytes - 1));
  passesCaches = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, inLine, index(0));
}

void Lowering::storeColumns(Value vector, Value row, const Columns &columns, bool mayPassCaches) {
  auto type = cast<MemRefType>(op.getInit().getType());
  SmallVector<Value> at{row, columns.first};
  if (columns.mask) {
    vector::MaskedStoreOp::create(b, loc, op.getInit(), at, columns.mask, vector);
    return;
  }
  if (mayPassCaches && passesCaches && columns.count == panelWidth) {
    auto choice = scf::IfOp::create(b, loc, passesCaches, /*withElseRegion=*/true);
    OpBuilder past = choice.getThenBodyBuilder(), into = choice.getElseBodyBuilder();
    vector::StoreOp::create(past, loc, vector, op.getInit(), at, /*nontemporal=*/true, llvm::Align(lineBytes));
    vector::StoreOp::create(into, loc, vector, op.getInit(), at);
    return;
  }
  if (type.isLastDimUnitStride()) {
    if (columns.count < panelWidth)
      vector = vector::ExtractStridedSliceOp::create(b, loc, vector, ArrayRef<int64_t>{0},
                                                     ArrayRef<int64_t>{columns.count}, ArrayRef<int64_t>{1});
    vector::StoreOp::create(b, loc, vector, op.getInit(), at);
    return;
  }
  for (int64_t column = 0; column < columns.count; ++column) {
    at[1] = arith::AddIOp::create(b, loc, columns.first, index(column));
    memref::StoreOp::create(b, loc, vector::ExtractOp::create(b, loc, vector, column), op.getInit(), at);
  }
}

/// Plain weights: element by element. The sums are those of the kernels, only slower.
void Lowering::lowerPlain(Value group, Value begin, Value end) {
  Value zero = index(0);
  Value columns = b.createOrFold<memref::DimOp>(loc, op.getInit(), 1);
  loop(begin, end, 1, [&](Value row) {
    Value view = rowView(row);
    loop(zero, columns, 1, [&](Value column) {
      Value none = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(0.0f));
      SmallVector<Value> sums(op.getWeights().size(), none);
      auto product = scf::ForOp::create(b, loc, zero, index(op.getDepth()), index(1), sums,
                                        [&](OpBuilder &b, Location, Value k, ValueRange accumulators) {
                                          Value x = extendToF32(b, loc, memref::LoadOp::create(b, loc, view, k));
                                          SmallVector<Value> next;
                                          for (auto [weight, sum] : llvm::zip(op.getWeights(), accumulators)) {
                                            Value w =
                                                memref::LoadOp::create(b, loc, weight, ValueRange{group, column, k});
                                            next.push_back(math::FmaOp::create(b, loc, x, extendToF32(b, loc, w), sum));
                                          }
                                          scf::YieldOp::create(b, loc, next);
                                        });
      storeElement(b, op, product.getResults(), group, row, column);
    });
  });
}

/// The result of an epilogue that rounds to bf16: by one instruction where x86-64 has one. It takes denormal numbers as
/// zeros, as the products of these levels do.
Value Lowering::roundByInstruction(Value result) {
  const IsaLevel *level = getIsaLevel(op);
  auto round = result.getDefiningOp<arith::TruncFOp>();
  if (!level || level->architecture != Architecture::X86_64 || !level->hasBf16Dot || !round ||
      !getElementTypeOrSelf(result.getType()).isBF16() || !getElementTypeOrSelf(round.getIn().getType()).isF32())
    return result;
  return x86vector::CvtPackedF32ToBF16Op::create(b, loc, result.getType(), round.getIn());
}

/// The rows of `rows` times the panels from `firstPanel`, as many as `panels` has entries.
void Lowering::emitPanels(size_t plan, const RowBlock &rows, Value firstPanel, ArrayRef<Columns> panels,
                          const DepthBlock *block) {
  SmallVector<SmallVector<Value>> columnScalars;
  for (const Columns &columns : panels) {
    SmallVector<Value> &scalars = columnScalars.emplace_back();
    for (Value memref : op.getColumnScalars())
      scalars.push_back(loadColumns(memref, rows.group, columns));
  }
  auto done = [&](OpBuilder &, Value first, Value end, LoadSums loadSums) {
    loop(first, end, 1, [&](Value position) {
      Value row = arith::AddIOp::create(b, loc, rows.begin, position);
      SmallVector<Value> rowScalars;
      for (Value memref : op.getRowScalars())
        rowScalars.push_back(memref::LoadOp::create(b, loc, memref, row));
      for (auto [p, columns] : llvm::enumerate(panels)) {
        SmallVector<Value> arguments;
        for (size_t w = 0; w < op.getWeights().size(); ++w)
          arguments.push_back(loadSums(b, position, int64_t(w * panels.size() + p)));
        llvm::append_range(arguments, rowScalars);
        llvm::append_range(arguments, columnScalars[p]);
        Value result = cloneVectorEpilogue(b, op.getEpilogue().front(), arguments, panelWidth);
        storeColumns(roundByInstruction(result), row, columns, recipe->getPlans()[plan].passesCaches);
      }
    });
  };
  recipe->multiply(b, plan, rows, {firstPanel, int64_t(panels.size())}, block, done);
}

/// A block of rows times all panels. Panels are the outer loop: a panel of weights stays in the cache while the rows
/// pass by.
void Lowering::lowerPlan(size_t plan, const RowBlock &rows) {
  Value width = index(panelWidth), total = b.createOrFold<memref::DimOp>(loc, op.getInit(), 1);
  Value whole = b.createOrFold<arith::DivUIOp>(loc, total, width);
  const KernelRecipe::Plan &how = recipe->getPlans()[plan];
  if (how.depthBlocks == 1) {
    recipe->packRows(b, plan, rows, nullptr);
    lowerPanels(plan, rows, index(0), whole, nullptr);
    lowerNarrowPanel(plan, rows, whole, nullptr);
    return;
  }
  auto forBlocks = [&](Value firstPanel, function_ref<void(const DepthBlock *)> body) {
    loop(index(0), index(how.depthBlocks), 1, [&](Value number) {
      DepthBlock block{number, firstPanel};
      recipe->packRows(b, plan, rows, &block);
      body(&block);
    });
  };
  loop(index(0), whole, how.panelsOfBlock, [&](Value first) {
    Value end = arith::AddIOp::create(b, loc, first, index(how.panelsOfBlock));
    end = arith::MinSIOp::create(b, loc, end, whole);
    forBlocks(first, [&](const DepthBlock *block) { lowerPanels(plan, rows, first, end, block); });
  });
  if (op.getColumnDivisor() % panelWidth)
    forBlocks(whole, [&](const DepthBlock *block) { lowerNarrowPanel(plan, rows, whole, block); });
}

/// Panels from .. end, all whole.
void Lowering::lowerPanels(size_t plan, const RowBlock &rows, Value from, Value end, const DepthBlock *block) {
  auto columnOf = [&](Value panel) -> Value { return b.createOrFold<arith::MulIOp>(loc, panel, index(panelWidth)); };
  for (int64_t step : recipe->getPlans()[plan].panelSteps) {
    Value to = end;
    if (step > 1) {
      Value left = b.createOrFold<arith::SubIOp>(loc, end, from);
      Value rest = b.createOrFold<arith::RemUIOp>(loc, left, index(step));
      to = b.createOrFold<arith::SubIOp>(loc, end, rest);
    }
    loop(from, to, step, [&](Value panel) {
      SmallVector<Columns> panels;
      for (int64_t p = 0; p < step; ++p)
        panels.push_back(wholePanel(columnOf(p ? Value(arith::AddIOp::create(b, loc, panel, index(p))) : panel)));
      emitPanels(plan, rows, panel, panels, block);
    });
    from = to;
    if (op.getColumnDivisor() % (step * panelWidth) == 0)
      return; // nothing is ever left over
  }
}

/// What is behind the whole panels, if anything.
void Lowering::lowerNarrowPanel(size_t plan, const RowBlock &rows, Value panel, const DepthBlock *block) {
  Value first = b.createOrFold<arith::MulIOp>(loc, panel, index(panelWidth));
  if (int64_t columns = op.getNumColumns(); !ShapedType::isDynamic(columns)) {
    if (columns % panelWidth)
      emitPanels(plan, rows, panel, Columns{first, columns % panelWidth}, block);
    return;
  }
  if (op.getColumnDivisor() % panelWidth == 0)
    return;
  Value left = arith::SubIOp::create(b, loc, b.createOrFold<memref::DimOp>(loc, op.getInit(), 1), first);
  Value some = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sgt, left, index(0));
  auto tail = scf::IfOp::create(b, loc, some, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(tail.thenYield());
  Value mask = vector::CreateMaskOp::create(b, loc, VectorType::get({panelWidth}, b.getI1Type()), left);
  emitPanels(plan, rows, panel, Columns{first, panelWidth, mask}, block);
}

void Lowering::preparePacked() {
  recipe = makeKernelRecipe(op, getIsaLevel(op));
  recipe->prepare(b);
  preparePassingCaches();
}

/// Rows begin .. end in blocks, each by the first plan that has room for it.
void Lowering::lowerPacked(Value group, Value begin, Value end) {
  ArrayRef<KernelRecipe::Plan> plans = recipe->getPlans();
  int64_t most = plans.back().maxRows;
  loop(begin, end, most, [&](Value first) {
    Value last = arith::AddIOp::create(b, loc, first, index(most));
    last = arith::MinSIOp::create(b, loc, last, end);
    RowBlock rows{group, first, last, *this};
    Value count = arith::SubIOp::create(b, loc, last, first);
    OpBuilder::InsertionGuard guard(b);
    for (auto [number, plan] : llvm::enumerate(plans.drop_back())) {
      Value fits = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sle, count, index(plan.maxRows));
      auto choice = scf::IfOp::create(b, loc, fits, /*withElseRegion=*/true);
      b.setInsertionPoint(choice.thenYield());
      lowerPlan(number, rows);
      b.setInsertionPoint(choice.elseYield());
    }
    lowerPlan(plans.size() - 1, rows);
  });
}

void Lowering::run() {
  prepareGather();
  if (op.isPacked())
    preparePacked();
  loop(index(0), index(op.getNumExperts()), 1, [&](Value group) {
    Value begin = loadIndex(op.getOffsets(), group);
    Value end = loadIndex(op.getOffsets(), arith::AddIOp::create(b, loc, group, index(1)));
    if (recipe)
      lowerPacked(group, begin, end);
    else
      lowerPlain(group, begin, end);
  });
  if (recipe)
    recipe->finish(b);
  // Such stores are seen by other threads in any order, also after the store that tells them of it.
  if (passesCaches)
    LLVM::CallIntrinsicOp::create(b, loc, b.getStringAttr("llvm.x86.sse.sfence"), ValueRange());
  op.erase();
}

namespace {
struct GroupedMatmulToLoopsPass : moe::impl::GroupedMatmulToLoopsBase<GroupedMatmulToLoopsPass> {
  void runOnOperation() override {
    SmallVector<GroupedMatmulOp> ops;
    getOperation()->walk([&](GroupedMatmulOp op) {
      if (isa<MemRefType>(op.getInit().getType()))
        ops.push_back(op);
    });
    for (GroupedMatmulOp op : ops) {
      OpBuilder b(op);
      Lowering lowering(b, op);
      if (failed(lowering.check()))
        return signalPassFailure();
      lowering.run();
    }
  }
};
} // namespace

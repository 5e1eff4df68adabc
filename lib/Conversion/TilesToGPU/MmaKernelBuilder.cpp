//===- MmaKernelBuilder.cpp - a grouped matmul on tensor cores ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A stage of shared memory holds a tile of x and one of the weights, 64 bytes of k for each row of x. Tiles of several
// weights lie one behind the other, and a warp has the same columns of each, so the sums of gate and up meet in one
// thread. The 16-byte chunks of a row are exchanged by its number: eight rows of an ldmatrix then lie in different
// banks, and so do the copies. All of this is the same for elements of any size: an ldmatrix and an mma take 32 bytes
// of a row, whose elements stand where their size puts them.
//
// An mma gives a thread two neighbours of each eight columns. Which columns of the result these eight are is free: they
// are chosen so that what a thread has of several mma lies side by side, 16 bytes for one store. With G mma for that,
// column 2 * i + j (j < 2) of the g-th one is 2 * G * i + 2 * g + j of the block of 8 * G columns.
//
// Per step along k: fragments of the second half are loaded, copies of a later tile are issued, the first half is
// multiplied; after the barrier fragments of the next tile's first half are loaded while the second half is
// multiplied. So no mma waits behind the barrier for its operands.
//
//===----------------------------------------------------------------------===//

#include "MmaBuilder.h"

#include "DeviceWork.h"
#include "Kernel.h"
#include "TileOffsets.h"
#include "dialect/Moe/IR/MoeMarks.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace moe;

/// A warp has a multiple of these columns of a weight: an ldmatrix.x4 gives so many.
static constexpr int64_t columnsPerWarp = 16;

std::optional<int64_t> moe::copyBytes(Value memref, unsigned dim, int64_t depth) {
  std::optional<int64_t> stride = rowStride(memref, dim);
  int64_t size = elementBytes(memref);
  if (stride)
    for (int64_t bytes : {16, 8, 4})
      if (size * *stride % bytes == 0 && size * depth % bytes == 0)
        return bytes;
  return std::nullopt;
}

/// Whether tensor cores can multiply with the weights of `op` as they are.
static bool hasMmaWeights(GroupedMatmulOp op) {
  Type element = elementOf(op.getX());
  if (op.getFormat())
    return op.isPackedForTensorCores() && (element.isBF16() || element.isF16()) &&
           llvm::all_of(op.getScales(), [&](Value scales) {
             return op.getCodeBits() == 8 ? elementOf(scales).isF32() : elementOf(scales).isBF16();
           });
  // Scores of f32 are summed as on a processor: what is chosen by them must not depend on an approximation.
  if (element.isF32() && op->hasAttr(scoresAttr))
    return false;
  if (op.isPacked() || !(element.isBF16() || element.isF16() || element.isF32() || element.isInteger(8)))
    return false;
  return llvm::all_of(op.getWeights(), [&](Value weight) {
    return elementOf(weight) == element && copyBytes(weight, 1, op.getDepth());
  });
}

static rt::MmaKind mmaKind(GroupedMatmulOp op) {
  return elementOf(op.getX()).isF32() ? rt::MmaKind::F32 : rt::MmaKind::Bits16;
}

std::optional<MmaShape> moe::findMmaShape(GroupedMatmulOp op, int64_t rows) {
  const std::vector<MmaShape> &shapes = rt::blockShapes(mmaKind(op));
  auto found = llvm::find_if(shapes, [&](const MmaShape &shape) { return shape.rows >= rows; });
  MmaShape shape = found == shapes.end() ? shapes.back() : *found;
  if (op.getFormat()) {
    shape.columnBytes = codeBytesPerColumn(op);
    // Codes are few bytes: more stages, for as many of them on the way.
    if (shape.rows == shapes.front().rows)
      shape.stages = op.getCodeBits() == 8 ? 6 : 8;
  }
  int64_t weights = op.getWeights().size();
  if (!getTileOffsets(op).second || shape.columns % (weights * columnsPerWarp * shape.warpColumns) ||
      !hasMmaWeights(op) || !copyBytes(op.getX(), 0, op.getDepth()))
    return std::nullopt;
  return shape;
}

std::vector<rt::ShapeChoice> moe::chooseMmaShapes(GroupedMatmulOp op, const rt::GpuMachine &machine) {
  auto bytes = [](Type type) { return type.getIntOrFloatBitWidth() / 8.0; };
  // The op is a tile; what all tiles share is in the buffers that they are parts of.
  auto weights = cast<MemRefType>(rootBuffer(op.getWeights().front()).getType());
  bool isKnown = weights.hasStaticShape() && weights.getRank() == op.getWeightRank();
  int64_t groups = isKnown ? weights.getDimSize(0) : 1;
  double columns = !isKnown ? 1024 : weights.getDimSize(1) * (op.isPacked() ? GroupedMatmulOp::panelWidth : 1);
  double depth = op.getDepth();
  double groupBytes = isKnown ? weights.getNumElements() / groups * bytes(elementOf(op.getWeights().front()))
                              : columns * depth * bytes(elementOf(op.getX()));
  rt::GpuProduct product;
  product.columns = columns * op.getWeights().size();
  product.depth = depth;
  product.groups = groups;
  product.groupBytes = groupBytes * op.getWeights().size();
  product.rowBytes = depth * bytes(elementOf(op.getX())) + columns * bytes(elementOf(op.getInit()));
  product.mma = mmaKind(op);
  std::vector<rt::ShapeChoice> choices;
  for (const rt::ShapeChoice &choice : rt::chooseShapes(product, machine))
    if (findMmaShape(op, choice.shape.rows))
      choices.push_back(choice);
  return choices;
}

MmaBuilder::MmaBuilder(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel)
    : ProductBuilder(op), shape(shape), kernel(kernel), perWeight(shape.columns / weights),
      perWarp(perWeight / shape.warpColumns), rowFragments(shape.rows / shape.warpRows / fragment),
      columnFragments(weights * perWarp / fragment), stageDepth(rowBytes / elementBytes(op.getX())) {
  run = std::min(run, perWarp / 4);
}

void MmaBuilder::prepare() {
  prepareTile();
  allocateShared(kernel, shape.sharedBytes());
  thread = toI32(gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x));
  lane = make<arith::AndIOp>(thread, warpSize - 1);
  Value warp = make<arith::ShRUIOp>(thread, 5);
  warpRow = make<arith::RemUIOp>(warp, shape.warpRows);
  warpColumn = make<arith::DivUIOp>(warp, shape.warpRows);

  // Threads write to shared memory side by side; what they read depends on what has to lie there.
  copyRow = make<arith::DivUIOp>(thread, chunksPerRow);
  copyOffset = make<arith::MulIOp>(thread, chunkBytes);
  copyPlace = make<arith::RemUIOp>(thread, chunksPerRow);
  copyChunkX = swizzled(copyPlace, copyRow, 2);
  if (shape.rows < rowsPerCopy)
    copies = less(copyRow, i32(shape.rows));

  // Lanes 0 to 15 give the addresses of the rows' first 16 bytes, the others those of the second.
  Value row = make<arith::RemUIOp>(lane, fragment);
  Value firstRow = make<arith::MulIOp>(warpRow, shape.rows / shape.warpRows);
  offsetX = make<arith::MulIOp>(make<arith::AddIOp>(firstRow, row), rowBytes);
  for (int64_t half = 0; half < 2; ++half) {
    Value first = make<arith::AddIOp>(make<arith::ShRUIOp>(lane, 4), 2 * half);
    chunkX.push_back(make<arith::MulIOp>(swizzled(first, row, 2), chunkBytes));
  }
  prepareWeights();
}

/// Which rows this thread copies: those that do not exist become zero bytes to copy, and the copy fills in zeros.
void MmaBuilder::pointToRows(Value firstRow) {
  pointersX.clear();
  chosen = op.getChoices() ? i32(0) : Value();
  leftX = make<arith::SubIOp>(make<arith::SubIOp>(rows, firstRow), copyRow);
  Value base = addressOf(op.getX()), last = make<arith::SubIOp>(rows, 1);
  int64_t each = *copyBytes(op.getX(), 0, op.getDepth());
  for (int64_t at = 0; at < shape.rows; at += rowsPerCopy) {
    Value row = make<arith::AddIOp>(firstRow, make<arith::AddIOp>(copyRow, at));
    Value exists = less(row, rows);
    row = make<arith::AddIOp>(begin, make<arith::MinSIOp>(row, last));
    if (op.getChoices()) {
      Value choice = memref::LoadOp::create(b, loc, op.getChoices(), toIndex(row));
      exists = make<arith::AndIOp>(exists, arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, choice, i32(0)));
      row = make<arith::DivUIOp>(make<arith::MaxSIOp>(choice, 0), op.getFanout());
      chosen = make<arith::OrIOp>(chosen, select(exists, i32(each << pointersX.size()), i32(0)));
    }
    Value address = make<arith::MulIOp>(toIndex(row), *rowStride(op.getX(), 0) * elementBytes(op.getX()));
    address =
        make<arith::AddIOp>(make<arith::AddIOp>(base, address), make<arith::MulIOp>(toIndex(copyChunkX), chunkBytes));
    pointersX.push_back(globalPointer(address));
  }
}

void MmaBuilder::copyChunk(Value pointer, Value to, int64_t offset, Value k, Value chunk, Value size, int64_t each) {
  int64_t depth = op.getDepth(), bytesPerElement = rowBytes / stageDepth;
  // Where k ends with a stage, all chunks of a row are there or none.
  bool wholeStages = depth % stageDepth == 0;
  Value bytes = make<arith::MulIOp>(k, bytesPerElement);
  for (int64_t part = 0; part < chunkBytes; part += each) {
    Value element = k;
    if (!wholeStages) {
      element = make<arith::AddIOp>(k, make<arith::MulIOp>(chunk, chunkBytes / bytesPerElement));
      element = make<arith::AddIOp>(element, part / bytesPerElement);
    }
    Value from = globalAt(pointer, part == 0 ? bytes : make<arith::AddIOp>(bytes, part));
    copyAsync(sharedAt(to, offset + part), from, each, select(less(element, i32(depth)), size, i32(0)));
  }
}

void MmaBuilder::copyRows(Value k, Value stage) {
  OpBuilder::InsertionGuard guard(b);
  Value to = make<arith::AddIOp>(stage, copyOffset);
  if (copies)
    b.setInsertionPoint(scf::IfOp::create(b, loc, copies, /*withElseRegion=*/false).thenYield());
  int64_t each = *copyBytes(op.getX(), 0, op.getDepth());
  for (auto [number, pointer] : llvm::enumerate(pointersX)) {
    int64_t row = number * rowsPerCopy;
    Value size = chosen ? make<arith::AndIOp>(make<arith::ShRUIOp>(chosen, number), each) : sizeOf(leftX, row, each);
    copyChunk(pointer, to, row * rowBytes, k, copyChunkX, size, each);
  }
}

void MmaBuilder::copyTile(Value k, Value stage) {
  copyRows(k, stage);
  copyWeights(k, stage);
  NVVM::CpAsyncCommitGroupOp::create(b, loc);
}

MmaBuilder::Fragments MmaBuilder::loadFragments(Value stage, int64_t half, ArrayRef<Value> firstWeights) {
  Fragments fragments;
  Value at = make<arith::AddIOp>(make<arith::AddIOp>(stage, offsetX), chunkX[half]);
  for (int64_t row = 0; row < rowFragments; ++row)
    llvm::append_range(fragments.x, loadMatrices(sharedAt(at, row * fragment * rowBytes)));
  fragments.weights = loadWeights(stage, half, firstWeights);
  return fragments;
}

void MmaBuilder::multiply(const Fragments &fragments, int64_t half, MutableArrayRef<Value> sums) {
  if (elementOf(op.getX()).isF32())
    return multiplyF32(fragments, half, sums);
  // Operands are made where they are first needed. Those decoded from codes are not kept for long: rows pass by them.
  bool byColumns = op.getFormat().has_value();
  int64_t columns8 = 2 * columnFragments;
  int64_t outerSteps = byColumns ? columns8 : rowFragments, innerSteps = byColumns ? rowFragments : columns8;
  SmallVector<Values> w(columns8);
  for (int64_t outer = 0; outer < outerSteps; ++outer)
    for (int64_t step = 0; step < innerSteps; ++step) {
      // Back and forth: neighbours share an operand.
      int64_t inner = (outer + half) % 2 == 1 ? innerSteps - 1 - step : step;
      int64_t row = byColumns ? inner : outer, column = byColumns ? outer : inner;
      if (w[column].empty())
        w[column] = operandsOfWeights(fragments.weights, half, column);
      multiplyAdd(elementOf(op.getX()), ArrayRef(fragments.x).slice(row * 4, 4), w[column],
                  sums.slice(sumAt(row, column), 4));
    }
}

void MmaBuilder::epilogue(Value firstRow, Value firstColumn, ArrayRef<Value> sums) {
  Value inBlock = make<arith::MulIOp>(make<arith::AndIOp>(lane, 3), run);
  Value firstOfThread =
      make<arith::AddIOp>(firstColumn, make<arith::AddIOp>(make<arith::MulIOp>(warpColumn, perWarp), inBlock));
  for (int64_t row = 0; row < rowFragments; ++row)
    for (int64_t half = 0; half < 2; ++half) {
      Value at =
          make<arith::AddIOp>(make<arith::MulIOp>(warpRow, shape.rows / shape.warpRows), make<arith::ShRUIOp>(lane, 2));
      Value inTile = make<arith::AddIOp>(firstRow, make<arith::AddIOp>(at, row * fragment + half * 8));
      storeRow(inTile, firstOfThread, perWarp, [&](int64_t weight, int64_t eight, int64_t element) {
        return sums[sumAt(row, weight * (perWarp / 8) + eight) + 2 * half + element];
      });
    }
}

void MmaBuilder::wait() {
  NVVM::CpAsyncWaitGroupOp::create(b, loc, shape.stages - 2);
  gpu::BarrierOp::create(b, loc);
}

Value MmaBuilder::nextStage(Value stage) {
  Value next = make<arith::AddIOp>(stage, shape.stageBytes());
  Value end = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, next, i32(shape.sharedBytes()));
  return select(end, i32(0), next);
}

void MmaBuilder::block(Value firstRow, Value firstColumn) {
  pointToRows(firstRow);
  pointToWeights(firstColumn);
  Value stage = i32(0);
  for (int64_t number = 0; number < shape.stages - 1; ++number)
    copyTile(i32(number * stageDepth), i32(number * shape.stageBytes()));
  wait();
  Fragments first = loadFragments(stage, 0, {});

  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(op.getAccumulatorType()));
  size_t sumCount = rowFragments * 2 * columnFragments * 4;
  SmallVector<Value> carried(sumCount, zero);
  llvm::append_range(carried, first.x);
  llvm::append_range(carried, first.weights);
  carried.append({stage, i32((shape.stages - 1) * shape.stageBytes())});
  auto steps = scf::ForOp::create(b, loc, i32(0), i32(op.getDepth()), i32(stageDepth), carried);
  // Even of few steps: addresses of several need more registers than there are.
  steps->setAttr("loop_annotation", parseAttribute("#llvm.loop_annotation<unroll = <disable = true>>", b.getContext()));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(steps.getBody());
    auto arguments = llvm::to_vector_of<Value>(steps.getRegionIterArgs());
    SmallVector<Value> sums(ArrayRef(arguments).take_front(sumCount));
    ArrayRef<Value> rest = ArrayRef(arguments).drop_front(sumCount);
    Fragments current{SmallVector<Value>(rest.take_front(first.x.size())),
                      SmallVector<Value>(rest.slice(first.x.size(), first.weights.size()))};
    Value now = rest[rest.size() - 2], room = rest.back();
    Fragments second = loadFragments(now, 1, current.weights);
    copyTile(make<arith::AddIOp>(steps.getInductionVar(), (shape.stages - 1) * stageDepth), room);
    multiply(current, 0, sums);
    wait();
    Value next = nextStage(now);
    Fragments after = loadFragments(next, 0, {});
    multiply(second, 1, sums);
    llvm::append_range(sums, after.x);
    llvm::append_range(sums, after.weights);
    sums.append({next, nextStage(room)});
    scf::YieldOp::create(b, loc, sums);
  }
  SmallVector<Value> sums(steps.getResults().take_front(sumCount));
  epilogue(firstRow, firstColumn, sums);
  // The next block writes the stages again.
  NVVM::CpAsyncWaitGroupOp::create(b, loc, 0);
  gpu::BarrierOp::create(b, loc);
}

void MmaBuilder::build() {
  prepare();
  auto byColumns = scf::ForOp::create(b, loc, i32(0), columns, i32(perWeight));
  b.setInsertionPoint(byColumns.getBody()->getTerminator());
  auto byRows = scf::ForOp::create(b, loc, i32(0), rows, i32(shape.rows));
  b.setInsertionPoint(byRows.getBody()->getTerminator());
  block(byRows.getInductionVar(), byColumns.getInductionVar());
}

void moe::buildMmaKernel(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel) {
  (op.getFormat() ? makeCodeMmaBuilder : makePlainMmaBuilder)(op, shape, kernel)->build();
  // Told nothing, ptxas may spill to hold more blocks than shared memory has room for.
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), OpBuilder(op).getI32IntegerAttr(shape.blocks));
}

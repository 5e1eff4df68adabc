//===- MmaKernelBuilder.cpp - a grouped matmul on tensor cores ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A stage of shared memory holds a tile of x and one of the weights, 64 bytes of k for each row. Tiles of several
// weights lie one behind the other, and a warp has the same columns of each, so the sums of gate and up meet in one
// thread. The 16-byte chunks of a row are exchanged by its number: eight rows of an ldmatrix then lie in different
// banks, and so do the copies.
//
// An mma gives a thread two neighbours of each eight columns. Which columns of the result these eight are is free: they
// are chosen so that what a thread has of several mma lies side by side, 16 bytes for one store. With G mma for that,
// column 2 * i + j (j < 2) of the g-th one is 2 * G * i + 2 * g + j of the block of 8 * G columns. So the rows of
// weights that an ldmatrix reads are those, and chunks of weights are exchanged by row / (2 * G), of x by row / 2.
//
// Per step along k: fragments of the second half are loaded, copies of a later tile are issued, the first half is
// multiplied; after the barrier fragments of the next tile's first half are loaded while the second half is
// multiplied. So no mma waits behind the barrier for its operands.
//
//===----------------------------------------------------------------------===//

#include "MmaKernelBuilder.h"

#include "DeviceWork.h"
#include "Kernel.h"
#include "ProductBuilder.h"
#include "TileOffsets.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t rowBytes = MmaShape::depth * 2;
static constexpr int64_t chunksPerRow = rowBytes / 16;
/// Rows that the threads of a block copy at a time.
static constexpr int64_t rowsPerCopy = mmaThreads / chunksPerRow;

/// Bytes of the asynchronous copies that rows of 16-bit elements of `memref` along `dim` are made of: the most that
/// every row begins and ends at a multiple of. None if no copy is so small.
static std::optional<int64_t> copyBytes(Value memref, unsigned dim, int64_t depth) {
  std::optional<int64_t> stride = rowStride(memref, dim);
  if (stride)
    for (int64_t bytes : {16, 8, 4})
      if (2 * *stride % bytes == 0 && 2 * depth % bytes == 0)
        return bytes;
  return std::nullopt;
}

std::optional<MmaShape> moe::findMmaShape(GroupedMatmulOp op, int64_t rows) {
  const std::vector<MmaShape> &shapes = rt::blockShapes();
  auto found = llvm::find_if(shapes, [&](const MmaShape &shape) { return shape.rows >= rows; });
  MmaShape shape = found == shapes.end() ? shapes.back() : *found;
  int64_t weights = op.getWeights().size(), perWarp = shape.columns / weights / shape.warpColumns;
  Type element = elementOf(op.getX());
  if (op.isPacked() || op.getFormat() || !getTileOffsets(op).second || !(element.isBF16() || element.isF16()))
    return std::nullopt;
  if (shape.columns % (weights * rowsPerCopy) || perWarp % 16)
    return std::nullopt;
  for (Value weight : op.getWeights())
    if (elementOf(weight) != element || !copyBytes(weight, 1, op.getDepth()))
      return std::nullopt;
  if (!copyBytes(op.getX(), 0, op.getDepth()))
    return std::nullopt;
  return shape;
}

std::vector<rt::ShapeChoice> moe::chooseMmaShapes(GroupedMatmulOp op, const rt::GpuMachine &machine) {
  auto bytes = [](Type type) { return type.getIntOrFloatBitWidth() / 8.0; };
  // The op is a tile; what all tiles share is in the buffers that they are parts of.
  auto weights = cast<MemRefType>(rootBuffer(op.getWeights().front()).getType());
  auto sizeOf = [&](unsigned dim, int64_t otherwise) -> double {
    bool isKnown = weights.getRank() == 3 && !weights.isDynamicDim(dim);
    return isKnown ? weights.getDimSize(dim) : otherwise;
  };
  double columns = sizeOf(1, 1024), depth = op.getDepth(), element = bytes(elementOf(op.getX()));
  rt::GpuProduct product;
  product.columns = columns * op.getWeights().size();
  product.depth = depth;
  product.groups = static_cast<int64_t>(sizeOf(0, 1));
  product.groupBytes = product.columns * depth * element;
  product.rowBytes = depth * element + columns * bytes(elementOf(op.getInit()));
  std::vector<rt::ShapeChoice> choices;
  for (const rt::ShapeChoice &choice : rt::chooseShapes(product, machine))
    if (findMmaShape(op, choice.shape.rows))
      choices.push_back(choice);
  return choices;
}

namespace {
class MmaBuilder : ProductBuilder {
public:
  MmaBuilder(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel)
      : ProductBuilder(op), shape(shape), kernel(kernel), perWeight(shape.columns / weights),
        perWarp(perWeight / shape.warpColumns), rowFragments(shape.rows / shape.warpRows / fragment),
        columnFragments(weights * perWarp / fragment) {
    run = std::min(run, perWarp / 4);
  }

  void build();

private:
  /// Fragments of one half of a stage, four registers each.
  struct Fragments {
    SmallVector<Value> a, b;
  };

  void prepare();
  void block(Value firstRow, Value firstColumn);
  void preparePointers(Value firstRow, Value firstColumn);
  void copyTile(Value k, Value stage);
  Fragments loadFragments(Value stage, int64_t half);
  void multiply(const Fragments &fragments, MutableArrayRef<Value> sums, bool reversed);
  void epilogue(Value firstRow, Value firstColumn, ArrayRef<Value> sums);
  /// Until the next tile is there, for all threads.
  void wait() {
    NVVM::CpAsyncWaitGroupOp::create(b, loc, shape.stages - 2);
    gpu::BarrierOp::create(b, loc);
  }
  Value nextStage(Value stage) {
    Value next = make<arith::AddIOp>(stage, shape.stageBytes());
    Value end = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, next, i32(shape.sharedBytes()));
    return select(end, i32(0), next);
  }
  /// Where the four sums of a row fragment, weight and eight columns begin.
  size_t sumAt(int64_t row, int64_t column8) { return (row * 2 * columnFragments + column8) * 4; }
  /// The chunk in whose place the chunk `chunk` of the row `row` lies, and the other way around; rows are exchanged in
  /// sets of `rowsPerSet`.
  Value swizzled(Value chunk, Value row, int64_t rowsPerSet) {
    return make<arith::XOrIOp>(chunk, make<arith::RemUIOp>(make<arith::DivUIOp>(row, rowsPerSet), chunksPerRow));
  }

  MmaShape shape;
  gpu::GPUFuncOp kernel;
  int64_t perWeight, perWarp, rowFragments, columnFragments;

  Value lane, warpRow, warpColumn;         ///< i32
  Value copyRow, copyOffset;               ///< of this thread, i32
  Value copyChunkA, copyChunkB;            ///< of the rows, i32
  Value copies;                            ///< whether this thread copies rows of x; null: all do
  Value offsetA, offsetB;                  ///< of ldmatrix in a stage, without the chunk
  SmallVector<Value> chunkA, chunkB;       ///< bytes, for each half of a stage
  SmallVector<Value> pointersA, pointersB; ///< of the rows this thread copies
  Value leftA, leftB;                      ///< rows from this thread's first one to the end, i32
  Value chosen;                            ///< with choices: bytes of a copy << n, if there is an n-th row of x to copy
};
} // namespace

void MmaBuilder::prepare() {
  prepareTile();
  allocateShared(kernel, shape.sharedBytes());
  Value thread = toI32(gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x));
  lane = make<arith::AndIOp>(thread, warpSize - 1);
  Value warp = make<arith::ShRUIOp>(thread, 5);
  warpRow = make<arith::RemUIOp>(warp, shape.warpRows);
  warpColumn = make<arith::DivUIOp>(warp, shape.warpRows);

  // Threads write to shared memory side by side; what they read depends on what has to lie there.
  copyRow = make<arith::DivUIOp>(thread, chunksPerRow);
  copyOffset = make<arith::MulIOp>(thread, chunkBytes);
  Value place = make<arith::RemUIOp>(thread, chunksPerRow);
  copyChunkA = swizzled(place, copyRow, 2);
  copyChunkB = swizzled(place, copyRow, run);
  if (shape.rows < rowsPerCopy)
    copies = less(copyRow, i32(shape.rows));

  // Lanes 0 to 15 give the addresses of the rows' first 16 bytes, the others those of the second.
  Value rowA = make<arith::RemUIOp>(lane, fragment);
  Value firstA = make<arith::MulIOp>(warpRow, shape.rows / shape.warpRows);
  offsetA = make<arith::MulIOp>(make<arith::AddIOp>(firstA, rowA), rowBytes);
  // Of the weights: the columns of an mma, first and second 16 bytes, then those of the next mma.
  Value inMma = make<arith::AndIOp>(lane, 7);
  Value rowB = make<arith::MulIOp>(make<arith::DivUIOp>(inMma, 2), run);
  rowB = make<arith::AddIOp>(rowB, make<arith::RemUIOp>(inMma, 2));
  rowB = make<arith::AddIOp>(rowB, make<arith::MulIOp>(make<arith::ShRUIOp>(lane, 4), 2));
  Value firstB = make<arith::MulIOp>(warpColumn, perWarp);
  offsetB = make<arith::MulIOp>(make<arith::AddIOp>(firstB, rowB), rowBytes);
  offsetB = make<arith::AddIOp>(offsetB, shape.rows * rowBytes);
  for (int64_t half = 0; half < 2; ++half) {
    Value first = make<arith::AddIOp>(make<arith::ShRUIOp>(lane, 4), 2 * half);
    chunkA.push_back(make<arith::MulIOp>(swizzled(first, rowA, 2), chunkBytes));
    first = make<arith::AddIOp>(make<arith::AndIOp>(make<arith::ShRUIOp>(lane, 3), 1), 2 * half);
    chunkB.push_back(make<arith::MulIOp>(swizzled(first, rowB, run), chunkBytes));
  }
}

/// Which rows this thread copies: those that do not exist become zero bytes to copy, and the copy fills in zeros.
void MmaBuilder::preparePointers(Value firstRow, Value firstColumn) {
  auto pointerTo = [&](Value base, Value row, int64_t stride, Value chunk) -> Value {
    Value address = make<arith::AddIOp>(base, make<arith::MulIOp>(row, 2 * stride));
    address = make<arith::AddIOp>(address, make<arith::MulIOp>(toIndex(chunk), chunkBytes));
    return globalPointer(address);
  };
  pointersA.clear();
  pointersB.clear();
  chosen = op.getChoices() ? i32(0) : Value();
  leftA = make<arith::SubIOp>(make<arith::SubIOp>(rows, firstRow), copyRow);
  leftB = make<arith::SubIOp>(make<arith::SubIOp>(columns, firstColumn), copyRow);
  Value baseA = addressOf(op.getX()), last = make<arith::SubIOp>(rows, 1);
  int64_t each = *copyBytes(op.getX(), 0, op.getDepth());
  for (int64_t at = 0; at < shape.rows; at += rowsPerCopy) {
    Value row = make<arith::AddIOp>(firstRow, make<arith::AddIOp>(copyRow, at));
    Value exists = less(row, rows);
    row = make<arith::AddIOp>(begin, make<arith::MinSIOp>(row, last));
    if (op.getChoices()) {
      Value choice = memref::LoadOp::create(b, loc, op.getChoices(), toIndex(row));
      exists = make<arith::AndIOp>(exists, arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, choice, i32(0)));
      row = make<arith::DivUIOp>(make<arith::MaxSIOp>(choice, 0), op.getFanout());
      chosen = make<arith::OrIOp>(chosen, select(exists, i32(each << pointersA.size()), i32(0)));
    }
    pointersA.push_back(pointerTo(baseA, toIndex(row), *rowStride(op.getX(), 0), copyChunkA));
  }
  Value first;
  for (int64_t at = 0; at < shape.columns; at += rowsPerCopy) {
    Value weight = op.getWeights()[at / perWeight];
    // One pointer for each weight: its other rows lie at constant distances. Where there is no row nothing is read.
    if (at % perWeight == 0)
      first = pointerTo(addressOf(weight), toIndex(make<arith::AddIOp>(firstColumn, copyRow)), *rowStride(weight, 1),
                        copyChunkB);
    Value distance = LLVM::ConstantOp::create(b, loc, b.getI64Type(),
                                              b.getI64IntegerAttr(at % perWeight * *rowStride(weight, 1) * 2));
    pointersB.push_back(globalAt(first, distance));
  }
}

/// Starts the copies of the tile that begins at element `k` (i32) to `stage`, as one group; behind the end of k they
/// fill in zeros.
void MmaBuilder::copyTile(Value k, Value stage) {
  Value bytes = make<arith::MulIOp>(k, 2);
  Value to = make<arith::AddIOp>(stage, copyOffset);
  int64_t depth = op.getDepth();
  // Where k ends with a stage, all chunks of a row are there or none.
  bool wholeStages = depth % MmaShape::depth == 0;
  Value isInside = wholeStages ? less(k, i32(depth)) : Value();
  auto copyChunk = [&](Value pointer, Value chunk, Value size, int64_t offset, int64_t copyBytes) {
    for (int64_t part = 0; part < chunkBytes; part += copyBytes) {
      Value exists = isInside;
      if (!wholeStages) {
        Value element = make<arith::AddIOp>(k, make<arith::MulIOp>(chunk, chunkBytes / 2));
        exists = less(make<arith::AddIOp>(element, part / 2), i32(depth));
      }
      Value from = globalAt(pointer, part == 0 ? bytes : make<arith::AddIOp>(bytes, part));
      copyAsync(sharedAt(to, offset + part), from, copyBytes, select(exists, size, i32(0)));
    }
  };
  // Compared again in each step: a register for every row is more than there are.
  auto sizeOf = [&](Value left, int64_t row, int64_t bytes) {
    return select(less(i32(row), left), i32(bytes), i32(0));
  };
  {
    OpBuilder::InsertionGuard guard(b);
    if (copies)
      b.setInsertionPoint(scf::IfOp::create(b, loc, copies, /*withElseRegion=*/false).thenYield());
    int64_t each = *copyBytes(op.getX(), 0, depth);
    for (auto [number, pointer] : llvm::enumerate(pointersA)) {
      int64_t row = number * rowsPerCopy;
      Value size = chosen ? make<arith::AndIOp>(make<arith::ShRUIOp>(chosen, number), each) : sizeOf(leftA, row, each);
      copyChunk(pointer, copyChunkA, size, row * rowBytes, each);
    }
  }
  for (auto [number, pointer] : llvm::enumerate(pointersB)) {
    int64_t row = number * rowsPerCopy, each = *copyBytes(op.getWeights()[row / perWeight], 1, depth);
    copyChunk(pointer, copyChunkB, sizeOf(leftB, row % perWeight, each), (shape.rows + row) * rowBytes, each);
  }
  NVVM::CpAsyncCommitGroupOp::create(b, loc);
}

MmaBuilder::Fragments MmaBuilder::loadFragments(Value stage, int64_t half) {
  auto load = [&](Value at, int64_t row, SmallVector<Value> &to) {
    llvm::append_range(to, loadMatrices(sharedAt(at, row * rowBytes)));
  };
  Fragments fragments;
  Value atA = make<arith::AddIOp>(make<arith::AddIOp>(stage, offsetA), chunkA[half]);
  for (int64_t row = 0; row < rowFragments; ++row)
    load(atA, row * fragment, fragments.a);
  Value atB = make<arith::AddIOp>(make<arith::AddIOp>(stage, offsetB), chunkB[half]);
  for (int64_t weight = 0; weight < weights; ++weight)
    for (int64_t column = 0; column < perWarp; column += fragment) {
      int64_t inBlock = column % (4 * run); // of the mma's columns; two mma have them in pairs
      load(atB, weight * perWeight + column - inBlock + inBlock / 4, fragments.b);
    }
  return fragments;
}

void MmaBuilder::multiply(const Fragments &fragments, MutableArrayRef<Value> sums, bool reversed) {
  for (int64_t row = 0; row < rowFragments; ++row)
    for (int64_t step = 0; step < 2 * columnFragments; ++step) {
      // Back and forth: neighbours share an operand.
      int64_t column = (row % 2 == 1) != reversed ? 2 * columnFragments - 1 - step : step;
      MutableArrayRef<Value> four = sums.slice(sumAt(row, column), 4);
      multiplyAdd(elementOf(op.getX()), ArrayRef(fragments.a).slice(row * 4, 4),
                  ArrayRef(fragments.b).slice(column * 2, 2), four);
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

void MmaBuilder::block(Value firstRow, Value firstColumn) {
  preparePointers(firstRow, firstColumn);
  Value stage = i32(0);
  for (int64_t number = 0; number < shape.stages - 1; ++number)
    copyTile(i32(number * MmaShape::depth), i32(number * shape.stageBytes()));
  wait();
  Fragments first = loadFragments(stage, 0);

  Value zero = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(0.0f));
  size_t sumCount = rowFragments * 2 * columnFragments * 4;
  SmallVector<Value> carried(sumCount, zero);
  llvm::append_range(carried, first.a);
  llvm::append_range(carried, first.b);
  carried.append({stage, i32((shape.stages - 1) * shape.stageBytes())});
  auto steps = scf::ForOp::create(b, loc, i32(0), i32(op.getDepth()), i32(MmaShape::depth), carried);
  // Even of few steps: addresses of several need more registers than there are.
  steps->setAttr("loop_annotation", parseAttribute("#llvm.loop_annotation<unroll = <disable = true>>", b.getContext()));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(steps.getBody());
    auto arguments = llvm::to_vector_of<Value>(steps.getRegionIterArgs());
    SmallVector<Value> sums(ArrayRef(arguments).take_front(sumCount));
    ArrayRef<Value> rest = ArrayRef(arguments).drop_front(sumCount);
    Fragments current{SmallVector<Value>(rest.take_front(first.a.size())),
                      SmallVector<Value>(rest.slice(first.a.size(), first.b.size()))};
    Value now = rest[rest.size() - 2], room = rest.back();
    Fragments second = loadFragments(now, 1);
    copyTile(make<arith::AddIOp>(steps.getInductionVar(), (shape.stages - 1) * MmaShape::depth), room);
    multiply(current, sums, /*reversed=*/false);
    wait();
    Value next = nextStage(now);
    Fragments after = loadFragments(next, 0);
    multiply(second, sums, /*reversed=*/true);
    llvm::append_range(sums, after.a);
    llvm::append_range(sums, after.b);
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
  MmaBuilder(op, shape, kernel).build();
  // Told nothing, ptxas may spill to hold more blocks than shared memory has room for.
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), OpBuilder(op).getI32IntegerAttr(shape.blocks));
}

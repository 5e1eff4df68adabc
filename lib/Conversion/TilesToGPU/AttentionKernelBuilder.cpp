//===- AttentionKernelBuilder.cpp - attention on tensor cores -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionKernelBuilder.h"

#include "AttentionTiles.h"
#include "Kernel.h"
#include "MmaKernelBuilder.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

/// Heads that registers of a thread have room for.
static constexpr int64_t mostDepth = 128;
static constexpr int64_t warps = mmaThreads / warpSize;
/// Columns of values whose sums over a tile are made together: four mma that do not wait for each other.
static constexpr int64_t columnsAtOnce = 32;
static constexpr int64_t chunksAtOnce = AttentionShape::chunksAtOnce;
/// So many that all registers are used.
static constexpr int64_t blocksPerMultiprocessor = 2;

std::optional<AttentionShape> moe::chooseAttentionShape(AttentionOp op, bool fewRows) {
  Type element = elementOf(op.getQuery());
  if (!(element.isBF16() || element.isF16()) || elementOf(op.getKeys()) != element ||
      elementOf(op.getCachedValues()) != element)
    return std::nullopt;
  auto query = cast<MemRefType>(op.getQuery().getType()), keys = cast<MemRefType>(op.getKeys().getType());
  int64_t depth = query.getDimSize(3);
  if (depth % 16 || depth > mostDepth || query.getDimSize(0) != 1 || keys.getDimSize(2) != 1 ||
      op.getScale().convertToFloat() <= 0)
    return std::nullopt;
  // Copies have 16 bytes, and rows begin at multiples of that.
  for (auto [memref, dim] :
       {std::pair(op.getQuery(), 1u), std::pair(op.getQuery(), 2u), std::pair(op.getKeys(), 1u),
        std::pair(op.getCachedValues(), 1u), std::pair(op.getInit(), 1u), std::pair(op.getInit(), 2u)})
    if (std::optional<int64_t> stride = rowStride(memref, dim); !stride || *stride % 8)
      return std::nullopt;
  AttentionPart part = AttentionPart::All;
  if (auto attribute = op->getAttrOfType<IntegerAttr>(attentionPartAttr))
    part = static_cast<AttentionPart>(attribute.getInt());
  return AttentionShape{depth, fewRows, part};
}

namespace {
class AttentionBuilder : AttentionTiles {
public:
  AttentionBuilder(AttentionOp op, const AttentionShape &shape, gpu::GPUFuncOp kernel)
      : AttentionTiles(op, shape, kernel) {}

  void build();

private:
  /// Addresses of several tiles need more registers than there are.
  void disableUnrolling(scf::ForOp loop) {
    loop->setAttr("loop_annotation",
                  parseAttribute("#llvm.loop_annotation<unroll = <disable = true>>", b.getContext()));
  }

  void blockOfManyRows(Value firstRow);
  void blockOfFewRows(Value firstRow);
  void combine();
  SmallVector<Value> tileOfWarp(Value firstKey, Value region, Rows &rows);
  Sums chunkOfWarps(Value chunk);
  void leaveChunk(Value chunk, const Sums &sums);
  Value betweenKernels(Value chunk, Value column, Value ofLane);

  /// The first and the end of the tiles of `chunk` that rows of the block see.
  std::pair<Value, Value> tilesOf(Value chunk) {
    Value first = make<arith::MulIOp>(chunk, AttentionShape::chunkTiles);
    Value end = make<arith::MinSIOp>(make<arith::AddIOp>(first, AttentionShape::chunkTiles), endTile);
    return {op.getWindow() ? make<arith::MaxSIOp>(first, firstTile) : first, end};
  }
  /// Where columns of this warp begin whose sums it merges: each fourth eight.
  SmallVector<Value> columnsOfWarp() {
    SmallVector<Value> columns;
    for (int64_t block = 0; block < shape.depth / 8; block += warps)
      columns.push_back(make<arith::MulIOp>(make<arith::AddIOp>(warp, block), 8));
    return columns;
  }
  /// Four f32 at an address.
  static constexpr int64_t laneBytes = perColumns * 4;
  void leave(Value at, ArrayRef<Value> values) {
    auto four = VectorType::get({perColumns}, b.getF32Type());
    LLVM::StoreOp::create(b, loc, vector::FromElementsOp::create(b, loc, four, values), at, laneBytes);
  }
  SmallVector<Value> find(Value at) {
    auto four = VectorType::get({perColumns}, b.getF32Type());
    Value vector = LLVM::LoadOp::create(b, loc, four, at, laneBytes);
    SmallVector<Value> values;
    for (int64_t i = 0; i < perColumns; ++i)
      values.push_back(vector::ExtractOp::create(b, loc, vector, i));
    return values;
  }
};
} // namespace

/// A warp has 16 rows; all warps read the same keys and values. Those of a tile are copied as two groups, into three
/// slots in turn: while one is read, the next two are on their way.
void AttentionBuilder::blockOfManyRows(Value firstRow) {
  startBlock(firstRow);
  int64_t slot = shape.slotBytes();
  auto copy = [&](bool values, Value tile, Value to) {
    copyKeys(values, make<arith::MulIOp>(tile, AttentionShape::keys), AttentionShape::keys, to, thread, mmaThreads);
  };
  copyQueries(firstRow, i32(2 * slot));
  commitCopies();
  copy(/*values=*/false, firstTile, i32(0));
  commitCopies();
  copy(/*values=*/true, firstTile, i32(slot));
  commitCopies();
  waitForBlock(2);
  loadQueries(make<arith::AddIOp>(make<arith::MulIOp>(warp, fragment * shape.rowBytes()), 2 * slot));

  auto withSlots = [](const Sums &sums, ArrayRef<Value> places) {
    SmallVector<Value> row = sums.row();
    llvm::append_range(row, places);
    return row;
  };
  constexpr size_t places = AttentionShape::slots;
  auto chunks = scf::ForOp::create(b, loc, firstChunk, endChunk, i32(1),
                                   withSlots(noSums(shape.depth), {i32(0), i32(slot), i32(2 * slot)}));
  disableUnrolling(chunks);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(chunks.getBody());
    ValueRange before = chunks.getRegionIterArgs();
    auto [first, end] = tilesOf(chunks.getInductionVar());
    auto tiles = scf::ForOp::create(b, loc, first, end, i32(1),
                                    withSlots(noSums(shape.depth), SmallVector<Value>(before.take_back(places))));
    disableUnrolling(tiles);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(tiles.getBody());
      ValueRange state = tiles.getRegionIterArgs();
      Sums all = Sums::fromRow(state.drop_back(places));
      state = state.take_back(places);
      Value keys = state[0], values = state[1], room = state[2];
      Value tile = tiles.getInductionVar(), next = make<arith::AddIOp>(tile, 1);

      waitForBlock(1);
      copy(/*values=*/false, next, room);
      commitCopies();
      SmallVector<Value> weights(AttentionShape::keys / 8 * perColumns, number(0));
      addScores(keys, AttentionShape::keys, weights);
      Rows ofTile;
      weigh(weights, make<arith::MulIOp>(tile, AttentionShape::keys), ofTile);
      merge(all.rows, ofTile);
      SmallVector<Value> registers = splitWeights(weights);

      waitForBlock(1);
      copy(/*values=*/true, next, keys);
      commitCopies();
      for (int64_t column = 0; column < shape.depth; column += columnsAtOnce) {
        int64_t end = std::min(column + columnsAtOnce, shape.depth);
        SmallVector<Value> tileSums((end - column) / 8 * perColumns, number(0));
        for (int64_t key = 0; key < AttentionShape::keys; key += fragment)
          for (int64_t at = column; at < end; at += fragment)
            addValues(ArrayRef(registers).slice(key / 2, 8), values, key, at,
                      MutableArrayRef(tileSums).slice((at - column) / 8 * perColumns, 2 * perColumns));
        // Else ptxas loads values of all columns at once, and is short of registers.
        if (end < shape.depth && shape.depth > 96)
          NVVM::SyncWarpOp::create(b, loc, i32(-1));
        for (auto [at, sum] : llvm::enumerate(tileSums)) {
          Value &total = all.values[column / 8 * perColumns + at];
          total = mergeSum(total, sum, all.rows, at);
        }
      }
      scf::YieldOp::create(b, loc, withSlots(all, {room, keys, values}));
    }
    ValueRange after = tiles.getResults();
    Sums all = merged(Sums::fromRow(before.drop_back(places)), Sums::fromRow(after.drop_back(places)));
    scf::YieldOp::create(b, loc, withSlots(all, SmallVector<Value>(after.take_back(places))));
  }
  SmallVector<Value> columns;
  for (int64_t column = 0; column < shape.depth; column += 8)
    columns.push_back(i32(column));
  store(Sums::fromRow(chunks.getResults().drop_back(places)), columns);
  // The next block writes the slots again.
  waitForBlock(0);
}

/// The weighted sums of a warp's tile. Keys, then values are copied by the warp alone, 16 at a time.
SmallVector<Value> AttentionBuilder::tileOfWarp(Value firstKey, Value region, Rows &ofTile) {
  constexpr int64_t step = AttentionShape::keysPerStep, steps = AttentionShape::keys / step;
  auto copy = [&](int64_t number) {
    if (number < 2 * steps)
      copyKeys(/*values=*/number >= steps, make<arith::AddIOp>(firstKey, number % steps * step), step,
               make<arith::AddIOp>(region, number % AttentionShape::slots * shape.slotBytes()), lane, warpSize);
    commitCopies();
  };
  auto meet = [&] { NVVM::SyncWarpOp::create(b, loc, i32(-1)); };
  for (int64_t number = 0; number < AttentionShape::slots; ++number)
    copy(number);
  SmallVector<Value> weights(AttentionShape::keys / 8 * perColumns, number(0)), registers;
  SmallVector<Value> sums(shape.depth / 8 * perColumns, number(0));
  for (int64_t number = 0; number < 2 * steps; ++number) {
    NVVM::CpAsyncWaitGroupOp::create(b, loc, AttentionShape::slots - 1);
    meet();
    Value slot = make<arith::AddIOp>(region, number % AttentionShape::slots * shape.slotBytes());
    if (number == steps) {
      weigh(weights, firstKey, ofTile);
      registers = splitWeights(weights);
    }
    int64_t key = number % steps * step;
    if (number < steps)
      addScores(slot, step, MutableArrayRef(weights).slice(key / 8 * perColumns, step / 8 * perColumns));
    else
      for (int64_t column = 0; column < shape.depth; column += fragment)
        addValues(ArrayRef(registers).slice(key / 2, 8), slot, /*key=*/0, column,
                  MutableArrayRef(sums).slice(column / 8 * perColumns, 2 * perColumns));
    meet();
    copy(number + AttentionShape::slots);
  }
  return sums;
}

/// The sums of the 16 rows over a chunk, in this warp's columns. Each warp takes a tile and leaves its sums in shared
/// memory; then each of them merges some of the columns of all tiles, in order.
Sums AttentionBuilder::chunkOfWarps(Value chunk) {
  static_assert(AttentionShape::chunkTiles == warps);
  int64_t blocks = shape.depth / 8, regionBytes = AttentionShape::slots * shape.slotBytes();
  auto [first, end] = tilesOf(chunk);
  auto isThere = [&, first = first, end = end](Value tile) {
    Value isThere = less(tile, end);
    if (op.getWindow())
      isThere = make<arith::AndIOp>(isThere, arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, tile, first));
    return isThere;
  };
  Value firstOfChunk = make<arith::MulIOp>(chunk, AttentionShape::chunkTiles);
  Value atLane = make<arith::MulIOp>(lane, laneBytes);
  Value tile = make<arith::AddIOp>(firstOfChunk, warp);
  auto exists = scf::IfOp::create(b, loc, isThere(tile), /*withElseRegion=*/false);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(exists.thenYield());
    Value region = make<arith::MulIOp>(warp, regionBytes);
    Rows ofTile;
    SmallVector<Value> sums = tileOfWarp(make<arith::MulIOp>(tile, AttentionShape::keys), region, ofTile);
    Value at = make<arith::AddIOp>(region, atLane);
    for (int64_t block = 0; block < blocks; ++block)
      leave(sharedAt(at, block * AttentionShape::columnsBytes), ArrayRef(sums).slice(block * perColumns, perColumns));
    leave(sharedAt(at, blocks * AttentionShape::columnsBytes),
          {ofTile.total[0], ofTile.total[1], ofTile.most[0], ofTile.most[1]});
  }
  gpu::BarrierOp::create(b, loc);
  Sums all = noSums(8 * columnsOfWarp().size());
  for (int64_t other = 0; other < warps; ++other)
    all = mergedIf(isThere(make<arith::AddIOp>(firstOfChunk, other)), all, [&] {
      Value at = make<arith::AddIOp>(atLane, other * regionBytes);
      SmallVector<Value> row;
      for (Value column : columnsOfWarp()) {
        // A warp without columns of its own does others' once more.
        Value block = make<arith::MinSIOp>(make<arith::DivUIOp>(column, 8), blocks - 1);
        llvm::append_range(
            row, find(sharedAt(make<arith::AddIOp>(at, make<arith::MulIOp>(block, AttentionShape::columnsBytes)), 0)));
      }
      llvm::append_range(row, find(sharedAt(at, blocks * AttentionShape::columnsBytes)));
      return Sums::fromRow(row);
    });
  // The next chunk writes the regions again.
  gpu::BarrierOp::create(b, loc);
  return all;
}

/// All warps have the same 16 rows.
void AttentionBuilder::blockOfFewRows(Value firstRow) {
  startBlock(firstRow);
  copyQueries(firstRow, i32(0));
  commitCopies();
  waitForBlock(0);
  loadQueries(i32(0));
  gpu::BarrierOp::create(b, loc);

  OpBuilder::InsertionGuard guard(b);
  if (shape.part == AttentionPart::Chunks) {
    Value first = make<arith::AddIOp>(firstChunk, toI32(gpu::BlockIdOp::create(b, loc, gpu::Dimension::y)));
    Value step = toI32(gpu::GridDimOp::create(b, loc, gpu::Dimension::y));
    auto chunks = scf::ForOp::create(b, loc, first, endChunk, step);
    disableUnrolling(chunks);
    b.setInsertionPoint(chunks.getBody()->getTerminator());
    leaveChunk(chunks.getInductionVar(), chunkOfWarps(chunks.getInductionVar()));
    return;
  }
  auto chunks = scf::ForOp::create(b, loc, firstChunk, endChunk, i32(1), noSums(8 * columnsOfWarp().size()).row());
  disableUnrolling(chunks);
  b.setInsertionPointToEnd(chunks.getBody());
  Sums ofChunk = chunkOfWarps(chunks.getInductionVar());
  scf::YieldOp::create(b, loc, merged(Sums::fromRow(chunks.getRegionIterArgs()), ofChunk).row());
  b.setInsertionPointAfter(chunks);
  store(Sums::fromRow(chunks.getResults()), columnsOfWarp());
}

/// Where the sums of `chunk` lie between kernels: those of lane `ofLane` in the eight columns from `column` on, or,
/// behind them all, the statistics.
Value AttentionBuilder::betweenKernels(Value chunk, Value column, Value ofLane) {
  // The iteration of the loop over the whole launch is the number of the sequence and key-value head. It has 16 rows at
  // most: of more, the host would have launched another kernel.
  Operation *loop = op->getParentOfType<scf::ForOp>();
  while (Operation *outer = loop->getParentOfType<scf::ForOp>())
    loop = outer;
  auto kernel = op->getParentOfType<gpu::GPUFuncOp>();
  unsigned arguments = kernel.getNumArguments();
  Value memory = kernel.getArgument(arguments - 2), room = toI32(kernel.getArgument(arguments - 1));
  Value unit = cast<scf::ForOp>(loop).getInductionVar();
  Value place = make<arith::AddIOp>(make<arith::MulIOp>(unit, room), make<arith::SubIOp>(chunk, firstChunk));
  auto wide = [&](Value value) -> Value { return arith::ExtUIOp::create(b, loc, b.getI64Type(), value); };
  auto bytes = [&](int64_t count) -> Value { return arith::ConstantIntOp::create(b, loc, count, 64); };
  Value at = make<arith::MulIOp>(wide(place), bytes(shape.chunkBytes()));
  Value inChunk = make<arith::AddIOp>(make<arith::MulIOp>(column, AttentionShape::columnsBytes / 8),
                                      make<arith::MulIOp>(ofLane, laneBytes));
  return globalAt(globalPointer(addressOf(memory)), make<arith::AddIOp>(at, wide(inChunk)));
}

void AttentionBuilder::leaveChunk(Value chunk, const Sums &sums) {
  OpBuilder::InsertionGuard guard(b);
  auto ifLess = [&](Value left, Value right) {
    b.setInsertionPoint(scf::IfOp::create(b, loc, less(left, right), /*withElseRegion=*/false).thenYield());
  };
  ifLess(threadRow[0], rows);
  SmallVector<Value> row = sums.row();
  for (auto [number, column] : llvm::enumerate(columnsOfWarp())) {
    OpBuilder::InsertionGuard guard(b);
    if (shape.depth / 8 % warps)
      ifLess(column, i32(shape.depth));
    leave(betweenKernels(chunk, column, lane), ArrayRef(row).slice(number * perColumns, perColumns));
  }
  ifLess(warp, i32(1));
  leave(betweenKernels(chunk, i32(shape.depth), lane), ArrayRef(row).take_back(perColumns));
}

/// A warp merges eight columns of all chunks, which other blocks have left. They come through shared memory, a few
/// chunks at a time: registers ptxas would load one after the other, and wait for each.
void AttentionBuilder::combine() {
  startBlock(i32(0));
  constexpr int64_t pieceBytes = AttentionShape::columnsBytes, groupBytes = chunksAtOnce * 2 * pieceBytes;
  Value column = make<arith::MulIOp>(toI32(gpu::BlockIdOp::create(b, loc, gpu::Dimension::y)), warps);
  column = make<arith::MulIOp>(make<arith::AddIOp>(column, warp), 8);
  // Nothing was left of rows that are not there: their lanes read the sums of the first row. A warp without columns of
  // its own reads the last ones.
  Value ofColumn = make<arith::MinSIOp>(column, shape.depth - 8);
  Value ofLane = select(less(threadRow[0], rows), lane, make<arith::AndIOp>(lane, 3));
  Value region = make<arith::AddIOp>(make<arith::MulIOp>(warp, 2 * groupBytes), make<arith::MulIOp>(lane, laneBytes));
  Value last = make<arith::SubIOp>(endChunk, 1);
  auto copy = [&](Value first, Value to) {
    for (int64_t more = 0; more < chunksAtOnce; ++more) {
      Value chunk = make<arith::AddIOp>(first, more), size = select(less(last, chunk), i32(0), i32(laneBytes));
      chunk = make<arith::MinSIOp>(chunk, last);
      int64_t at = 2 * more * pieceBytes;
      copyAsync(sharedAt(to, at), betweenKernels(chunk, ofColumn, ofLane), laneBytes, size);
      copyAsync(sharedAt(to, at + pieceBytes), betweenKernels(chunk, i32(shape.depth), ofLane), laneBytes, size);
    }
    commitCopies();
  };
  copy(firstChunk, region);
  Value second = make<arith::AddIOp>(region, groupBytes);
  copy(make<arith::AddIOp>(firstChunk, chunksAtOnce), second);

  SmallVector<Value> carried = noSums(8).row(), none = carried;
  carried.append({region, second});
  auto chunks = scf::ForOp::create(b, loc, firstChunk, endChunk, i32(chunksAtOnce), carried);
  disableUnrolling(chunks);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(chunks.getBody());
    Value first = chunks.getInductionVar();
    ValueRange state = chunks.getRegionIterArgs(), places = state.take_back(2);
    Sums all = Sums::fromRow(state.drop_back(2));
    NVVM::CpAsyncWaitGroupOp::create(b, loc, 1);
    for (int64_t more = 0; more < chunksAtOnce; ++more) {
      SmallVector<Value> row = find(sharedAt(places[0], 2 * more * pieceBytes));
      llvm::append_range(row, find(sharedAt(places[0], (2 * more + 1) * pieceBytes)));
      Value isThere = less(make<arith::AddIOp>(first, more), endChunk);
      for (auto [value, nothing] : llvm::zip_equal(row, none))
        value = select(isThere, value, nothing);
      all = merged(all, Sums::fromRow(row));
    }
    NVVM::SyncWarpOp::create(b, loc, i32(-1));
    copy(make<arith::AddIOp>(first, 2 * chunksAtOnce), places[0]);
    SmallVector<Value> next = all.row();
    next.append({places[1], places[0]});
    scf::YieldOp::create(b, loc, next);
  }
  store(Sums::fromRow(chunks.getResults().drop_back(2)), column);
  NVVM::CpAsyncWaitGroupOp::create(b, loc, 0);
}

void AttentionBuilder::build() {
  if (shape.part == AttentionPart::Combine)
    return combine();
  auto byRows = scf::ForOp::create(b, loc, i32(0), rows, i32(shape.rows()));
  b.setInsertionPoint(byRows.getBody()->getTerminator());
  if (shape.fewRows)
    blockOfFewRows(byRows.getInductionVar());
  else
    blockOfManyRows(byRows.getInductionVar());
}

void moe::buildAttentionKernel(AttentionOp op, const AttentionShape &shape, gpu::GPUFuncOp kernel) {
  AttentionBuilder(op, shape, kernel).build();
  if (shape.part == AttentionPart::Combine)
    return;
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), OpBuilder(op).getI32IntegerAttr(blocksPerMultiprocessor));
}

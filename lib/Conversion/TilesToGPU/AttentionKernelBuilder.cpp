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

#include <limits>

using namespace mlir;
using namespace moe;

/// Heads that registers of a thread have room for.
static constexpr int64_t mostDepth = 128;
static constexpr int64_t warps = mmaThreads / warpSize;
/// Columns of values whose sums over a tile are made together: four mma that do not wait for each other.
static constexpr int64_t columnsAtOnce = 32;
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
  return AttentionShape{depth, fewRows};
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
  SmallVector<Value> tileOfWarp(Value firstKey, Value region, Rows &rows);
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

  size_t sumCount = shape.depth / 8 * perColumns;
  SmallVector<Value> carried(sumCount + 2, number(0));
  carried.append(2, number(std::numeric_limits<float>::lowest()));
  carried.append({i32(0), i32(slot), i32(2 * slot)});
  auto tiles = scf::ForOp::create(b, loc, firstTile, endTile, i32(1), carried);
  disableUnrolling(tiles);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(tiles.getBody());
    ValueRange state = tiles.getRegionIterArgs();
    SmallVector<Value> sums(state.take_front(sumCount));
    state = state.drop_front(sumCount);
    Rows all{{state[2], state[3]}, {state[0], state[1]}, {}, {}}, ofTile;
    Value keys = state[4], values = state[5], room = state[6];
    Value tile = tiles.getInductionVar(), next = make<arith::AddIOp>(tile, 1);

    waitForBlock(1);
    copy(/*values=*/false, next, room);
    commitCopies();
    SmallVector<Value> weights(AttentionShape::keys / 8 * perColumns, number(0));
    addScores(keys, AttentionShape::keys, weights);
    weigh(weights, make<arith::MulIOp>(tile, AttentionShape::keys), ofTile);
    merge(all, ofTile);
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
        Value &total = sums[column / 8 * perColumns + at];
        total = mergeSum(total, sum, all, at);
      }
    }
    sums.append({all.total[0], all.total[1], all.most[0], all.most[1], room, keys, values});
    scf::YieldOp::create(b, loc, sums);
  }
  ValueRange results = tiles.getResults();
  ValueRange statistics = results.drop_front(sumCount);
  Rows all{{statistics[2], statistics[3]}, {statistics[0], statistics[1]}, {}, {}};
  SmallVector<Value> columns;
  for (int64_t column = 0; column < shape.depth; column += 8)
    columns.push_back(i32(column));
  store(all, SmallVector<Value>(results.take_front(sumCount)), columns);
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

/// All warps have the same 16 rows, and each another tile of a round. They leave their sums in shared memory, and then
/// each of them merges some of the columns of all tiles, in order.
void AttentionBuilder::blockOfFewRows(Value firstRow) {
  startBlock(firstRow);
  copyQueries(firstRow, i32(0));
  commitCopies();
  waitForBlock(0);
  loadQueries(i32(0));
  gpu::BarrierOp::create(b, loc);

  auto four = VectorType::get({perColumns}, b.getF32Type());
  int64_t blocks = shape.depth / 8, mine = llvm::divideCeil(blocks, warps), laneBytes = perColumns * 4;
  int64_t regionBytes = AttentionShape::slots * shape.slotBytes();
  auto leave = [&](Value at, ArrayRef<Value> values) {
    Value vector = vector::FromElementsOp::create(b, loc, four, values);
    LLVM::StoreOp::create(b, loc, vector, sharedAt(at, 0), laneBytes);
  };
  auto find = [&](Value at) {
    Value vector = LLVM::LoadOp::create(b, loc, four, sharedAt(at, 0), laneBytes);
    SmallVector<Value, 4> values;
    for (int64_t i = 0; i < perColumns; ++i)
      values.push_back(vector::ExtractOp::create(b, loc, vector, i));
    return values;
  };
  Value atLane = make<arith::MulIOp>(lane, laneBytes);

  SmallVector<Value> carried(mine * perColumns + 2, number(0));
  carried.append(2, number(std::numeric_limits<float>::lowest()));
  auto rounds = scf::ForOp::create(b, loc, firstTile, endTile, i32(warps), carried);
  disableUnrolling(rounds);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(rounds.getBody());
    Value tile = make<arith::AddIOp>(rounds.getInductionVar(), warp);
    auto exists = scf::IfOp::create(b, loc, less(tile, endTile), /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(exists.thenYield());
      Value region = make<arith::MulIOp>(warp, regionBytes);
      Rows ofTile;
      SmallVector<Value> sums = tileOfWarp(make<arith::MulIOp>(tile, AttentionShape::keys), region, ofTile);
      Value at = make<arith::AddIOp>(region, atLane);
      for (int64_t block = 0; block < blocks; ++block)
        leave(make<arith::AddIOp>(at, block * warpSize * laneBytes),
              ArrayRef(sums).slice(block * perColumns, perColumns));
      leave(make<arith::AddIOp>(at, blocks * warpSize * laneBytes),
            {ofTile.total[0], ofTile.total[1], ofTile.most[0], ofTile.most[1]});
    }
    gpu::BarrierOp::create(b, loc);
    SmallVector<Value> state(rounds.getRegionIterArgs());
    for (int64_t other = 0; other < warps; ++other) {
      Value isThere = less(make<arith::AddIOp>(rounds.getInductionVar(), other), endTile);
      auto merged = scf::IfOp::create(b, loc, ValueRange(state).getTypes(), isThere, /*addThenBlock=*/true,
                                      /*addElseBlock=*/true);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(merged.elseBlock());
      scf::YieldOp::create(b, loc, state);
      b.setInsertionPointToEnd(merged.thenBlock());
      ArrayRef<Value> before = ArrayRef(state).drop_front(mine * perColumns);
      Rows all{{before[2], before[3]}, {before[0], before[1]}, {}, {}};
      Value at = make<arith::AddIOp>(atLane, other * regionBytes);
      auto statistics = find(make<arith::AddIOp>(at, blocks * warpSize * laneBytes));
      Rows ofTile{{statistics[2], statistics[3]}, {statistics[0], statistics[1]}, {}, {}};
      merge(all, ofTile);
      SmallVector<Value> next;
      for (int64_t number = 0; number < mine; ++number) {
        // A warp without columns of its own does others' once more.
        Value block = make<arith::MinSIOp>(make<arith::AddIOp>(warp, number * warps), blocks - 1);
        auto sums = find(make<arith::AddIOp>(at, make<arith::MulIOp>(block, warpSize * laneBytes)));
        for (auto [i, sum] : llvm::enumerate(sums))
          next.push_back(mergeSum(state[number * perColumns + i], sum, all, i));
      }
      next.append({all.total[0], all.total[1], all.most[0], all.most[1]});
      scf::YieldOp::create(b, loc, next);
      state.assign(merged.getResults().begin(), merged.getResults().end());
    }
    // The next round writes the regions again.
    gpu::BarrierOp::create(b, loc);
    scf::YieldOp::create(b, loc, state);
  }
  ValueRange results = rounds.getResults();
  ValueRange statistics = results.drop_front(mine * perColumns);
  Rows all{{statistics[2], statistics[3]}, {statistics[0], statistics[1]}, {}, {}};
  SmallVector<Value> columns;
  for (int64_t number = 0; number < mine; ++number)
    columns.push_back(make<arith::MulIOp>(make<arith::AddIOp>(warp, number * warps), 8));
  store(all, SmallVector<Value>(results.take_front(mine * perColumns)), columns);
}

void AttentionBuilder::build() {
  auto byRows = scf::ForOp::create(b, loc, i32(0), rows, i32(shape.rows()));
  b.setInsertionPoint(byRows.getBody()->getTerminator());
  if (shape.fewRows)
    blockOfFewRows(byRows.getInductionVar());
  else
    blockOfManyRows(byRows.getInductionVar());
}

void moe::buildAttentionKernel(AttentionOp op, const AttentionShape &shape, gpu::GPUFuncOp kernel) {
  AttentionBuilder(op, shape, kernel).build();
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), OpBuilder(op).getI32IntegerAttr(blocksPerMultiprocessor));
}

//===- AttentionTiles.cpp - pieces of attention on tensor cores -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The order of sums, which only depends on where keys are: tiles of 64 keys begin at multiples of 64. Of each tile the
// largest score m, the sum l of the weights 2^(score - m), and the weighted sum t of the values, which starts at zero.
// The tiles of a chunk of 256 keys, which begins at a multiple of 256, are merged one after the other, from none on:
//
//     M' = max(M, m)     L' = L * 2^(M - M') + l * 2^(m - M')     O' = O * 2^(M - M') + t * 2^(m - M')
//
// and then the chunks in the same way. Unlike a sum that runs through all tiles this lets different warps do different
// tiles of a row, and different blocks different chunks, to the same bits. It costs a multiplication more for each
// element and tile. A tile that a row does not see changes nothing: m is the lowest number, weights are 0, factors 1
// and 0. Scores have the factor log2(e) in them.
//
// Weights take part in products as two 16-bit numbers, the second with what the first one lost: as if they were f32 of
// 16 bits precision, where one number would have 8 (bf16).
//
// Rows of keys, values and queries lie in shared memory as in global memory, but 16-byte chunks within aligned groups
// of `width` are exchanged by the row's number, so that neither copies nor ldmatrix have bank conflicts. `width` is how
// many chunks the lengths of a row and of all banks (8 chunks) have in common.
//
//===----------------------------------------------------------------------===//

#include "AttentionTiles.h"

#include "Kernel.h"
#include "MmaKernelBuilder.h"
#include "lib/Conversion/Common/MathFunctions.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include "llvm/Support/MathExtras.h"

#include <limits>
#include <numeric>

using namespace mlir;
using namespace moe;

AttentionTiles::AttentionTiles(AttentionOp op, const AttentionShape &shape, gpu::GPUFuncOp kernel)
    : TensorCoreBuilder(op), op(op), shape(shape), element(elementOf(op.getQuery())),
      rowChunks(shape.rowBytes() / chunkBytes), width(std::gcd(rowChunks, bankChunks)),
      perScore(op.getScale().convertToFloat() * 0x1.715476p+0f) {
  allocateShared(kernel, shape.sharedBytes());
  thread = toI32(gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x));
  lane = make<arith::AndIOp>(thread, warpSize - 1);
  warp = make<arith::ShRUIOp>(thread, llvm::Log2_64(warpSize));
  rows = make<arith::MulIOp>(toI32(b.createOrFold<memref::DimOp>(loc, op.getQuery(), 1)), op.getGroupSize());
  past = toI32(op.getPast());
  queryPointer = globalPointer(addressOf(op.getQuery()));
  keyPointer = globalPointer(addressOf(op.getKeys()));
  valuePointer = globalPointer(addressOf(op.getCachedValues()));

  // Rows 0 to 15 with their first 16 bytes, then with their second: A as it lies, and B if it is transposed. Keys are
  // columns of B: eight with their first and second 16 bytes, then the next eight.
  rowLanes = lanesOf(make<arith::AndIOp>(lane, 15), make<arith::ShRUIOp>(lane, 4));
  Value key = make<arith::AddIOp>(make<arith::AndIOp>(lane, 7), make<arith::MulIOp>(make<arith::ShRUIOp>(lane, 4), 8));
  keyLanes = lanesOf(key, make<arith::AndIOp>(make<arith::ShRUIOp>(lane, 3), 1));
}

AttentionTiles::Lanes AttentionTiles::lanesOf(Value row, Value half) {
  return {make<arith::MulIOp>(row, shape.rowBytes()), make<arith::MulIOp>(exchanged(half, row), chunkBytes)};
}

/// The address this thread gives for the 16 x 16 elements from `row` and `column` on, in rows that lie at `base`.
Value AttentionTiles::matrixAt(Value base, const Lanes &lanes, int64_t row, int64_t column) {
  // Sets of 16 rows are exchanged alike.
  int64_t chunk = column / 8, inGroup = chunk % width;
  Value at = make<arith::AddIOp>(base, lanes.row);
  at = make<arith::AddIOp>(at, make<arith::XOrIOp>(lanes.chunk, inGroup * chunkBytes));
  return sharedAt(at, row * shape.rowBytes() + (chunk - inGroup) * chunkBytes);
}

/// 2^x for x <= 0, of small ones 0.
Value AttentionTiles::exp2(Value x) { return MathFunctions(b, loc, x.getType()).exp2OfWeight(larger(x, number(-127))); }

/// Combined over the four threads that have the same rows.
Value AttentionTiles::overQuad(Value value, function_ref<Value(Value, Value)> combine) {
  for (int32_t distance : {1, 2})
    value = combine(
        value, gpu::ShuffleOp::create(b, loc, value, distance, warpSize, gpu::ShuffleMode::XOR).getShuffleResult());
  return value;
}

void AttentionTiles::startBlock(Value firstRow) {
  auto positionOf = [&](Value row) {
    row = make<arith::MinSIOp>(row, make<arith::SubIOp>(rows, 1));
    return make<arith::AddIOp>(past, make<arith::DivUIOp>(row, op.getGroupSize()));
  };
  Value inBlock = make<arith::ShRUIOp>(lane, 2);
  if (!shape.fewRows)
    inBlock = make<arith::AddIOp>(inBlock, make<arith::MulIOp>(warp, fragment));
  for (int64_t i = 0; i < 2; ++i) {
    threadRow[i] = make<arith::AddIOp>(firstRow, make<arith::AddIOp>(inBlock, 8 * i));
    position[i] = positionOf(threadRow[i]);
  }
  firstPosition = positionOf(firstRow);
  lastPosition = positionOf(make<arith::AddIOp>(firstRow, shape.rows() - 1));
  firstTile = i32(0);
  if (op.getWindow()) {
    Value first = make<arith::SubIOp>(firstPosition, static_cast<int64_t>(*op.getWindow()) - 1);
    firstTile = make<arith::DivUIOp>(make<arith::MaxSIOp>(first, 0), AttentionShape::keys);
  }
  endTile = make<arith::AddIOp>(make<arith::DivUIOp>(lastPosition, AttentionShape::keys), 1);
  firstChunk = make<arith::DivUIOp>(firstTile, AttentionShape::chunkTiles);
  endChunk = make<arith::AddIOp>(make<arith::DivUIOp>(lastPosition, AttentionShape::chunkKeys), 1);
}

/// Starts to copy `count` rows to `to` by `threads` threads, of which this one is number `threadOfCopy`. `pointerTo`
/// gives the address of a row and some more; rows from `left` on are not read but become zeros.
void AttentionTiles::copyRows(function_ref<Value(Value, int64_t)> pointerTo, Value to, int64_t count, Value left,
                              Value threadOfCopy, int64_t threads) {
  int64_t atOnce = threads / width;
  Value first = make<arith::DivUIOp>(threadOfCopy, width), place = make<arith::RemUIOp>(threadOfCopy, width);
  OpBuilder::InsertionGuard guard(b);
  if (atOnce > count)
    b.setInsertionPoint(scf::IfOp::create(b, loc, less(first, i32(count)), /*withElseRegion=*/false).thenYield());
  Value target = make<arith::AddIOp>(to, make<arith::MulIOp>(first, shape.rowBytes()));
  target = make<arith::AddIOp>(target, make<arith::MulIOp>(place, chunkBytes));
  for (int64_t more = 0; more < count; more += atOnce) {
    Value row = make<arith::AddIOp>(first, more);
    Value size = select(less(row, left), i32(chunkBytes), i32(0));
    // Whole sets of rows later the exchange is the same: so is the address but for a constant.
    Value chunk = exchanged(place, more % bankChunks == 0 ? first : row);
    Value from = globalAt(pointerTo(first, more), make<arith::MulIOp>(chunk, chunkBytes));
    for (int64_t group = 0; group < rowChunks; group += width)
      copyAsync(sharedAt(target, more * shape.rowBytes() + group * chunkBytes), globalAt(from, group * chunkBytes),
                chunkBytes, size);
  }
}

void AttentionTiles::copyQueries(Value firstRow, Value to) {
  auto pointerTo = [&](Value inBlock, int64_t more) {
    Value row = make<arith::AddIOp>(firstRow, make<arith::AddIOp>(inBlock, more));
    Value query = make<arith::DivUIOp>(row, op.getGroupSize()), head = make<arith::RemUIOp>(row, op.getGroupSize());
    Value elements = make<arith::AddIOp>(make<arith::MulIOp>(query, *rowStride(op.getQuery(), 1)),
                                         make<arith::MulIOp>(head, *rowStride(op.getQuery(), 2)));
    return globalAt(queryPointer, make<arith::MulIOp>(elements, 2));
  };
  copyRows(pointerTo, to, shape.rows(), make<arith::SubIOp>(rows, firstRow), thread, mmaThreads);
}

void AttentionTiles::copyKeys(bool values, Value firstKey, int64_t count, Value to, Value threadOfCopy,
                              int64_t threads) {
  int64_t bytes = 2 * *rowStride(values ? op.getCachedValues() : op.getKeys(), 1);
  // A cache may be larger than 32 bits tell.
  Value wide = arith::ExtSIOp::create(b, loc, b.getI64Type(), firstKey);
  Value offset = make<arith::MulIOp>(wide, arith::ConstantIntOp::create(b, loc, bytes, 64));
  Value tile = globalAt(values ? valuePointer : keyPointer, offset);
  auto pointerTo = [&](Value row, int64_t more) {
    return globalAt(globalAt(tile, make<arith::MulIOp>(row, bytes)), more * bytes);
  };
  Value left = make<arith::SubIOp>(make<arith::AddIOp>(lastPosition, 1), firstKey);
  copyRows(pointerTo, to, count, left, threadOfCopy, threads);
}

void AttentionTiles::loadQueries(Value at) {
  queries.clear();
  for (int64_t k = 0; k < shape.depth; k += fragment)
    llvm::append_range(queries, loadMatrices(matrixAt(at, rowLanes, 0, k)));
}

void AttentionTiles::addScores(Value keys, int64_t count, MutableArrayRef<Value> scores) {
  for (int64_t k = 0; k < shape.depth; k += fragment)
    for (int64_t key = 0; key < count; key += fragment) {
      auto columns = loadMatrices(matrixAt(keys, keyLanes, key, k));
      ArrayRef<Value> query = ArrayRef(queries).slice(k / fragment * 4, 4);
      for (int64_t half = 0; half < 2; ++half)
        multiplyAdd(element, query, ArrayRef(columns).slice(2 * half, 2),
                    scores.slice((key / 8 + half) * perColumns, perColumns));
    }
}

/// The scores of a tile, minus infinity where a row does not see the key.
SmallVector<Value> AttentionTiles::hideScores(ArrayRef<Value> scores, Value firstKey) {
  Value lowest = number(-std::numeric_limits<float>::infinity());
  Value inColumns = make<arith::MulIOp>(make<arith::AndIOp>(lane, 3), 2);
  Value last[2], first[2]; // of the keys that rows see, from this thread's first one on
  for (int64_t i = 0; i < 2; ++i) {
    last[i] = make<arith::SubIOp>(make<arith::SubIOp>(position[i], firstKey), inColumns);
    if (op.getWindow())
      first[i] = make<arith::SubIOp>(last[i], static_cast<int64_t>(*op.getWindow()) - 1);
  }
  SmallVector<Value> hidden;
  for (auto [at, score] : llvm::enumerate(scores)) {
    int64_t row = at % perColumns / 2;
    Value key = i32(at / perColumns * 8 + at % 2);
    Value visible = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sle, key, last[row]);
    if (op.getWindow())
      visible = make<arith::AndIOp>(visible, arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, key, first[row]));
    hidden.push_back(select(visible, score, lowest));
  }
  return hidden;
}

void AttentionTiles::weigh(MutableArrayRef<Value> scores, Value firstKey, Rows &ofTile) {
  Value lastKey = make<arith::AddIOp>(firstKey, AttentionShape::keys - 1);
  Value partly = less(firstPosition, lastKey);
  if (op.getWindow()) {
    Value first = make<arith::SubIOp>(lastPosition, static_cast<int64_t>(*op.getWindow()) - 1);
    partly = make<arith::OrIOp>(partly, less(firstKey, first));
  }
  auto choice = scf::IfOp::create(b, loc, ValueRange(scores).getTypes(), partly, /*addThenBlock=*/true,
                                  /*addElseBlock=*/true);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(choice.thenBlock());
    scf::YieldOp::create(b, loc, hideScores(scores, firstKey));
    b.setInsertionPointToEnd(choice.elseBlock());
    scf::YieldOp::create(b, loc, scores);
  }
  llvm::copy(choice.getResults(), scores.begin());

  Value lowest = number(std::numeric_limits<float>::lowest()), factor = number(perScore);
  for (int64_t row = 0; row < 2; ++row) {
    SmallVector<size_t> mine;
    for (size_t at = 2 * row; at < scores.size(); at += perColumns)
      mine.append({at, at + 1});
    Value most = scores[mine.front()];
    for (size_t at : ArrayRef(mine).drop_front())
      most = larger(most, scores[at]);
    most = overQuad(most, [&](Value x, Value y) { return larger(x, y); });
    // Finite also where no key is visible.
    ofTile.most[row] = larger(arith::MulFOp::create(b, loc, most, factor), lowest);
    Value shift = arith::NegFOp::create(b, loc, ofTile.most[row]);
    for (size_t at : mine)
      scores[at] = exp2(fma(scores[at], factor, shift));
    Value total;
    for (size_t at = 0; at < mine.size(); at += 2) {
      Value pair = make<arith::AddFOp>(scores[mine[at]], scores[mine[at + 1]]);
      total = total ? make<arith::AddFOp>(total, pair) : pair;
    }
    ofTile.total[row] = overQuad(total, [&](Value x, Value y) { return make<arith::AddFOp>(x, y); });
  }
}

/// Two weights as two numbers of 16 bits each, in a register for the first and one for the second numbers.
void AttentionTiles::splitPair(Value first, Value second, Value &high, Value &low) {
  if (element.isF16()) {
    auto pair = [&](Value x, Value y) -> Value {
      auto type = VectorType::get({2}, element);
      Value both = vector::FromElementsOp::create(b, loc, type, ValueRange{x, y});
      return LLVM::BitcastOp::create(b, loc, b.getI32Type(), both);
    };
    auto narrow = [&](Value x) -> Value { return arith::TruncFOp::create(b, loc, element, x); };
    auto rest = [&](Value x, Value rounded) {
      return narrow(make<arith::SubFOp>(x, arith::ExtFOp::create(b, loc, b.getF32Type(), rounded)));
    };
    Value firstHigh = narrow(first), secondHigh = narrow(second);
    high = pair(firstHigh, secondHigh);
    low = pair(rest(first, firstHigh), rest(second, secondHigh));
    return;
  }
  // bf16 is the upper half of f32: cut off, which leaves less than a unit to the second number; that one is rounded.
  auto bits = [&](Value x) -> Value { return arith::BitcastOp::create(b, loc, b.getI32Type(), x); };
  auto upper = [&](Value x) { return make<arith::AndIOp>(x, static_cast<int32_t>(0xffff0000)); };
  auto pair = [&](Value x, Value y) { return make<arith::OrIOp>(make<arith::ShRUIOp>(x, 16), upper(y)); };
  auto rest = [&](Value x) {
    Value cut = arith::BitcastOp::create(b, loc, b.getF32Type(), upper(bits(x)));
    return make<arith::AddIOp>(bits(make<arith::SubFOp>(x, cut)), 0x8000);
  };
  high = pair(bits(first), bits(second));
  low = pair(rest(first), rest(second));
}

void AttentionTiles::addValues(ArrayRef<Value> weights, Value values, int64_t key, int64_t column,
                               MutableArrayRef<Value> sums) {
  auto columns = loadMatrices(matrixAt(values, rowLanes, key, column), /*transposed=*/true);
  for (ArrayRef<Value> part : {weights.take_front(4), weights.drop_front(4)})
    for (int64_t half = 0; half < 2; ++half)
      multiplyAdd(element, part, ArrayRef(columns).slice(2 * half, 2), sums.slice(half * perColumns, perColumns));
}

void AttentionTiles::merge(Rows &all, const Rows &tile) {
  for (int64_t row = 0; row < 2; ++row) {
    Value most = larger(all.most[row], tile.most[row]);
    all.before[row] = exp2(make<arith::SubFOp>(all.most[row], most));
    all.ofTile[row] = exp2(make<arith::SubFOp>(tile.most[row], most));
    all.most[row] = most;
    all.total[row] = fma(tile.total[row], all.ofTile[row], make<arith::MulFOp>(all.total[row], all.before[row]));
  }
}

Sums AttentionTiles::noSums(int64_t columns) {
  Value lowest = number(std::numeric_limits<float>::lowest()), zero = number(0);
  return {SmallVector<Value>(columns / 8 * perColumns, zero), {{lowest, lowest}, {zero, zero}, {}, {}}};
}

Sums AttentionTiles::merged(Sums all, const Sums &part) {
  merge(all.rows, part.rows);
  for (auto [at, sum] : llvm::enumerate(part.values))
    all.values[at] = mergeSum(all.values[at], sum, all.rows, at);
  return all;
}

Sums AttentionTiles::mergedIf(Value condition, const Sums &all, function_ref<Sums()> part) {
  SmallVector<Value> row = all.row();
  auto choice = scf::IfOp::create(b, loc, ValueRange(row).getTypes(), condition, /*addThenBlock=*/true,
                                  /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(choice.elseBlock());
  scf::YieldOp::create(b, loc, row);
  b.setInsertionPointToEnd(choice.thenBlock());
  scf::YieldOp::create(b, loc, merged(all, part()).row());
  return Sums::fromRow(choice.getResults());
}

SmallVector<Value> AttentionTiles::splitWeights(ArrayRef<Value> weights) {
  SmallVector<Value> registers;
  for (size_t key = 0; key < weights.size(); key += 2 * perColumns) {
    SmallVector<Value, 4> high(4), low(4);
    for (size_t i = 0; i < 4; ++i)
      splitPair(weights[key + 2 * i], weights[key + 2 * i + 1], high[i], low[i]);
    llvm::append_range(registers, high);
    llvm::append_range(registers, low);
  }
  return registers;
}

void AttentionTiles::store(const Sums &all, ArrayRef<Value> columns) {
  Type type = elementOf(op.getInit());
  auto pair = VectorType::get({2}, type);
  Value inColumns = make<arith::MulIOp>(make<arith::AndIOp>(lane, 3), 2), zero = number(0);
  for (int64_t i = 0; i < 2; ++i) {
    auto exists = scf::IfOp::create(b, loc, less(threadRow[i], rows), /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(exists.thenYield());
    // Weights may lose that a score is not a number, but the largest score tells.
    Value most = all.rows.most[i], total = make<arith::AddFOp>(all.rows.total[i], make<arith::SubFOp>(most, most));
    Value inverse = make<arith::DivFOp>(number(1), total);
    Value query = toIndex(make<arith::DivUIOp>(threadRow[i], op.getGroupSize()));
    Value head = toIndex(make<arith::RemUIOp>(threadRow[i], op.getGroupSize()));
    for (auto [block, column] : llvm::enumerate(columns)) {
      OpBuilder::InsertionGuard guard(b);
      // Where each warp has columns of its own, some may have none.
      if (shape.fewRows && shape.depth / 8 % (mmaThreads / warpSize))
        b.setInsertionPoint(
            scf::IfOp::create(b, loc, less(column, i32(shape.depth)), /*withElseRegion=*/false).thenYield());
      SmallVector<Value> results;
      for (int64_t at = 0; at < 2; ++at) {
        // Adding 0 turns -0 into 0: which of them a sum is depends on the tiles that a row does not see.
        Value result = fma(all.values[block * perColumns + 2 * i + at], inverse, zero);
        results.push_back(type.isF32() ? result : Value(arith::TruncFOp::create(b, loc, type, result)));
      }
      Value vector = vector::FromElementsOp::create(b, loc, pair, results);
      Value at = toIndex(make<arith::AddIOp>(column, inColumns));
      auto store = vector::StoreOp::create(b, loc, vector, op.getInit(), ValueRange{index(0), query, head, at});
      store.setAlignment(2 * llvm::divideCeil(type.getIntOrFloatBitWidth(), 8));
    }
  }
}

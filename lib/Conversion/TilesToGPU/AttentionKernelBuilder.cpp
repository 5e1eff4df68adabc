//===- AttentionKernelBuilder.cpp - attention on tensor cores -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The order of sums, which only depends on where keys are: tiles of 64 keys begin at multiples of 64. Of each tile the
// largest score m, the sum l of the weights 2^(score - m), and the weighted sum t of the values, which starts at zero.
// Tiles are merged one after the other:
//
//     M' = max(M, m)     L' = L * 2^(M - M') + l * 2^(m - M')     O' = O * 2^(M - M') + t * 2^(m - M')
//
// Unlike a sum that runs through all tiles this lets different warps do different tiles of a row, to the same bits. It
// costs a multiplication more for each element and tile. A tile that a row does not see changes nothing: m is the
// lowest number, weights are 0, factors 1 and 0. Scores have the factor log2(e) in them.
//
// Weights take part in products as two 16-bit numbers, the second with what the first one lost: as if they were f32 of
// 16 bits precision, where one number would have 8 (bf16).
//
// Rows of keys, values and queries lie in shared memory as in global memory, but 16-byte chunks within aligned groups
// of `width` are exchanged by the row's number, so that neither copies nor ldmatrix have bank conflicts. `width` is how
// many chunks the lengths of a row and of all banks (8 chunks) have in common.
//
//===----------------------------------------------------------------------===//

#include "AttentionKernelBuilder.h"

#include "Kernel.h"
#include "MmaKernelBuilder.h"
#include "TensorCoreBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include "llvm/Support/MathExtras.h"

#include <limits>
#include <numeric>

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
/// What a thread knows of its rows; it has two of the 16 rows of its warp.
struct Rows {
  Value most[2];   ///< largest score
  Value total[2];  ///< sum of the weights, of all keys
  Value before[2]; ///< what sums of the tiles before are multiplied by when a tile is merged,
  Value ofTile[2]; ///< and what those of the tile are
};

class AttentionBuilder : TensorCoreBuilder {
public:
  AttentionBuilder(AttentionOp op, const AttentionShape &shape, gpu::GPUFuncOp kernel)
      : TensorCoreBuilder(op), op(op), shape(shape), kernel(kernel), element(elementOf(op.getQuery())),
        rowChunks(shape.rowBytes() / chunkBytes), width(std::gcd(rowChunks, bankChunks)),
        perScore(op.getScale().convertToFloat() * 0x1.715476p+0f) {}

  void build();

private:
  /// 16-byte chunks of all banks of shared memory.
  static constexpr int64_t bankChunks = 8;
  /// Rows of eight columns of 16 rows that a thread has numbers of.
  static constexpr int64_t perColumns = 4;

  /// Which row of 16 x 16 elements a thread gives ldmatrix the address of, and which half of it; in bytes.
  struct Lanes {
    Value row, chunk;
  };
  Lanes lanesOf(Value row, Value half);
  /// The chunk in whose place the chunk `chunk` of an aligned group lies in row `row`, and the other way around.
  Value exchanged(Value chunk, Value row) {
    return make<arith::XOrIOp>(chunk, make<arith::RemUIOp>(make<arith::DivUIOp>(row, bankChunks / width), width));
  }
  Value matrixAt(Value base, const Lanes &lanes, int64_t row, int64_t column);
  Value number(float value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }
  Value larger(Value x, Value y) { return arith::MaximumFOp::create(b, loc, x, y); }
  Value exp2(Value x) { return math::Exp2Op::create(b, loc, x); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  /// Combined over the four threads that have the same rows.
  Value overQuad(Value value, function_ref<Value(Value, Value)> combine);
  void commitCopies() { NVVM::CpAsyncCommitGroupOp::create(b, loc); }
  /// Until all groups of copies but the last `pending` ones are there, for all threads.
  void waitForBlock(int64_t pending) {
    NVVM::CpAsyncWaitGroupOp::create(b, loc, pending);
    gpu::BarrierOp::create(b, loc);
  }

  /// Addresses of several tiles need more registers than there are.
  void disableUnrolling(scf::ForOp loop) {
    loop->setAttr("loop_annotation",
                  parseAttribute("#llvm.loop_annotation<unroll = <disable = true>>", b.getContext()));
  }

  void prepare();
  void startBlock(Value firstRow);
  void copyRows(function_ref<Value(Value)> pointerTo, Value to, int64_t count, Value left, Value threadOfCopy,
                int64_t threads);
  void copyQueries(Value firstRow, Value to);
  void copyKeys(Value memref, Value pointer, Value firstKey, int64_t count, Value to, Value threadOfCopy,
                int64_t threads);
  void loadQueries(Value at);
  void addScores(Value keys, int64_t count, MutableArrayRef<Value> scores);
  SmallVector<Value> hideScores(ArrayRef<Value> scores, Value firstKey);
  void weigh(MutableArrayRef<Value> scores, Value firstKey, Rows &rows);
  void splitPair(Value first, Value second, Value &high, Value &low);
  SmallVector<Value> splitWeights(ArrayRef<Value> weights);
  void addValues(ArrayRef<Value> weights, Value values, int64_t key, int64_t column, MutableArrayRef<Value> sums);
  void merge(Rows &all, Rows &tile);
  Value mergeSum(Value all, Value tile, const Rows &rows, int64_t number) {
    int64_t row = number % perColumns / 2;
    return fma(tile, rows.ofTile[row], arith::MulFOp::create(b, loc, all, rows.before[row]));
  }
  void store(const Rows &rows, ArrayRef<Value> sums, ArrayRef<Value> columns);

  void blockOfManyRows(Value firstRow);
  void blockOfFewRows(Value firstRow);
  SmallVector<Value> tileOfWarp(Value firstKey, Value region, Rows &rows);

  AttentionOp op;
  AttentionShape shape;
  gpu::GPUFuncOp kernel;
  Type element;
  int64_t rowChunks, width;
  float perScore; ///< from a product to log2 of a weight

  Value thread, lane, warp, rows, past;         ///< i32
  Value queryPointer, keyPointer, valuePointer; ///< to the first rows
  Lanes rowLanes, keyLanes;                     ///< for operands as they lie, and for keys as columns
  // Of the block of rows.
  Value threadRow[2], position[2];   ///< rows of this thread, and their positions
  Value firstPosition, lastPosition; ///< of all rows of the block
  Value firstTile, endTile;
  SmallVector<Value> queries; ///< four registers for each 16 elements
};
} // namespace

AttentionBuilder::Lanes AttentionBuilder::lanesOf(Value row, Value half) {
  return {make<arith::MulIOp>(row, shape.rowBytes()), make<arith::MulIOp>(exchanged(half, row), chunkBytes)};
}

/// The address this thread gives for the 16 x 16 elements from `row` and `column` on, in rows that lie at `base`.
Value AttentionBuilder::matrixAt(Value base, const Lanes &lanes, int64_t row, int64_t column) {
  // Sets of 16 rows are exchanged alike.
  int64_t chunk = column / 8, inGroup = chunk % width;
  Value at = make<arith::AddIOp>(base, lanes.row);
  at = make<arith::AddIOp>(at, make<arith::XOrIOp>(lanes.chunk, inGroup * chunkBytes));
  return sharedAt(at, row * shape.rowBytes() + (chunk - inGroup) * chunkBytes);
}

Value AttentionBuilder::overQuad(Value value, function_ref<Value(Value, Value)> combine) {
  for (int32_t distance : {1, 2})
    value = combine(
        value, gpu::ShuffleOp::create(b, loc, value, distance, warpSize, gpu::ShuffleMode::XOR).getShuffleResult());
  return value;
}

void AttentionBuilder::prepare() {
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

/// Which positions the rows from `firstRow` on have, and which tiles they see.
void AttentionBuilder::startBlock(Value firstRow) {
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
}

/// Starts to copy `count` rows to `to` by `threads` threads, of which this one is number `threadOfCopy`. `pointerTo`
/// gives a row's address; rows from `left` on are not read but become zeros.
void AttentionBuilder::copyRows(function_ref<Value(Value)> pointerTo, Value to, int64_t count, Value left,
                                Value threadOfCopy, int64_t threads) {
  int64_t atOnce = threads / width;
  Value first = make<arith::DivUIOp>(threadOfCopy, width), place = make<arith::RemUIOp>(threadOfCopy, width);
  OpBuilder::InsertionGuard guard(b);
  if (atOnce > count)
    b.setInsertionPoint(scf::IfOp::create(b, loc, less(first, i32(count)), /*withElseRegion=*/false).thenYield());
  for (int64_t at = 0; at < count; at += atOnce) {
    Value row = make<arith::AddIOp>(first, at);
    Value size = select(less(row, left), i32(chunkBytes), i32(0));
    Value from = globalAt(pointerTo(row), make<arith::MulIOp>(exchanged(place, row), chunkBytes));
    Value target = make<arith::AddIOp>(to, make<arith::MulIOp>(row, shape.rowBytes()));
    target = make<arith::AddIOp>(target, make<arith::MulIOp>(place, chunkBytes));
    for (int64_t group = 0; group < rowChunks; group += width)
      copyAsync(sharedAt(target, group * chunkBytes), globalAt(from, i32(group * chunkBytes)), chunkBytes, size);
  }
}

void AttentionBuilder::copyQueries(Value firstRow, Value to) {
  auto pointerTo = [&](Value inBlock) {
    Value row = make<arith::AddIOp>(firstRow, inBlock);
    Value query = make<arith::DivUIOp>(row, op.getGroupSize()), head = make<arith::RemUIOp>(row, op.getGroupSize());
    Value elements = make<arith::AddIOp>(make<arith::MulIOp>(query, *rowStride(op.getQuery(), 1)),
                                         make<arith::MulIOp>(head, *rowStride(op.getQuery(), 2)));
    return globalAt(queryPointer, make<arith::MulIOp>(elements, 2));
  };
  copyRows(pointerTo, to, shape.rows(), make<arith::SubIOp>(rows, firstRow), thread, mmaThreads);
}

/// Of `memref`, keys or values, which lie at `pointer`.
void AttentionBuilder::copyKeys(Value memref, Value pointer, Value firstKey, int64_t count, Value to,
                                Value threadOfCopy, int64_t threads) {
  int64_t bytes = 2 * *rowStride(memref, 1);
  // A cache may be larger than 32 bits tell.
  Value wide = arith::ExtSIOp::create(b, loc, b.getI64Type(), firstKey);
  Value offset = make<arith::MulIOp>(wide, arith::ConstantIntOp::create(b, loc, bytes, 64));
  Value first = globalAt(pointer, offset);
  auto pointerTo = [&](Value row) { return globalAt(first, make<arith::MulIOp>(row, bytes)); };
  Value left = make<arith::SubIOp>(make<arith::AddIOp>(lastPosition, 1), firstKey);
  copyRows(pointerTo, to, count, left, threadOfCopy, threads);
}

void AttentionBuilder::loadQueries(Value at) {
  queries.clear();
  for (int64_t k = 0; k < shape.depth; k += fragment)
    llvm::append_range(queries, loadMatrices(matrixAt(at, rowLanes, 0, k)));
}

/// Products of the queries with `count` keys, which lie at `keys`: four for each eight keys.
void AttentionBuilder::addScores(Value keys, int64_t count, MutableArrayRef<Value> scores) {
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
SmallVector<Value> AttentionBuilder::hideScores(ArrayRef<Value> scores, Value firstKey) {
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

/// Turns the scores of a tile into weights, and tells the largest score and the sum.
void AttentionBuilder::weigh(MutableArrayRef<Value> scores, Value firstKey, Rows &rows) {
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
    rows.most[row] = larger(arith::MulFOp::create(b, loc, most, factor), lowest);
    Value shift = arith::NegFOp::create(b, loc, rows.most[row]);
    for (size_t at : mine)
      scores[at] = exp2(fma(scores[at], factor, shift));
    Value total;
    for (size_t at = 0; at < mine.size(); at += 2) {
      Value pair = make<arith::AddFOp>(scores[mine[at]], scores[mine[at + 1]]);
      total = total ? make<arith::AddFOp>(total, pair) : pair;
    }
    rows.total[row] = overQuad(total, [&](Value x, Value y) { return make<arith::AddFOp>(x, y); });
  }
}

/// Two weights as two numbers of 16 bits each, in a register for the first and one for the second numbers.
void AttentionBuilder::splitPair(Value first, Value second, Value &high, Value &low) {
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

/// Adds 16 columns from `column` on of weights (of 16 keys, in two numbers: eight registers) times the values of these
/// keys, which lie at `values` from row `key` on.
void AttentionBuilder::addValues(ArrayRef<Value> weights, Value values, int64_t key, int64_t column,
                                 MutableArrayRef<Value> sums) {
  auto columns = loadMatrices(matrixAt(values, rowLanes, key, column), /*transposed=*/true);
  for (ArrayRef<Value> part : {weights.take_front(4), weights.drop_front(4)})
    for (int64_t half = 0; half < 2; ++half)
      multiplyAdd(element, part, ArrayRef(columns).slice(2 * half, 2), sums.slice(half * perColumns, perColumns));
}

/// Adds the statistics of a tile to those of the tiles before, and finds the factors of their sums.
void AttentionBuilder::merge(Rows &all, Rows &tile) {
  for (int64_t row = 0; row < 2; ++row) {
    Value most = larger(all.most[row], tile.most[row]);
    all.before[row] = exp2(make<arith::SubFOp>(all.most[row], most));
    all.ofTile[row] = exp2(make<arith::SubFOp>(tile.most[row], most));
    all.most[row] = most;
    all.total[row] = fma(tile.total[row], all.ofTile[row], make<arith::MulFOp>(all.total[row], all.before[row]));
  }
}

/// Weights of a tile as operands of products: eight registers for each 16 keys.
SmallVector<Value> AttentionBuilder::splitWeights(ArrayRef<Value> weights) {
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

/// Writes the result of this thread's rows: `sums` has four for each eight columns, which begin at `columns`.
void AttentionBuilder::store(const Rows &all, ArrayRef<Value> sums, ArrayRef<Value> columns) {
  Type type = elementOf(op.getInit());
  auto pair = VectorType::get({2}, type);
  Value inColumns = make<arith::MulIOp>(make<arith::AndIOp>(lane, 3), 2), zero = number(0);
  for (int64_t i = 0; i < 2; ++i) {
    auto exists = scf::IfOp::create(b, loc, less(threadRow[i], rows), /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(exists.thenYield());
    Value inverse = make<arith::DivFOp>(number(1), all.total[i]);
    Value query = toIndex(make<arith::DivUIOp>(threadRow[i], op.getGroupSize()));
    Value head = toIndex(make<arith::RemUIOp>(threadRow[i], op.getGroupSize()));
    for (auto [block, column] : llvm::enumerate(columns)) {
      OpBuilder::InsertionGuard guard(b);
      if (shape.depth / 8 < static_cast<int64_t>(columns.size()) * (shape.fewRows ? warps : 1))
        b.setInsertionPoint(
            scf::IfOp::create(b, loc, less(column, i32(shape.depth)), /*withElseRegion=*/false).thenYield());
      SmallVector<Value> results;
      for (int64_t at = 0; at < 2; ++at) {
        // Adding 0 turns -0 into 0: which of them a sum is depends on the tiles that a row does not see.
        Value result = fma(sums[block * perColumns + 2 * i + at], inverse, zero);
        results.push_back(type.isF32() ? result : Value(arith::TruncFOp::create(b, loc, type, result)));
      }
      Value vector = vector::FromElementsOp::create(b, loc, pair, results);
      Value at = toIndex(make<arith::AddIOp>(column, inColumns));
      auto store = vector::StoreOp::create(b, loc, vector, op.getInit(), ValueRange{index(0), query, head, at});
      store.setAlignment(2 * llvm::divideCeil(type.getIntOrFloatBitWidth(), 8));
    }
  }
}

/// A warp has 16 rows; all warps read the same keys and values. Those of a tile are copied as two groups, into three
/// slots in turn: while one is read, the next two are on their way.
void AttentionBuilder::blockOfManyRows(Value firstRow) {
  startBlock(firstRow);
  int64_t slot = shape.slotBytes();
  auto copy = [&](bool values, Value tile, Value to) {
    copyKeys(values ? op.getCachedValues() : op.getKeys(), values ? valuePointer : keyPointer,
             make<arith::MulIOp>(tile, AttentionShape::keys), AttentionShape::keys, to, thread, mmaThreads);
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
      for (auto [at, sum] : llvm::enumerate(tileSums)) {
        Value &total = sums[column / 8 * perColumns + at];
        total = mergeSum(total, sum, all, at);
      }
    }
    sums.append({all.total[0], all.total[1], all.most[0], all.most[1], room, keys, values});
    scf::YieldOp::create(b, loc, sums);
  }
  ValueRange results = tiles.getResults();
  Rows all{{}, {results[sumCount], results[sumCount + 1]}, {}, {}};
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
    if (number < 2 * steps) {
      bool values = number >= steps;
      copyKeys(values ? op.getCachedValues() : op.getKeys(), values ? valuePointer : keyPointer,
               make<arith::AddIOp>(firstKey, number % steps * step), step,
               make<arith::AddIOp>(region, number % AttentionShape::slots * shape.slotBytes()), lane, warpSize);
    }
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
  Rows all{{}, {results[mine * perColumns], results[mine * perColumns + 1]}, {}, {}};
  SmallVector<Value> columns;
  for (int64_t number = 0; number < mine; ++number)
    columns.push_back(make<arith::MulIOp>(make<arith::AddIOp>(warp, number * warps), 8));
  store(all, SmallVector<Value>(results.take_front(mine * perColumns)), columns);
}

void AttentionBuilder::build() {
  prepare();
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

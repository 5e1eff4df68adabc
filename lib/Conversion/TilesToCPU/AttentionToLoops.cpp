//===- AttentionToLoops.cpp - moe.attention on memrefs to vector loops ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A "row" is a pair of a query and one of the query heads that share a key-value head. The order of every sum is given
// in the pass's documentation; nothing here may make it depend on which rows or keys are processed together.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "MicroKernelBuilder.h"
#include "VectorTranspose.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/NarrowFloats.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

#include <limits>

namespace moe {
#define GEN_PASS_DEF_ATTENTIONTOLOOPS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static constexpr int64_t lanes = 16;

/// Keys of a block. Part of the order of sums: the same for all levels and types.
static constexpr int64_t blockKeys = 64;

namespace {
/// Rows and vectors of a register block.
struct BlockShape {
  int64_t rows, vectors;
};

/// Of each row of a block the keys it sees, [begin, end) within a block of keys.
struct Visible {
  SmallVector<Value> begin, end;
};

class AttentionLowering {
public:
  explicit AttentionLowering(AttentionOp op);
  static LogicalResult check(AttentionOp op);
  void run();

private:
  using Body = function_ref<void(Value)>;
  using CarriedBody = function_ref<SmallVector<Value>(Value, ValueRange)>;

  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
  Value add(Value x, Value y) { return b.createOrFold<arith::AddIOp>(x, y); }
  Value add(Value x, int64_t y) { return y ? b.createOrFold<arith::AddIOp>(x, index(y)) : x; }
  Value sub(Value x, Value y) { return b.createOrFold<arith::SubIOp>(x, y); }
  Value mul(Value x, int64_t y) { return b.createOrFold<arith::MulIOp>(x, index(y)); }
  Value clamp(Value x, int64_t low, int64_t high) {
    x = b.createOrFold<arith::MaxSIOp>(x, index(low));
    return b.createOrFold<arith::MinSIOp>(x, index(high));
  }
  Value splat(float value) { return arith::ConstantOp::create(b, DenseElementsAttr::get(vectorType, value)); }
  Value scratch(ArrayRef<int64_t> shape);
  void loop(Value begin, Value end, int64_t step, Body body);
  SmallVector<Value> loop(Value begin, Value end, int64_t step, ValueRange carried, CarriedBody body);

  /// 16 elements at `at` of a row of D elements, those beyond D zero; as they are stored.
  Value loadChunk(Value memref, ArrayRef<Value> at, int64_t count, int64_t width = lanes);
  Value load(Value memref, ArrayRef<Value> at) { return vector::LoadOp::create(b, vectorType, memref, at); }
  /// One element in all lanes.
  Value loadEverywhere(Value memref, ArrayRef<Value> at) {
    return vector::BroadcastOp::create(b, vectorType, memref::LoadOp::create(b, memref, at));
  }
  void store(Value vector, Value memref, ArrayRef<Value> at) { vector::StoreOp::create(b, vector, memref, at); }
  /// Asks for the head of a key or value that is needed a block later, or of the last one.
  void prefetch(Value memref, Value sequence, Value position, Value head, Value lastKey);
  Value shuffle(Value x, Value y, ArrayRef<int64_t> lanesTaken) {
    return vector::ShuffleOp::create(b, x, y, lanesTaken);
  }
  /// Every lane combined with the lanes around it whose number differs in bits below `width`, by a fixed tree.
  Value reduce(Value vector, function_ref<Value(Value, Value)> combine, int64_t width = lanes);
  /// One vector for several: its first lanes, as many for each, have the combined lanes of the first vector, and so on.
  Value reduceTogether(SmallVector<Value> vectors, function_ref<Value(Value, Value)> combine);

  void lowerChunk(Value sequence, Value head, Value firstQuery, Value queries);
  void startRow(Value sequence, Value head, Value firstQuery, Value query, Value inGroup);
  void finishRow(Value sequence, Value head, Value firstQuery, Value query, Value inGroup);
  void transposeKeys(Value sequence, Value head, Value firstKey, Value keys, Value lastKey);
  void widenValues(Value sequence, Value head, Value firstKey, Value keys, Value lastKey);
  void lowerRows(Value firstRow, Value firstPosition, Value firstKey);
  Visible visibleKeys(Value firstRow, Value firstPosition, Value firstKey);
  void scores(Value firstRow, const Visible &visible);
  void softmax(Value firstRow, Value vectors);
  void weightedSum(Value firstRow, const Visible &visible);
  /// accumulators[i * vectors + c] += left[leftRows[i], k] * right[k, column + 16 * c] for k in [begin, end).
  SmallVector<Value> multiplyAdd(Value left, ArrayRef<Value> leftRows, Value right, Value column, int64_t vectors,
                                 Value begin, Value end, ValueRange accumulators);

  ImplicitLocOpBuilder b;
  AttentionOp op;
  VectorType vectorType;
  int64_t depth, paddedDepth, group, queriesPerChunk;
  BlockShape shape;
  bool samePosition; ///< all rows of a register block belong to one query
  /// f32 scratch: queries [rows, D], sums [rows, D padded], keys [D, 64], values [64, D padded], largest score [rows],
  /// what earlier sums are multiplied by [block rows], sums of exponentials [rows, 16], weights [block rows, 64].
  Value queryRows, sums, keyColumns, valueRows, largest, scales, totals, weights;
};
} // namespace

/// Accumulators in registers: half of the 32 vector registers of AVX-512; elsewhere a vector of 16 takes several.
static BlockShape shapeFor(Operation *op) {
  auto function = op->getParentOfType<FunctionOpInterface>();
  auto level = function ? function->getAttrOfType<StringAttr>("moe.isa") : StringAttr();
  if (!level || level.getValue().starts_with("avx512") || level.getValue().starts_with("amx"))
    return {4, 4};
  return level.getValue().starts_with("avx") ? BlockShape{4, 1} : BlockShape{2, 1};
}

AttentionLowering::AttentionLowering(AttentionOp op)
    : b(op.getLoc(), op), op(op), vectorType(VectorType::get({lanes}, b.getF32Type())),
      depth(cast<MemRefType>(op.getQuery().getType()).getDimSize(3)), paddedDepth(llvm::alignTo(depth, lanes)),
      group(op.getGroupSize()), queriesPerChunk(op.getQueriesPerTile()), shape(shapeFor(op)),
      samePosition(group % shape.rows == 0) {}

LogicalResult AttentionLowering::check(AttentionOp op) {
  if (op.hasPureTensorSemantics())
    return op.emitOpError("expected operands on memrefs");
  for (Value operand : {op.getQuery(), op.getKeys(), op.getCachedValues(), op.getInit()}) {
    auto type = cast<MemRefType>(operand.getType());
    if (!isExtendableToF32(type.getElementType()))
      return op.emitOpError("expected elements of f32, bf16 or f16 but got ") << type;
  }
  for (Value operand : {op.getQuery(), op.getKeys(), op.getCachedValues(), op.getInit()})
    if (!cast<MemRefType>(operand.getType()).isLastDimUnitStride())
      return op.emitOpError("expected contiguous heads but got ") << operand.getType();
  return success();
}

Value AttentionLowering::scratch(ArrayRef<int64_t> shape) {
  return memref::AllocOp::create(b, MemRefType::get(shape, b.getF32Type()), b.getI64IntegerAttr(64));
}

void AttentionLowering::loop(Value begin, Value end, int64_t step, Body body) {
  auto loop = scf::ForOp::create(b, begin, end, index(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop.getBody()->getTerminator());
  body(loop.getInductionVar());
}

SmallVector<Value> AttentionLowering::loop(Value begin, Value end, int64_t step, ValueRange carried, CarriedBody body) {
  auto loop = scf::ForOp::create(b, begin, end, index(step), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(loop.getBody());
  scf::YieldOp::create(b, body(loop.getInductionVar(), loop.getRegionIterArgs()));
  return SmallVector<Value>(loop.getResults());
}

Value AttentionLowering::loadChunk(Value memref, ArrayRef<Value> at, int64_t count, int64_t width) {
  auto type = VectorType::get({width}, cast<MemRefType>(memref.getType()).getElementType());
  if (count >= width)
    return vector::LoadOp::create(b, type, memref, at);
  Value some = vector::LoadOp::create(b, VectorType::get({count}, type.getElementType()), memref, at);
  Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(type));
  return vector::InsertStridedSliceOp::create(b, some, zeros, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{1});
}

void AttentionLowering::prefetch(Value memref, Value sequence, Value position, Value head, Value lastKey) {
  // Heads lie apart by all heads of a token, which the hardware does not foresee.
  Value later = arith::MinSIOp::create(b, add(position, blockKeys), lastKey);
  int64_t perLine = 512 / cast<MemRefType>(memref.getType()).getElementTypeBitWidth();
  for (int64_t d = 0; d < depth; d += perLine)
    memref::PrefetchOp::create(b, memref, ValueRange{sequence, later, head, index(d)}, /*isWrite=*/false,
                               /*localityHint=*/3, /*isDataCache=*/true);
}

Value AttentionLowering::reduce(Value vector, function_ref<Value(Value, Value)> combine, int64_t width) {
  for (int64_t distance = width / 2; distance > 0; distance /= 2) {
    SmallVector<int64_t> partners;
    for (int64_t lane = 0; lane < lanes; ++lane)
      partners.push_back(lane ^ distance);
    vector = combine(vector, shuffle(vector, vector, partners));
  }
  return vector;
}

Value AttentionLowering::reduceTogether(SmallVector<Value> vectors, function_ref<Value(Value, Value)> combine) {
  int64_t width = lanes; // of the lanes that belong to one of the given vectors
  for (; vectors.size() > 1; width /= 2) {
    SmallVector<int64_t> low, high; // halves of what belongs together, of two vectors
    for (int64_t first = 0; first < 2 * lanes; first += width)
      for (int64_t i = 0; i < width / 2; ++i) {
        low.push_back(first + i);
        high.push_back(first + width / 2 + i);
      }
    SmallVector<Value> merged;
    for (size_t i = 0; i < vectors.size(); i += 2)
      merged.push_back(combine(shuffle(vectors[i], vectors[i + 1], low), shuffle(vectors[i], vectors[i + 1], high)));
    vectors = merged;
  }
  return reduce(vectors.front(), combine, width);
}

void AttentionLowering::run() {
  int64_t rows = llvm::alignTo(queriesPerChunk * group, shape.rows);
  queryRows = scratch({rows, depth});
  sums = scratch({rows, paddedDepth});
  keyColumns = scratch({depth, blockKeys});
  valueRows = scratch({blockKeys, paddedDepth});
  largest = scratch({rows});
  scales = scratch({shape.rows});
  totals = scratch({rows, lanes});
  weights = scratch({shape.rows, blockKeys});

  auto size = [&](Value memref, int64_t dim) { return b.createOrFold<memref::DimOp>(memref, dim); };
  loop(index(0), size(op.getQuery(), 0), 1, [&](Value sequence) {
    loop(index(0), size(op.getKeys(), 2), 1, [&](Value head) {
      Value queries = size(op.getQuery(), 1);
      loop(index(0), queries, queriesPerChunk, [&](Value first) {
        Value count = arith::MinSIOp::create(b, sub(queries, first), index(queriesPerChunk));
        lowerChunk(sequence, head, first, count);
      });
    });
  });
  for (Value buffer : {queryRows, sums, keyColumns, valueRows, largest, scales, totals, weights})
    memref::DeallocOp::create(b, buffer);
}

void AttentionLowering::lowerChunk(Value sequence, Value head, Value firstQuery, Value queries) {
  loop(index(0), queries, 1, [&](Value query) {
    loop(index(0), index(group), 1, [&](Value inGroup) { startRow(sequence, head, firstQuery, query, inGroup); });
  });

  Value firstPosition = add(op.getPast(), firstQuery), end = add(firstPosition, queries), rows = mul(queries, group);
  Value begin = index(0);
  if (op.getWindow()) {
    begin = add(firstPosition, 1 - static_cast<int64_t>(*op.getWindow()));
    begin = arith::MaxSIOp::create(b, begin, index(0));
    begin = mul(arith::DivUIOp::create(b, begin, index(blockKeys)), blockKeys);
  }
  Value lastKey = add(end, -1);
  loop(begin, end, blockKeys, [&](Value firstKey) {
    Value keys = arith::MinSIOp::create(b, sub(end, firstKey), index(blockKeys));
    transposeKeys(sequence, head, firstKey, keys, lastKey);
    widenValues(sequence, head, firstKey, keys, lastKey);
    // The last block may have rows of no query: of what is in the scratch memory, and nobody reads what becomes of it.
    loop(index(0), rows, shape.rows, [&](Value row) { lowerRows(row, firstPosition, firstKey); });
  });

  loop(index(0), queries, 1, [&](Value query) {
    loop(index(0), index(group), 1, [&](Value inGroup) { finishRow(sequence, head, firstQuery, query, inGroup); });
  });
}

void AttentionLowering::startRow(Value sequence, Value head, Value firstQuery, Value query, Value inGroup) {
  Value row = add(mul(query, group), inGroup);
  Value queryHead = add(mul(head, group), inGroup), position = add(firstQuery, query);
  for (int64_t d = 0; d < depth; d += lanes) {
    int64_t count = std::min(lanes, depth - d);
    Value chunk = loadChunk(op.getQuery(), {sequence, position, queryHead, index(d)}, count);
    chunk = extendToF32(b, b.getLoc(), chunk);
    if (count < lanes)
      chunk = vector::ExtractStridedSliceOp::create(b, chunk, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{count},
                                                    ArrayRef<int64_t>{1});
    store(chunk, queryRows, {row, index(d)});
  }
  for (int64_t d = 0; d < paddedDepth; d += lanes)
    store(splat(0), sums, {row, index(d)});
  store(splat(0), totals, {row, index(0)});
  Value lowest = arith::ConstantOp::create(b, b.getF32FloatAttr(std::numeric_limits<float>::lowest()));
  memref::StoreOp::create(b, lowest, largest, row);
}

void AttentionLowering::finishRow(Value sequence, Value head, Value firstQuery, Value query, Value inGroup) {
  Value row = add(mul(query, group), inGroup);
  Value queryHead = add(mul(head, group), inGroup), position = add(firstQuery, query);
  Value total =
      reduce(load(totals, {row, index(0)}), [&](Value x, Value y) -> Value { return arith::AddFOp::create(b, x, y); });
  for (int64_t d = 0; d < depth; d += lanes) {
    Value result = arith::DivFOp::create(b, load(sums, {row, index(d)}), total);
    if (Type element = cast<MemRefType>(op.getInit().getType()).getElementType(); !element.isF32())
      result = arith::TruncFOp::create(b, vectorType.clone(element), result);
    if (int64_t count = depth - d; count < lanes)
      result = vector::ExtractStridedSliceOp::create(b, result, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{count},
                                                     ArrayRef<int64_t>{1});
    store(result, op.getInit(), {sequence, position, queryHead, index(d)});
  }
}

/// keyColumns[d, q] = keys[firstKey + q, d]. Columns past `keys`, up to the next multiple of 16, repeat the last key.
void AttentionLowering::transposeKeys(Value sequence, Value head, Value firstKey, Value keys, Value lastKey) {
  auto type = cast<MemRefType>(op.getKeys().getType());
  Type element = type.getElementType();
  bool pairs = element.getIntOrFloatBitWidth() == 16;
  loop(index(0), keys, lanes, [&](Value column) {
    SmallVector<Value> positions;
    Value first = add(firstKey, column);
    for (int64_t i = 0; i < lanes; ++i)
      positions.push_back(arith::MinSIOp::create(b, add(first, i), lastKey));
    for (int64_t i = 0; i < lanes; ++i)
      prefetch(op.getKeys(), sequence, add(first, i), head, lastKey);
    auto loadRows = [&](Value d, int64_t count, int64_t width) {
      SmallVector<Value> rows;
      for (Value position : positions)
        rows.push_back(loadChunk(op.getKeys(), {sequence, position, head, d}, count, width));
      return rows;
    };

    int64_t paired = pairs ? depth / (2 * lanes) * (2 * lanes) : 0;
    // Two neighbours of 16 bits travel as one number of 32.
    if (paired)
      loop(index(0), index(paired), 2 * lanes, [&](Value d) {
        auto words = VectorType::get({lanes}, b.getI32Type());
        SmallVector<Value> rows = loadRows(d, 2 * lanes, 2 * lanes);
        for (Value &row : rows)
          row = vector::BitCastOp::create(b, words, row);
        Value sixteen = arith::ConstantOp::create(b, DenseElementsAttr::get(words, int32_t(16)));
        for (auto [number, word] : llvm::enumerate(transpose16x16(b, b.getLoc(), rows))) {
          Value even, odd;
          if (element.isBF16()) {
            Value high = arith::ConstantOp::create(b, DenseElementsAttr::get(words, int32_t(-65536)));
            even = vector::BitCastOp::create(b, vectorType, arith::ShLIOp::create(b, word, sixteen));
            odd = vector::BitCastOp::create(b, vectorType, arith::AndIOp::create(b, word, high));
          } else {
            auto narrow = [&](Value value) {
              value = arith::TruncIOp::create(b, VectorType::get({lanes}, b.getI16Type()), value);
              return extendToF32(b, b.getLoc(), vector::BitCastOp::create(b, VectorType::get({lanes}, element), value));
            };
            even = narrow(word);
            odd = narrow(arith::ShRUIOp::create(b, word, sixteen));
          }
          store(even, keyColumns, {add(d, 2 * number), column});
          store(odd, keyColumns, {add(d, 2 * number + 1), column});
        }
      });
    auto single = [&](Value d, int64_t count) {
      SmallVector<Value> rows = loadRows(d, count, lanes);
      for (Value &row : rows)
        row = extendToF32(b, b.getLoc(), row);
      for (auto [number, values] : llvm::enumerate(transpose16x16(b, b.getLoc(), rows)))
        if (static_cast<int64_t>(number) < count)
          store(values, keyColumns, {add(d, number), column});
    };
    int64_t whole = depth / lanes * lanes;
    if (paired < whole)
      loop(index(paired), index(whole), lanes, [&](Value d) { single(d, lanes); });
    if (whole < depth)
      single(index(whole), depth - whole);
  });
}

void AttentionLowering::widenValues(Value sequence, Value head, Value firstKey, Value keys, Value lastKey) {
  loop(index(0), keys, 1, [&](Value key) {
    Value position = add(firstKey, key);
    prefetch(op.getCachedValues(), sequence, position, head, lastKey);
    for (int64_t d = 0; d < depth; d += lanes) {
      Value chunk = loadChunk(op.getCachedValues(), {sequence, position, head, index(d)}, std::min(lanes, depth - d));
      store(extendToF32(b, b.getLoc(), chunk), valueRows, {key, index(d)});
    }
  });
}

Visible AttentionLowering::visibleKeys(Value firstRow, Value firstPosition, Value firstKey) {
  Visible visible;
  for (int64_t i = 0; i < shape.rows; ++i) {
    if (i > 0 && samePosition) {
      visible.begin.push_back(visible.begin.front());
      visible.end.push_back(visible.end.front());
      continue;
    }
    Value query = group == 1 ? add(firstRow, i) : arith::DivUIOp::create(b, add(firstRow, i), index(group));
    Value end = add(sub(add(firstPosition, query), firstKey), 1);
    visible.end.push_back(clamp(end, 0, blockKeys));
    visible.begin.push_back(op.getWindow() ? clamp(add(end, -static_cast<int64_t>(*op.getWindow())), 0, blockKeys)
                                           : index(0));
  }
  return visible;
}

/// A block of rows from `firstRow` on and one block of keys.
void AttentionLowering::lowerRows(Value firstRow, Value firstPosition, Value firstKey) {
  Visible visible = visibleKeys(firstRow, firstPosition, firstKey);
  // Later rows see later keys.
  Value any = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, visible.begin.front(), visible.end.back());
  auto branch = scf::IfOp::create(b, any, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(branch.thenYield());
  scores(firstRow, visible);
  softmax(firstRow, arith::DivUIOp::create(b, add(visible.end.back(), lanes - 1), index(lanes)));
  weightedSum(firstRow, visible);
}

SmallVector<Value> AttentionLowering::multiplyAdd(Value left, ArrayRef<Value> leftRows, Value right, Value column,
                                                  int64_t vectors, Value begin, Value end, ValueRange accumulators) {
  return loop(begin, end, 1, accumulators, [&](Value k, ValueRange carried) {
    SmallVector<Value> columns, next;
    for (int64_t c = 0; c < vectors; ++c)
      columns.push_back(load(right, {k, add(column, c * lanes)}));
    for (auto [i, row] : llvm::enumerate(leftRows)) {
      Value factor = loadEverywhere(left, {row, k});
      for (int64_t c = 0; c < vectors; ++c)
        next.push_back(math::FmaOp::create(b, factor, columns[c], carried[i * vectors + c]));
    }
    return next;
  });
}

/// weights[i, q] = scale * (row i . key q), -inf where the row does not see the key.
void AttentionLowering::scores(Value firstRow, const Visible &visible) {
  int64_t rows = shape.rows;
  SmallVector<Value> rowIndices;
  for (int64_t i = 0; i < rows; ++i)
    rowIndices.push_back(add(firstRow, i));
  auto indexVector = VectorType::get({lanes}, b.getI32Type());
  auto toLanes = [&](Value value) -> Value {
    return vector::BroadcastOp::create(b, indexVector, arith::IndexCastOp::create(b, b.getI32Type(), value));
  };
  Value places = arith::ConstantOp::create(
      b, DenseElementsAttr::get(indexVector, ArrayRef<int32_t>(llvm::to_vector(llvm::seq<int32_t>(0, lanes)))));
  Value hidden = splat(-std::numeric_limits<float>::infinity());
  Value scale = splat(op.getScale().convertToFloat());
  auto emit = [&](Value column, int64_t vectors) {
    SmallVector<Value> zeros(rows * vectors, splat(0));
    SmallVector<Value> products =
        multiplyAdd(queryRows, rowIndices, keyColumns, column, vectors, index(0), index(depth), zeros);
    for (int64_t c = 0; c < vectors; ++c) {
      Value at = add(column, c * lanes);
      Value position = arith::AddIOp::create(b, toLanes(at), places);
      for (int64_t i = 0; i < rows; ++i) {
        Value score = arith::MulFOp::create(b, products[i * vectors + c], scale);
        Value seen = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, position, toLanes(visible.end[i]));
        if (op.getWindow()) {
          Value inWindow = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, position, toLanes(visible.begin[i]));
          seen = arith::AndIOp::create(b, seen, inWindow);
        }
        store(arith::SelectOp::create(b, seen, score, hidden), weights, {index(i), at});
      }
    }
  };

  Value end = mul(arith::DivUIOp::create(b, add(visible.end.back(), lanes - 1), index(lanes)), lanes);
  int64_t step = shape.vectors * lanes;
  Value whole = shape.vectors == 1 ? index(0) : mul(arith::DivUIOp::create(b, end, index(step)), step);
  if (shape.vectors > 1)
    loop(index(0), whole, step, [&](Value column) { emit(column, shape.vectors); });
  loop(whole, end, lanes, [&](Value column) { emit(column, 1); });
}

/// Scores to exponentials; updates `largest` and `totals` and leaves in `scales` what earlier sums are multiplied by.
void AttentionLowering::softmax(Value firstRow, Value vectors) {
  int64_t rows = shape.rows;
  Value end = mul(vectors, lanes);
  // A score that is NaN may be passed over here: its exponential is NaN all the same, and with it the whole row.
  auto larger = [&](Value x, Value y) -> Value {
    return arith::SelectOp::create(b, arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, y), x, y);
  };
  SmallVector<Value> lowest(rows, splat(std::numeric_limits<float>::lowest()));
  SmallVector<Value> highest = loop(index(0), end, lanes, lowest, [&](Value column, ValueRange carried) {
    SmallVector<Value> next;
    for (int64_t i = 0; i < rows; ++i)
      next.push_back(larger(load(weights, {index(i), column}), carried[i]));
    return next;
  });

  // What there is one of per row is computed for all rows at once, in as many lanes for each.
  int64_t width = lanes / rows;
  SmallVector<int64_t> spread, gather;
  for (int64_t lane = 0; lane < lanes; ++lane)
    spread.push_back(lane / width);
  for (int64_t i = 0; i < rows; ++i)
    gather.push_back(i * width);
  auto perRow = VectorType::get({rows}, b.getF32Type());
  Value before = vector::LoadOp::create(b, perRow, largest, firstRow);
  before = shuffle(before, before, spread);
  Value after = larger(reduceTogether(highest, larger), before);
  Value scale = math::ExpOp::create(b, arith::SubFOp::create(b, before, after));
  store(shuffle(after, after, gather), largest, firstRow);
  store(shuffle(scale, scale, gather), scales, index(0));

  loop(index(0), index(rows), 1, [&](Value i) {
    Value row = add(firstRow, i), highestOfRow = loadEverywhere(largest, row);
    Value started = arith::MulFOp::create(b, load(totals, {row, index(0)}), loadEverywhere(scales, i));
    SmallVector<Value> total = loop(index(0), end, lanes, started, [&](Value column, ValueRange carried) {
      Value distance = arith::SubFOp::create(b, load(weights, {i, column}), highestOfRow);
      Value exponential = math::ExpOp::create(b, distance);
      store(exponential, weights, {i, column});
      return SmallVector<Value>{arith::AddFOp::create(b, carried[0], exponential)};
    });
    store(total[0], totals, {row, index(0)});
  });
}

/// sums[row] = sums[row] * scale + weights . values, over the keys that the row sees, in ascending order.
void AttentionLowering::weightedSum(Value firstRow, const Visible &visible) {
  int64_t rows = shape.rows;
  // All rows see the keys from `begin` to `end`; what a row sees before and after that it does alone.
  Value begin = visible.begin.back(), end = arith::MaxSIOp::create(b, begin, visible.end.front());
  SmallVector<Value> blockRows;
  for (int64_t i = 0; i < rows; ++i)
    blockRows.push_back(index(i));
  auto emit = [&](Value column, int64_t vectors) {
    SmallVector<Value> accumulators;
    for (int64_t i = 0; i < rows; ++i) {
      Value scale = loadEverywhere(scales, index(i));
      for (int64_t c = 0; c < vectors; ++c)
        accumulators.push_back(arith::MulFOp::create(b, load(sums, {add(firstRow, i), add(column, c * lanes)}), scale));
    }
    auto alone = [&](bool before) {
      for (int64_t i = 0; i < rows; ++i) {
        Value from = before ? visible.begin[i] : end;
        Value to = before ? b.createOrFold<arith::MinSIOp>(begin, visible.end[i]) : visible.end[i];
        ArrayRef<Value> own = ArrayRef(accumulators).slice(i * vectors, vectors);
        llvm::copy(multiplyAdd(weights, blockRows[i], valueRows, column, vectors, from, to, SmallVector<Value>(own)),
                   accumulators.begin() + i * vectors);
      }
    };
    if (!samePosition && op.getWindow())
      alone(/*before=*/true);
    accumulators = multiplyAdd(weights, blockRows, valueRows, column, vectors, begin, end, accumulators);
    if (!samePosition)
      alone(/*before=*/false);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < vectors; ++c)
        store(accumulators[i * vectors + c], sums, {add(firstRow, i), add(column, c * lanes)});
  };

  int64_t step = shape.vectors * lanes, whole = paddedDepth / step * step;
  if (whole == step)
    emit(index(0), shape.vectors);
  else if (whole)
    loop(index(0), index(whole), step, [&](Value column) { emit(column, shape.vectors); });
  if (int64_t left = (paddedDepth - whole) / lanes)
    emit(index(whole), left);
}

namespace {
struct AttentionToLoopsPass : moe::impl::AttentionToLoopsBase<AttentionToLoopsPass> {
  void runOnOperation() override {
    SmallVector<AttentionOp> ops;
    getOperation()->walk([&](AttentionOp op) { ops.push_back(op); });
    for (AttentionOp op : ops) {
      if (failed(AttentionLowering::check(op)))
        return signalPassFailure();
      AttentionLowering(op).run();
      op.erase();
    }
  }
};
} // namespace

//===- AttentionTiles.h - pieces of attention on tensor cores -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_ATTENTIONTILES_H
#define MOE_LIB_CONVERSION_TILESTOGPU_ATTENTIONTILES_H

#include "AttentionKernelBuilder.h"
#include "TensorCoreBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace moe {

/// What a thread knows of its rows; it has two of the 16 rows of its warp.
struct Rows {
  mlir::Value most[2];   ///< largest score
  mlir::Value total[2];  ///< sum of the weights, of all keys
  mlir::Value before[2]; ///< what sums of the tiles before are multiplied by when a tile is merged,
  mlir::Value ofTile[2]; ///< and what those of the tile are
};

/// What is known of a thread's rows over some keys. As one row of values: `values`, then total, then most.
struct Sums {
  llvm::SmallVector<mlir::Value> values; ///< weighted sums: four for each eight columns
  Rows rows;

  static Sums fromRow(mlir::ValueRange row) {
    mlir::ValueRange last = row.take_back(4);
    return {llvm::SmallVector<mlir::Value>(row.drop_back(4)), {{last[2], last[3]}, {last[0], last[1]}, {}, {}}};
  }
  llvm::SmallVector<mlir::Value> row() const {
    llvm::SmallVector<mlir::Value> all(values);
    all.append({rows.total[0], rows.total[1], rows.most[0], rows.most[1]});
    return all;
  }
};

/// Writes what kernels of attention do with a tile of keys: copies, scores, weights, sums of values, merging.
class AttentionTiles : protected TensorCoreBuilder {
protected:
  /// Where the code of `kernel` in front of `op` begins: numbers that do not change, and the shared memory.
  AttentionTiles(AttentionOp op, const AttentionShape &shape, mlir::gpu::GPUFuncOp kernel);

  /// What a thread has for eight columns of its warp's 16 rows: two neighbours in each of two rows.
  static constexpr int64_t perColumns = 4;

  mlir::Value number(float value) { return mlir::arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }
  void commitCopies() { mlir::NVVM::CpAsyncCommitGroupOp::create(b, loc); }
  /// Until all groups of copies but the last `pending` ones are there, for all threads.
  void waitForBlock(int64_t pending) {
    mlir::NVVM::CpAsyncWaitGroupOp::create(b, loc, pending);
    mlir::gpu::BarrierOp::create(b, loc);
  }

  /// Which positions the block's rows from `firstRow` on have, and which tiles they see.
  void startBlock(mlir::Value firstRow);
  /// Starts to copy the block's queries to `to`, by all threads.
  void copyQueries(mlir::Value firstRow, mlir::Value to);
  /// Starts to copy `count` keys or values from `firstKey` on to `to`; the thread is number `threadOfCopy` of
  /// `threads`. Of positions that no row sees zeros.
  void copyKeys(bool values, mlir::Value firstKey, int64_t count, mlir::Value to, mlir::Value threadOfCopy,
                int64_t threads);
  /// Takes the 16 queries at `at` into registers.
  void loadQueries(mlir::Value at);
  /// Adds products of the queries with `count` keys, which lie at `keys`: four for each eight keys.
  void addScores(mlir::Value keys, int64_t count, llvm::MutableArrayRef<mlir::Value> scores);
  /// Turns the scores of a tile into weights, and tells the largest score and the sum.
  void weigh(llvm::MutableArrayRef<mlir::Value> scores, mlir::Value firstKey, Rows &ofTile);
  /// Weights of a tile as operands of products: eight registers for each 16 keys.
  llvm::SmallVector<mlir::Value> splitWeights(llvm::ArrayRef<mlir::Value> weights);
  /// Adds 16 columns from `column` on of weights (of 16 keys: eight registers) times the values of these keys, which
  /// lie at `values` from row `key` on.
  void addValues(llvm::ArrayRef<mlir::Value> weights, mlir::Value values, int64_t key, int64_t column,
                 llvm::MutableArrayRef<mlir::Value> sums);
  /// Adds the statistics of a tile to those of the tiles before, and finds the factors of their sums.
  void merge(Rows &all, const Rows &tile);
  /// The `number`-th sum of all tiles so far, and the one of the tile.
  mlir::Value mergeSum(mlir::Value all, mlir::Value tile, const Rows &rows, int64_t number) {
    int64_t row = number % perColumns / 2;
    return fma(tile, rows.ofTile[row], make<mlir::arith::MulFOp>(all, rows.before[row]));
  }
  /// Sums over no keys, of `columns` columns.
  Sums noSums(int64_t columns);
  /// The sums over the keys of `all` and those of `part` behind them.
  Sums merged(Sums all, const Sums &part);
  /// The same where `condition` (i1) holds, with a `part` that is made there; else `all`.
  Sums mergedIf(mlir::Value condition, const Sums &all, llvm::function_ref<Sums()> part);
  /// Writes the result of this thread's rows from the sums over all keys; the columns of `all` begin at `columns`
  /// (i32).
  void store(const Sums &all, llvm::ArrayRef<mlir::Value> columns);

  AttentionOp op;
  AttentionShape shape;
  mlir::Value thread, lane, warp, rows; ///< i32
  mlir::Value threadRow[2];             ///< rows of this thread, i32
  mlir::Value firstTile, endTile;       ///< that rows of the block see, i32
  mlir::Value firstChunk, endChunk;     ///< that these tiles are in

private:
  /// 16-byte chunks of all banks of shared memory.
  static constexpr int64_t bankChunks = 8;

  /// Which row of 16 x 16 elements a thread gives ldmatrix the address of, and which half of it; in bytes.
  struct Lanes {
    mlir::Value row, chunk;
  };
  Lanes lanesOf(mlir::Value row, mlir::Value half);
  /// The chunk in whose place the chunk `chunk` of an aligned group lies in row `row`, and the other way around.
  mlir::Value exchanged(mlir::Value chunk, mlir::Value row) {
    mlir::Value set = make<mlir::arith::DivUIOp>(row, bankChunks / width);
    return make<mlir::arith::XOrIOp>(chunk, make<mlir::arith::RemUIOp>(set, width));
  }
  mlir::Value matrixAt(mlir::Value base, const Lanes &lanes, int64_t row, int64_t column);
  /// One instruction; arith.maximumf would be expanded to several.
  mlir::Value larger(mlir::Value x, mlir::Value y) { return mlir::LLVM::MaximumOp::create(b, loc, x, y); }
  mlir::Value fma(mlir::Value x, mlir::Value y, mlir::Value z) { return mlir::math::FmaOp::create(b, loc, x, y, z); }
  mlir::Value exp2(mlir::Value x);
  mlir::Value overQuad(mlir::Value value, llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine);
  void copyRows(llvm::function_ref<mlir::Value(mlir::Value, int64_t)> pointerTo, mlir::Value to, int64_t count,
                mlir::Value left, mlir::Value threadOfCopy, int64_t threads);
  llvm::SmallVector<mlir::Value> hideScores(llvm::ArrayRef<mlir::Value> scores, mlir::Value firstKey);
  void splitPair(mlir::Value first, mlir::Value second, mlir::Value &high, mlir::Value &low);

  mlir::Type element;
  int64_t rowChunks, width;
  float perScore; ///< from a product to log2 of a weight

  mlir::Value past;                                   ///< i32
  mlir::Value queryPointer, keyPointer, valuePointer; ///< to the first rows
  Lanes rowLanes, keyLanes;                           ///< for operands as they lie, and for keys as columns
  // Of the block of rows.
  mlir::Value position[2];                 ///< of this thread's rows
  mlir::Value firstPosition, lastPosition; ///< of all rows of the block
  llvm::SmallVector<mlir::Value> queries;  ///< four registers for each 16 elements
};

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_ATTENTIONTILES_H

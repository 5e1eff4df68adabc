//===- MmaBuilder.h - what kernels on tensor cores have in common ---*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_MMABUILDER_H
#define MOE_LIB_CONVERSION_TILESTOGPU_MMABUILDER_H

#include "MmaKernelBuilder.h"
#include "ProductBuilder.h"

namespace moe {

/// Bytes of the asynchronous copies that rows of `depth` elements of `memref` along `dim` are made of: the most that
/// every row begins and ends at a multiple of. None if no copy is so small.
std::optional<int64_t> copyBytes(mlir::Value memref, unsigned dim, int64_t depth);

/// Emits one kernel: the rows of x, the pipeline along k, the products and the epilogue. How weights get from memory
/// to the operands of an mma is for the classes below it.
class MmaBuilder : protected ProductBuilder {
public:
  MmaBuilder(GroupedMatmulOp op, const MmaShape &shape, mlir::gpu::GPUFuncOp kernel);
  virtual ~MmaBuilder() = default;

  void build();

protected:
  using Value = mlir::Value;
  using Values = mlir::SmallVector<Value>;

  static constexpr int64_t rowBytes = MmaShape::rowBytes;
  static constexpr int64_t chunksPerRow = rowBytes / chunkBytes;
  /// Rows that the threads of a block copy at a time.
  static constexpr int64_t rowsPerCopy = mmaThreads / chunksPerRow;

  /// Emits what does not depend on the tile.
  virtual void prepareWeights() = 0;
  /// Emits where this thread's copies of the columns from `firstColumn` (i32) on begin.
  virtual void pointToWeights(Value firstColumn) = 0;
  /// Emits the copies of the tile that begins at element `k` (i32) to `stage`.
  virtual void copyWeights(Value k, Value stage) = 0;
  /// What a thread holds of the weights for one half of a stage; `first` is what it holds for the first half.
  virtual Values loadWeights(Value stage, int64_t half, mlir::ArrayRef<Value> first) = 0;
  /// The two registers of B for the mma of the eight columns with that number, from what loadWeights returned.
  virtual Values operandsOfWeights(mlir::ArrayRef<Value> loaded, int64_t half, int64_t column8) = 0;

  /// Starts the copies of `chunkBytes` bytes, in parts of `each`, from element `k` on: of `size` (i32) bytes each, or
  /// of none where k has ended; what is not copied is filled with zeros. `chunk` is the number of the chunk in its row.
  void copyChunk(Value pointer, Value to, int64_t offset, Value k, Value chunk, Value size, int64_t each);
  /// `bytes` if the row `row` is one of the `left` ones, else 0. Compared again in each step: a register for every row
  /// is more than there are.
  Value sizeOf(Value left, int64_t row, int64_t bytes) { return select(less(i32(row), left), i32(bytes), i32(0)); }
  /// The chunk in whose place the chunk `chunk` of the row `row` lies, and the other way around; rows are exchanged in
  /// sets of `rowsPerSet`.
  Value swizzled(Value chunk, Value row, int64_t rowsPerSet) {
    return make<mlir::arith::XOrIOp>(
        chunk, make<mlir::arith::RemUIOp>(make<mlir::arith::DivUIOp>(row, rowsPerSet), chunksPerRow));
  }

  MmaShape shape;
  mlir::gpu::GPUFuncOp kernel;
  int64_t perWeight, perWarp, rowFragments, columnFragments;
  int64_t stageDepth; ///< elements along k in a stage

  Value thread, lane, warpColumn;       ///< i32
  Value copyRow, copyOffset, copyPlace; ///< of this thread, i32

private:
  /// What a thread holds of one half of a stage: four registers for each 16 rows of x, and its part of the weights.
  struct Fragments {
    Values x, weights;
  };

  void prepare();
  void block(Value firstRow, Value firstColumn);
  void pointToRows(Value firstRow);
  void copyRows(Value k, Value stage);
  /// Starts the copies of the tile that begins at element `k` (i32) to `stage`, as one group; behind the end of k they
  /// fill in zeros.
  void copyTile(Value k, Value stage);
  Fragments loadFragments(Value stage, int64_t half, mlir::ArrayRef<Value> firstWeights);
  void multiply(const Fragments &fragments, int64_t half, mlir::MutableArrayRef<Value> sums);
  /// The same for f32 (see MmaF32.cpp).
  void multiplyF32(const Fragments &fragments, int64_t half, mlir::MutableArrayRef<Value> sums);
  void epilogue(Value firstRow, Value firstColumn, mlir::ArrayRef<Value> sums);
  /// Until the next tile is there, for all threads.
  void wait();
  Value nextStage(Value stage);
  /// Where the four sums of a row fragment, weight and eight columns begin.
  size_t sumAt(int64_t row, int64_t column8) { return (row * 2 * columnFragments + column8) * 4; }

  Value warpRow;    ///< i32
  Value copyChunkX; ///< of the rows, i32
  Value copies;     ///< whether this thread copies rows of x; null: all do
  Value offsetX;    ///< of ldmatrix in a stage, without the chunk
  Values chunkX;    ///< bytes, for each half of a stage
  Values pointersX; ///< of the rows this thread copies
  Value leftX;      ///< rows from this thread's first one to the end, i32
  Value chosen;     ///< with choices: bytes of a copy << n, if there is an n-th row of x to copy
};

/// A builder for weights of the type of the rows, which ldmatrix loads as it loads rows.
std::unique_ptr<MmaBuilder> makePlainMmaBuilder(GroupedMatmulOp op, const MmaShape &shape, mlir::gpu::GPUFuncOp kernel);

/// A builder for codes packed for tensor cores, and what a column of them and its scale take of a stage.
std::unique_ptr<MmaBuilder> makeCodeMmaBuilder(GroupedMatmulOp op, const MmaShape &shape, mlir::gpu::GPUFuncOp kernel);
int64_t codeBytesPerColumn(GroupedMatmulOp op);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_MMABUILDER_H

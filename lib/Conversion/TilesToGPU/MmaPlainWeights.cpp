//===- MmaPlainWeights.cpp - weights as tensor cores multiply them --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rows of weights lie in shared memory like rows of x, and ldmatrix loads them alike. Its rows are the columns of an
// mma, so which columns these are (see MmaKernelBuilder.cpp) is which rows it reads, and chunks of weights are
// exchanged by row / (2 * G), of x by row / 2.
//
//===----------------------------------------------------------------------===//

#include "MmaBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace moe;

namespace {
class PlainMmaBuilder final : public MmaBuilder {
public:
  using MmaBuilder::MmaBuilder;

private:
  void prepareWeights() override;
  void pointToWeights(Value firstColumn) override;
  void copyWeights(Value k, Value stage) override;
  Values loadWeights(Value stage, int64_t half, ArrayRef<Value> first) override;
  Values operandsOfWeights(ArrayRef<Value> loaded, int64_t half, int64_t column8) override {
    return Values(loaded.slice(2 * column8, 2));
  }

  Value copyChunkW; ///< i32
  Value offset;     ///< of ldmatrix in a stage, without the chunk
  Values chunks;    ///< bytes, for each half of a stage
  Values pointers;  ///< of the rows this thread copies
  Value left;       ///< rows from this thread's first one to the end, i32
};
} // namespace

void PlainMmaBuilder::prepareWeights() {
  copyChunkW = swizzled(copyPlace, copyRow, run);
  // The columns of an mma, first and second 16 bytes, then those of the next mma.
  Value inMma = make<arith::AndIOp>(lane, 7);
  Value row = make<arith::MulIOp>(make<arith::DivUIOp>(inMma, 2), run);
  row = make<arith::AddIOp>(row, make<arith::RemUIOp>(inMma, 2));
  row = make<arith::AddIOp>(row, make<arith::MulIOp>(make<arith::ShRUIOp>(lane, 4), 2));
  Value first = make<arith::MulIOp>(warpColumn, perWarp);
  offset = make<arith::MulIOp>(make<arith::AddIOp>(first, row), rowBytes);
  offset = make<arith::AddIOp>(offset, shape.rows * rowBytes);
  for (int64_t half = 0; half < 2; ++half) {
    Value chunk = make<arith::AddIOp>(make<arith::AndIOp>(make<arith::ShRUIOp>(lane, 3), 1), 2 * half);
    chunks.push_back(make<arith::MulIOp>(swizzled(chunk, row, run), chunkBytes));
  }
}

void PlainMmaBuilder::pointToWeights(Value firstColumn) {
  pointers.clear();
  left = make<arith::SubIOp>(make<arith::SubIOp>(columns, firstColumn), copyRow);
  Value first;
  for (int64_t at = 0; at < shape.columns; at += rowsPerCopy) {
    Value weight = op.getWeights()[at / perWeight];
    int64_t stride = *rowStride(weight, 1) * elementBytes(weight);
    // One pointer for each weight: its other rows lie at constant distances. Where there is no row nothing is read.
    if (at % perWeight == 0) {
      Value row = toIndex(make<arith::AddIOp>(firstColumn, copyRow));
      Value address = make<arith::AddIOp>(addressOf(weight), make<arith::MulIOp>(row, stride));
      first = globalPointer(make<arith::AddIOp>(address, make<arith::MulIOp>(toIndex(copyChunkW), chunkBytes)));
    }
    Value distance = LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(at % perWeight * stride));
    pointers.push_back(globalAt(first, distance));
  }
}

void PlainMmaBuilder::copyWeights(Value k, Value stage) {
  Value to = make<arith::AddIOp>(stage, copyOffset);
  for (auto [number, pointer] : llvm::enumerate(pointers)) {
    int64_t row = number * rowsPerCopy, each = *copyBytes(op.getWeights()[row / perWeight], 1, op.getDepth());
    copyChunk(pointer, to, (shape.rows + row) * rowBytes, k, copyChunkW, sizeOf(left, row % perWeight, each), each);
  }
}

MmaBuilder::Values PlainMmaBuilder::loadWeights(Value stage, int64_t half, ArrayRef<Value> first) {
  Values loaded;
  Value at = make<arith::AddIOp>(make<arith::AddIOp>(stage, offset), chunks[half]);
  for (int64_t weight = 0; weight < weights; ++weight)
    for (int64_t column = 0; column < perWarp; column += fragment) {
      int64_t inBlock = column % (4 * run); // of the mma's columns; two mma have them in pairs
      int64_t row = weight * perWeight + column - inBlock + inBlock / 4;
      llvm::append_range(loaded, loadMatrices(sharedAt(at, row * rowBytes)));
    }
  return loaded;
}

std::unique_ptr<MmaBuilder> moe::makePlainMmaBuilder(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel) {
  return std::make_unique<PlainMmaBuilder>(op, shape, kernel);
}

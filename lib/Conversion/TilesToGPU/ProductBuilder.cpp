//===- ProductBuilder.cpp - what kernels of products share ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ProductBuilder.h"

#include "TileOffsets.h"
#include "lib/Conversion/Common/Epilogue.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;
using namespace moe;

/// What a thread stores at once.
static constexpr int64_t storeBytes = 16;

int64_t moe::columnsPerStore(GroupedMatmulOp op) {
  int64_t elementBytes = llvm::divideCeil(elementOf(op.getInit()).getIntOrFloatBitWidth(), 8);
  return 2 * std::clamp<int64_t>(storeBytes / elementBytes / 2, 2, 4);
}

void ProductBuilder::prepareTile() {
  auto [first, end] = getTileOffsets(op);
  begin = first;
  rows = make<arith::SubIOp>(end, begin);
  columns = toI32(b.createOrFold<memref::DimOp>(loc, op.getInit(), 1));
}

/// Neighbouring columns of a row from `column` on; `columnSums` has the sums of each.
void ProductBuilder::store(Value row, Value column, ArrayRef<Value> rowScalars,
                           ArrayRef<SmallVector<Value>> columnSums) {
  SmallVector<Value> results;
  for (auto [number, sums] : llvm::enumerate(columnSums)) {
    SmallVector<Value> arguments(sums);
    llvm::append_range(arguments, rowScalars);
    Value at = make<arith::AddIOp>(column, number);
    for (Value scalars : op.getColumnScalars())
      arguments.push_back(memref::LoadOp::create(b, loc, scalars, ValueRange{index(0), at}));
    results.push_back(cloneScalarEpilogue(b, op.getEpilogue().front(), arguments));
  }
  Value init = op.getInit();
  if (results.size() == 1) {
    memref::StoreOp::create(b, loc, results.front(), init, ValueRange{row, column});
    return;
  }
  auto type = VectorType::get({static_cast<int64_t>(results.size())}, elementOf(init));
  Value vector = vector::FromElementsOp::create(b, loc, type, results);
  auto store = vector::StoreOp::create(b, loc, vector, init, ValueRange{row, column});
  store.setAlignment(type.getNumElements() * type.getElementTypeBitWidth() / 8);
}

void ProductBuilder::storeRow(Value inTile, Value firstColumn, int64_t span,
                              function_ref<Value(int64_t, int64_t, int64_t)> sum) {
  // As many columns at once as are whole or absent, and aligned in every row.
  int64_t width = std::gcd(run, std::gcd(rowStride(op.getInit(), 0).value_or(1), op.getColumnDivisor()));
  auto exists = scf::IfOp::create(b, loc, less(inTile, rows), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(exists.thenYield());
  Value outRow = toIndex(make<arith::AddIOp>(begin, inTile));
  SmallVector<Value> rowScalars;
  for (Value scalars : op.getRowScalars())
    rowScalars.push_back(memref::LoadOp::create(b, loc, scalars, outRow));
  for (int64_t eight = 0; eight < span / 8; eight += run / 2)
    for (int64_t from = 0; from < run; from += width) {
      Value first = make<arith::AddIOp>(firstColumn, eight * 8 + from);
      auto inside = scf::IfOp::create(b, loc, less(first, columns), /*withElseRegion=*/false);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(inside.thenYield());
      SmallVector<SmallVector<Value>> sumsOf(width);
      for (int64_t column = 0; column < width; ++column)
        for (int64_t weight = 0; weight < weights; ++weight)
          sumsOf[column].push_back(sum(weight, eight + (from + column) / 2, (from + column) % 2));
      store(outRow, toIndex(first), rowScalars, sumsOf);
    }
}

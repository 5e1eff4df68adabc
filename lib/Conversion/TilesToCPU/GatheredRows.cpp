//===- GatheredRows.cpp - rows of x side by side --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "GatheredRows.h"

#include "MicroKernelBuilder.h"
#include "lib/Conversion/Common/NarrowFloats.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

static int64_t bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }

GatheredRows::GatheredRows(Location loc, int64_t depth, Type element) : loc(loc), depth(depth), element(element) {}

int64_t GatheredRows::stride() const {
  int64_t perLine = 64 / bytesOf(element), lines = llvm::divideCeil(depth, perLine);
  return (lines | 1) * perLine;
}

int64_t GatheredRows::bytesPerRow() const { return stride() * bytesOf(element); }

MemRefType GatheredRows::typeOf(int64_t rows) const { return MemRefType::get({rows, stride()}, element); }

void GatheredRows::gather(OpBuilder &b, Value row, Value position) const {
  auto type = cast<MemRefType>(row.getType());
  auto index = [&](int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); };
  auto convert = [&](Value value) { return element.isF32() ? extendToF32(b, loc, value) : value; };
  auto copy = [&](Value k, int64_t count) {
    Value vector = vector::LoadOp::create(b, loc, VectorType::get({count}, type.getElementType()), row, k);
    vector::StoreOp::create(b, loc, convert(vector), buffer, ValueRange{position, k});
  };
  auto loop = [&](int64_t end, int64_t step, function_ref<void(Value)> body) {
    auto loop = scf::ForOp::create(b, loc, index(0), index(end), index(step));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(loop.getBody()->getTerminator());
    body(loop.getInductionVar());
  };
  if (type.isLastDimUnitStride()) {
    int64_t width = 64 / bytesOf(element), rest = depth % width;
    loop(depth - rest, width, [&](Value k) { copy(k, width); });
    if (rest)
      copy(index(depth - rest), rest);
  } else {
    loop(depth, 1, [&](Value k) {
      memref::StoreOp::create(b, loc, convert(memref::LoadOp::create(b, loc, row, k)), buffer, ValueRange{position, k});
    });
  }
  if (element.isBF16() && depth % 2) {
    Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(element));
    memref::StoreOp::create(b, loc, none, buffer, ValueRange{position, index(depth)});
  }
}

Value GatheredRows::row(OpBuilder &b, Value position) const {
  auto layout = StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, {1});
  auto type = MemRefType::get({stride()}, element, layout);
  SmallVector<OpFoldResult> offsets{position, b.getIndexAttr(0)}, sizes{b.getIndexAttr(1), b.getIndexAttr(stride())};
  SmallVector<OpFoldResult> strides(2, b.getIndexAttr(1));
  return memref::SubViewOp::create(b, loc, type, buffer, offsets, sizes, strides);
}

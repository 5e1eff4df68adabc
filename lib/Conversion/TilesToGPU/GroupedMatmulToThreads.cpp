//===- GroupedMatmulToThreads.cpp - moe.grouped_matmul in kernels ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "Kernel.h"
#include "MmaKernelBuilder.h"
#include "ScalarWeights.h"
#include "TensorCoreBuilder.h"
#include "TileOffsets.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/Epilogue.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace moe {
#define GEN_PASS_DEF_GROUPEDMATMULTOTHREADS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static LogicalResult check(GroupedMatmulOp op) {
  if (op.isPacked() && !op.isPackedForTensorCores())
    return op.emitOpError("expected plain weights or codes packed for tensor cores but got ")
           << op.getWeights().front().getType();
  auto isFloat = [](Value value) {
    Type type = elementOf(value);
    return type.isF32() || type.isBF16() || type.isF16();
  };
  SmallVector<Value> floats(op.getScales());
  if (!op.isInteger())
    floats.push_back(op.getX());
  if (!op.isInteger() && !op.getFormat())
    llvm::append_range(floats, op.getWeights());
  for (Value value : floats)
    if (!isFloat(value) && !(op.getFormat() == "mxfp4" && elementOf(value).isInteger(8)))
      return op.emitOpError("expected rows, weights and scales of f32, bf16 or f16 but got ") << value.getType();
  return success();
}

/// Each thread computes whole elements, one after the other: acc = fma(x[k], w[k], acc) for ascending k, or sums of
/// integers. For types and shapes that tensor cores do not take.
static void lowerToThreads(GroupedMatmulOp op, int64_t blockSize) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  auto index = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(b, loc, value); };
  auto toIndex = [&](Value i32) -> Value { return arith::IndexCastOp::create(b, loc, b.getIndexType(), i32); };
  ThreadNumbers numbers = makeThreadNumbers(b, loc, Team::Block, blockSize);
  Value zero = index(0), one = index(1);

  Value offsets = op.getOffsets();
  auto [tileBegin, tileEnd] = getTileOffsets(op);
  Value group = zero, begin, end;
  if (tileEnd) {
    begin = toIndex(tileBegin);
    end = toIndex(tileEnd);
  } else {
    Value groups = arith::SubIOp::create(b, loc, b.createOrFold<memref::DimOp>(loc, offsets, 0), one);
    auto loop = scf::ForOp::create(b, loc, zero, groups, one);
    b.setInsertionPoint(loop.getBody()->getTerminator());
    group = loop.getInductionVar();
    begin = toIndex(memref::LoadOp::create(b, loc, offsets, group));
    end = toIndex(memref::LoadOp::create(b, loc, offsets, arith::AddIOp::create(b, loc, group, one).getResult()));
  }

  Value columns = b.createOrFold<memref::DimOp>(loc, op.getInit(), 1);
  Value rows = arith::SubIOp::create(b, loc, end, begin);
  Value elements = arith::MulIOp::create(b, loc, rows, columns);
  auto loop = scf::ForOp::create(b, loc, numbers.thread, elements, numbers.count);
  b.setInsertionPoint(loop.getBody()->getTerminator());
  Value column = arith::RemUIOp::create(b, loc, loop.getInductionVar(), columns);
  Value row = arith::DivUIOp::create(b, loc, loop.getInductionVar(), columns);
  row = arith::AddIOp::create(b, loc, row, begin);

  Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(op.getAccumulatorType()));
  Value source = row, exists;
  if (op.getChoices()) {
    Value choice = memref::LoadOp::create(b, loc, op.getChoices(), row);
    Value first = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0));
    exists = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, choice, first);
    source = toIndex(arith::MaxSIOp::create(b, loc, choice, first));
    source = arith::DivUIOp::create(b, loc, source, index(op.getFanout()));
  }
  SmallVector<Value> zeros(op.getWeights().size(), none);
  auto product = scf::ForOp::create(
      b, loc, zero, index(op.getDepth()), one, zeros, [&](OpBuilder &b, Location, Value k, ValueRange sums) {
        Value x = loadNumber(b, loc, op.getX(), {source, k});
        if (exists)
          x = arith::SelectOp::create(b, loc, exists, x, none);
        SmallVector<Value> next;
        for (auto [number, sum] : llvm::enumerate(sums)) {
          Value w = loadWeight(b, op, number, group, column, k);
          if (op.isInteger())
            next.push_back(arith::AddIOp::create(b, loc, sum, arith::MulIOp::create(b, loc, x, w)));
          else
            next.push_back(math::FmaOp::create(b, loc, x, w, sum));
        }
        scf::YieldOp::create(b, loc, next);
      });
  storeElement(b, op, product.getResults(), group, row, column);
}

namespace {
struct GroupedMatmulToThreadsPass : moe::impl::GroupedMatmulToThreadsBase<GroupedMatmulToThreadsPass> {
  using GroupedMatmulToThreadsBase::GroupedMatmulToThreadsBase;

  void runOnOperation() override {
    gpu::GPUFuncOp kernel = getOperation();
    SmallVector<GroupedMatmulOp> ops;
    kernel.walk([&](GroupedMatmulOp op) { ops.push_back(op); });
    for (GroupedMatmulOp op : ops) {
      if (failed(check(op)))
        return signalPassFailure();
      bool isBlock = getBlockSize(kernel) == mmaThreads;
      auto rows = op->getAttrOfType<IntegerAttr>(blockRowsAttr);
      if (auto shape =
              isBlock && !noTensorCores ? findMmaShape(op, rows ? rows.getInt() : rt::gpuMostTileRows) : std::nullopt)
        buildMmaKernel(op, *shape, kernel);
      else
        lowerToThreads(op, getBlockSize(kernel));
      Value offsets = op.getOffsets();
      bool owned = isTileOffsets(offsets) && llvm::count_if(offsets.getUsers(), llvm::IsaPred<GroupedMatmulOp>) == 1;
      op.erase();
      if (owned)
        eraseTileOffsets(offsets);
    }
  }
};
} // namespace

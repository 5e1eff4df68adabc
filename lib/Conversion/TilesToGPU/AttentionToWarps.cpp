//===- AttentionToWarps.cpp - moe.attention in kernels --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "AttentionKernelBuilder.h"
#include "Kernel.h"
#include "MmaKernelBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace moe {
#define GEN_PASS_DEF_ATTENTIONTOWARPS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {
/// Lowers one op. A warp has a query of a head at a time; lane i has the elements i, i + 32, ... of its vectors.
class Lowering {
public:
  Lowering(AttentionOp op, int64_t blockSize) : b(op), op(op), loc(op.getLoc()), blockSize(blockSize) {}

  void run();

private:
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
  Value number(double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }
  int64_t depth() { return cast<MemRefType>(op.getQuery().getType()).getDimSize(3); }

  /// This lane's elements of the vector at `at` (three indices), as f32.
  SmallVector<Value> loadLanes(Value memref, ArrayRef<Value> at);
  void storeLanes(ArrayRef<Value> values, ArrayRef<Value> at);
  Value sumOverLanes(Value value);
  /// One query: the softmax is kept as running maximum and sum, positions ascending.
  void query(ArrayRef<Value> at);

  OpBuilder b;
  AttentionOp op;
  Location loc;
  int64_t blockSize;
  Value lane;
};
} // namespace

SmallVector<Value> Lowering::loadLanes(Value memref, ArrayRef<Value> at) {
  SmallVector<Value> values;
  SmallVector<Value> indices(at);
  indices.push_back(nullptr);
  auto load = [&](Value position) -> Value {
    indices.back() = position;
    Value value = memref::LoadOp::create(b, loc, memref, indices);
    return value.getType().isF32() ? value : arith::ExtFOp::create(b, loc, b.getF32Type(), value);
  };
  for (int64_t first = 0; first < depth(); first += warpSize) {
    Value position = first ? Value(arith::AddIOp::create(b, loc, lane, index(first))) : lane;
    if (first + warpSize <= depth()) {
      values.push_back(load(position));
      continue;
    }
    // Lanes behind the end read the last element and count it as 0.
    Value inside = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, position, index(depth()));
    Value value = load(arith::MinUIOp::create(b, loc, position, index(depth() - 1)));
    values.push_back(arith::SelectOp::create(b, loc, inside, value, number(0)));
  }
  return values;
}

void Lowering::storeLanes(ArrayRef<Value> values, ArrayRef<Value> at) {
  Type element = cast<MemRefType>(op.getInit().getType()).getElementType();
  SmallVector<Value> indices(at);
  indices.push_back(nullptr);
  for (auto [chunk, value] : llvm::enumerate(values)) {
    OpBuilder::InsertionGuard guard(b);
    int64_t first = chunk * warpSize;
    Value position = first ? Value(arith::AddIOp::create(b, loc, lane, index(first))) : lane;
    if (first + warpSize > depth()) {
      Value inside = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, position, index(depth()));
      b.setInsertionPoint(scf::IfOp::create(b, loc, inside, /*withElseRegion=*/false).thenYield());
    }
    Value rounded = element.isF32() ? value : Value(arith::TruncFOp::create(b, loc, element, value));
    indices.back() = position;
    memref::StoreOp::create(b, loc, rounded, op.getInit(), indices);
  }
}

Value Lowering::sumOverLanes(Value value) {
  for (int32_t distance = warpSize / 2; distance > 0; distance /= 2) {
    Value other = gpu::ShuffleOp::create(b, loc, value, distance, warpSize, gpu::ShuffleMode::XOR).getShuffleResult();
    value = arith::AddFOp::create(b, loc, value, other);
  }
  return value;
}

void Lowering::query(ArrayRef<Value> at) {
  Value sequence = at[0], row = at[1], head = at[2];
  SmallVector<Value> q = loadLanes(op.getQuery(), at);
  Value group = op.getGroupSize() == 1 ? head : arith::DivUIOp::create(b, loc, head, index(op.getGroupSize()));
  Value position = arith::AddIOp::create(b, loc, op.getPast(), row);
  Value begin = index(0), end = arith::AddIOp::create(b, loc, position, index(1));
  if (op.getWindow())
    begin = arith::MaxSIOp::create(b, loc, begin, arith::SubIOp::create(b, loc, end, index(*op.getWindow())));

  SmallVector<Value> carried{number(-std::numeric_limits<double>::infinity()), number(0)};
  carried.append(q.size(), number(0));
  auto keys = scf::ForOp::create(b, loc, begin, end, index(1), carried);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(keys.getBody());
    SmallVector<Value> cached{sequence, keys.getInductionVar(), group};
    Value dot = number(0);
    for (auto [x, y] : llvm::zip_equal(q, loadLanes(op.getKeys(), cached)))
      dot = math::FmaOp::create(b, loc, x, y, dot);
    Value score = arith::MulFOp::create(b, loc, sumOverLanes(dot), number(op.getScale().convertToFloat()));
    ValueRange state = keys.getRegionIterArgs();
    Value most = arith::MaximumFOp::create(b, loc, state[0], score);
    Value shrink = math::ExpOp::create(b, loc, arith::SubFOp::create(b, loc, state[0], most));
    Value weight = math::ExpOp::create(b, loc, arith::SubFOp::create(b, loc, score, most));
    SmallVector<Value> next{most, math::FmaOp::create(b, loc, state[1], shrink, weight)};
    for (auto [sum, value] : llvm::zip_equal(state.drop_front(2), loadLanes(op.getCachedValues(), cached)))
      next.push_back(
          math::FmaOp::create(b, loc, sum, shrink, arith::MulFOp::create(b, loc, weight, value).getResult()));
    scf::YieldOp::create(b, loc, next);
  }
  SmallVector<Value> results;
  for (Value sum : keys.getResults().drop_front(2))
    results.push_back(arith::DivFOp::create(b, loc, sum, keys.getResult(1)));
  storeLanes(results, at);
}

void Lowering::run() {
  lane = makeThreadNumbers(b, loc, Team::Warp, blockSize).thread;
  Value warp = gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x), warps = index(blockSize / warpSize);
  warp = arith::DivUIOp::create(b, loc, warp, index(warpSize));
  Value sizes[3], total = index(1);
  for (int64_t dim = 0; dim < 3; ++dim) {
    sizes[dim] = b.createOrFold<memref::DimOp>(loc, op.getQuery(), dim);
    total = b.createOrFold<arith::MulIOp>(loc, total, sizes[dim]);
  }
  auto loop = scf::ForOp::create(b, loc, warp, total, warps);
  b.setInsertionPoint(loop.getBody()->getTerminator());
  Value rest = loop.getInductionVar();
  Value head = arith::RemUIOp::create(b, loc, rest, sizes[2]);
  rest = arith::DivUIOp::create(b, loc, rest, sizes[2]);
  Value row = arith::RemUIOp::create(b, loc, rest, sizes[1]);
  query({arith::DivUIOp::create(b, loc, rest, sizes[1]), row, head});
}

namespace {
struct AttentionToWarpsPass : moe::impl::AttentionToWarpsBase<AttentionToWarpsPass> {
  using AttentionToWarpsBase::AttentionToWarpsBase;

  void runOnOperation() override {
    gpu::GPUFuncOp kernel = getOperation();
    SmallVector<AttentionOp> ops;
    kernel.walk([&](AttentionOp op) { ops.push_back(op); });
    for (AttentionOp op : ops) {
      bool isBlock = getBlockSize(kernel) == mmaThreads;
      if (auto shape = isBlock && !noTensorCores ? chooseAttentionShape(op, op->hasAttr(blockRowsAttr)) : std::nullopt)
        buildAttentionKernel(op, *shape, kernel);
      else
        Lowering(op, getBlockSize(kernel)).run();
      op.erase();
    }
  }
};
} // namespace

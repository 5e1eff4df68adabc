//===- ScheduleToThreads.cpp - moe.schedule in a block of threads ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A stable counting sort by one block. The choices are cut into as many ranges as there are warps with counters of
// their own in shared memory. A warp takes 32 choices of its range at a time; a match tells each lane which lanes have
// the same expert, so the lane's rank among them is the number of lower ones. Nobody adds to a counter that others add
// to at the same time: positions do not depend on any order of execution.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "Kernel.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace moe {
#define GEN_PASS_DEF_SCHEDULETOTHREADS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// Shared memory of a block, and how much of it is enough for counters.
static constexpr int64_t allShared = 48 * 1024, enoughForCounters = 32 * 1024;

namespace {
class Scheduler {
public:
  Scheduler(ScheduleOp op, gpu::GPUFuncOp kernel, int64_t counting)
      : b(op), op(op), loc(op.getLoc()), kernel(kernel), threads(getBlockSize(kernel)), counting(counting),
        experts(op.getNumExperts()) {}

  void run();

private:
  using Body = function_ref<void(Value)>;

  Value i32(int64_t value) { return arith::ConstantIntOp::create(b, loc, value, 32); }
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
  Value toIndex(Value value) { return arith::IndexCastOp::create(b, loc, b.getIndexType(), value); }
  Value toI32(Value value) { return arith::IndexCastOp::create(b, loc, b.getI32Type(), value); }
  template <typename Op> Value make(Value left, Value right) { return Op::create(b, loc, left, right); }
  Value compare(arith::CmpIPredicate predicate, Value left, Value right) {
    return arith::CmpIOp::create(b, loc, predicate, left, right);
  }
  Value load(Value memref, ValueRange at) { return memref::LoadOp::create(b, loc, memref, at); }
  void store(Value value, Value memref, ValueRange at) { memref::StoreOp::create(b, loc, value, memref, at); }
  void barrier() { gpu::BarrierOp::create(b, loc); }
  void syncWarp() { NVVM::SyncWarpOp::create(b, loc, i32(-1)); }
  void loop(Value begin, Value end, Value step, Body body);
  void when(Value condition, function_ref<void()> body);
  /// What lane - `distance` has; its own for the lanes below that.
  Value fromBelow(Value value, int32_t distance) {
    return gpu::ShuffleOp::create(b, loc, value, distance, warpSize, gpu::ShuffleMode::UP).getShuffleResult();
  }
  Value fromLane(Value value, int32_t lane) {
    return gpu::ShuffleOp::create(b, loc, value, lane, warpSize, gpu::ShuffleMode::IDX).getShuffleResult();
  }
  Value sumUpTo(Value value);

  /// One choice of a lane: its expert counted with `counter`, how many lanes have the same, how many of them come
  /// first.
  struct Choice {
    Value number, valid, counter, expert, same, rank;
  };
  void forChoices(function_ref<void(const Choice &)> body);
  void count(const Choice &choice);
  void sumCounts();
  void sumExperts();
  void place();

  OpBuilder b;
  ScheduleOp op;
  Location loc;
  gpu::GPUFuncOp kernel;
  int64_t threads, counting, experts;
  Value counters; ///< [warps that count, experts]
  Value thread, lane, warp, choices;
};
} // namespace

void Scheduler::loop(Value begin, Value end, Value step, Body body) {
  auto loop = scf::ForOp::create(b, loc, begin, end, step);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop.getBody()->getTerminator());
  body(loop.getInductionVar());
}

void Scheduler::when(Value condition, function_ref<void()> body) {
  auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(branch.thenYield());
  body();
}

/// The sum of `value` of this lane and those below.
Value Scheduler::sumUpTo(Value value) {
  for (int32_t distance = 1; distance < warpSize; distance *= 2) {
    Value below = fromBelow(value, distance);
    Value exists = compare(arith::CmpIPredicate::uge, toI32(lane), i32(distance));
    value = make<arith::AddIOp>(value, arith::SelectOp::create(b, loc, exists, below, i32(0)).getResult());
  }
  return value;
}

/// Calls `body` for this warp's range of the choices, 32 at a time. All lanes come along: those behind the end with a
/// choice that is not valid.
void Scheduler::forChoices(function_ref<void(const Choice &)> body) {
  int64_t perToken = cast<MemRefType>(op.getIndices().getType()).getDimSize(1);
  when(compare(arith::CmpIPredicate::ult, warp, index(counting)), [&] {
    Value rounds = arith::CeilDivUIOp::create(b, loc, choices, index(counting * warpSize));
    Value length = make<arith::MulIOp>(rounds, index(warpSize));
    Value begin = make<arith::MulIOp>(warp, length);
    Value end = make<arith::MinUIOp>(make<arith::AddIOp>(begin, length), choices);
    loop(begin, end, index(warpSize), [&](Value first) {
      Choice choice;
      choice.number = make<arith::AddIOp>(first, lane);
      Value exists = compare(arith::CmpIPredicate::ult, choice.number, end);
      Value known = arith::SelectOp::create(b, loc, exists, choice.number, begin);
      Value expert = load(op.getIndices(),
                          {make<arith::DivUIOp>(known, index(perToken)), make<arith::RemUIOp>(known, index(perToken))});
      // Unsigned: -1 is no expert either.
      Value inRange = compare(arith::CmpIPredicate::ult, expert, i32(experts));
      choice.valid = make<arith::AndIOp>(exists, inRange);
      Value key = arith::SelectOp::create(b, loc, choice.valid, expert, i32(-1));
      choice.same = NVVM::MatchSyncOp::create(b, loc, b.getI32Type(), i32(-1), key, NVVM::MatchSyncKind::any);
      Value bit = make<arith::ShLIOp>(i32(1), toI32(lane));
      Value below = make<arith::AndIOp>(choice.same, make<arith::SubIOp>(bit, i32(1)));
      choice.rank = math::CtPopOp::create(b, loc, below);
      choice.expert = toIndex(arith::SelectOp::create(b, loc, choice.valid, expert, i32(0)));
      choice.counter = load(counters, {warp, choice.expert});
      body(choice);
    });
  });
}

/// The first of the lanes with one expert adds them all.
void Scheduler::count(const Choice &choice) {
  Value first = compare(arith::CmpIPredicate::eq, choice.rank, i32(0));
  syncWarp();
  when(make<arith::AndIOp>(choice.valid, first), [&] {
    Value sum = make<arith::AddIOp>(choice.counter, math::CtPopOp::create(b, loc, choice.same).getResult());
    store(sum, counters, {warp, choice.expert});
  });
  syncWarp();
}

/// Of each expert: what the warps before counted takes the place of a warp's count, and all of them that of offsets[e +
/// 1].
void Scheduler::sumCounts() {
  loop(thread, index(experts), index(threads), [&](Value expert) {
    auto warps = scf::ForOp::create(b, loc, index(0), index(counting), index(1), i32(0));
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(warps.getBody());
      Value at[] = {warps.getInductionVar(), expert}, sum = warps.getRegionIterArg(0);
      Value counted = load(counters, at);
      store(sum, counters, at);
      scf::YieldOp::create(b, loc, make<arith::AddIOp>(sum, counted));
    }
    store(warps.getResult(0), op.getOffsets(), make<arith::AddIOp>(expert, index(1)));
  });
}

/// One warp sums up over the experts, and lists the tiles of each.
void Scheduler::sumExperts() {
  when(compare(arith::CmpIPredicate::ult, thread, index(warpSize)), [&] {
    when(compare(arith::CmpIPredicate::eq, thread, index(0)), [&] { store(i32(0), op.getOffsets(), index(0)); });
    auto rounds = scf::ForOp::create(b, loc, index(0), index(experts), index(warpSize), ValueRange{i32(0), i32(0)});
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(rounds.getBody());
      Value expert = make<arith::AddIOp>(rounds.getInductionVar(), lane);
      Value exists = compare(arith::CmpIPredicate::ult, expert, index(experts));
      Value at = make<arith::AddIOp>(make<arith::MinUIOp>(expert, index(experts - 1)), index(1));
      Value rows = arith::SelectOp::create(b, loc, exists, load(op.getOffsets(), at), i32(0));
      int64_t height = op.getBlock();
      Value number = arith::CeilDivUIOp::create(b, loc, rows, i32(height));
      Value end = make<arith::AddIOp>(rounds.getRegionIterArg(0), sumUpTo(rows));
      Value lastTile = make<arith::AddIOp>(rounds.getRegionIterArg(1), sumUpTo(number));
      when(exists, [&] { store(end, op.getOffsets(), at); });
      Value begin = make<arith::SubIOp>(end, rows), firstTile = make<arith::SubIOp>(lastTile, number);
      loop(index(0), toIndex(number), index(1), [&](Value tile) {
        Value row = toIndex(firstTile);
        row = make<arith::AddIOp>(row, tile);
        Value skipped = make<arith::MulIOp>(toI32(tile), i32(height));
        Value left = make<arith::MinUIOp>(make<arith::SubIOp>(rows, skipped), i32(height));
        Value fields[] = {toI32(expert), make<arith::AddIOp>(begin, skipped), left};
        for (auto [field, value] : llvm::enumerate(fields))
          store(value, op.getTiles(), {row, index(field)});
      });
      scf::YieldOp::create(b, loc, ValueRange{fromLane(end, warpSize - 1), fromLane(lastTile, warpSize - 1)});
    }
    when(compare(arith::CmpIPredicate::eq, thread, index(0)), [&] { store(rounds.getResult(1), op.getCount(), {}); });
  });
}

/// Each choice goes behind those of its expert that come before it.
void Scheduler::place() {
  int64_t perToken = cast<MemRefType>(op.getIndices().getType()).getDimSize(1);
  forChoices([&](const Choice &choice) {
    Value row = make<arith::AddIOp>(load(op.getOffsets(), choice.expert), choice.counter);
    row = make<arith::AddIOp>(row, choice.rank);
    Value exists = compare(arith::CmpIPredicate::ult, choice.number, choices);
    when(choice.valid, [&] { store(toI32(choice.number), op.getChoices(), toIndex(row)); });
    when(exists, [&] {
      Value slot = arith::SelectOp::create(b, loc, choice.valid, row, i32(-1));
      store(
          slot, op.getSlots(),
          {make<arith::DivUIOp>(choice.number, index(perToken)), make<arith::RemUIOp>(choice.number, index(perToken))});
    });
    count(choice);
  });
  // Rows that are not used.
  Value used = make<arith::AddIOp>(toIndex(load(op.getOffsets(), index(experts))), thread);
  loop(used, choices, index(threads), [&](Value row) { store(i32(-1), op.getChoices(), row); });
}

void Scheduler::run() {
  auto space = gpu::AddressSpaceAttr::get(b.getContext(), gpu::AddressSpace::Workgroup);
  counters = kernel.addWorkgroupAttribution(
      MemRefType::get({counting, experts}, b.getI32Type(), MemRefLayoutAttrInterface(), space), loc);
  thread = gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x);
  lane = make<arith::RemUIOp>(thread, index(warpSize));
  warp = make<arith::DivUIOp>(thread, index(warpSize));
  choices = b.createOrFold<memref::DimOp>(loc, op.getChoices(), 0);

  loop(thread, index(counting * experts), index(threads), [&](Value counter) {
    store(i32(0), counters,
          {make<arith::DivUIOp>(counter, index(experts)), make<arith::RemUIOp>(counter, index(experts))});
  });
  barrier();
  forChoices([&](const Choice &choice) { count(choice); });
  barrier();
  sumCounts();
  barrier();
  sumExperts();
  barrier();
  place();
}

/// How many warps can have counters in the memory that is left: a power of two.
static int64_t countingWarps(ScheduleOp op, gpu::GPUFuncOp kernel) {
  int64_t left = allShared;
  for (BlockArgument shared : kernel.getWorkgroupAttributions()) {
    auto type = cast<MemRefType>(shared.getType());
    left -= type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  }
  int64_t room = std::min(left, enoughForCounters), each = op.getNumExperts() * 4;
  int64_t warps = getBlockSize(kernel) / warpSize;
  while (warps > 0 && warps * each > room)
    warps /= 2;
  return warps;
}

namespace {
struct ScheduleToThreadsPass : moe::impl::ScheduleToThreadsBase<ScheduleToThreadsPass> {
  void runOnOperation() override {
    gpu::GPUFuncOp kernel = getOperation();
    SmallVector<ScheduleOp> ops;
    kernel.walk([&](ScheduleOp op) { ops.push_back(op); });
    for (ScheduleOp op : ops) {
      int64_t warps = countingWarps(op, kernel);
      if (warps == 0) {
        op.emitOpError("expected shared memory for ") << op.getNumExperts() << " counters but got too little";
        return signalPassFailure();
      }
      Scheduler(op, kernel, warps).run();
      op.erase();
    }
  }
};
} // namespace

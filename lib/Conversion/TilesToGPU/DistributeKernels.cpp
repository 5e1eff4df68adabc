//===- DistributeKernels.cpp - the work of a team over its threads --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "Kernel.h"
#include "StructuredLoops.h"
#include "TileOffsets.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace moe {
#define GEN_PASS_DEF_DISTRIBUTEKERNELS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {
/// What a team did with memory since its threads last met.
struct Pending {
  bool reads = false, writes = false;

  bool any() const { return reads || writes; }
  void add(const Pending &other) {
    reads |= other.reads;
    writes |= other.writes;
  }
};

class Distributor {
public:
  Distributor(gpu::GPUFuncOp kernel, Team team) : kernel(kernel), team(team) {}

  LogicalResult run() {
    OpBuilder b = OpBuilder::atBlockBegin(&kernel.getBody().front());
    setTeam(b, team);
    return distribute(kernel.getBody().front());
  }

private:
  LogicalResult distribute(Block &block);
  LogicalResult distributeOp(Operation *op);
  LogicalResult shareWithWarps(scf::ForallOp loop);

  /// From here on the work is that of a `newTeam`.
  void setTeam(OpBuilder &b, Team newTeam) {
    team = newTeam;
    numbers = makeThreadNumbers(b, kernel.getLoc(), team, getBlockSize(kernel));
    leader = arith::CmpIOp::create(b, kernel.getLoc(), arith::CmpIPredicate::eq, numbers.thread,
                                   arith::ConstantIndexOp::create(b, kernel.getLoc(), 0));
  }

  /// All threads of the team meet before `op`: what one wrote before, the others see.
  void meet(Operation *op) {
    OpBuilder b(op);
    if (team == Team::Block)
      gpu::BarrierOp::create(b, op->getLoc());
    else if (team == Team::Warp)
      NVVM::SyncWarpOp::create(b, op->getLoc(), arith::ConstantIntOp::create(b, op->getLoc(), -1, 32));
    pending = Pending();
  }
  /// Before `op` does `next`: a write waits for reads and writes of other threads, a read for writes.
  void before(Operation *op, const Pending &next) {
    if (pending.writes || (pending.reads && next.writes))
      meet(op);
  }

  gpu::GPUFuncOp kernel;
  Team team;
  ThreadNumbers numbers;
  Value leader;
  Pending pending;
};
} // namespace

/// The warps of a block take the iterations of `loop` in turn; each is the work of one of them.
LogicalResult Distributor::shareWithWarps(scf::ForallOp loop) {
  if (team != Team::Block || loop.getRank() != 1 || loop.getNumResults() > 0)
    return loop.emitOpError("expected a loop over one dimension of buffers in a kernel of blocks");
  if (pending.any())
    meet(loop);
  OpBuilder b(loop);
  Location loc = loop.getLoc();
  Value begin = getValueOrCreateConstantIndexOp(b, loc, loop.getMixedLowerBound().front());
  Value end = getValueOrCreateConstantIndexOp(b, loc, loop.getMixedUpperBound().front());
  Value step = getValueOrCreateConstantIndexOp(b, loc, loop.getMixedStep().front());
  Value thread = gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x);
  Value warp = arith::DivUIOp::create(b, loc, thread, arith::ConstantIndexOp::create(b, loc, warpSize));
  Value warps = arith::ConstantIndexOp::create(b, loc, getBlockSize(kernel) / warpSize);
  begin = arith::AddIOp::create(b, loc, begin, arith::MulIOp::create(b, loc, warp, step).getResult());
  auto turns = scf::ForOp::create(b, loc, begin, end, arith::MulIOp::create(b, loc, warps, step).getResult());
  turns.getBody()->getTerminator()->erase();
  loop.getInductionVar(0).replaceAllUsesWith(turns.getInductionVar());
  loop.getTerminator()->erase();
  turns.getBody()->getOperations().splice(turns.getBody()->end(), loop.getBody()->getOperations());
  loop.erase();
  b.setInsertionPointToEnd(turns.getBody());
  Operation *yield = scf::YieldOp::create(b, loc);

  ThreadNumbers blockNumbers = numbers;
  Value blockLeader = leader;
  b.setInsertionPoint(turns);
  setTeam(b, Team::Warp);
  if (failed(distribute(*turns.getBody())))
    return failure();
  if (pending.any())
    meet(yield);
  team = Team::Block;
  numbers = blockNumbers;
  leader = blockLeader;
  pending = {true, true};
  return success();
}

LogicalResult Distributor::distributeOp(Operation *op) {
  if (auto loop = dyn_cast<scf::ForallOp>(op))
    return shareWithWarps(loop);
  if (isa<scf::ForOp, scf::IfOp, scf::WhileOp>(op)) {
    bool loops = !isa<scf::IfOp>(op);
    if (loops && pending.any())
      meet(op);
    Pending begin = pending, end;
    for (Region &region : op->getRegions())
      for (Block &block : region) {
        pending = begin;
        if (failed(distribute(block)))
          return failure();
        // The next iteration may write what this one read.
        if (loops && pending.any())
          meet(block.getTerminator());
        end.add(pending);
      }
    if (op->getNumRegions() > 1 || !loops)
      end.add(begin);
    pending = end;
    return success();
  }
  if (auto structured = dyn_cast<linalg::LinalgOp>(op)) {
    if (team != Team::Grid)
      before(op, {true, true});
    pending = {true, true};
    return lowerToTeamLoops(structured, team, numbers);
  }
  if (team == Team::Grid && !isMemoryEffectFree(op) && !isa<gpu::ReturnOp>(op))
    return op->emitOpError("expected only elementwise work in a kernel of a grid of threads");
  if (isa<GroupedMatmulOp, AttentionOp, ScheduleOp>(op)) {
    before(op, {true, true});
    pending = {true, true};
    return success();
  }
  if (isMemoryEffectFree(op) || op->hasTrait<OpTrait::IsTerminator>())
    return success();
  if (auto store = dyn_cast<memref::StoreOp>(op); store && isTileOffsets(store.getMemRef()))
    return success();

  auto effects = dyn_cast<MemoryEffectOpInterface>(op);
  if (!effects || op->getNumRegions() > 0)
    return op->emitOpError("expected an operation that a kernel can do");
  Pending next{effects.hasEffect<MemoryEffects::Read>(), effects.hasEffect<MemoryEffects::Write>()};
  before(op, next);
  pending.add(next);
  if (!next.writes)
    return success();
  if (op->getNumResults() > 0)
    return op->emitOpError("expected no results of an operation that writes");
  OpBuilder b(op);
  auto only = scf::IfOp::create(b, op->getLoc(), leader, /*withElseRegion=*/false);
  op->moveBefore(only.thenYield());
  return success();
}

LogicalResult Distributor::distribute(Block &block) {
  for (Operation *op : llvm::map_to_vector(block, [](Operation &op) { return &op; }))
    if (failed(distributeOp(op)))
      return failure();
  return success();
}

namespace {
struct DistributeKernelsPass : moe::impl::DistributeKernelsBase<DistributeKernelsPass> {
  void runOnOperation() override {
    gpu::GPUFuncOp kernel = getOperation();
    auto name = kernel->getAttrOfType<StringAttr>(teamAttr);
    if (!name)
      return;
    std::optional<Team> team = parseTeam(name.getValue());
    if (!team) {
      kernel.emitOpError("expected a team of grid, block or warp but got ") << name;
      return signalPassFailure();
    }
    if (failed(Distributor(kernel, *team).run()))
      return signalPassFailure();
    kernel->removeAttr(teamAttr);
  }
};
} // namespace

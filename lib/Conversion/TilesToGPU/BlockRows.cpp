//===- BlockRows.cpp - kernels for few rows beside those for many ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "BlockRows.h"

#include "AttentionKernelBuilder.h"
#include "DeviceWork.h"
#include "MmaKernelBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

using namespace mlir;
using namespace moe;

int64_t moe::mostBlockRows(Operation *loop) {
  int64_t most = 0;
  loop->walk([&](Operation *inner) {
    if (auto op = dyn_cast<GroupedMatmulOp>(inner)) {
      auto bound = ValueBoundsConstraintSet::computeConstantBound(
          presburger::BoundType::UB, ValueBoundsConstraintSet::Variable(op.getInit(), 0), nullptr, /*closedUB=*/true);
      most = std::max(most, succeeded(bound) ? *bound : rt::gpuMostTileRows);
    } else if (isa<AttentionOp>(inner)) {
      most = rt::gpuMostTileRows;
    }
  });
  return most;
}

void moe::setBlockRows(gpu::GPUFuncOp kernel, int64_t rows) {
  auto attribute = IntegerAttr::get(IntegerType::get(kernel.getContext(), 64), rows);
  kernel.walk([&](Operation *op) {
    if (isa<GroupedMatmulOp, AttentionOp>(op))
      op->setAttr(blockRowsAttr, attribute);
  });
}

void moe::launchByRows(OpBuilder &host, Operation *loop, gpu::GPUFuncOp kernel, Value blocks, SymbolTable &symbols,
                       const rt::GpuMachine &machine, LaunchKernel launch) {
  GroupedMatmulOp matmul;
  AttentionOp attention;
  loop->walk([&](GroupedMatmulOp op) { matmul = op; });
  loop->walk([&](AttentionOp op) { attention = op; });
  Location loc = loop->getLoc();
  OpBuilder::InsertionGuard guard(host);
  auto index = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(host, loc, value); };
  // Blocks of `blockRows` for up to `most` of `rows`; what is launched next is for more.
  auto launchSmaller = [&](int64_t blockRows, Value rows, Value most) {
    auto smaller = cast<gpu::GPUFuncOp>(kernel->clone());
    smaller.setName((kernel.getName() + "_" + Twine(blockRows) + "_rows").str());
    setBlockRows(smaller, blockRows);
    symbols.insert(smaller, std::next(kernel->getIterator()));
    Value few = arith::CmpIOp::create(host, loc, arith::CmpIPredicate::ule, rows, most);
    auto branch = scf::IfOp::create(host, loc, few, /*withElseRegion=*/true);
    host.setInsertionPoint(branch.thenYield());
    if (attention)
      splitAttention(host, attention, smaller, blocks, symbols, launch);
    launch(smaller, /*blocksY=*/nullptr, {});
    host.setInsertionPoint(branch.elseYield());
  };

  if (attention && chooseAttentionShape(attention, /*fewRows=*/true)) {
    int64_t blockRows = rt::blockShapes().front().rows;
    Value result = rootBuffer(attention.getInit());
    // A block has all heads of a group.
    if (cast<MemRefType>(result.getType()).getRank() == 4 && attention.getGroupSize() <= blockRows)
      launchSmaller(blockRows, host.createOrFold<memref::DimOp>(loc, result, 1),
                    index(blockRows / attention.getGroupSize()));
  } else if (matmul) {
    Value outs = rootBuffer(matmul.getInit()), weights = rootBuffer(matmul.getWeights().front());
    std::vector<rt::ShapeChoice> choices = chooseMmaShapes(matmul, machine);
    if (choices.size() > 1) {
      Value rows = host.createOrFold<memref::DimOp>(loc, outs, 0),
            groups = host.createOrFold<memref::DimOp>(loc, weights, 0);
      for (const rt::ShapeChoice &choice : llvm::drop_end(choices))
        launchSmaller(choice.shape.rows, rows, host.createOrFold<arith::MulIOp>(loc, groups, index(choice.rows)));
    }
  }
  launch(kernel, /*blocksY=*/nullptr, {});
}

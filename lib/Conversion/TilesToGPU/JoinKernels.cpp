//===- JoinKernels.cpp - two launches as one where one block does both ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "Kernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace moe {
#define GEN_PASS_DEF_JOINKERNELS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static bool isBlocks(gpu::GPUFuncOp kernel) {
  auto name = kernel->getAttrOfType<StringAttr>(teamAttr);
  return name && name.getValue() == teamName(Team::Block);
}

/// Appends the body of `source` to that of `target`, whose arguments from `argument` on and whose shared buffers from
/// `shared` on are those of `source`.
static void append(gpu::GPUFuncOp source, gpu::GPUFuncOp target, unsigned argument, unsigned shared) {
  IRMapping mapping;
  mapping.map(source.getArguments(), target.getArguments().slice(argument, source.getNumArguments()));
  for (auto [number, buffer] : llvm::enumerate(source.getWorkgroupAttributions())) {
    mapping.map(buffer, target.getWorkgroupAttributions()[shared + number]);
    if (Attribute align = source.getWorkgroupAttributionAttr(number, "llvm.align"))
      target.setWorkgroupAttributionAttr(shared + number, "llvm.align", align);
  }
  OpBuilder b = OpBuilder::atBlockEnd(&target.getBody().front());
  for (Operation &op : source.getBody().front().without_terminator())
    b.clone(op, mapping);
}

/// What `first` does, then what `second` does, by the threads of `first`.
static gpu::GPUFuncOp join(gpu::GPUFuncOp first, gpu::GPUFuncOp second, SymbolTable &symbols) {
  OpBuilder b(first->getContext());
  b.setInsertionPointAfter(second);
  SmallVector<Type> arguments, shared;
  for (gpu::GPUFuncOp kernel : {first, second}) {
    llvm::append_range(arguments, kernel.getArgumentTypes());
    for (BlockArgument buffer : kernel.getWorkgroupAttributions())
      shared.push_back(buffer.getType());
  }
  auto joined = gpu::GPUFuncOp::create(b, first.getLoc(), (first.getName() + "_joined").str(),
                                       b.getFunctionType(arguments, {}), shared);
  joined->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  joined.setKnownBlockSizeAttr(first.getKnownBlockSizeAttr());
  joined->setAttr(teamAttr, first->getAttr(teamAttr));
  append(first, joined, 0, 0);
  append(second, joined, first.getNumArguments(), first.getNumWorkgroupAttributions());
  b.setInsertionPointToEnd(&joined.getBody().front());
  gpu::ReturnOp::create(b, first.getLoc());
  symbols.insert(joined);
  return joined;
}

/// The launch in front of `launch`, with only allocations and arithmetic of the host in between.
static gpu::LaunchFuncOp launchBefore(gpu::LaunchFuncOp launch) {
  for (Operation *op = launch->getPrevNode(); op; op = op->getPrevNode()) {
    if (auto before = dyn_cast<gpu::LaunchFuncOp>(op))
      return before;
    if (!isa<memref::AllocOp>(op) && !isMemoryEffectFree(op))
      return {};
  }
  return {};
}

namespace {
struct JoinKernelsPass : moe::impl::JoinKernelsBase<JoinKernelsPass> {
  void runOnOperation() override {
    auto kernels = getOperation().lookupSymbol<gpu::GPUModuleOp>(kernelModuleName);
    if (!kernels)
      return;
    SymbolTable symbols(kernels);
    llvm::DenseMap<std::pair<Operation *, Operation *>, gpu::GPUFuncOp> joined;
    SmallVector<gpu::LaunchFuncOp> launches;
    getOperation().walk([&](gpu::LaunchFuncOp launch) { launches.push_back(launch); });
    for (gpu::LaunchFuncOp second : launches) {
      gpu::LaunchFuncOp first = launchBefore(second);
      auto isOne = [](Value size) { return isOneInteger(getAsOpFoldResult(size)); };
      if (!first || !isOne(second.getGridSizeX()) || !isOne(second.getGridSizeY()) || !isOne(first.getGridSizeY()))
        continue;
      auto firstKernel = symbols.lookup<gpu::GPUFuncOp>(first.getKernelName());
      auto secondKernel = symbols.lookup<gpu::GPUFuncOp>(second.getKernelName());
      if (!isBlocks(firstKernel) || !isBlocks(secondKernel))
        continue;
      gpu::GPUFuncOp &kernel = joined[{firstKernel, secondKernel}];
      if (!kernel)
        kernel = join(firstKernel, secondKernel, symbols);

      OpBuilder b(second);
      Location loc = second.getLoc();
      Value one = second.getGridSizeX();
      Value single = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, first.getGridSizeX(), one);
      auto choice = scf::IfOp::create(b, loc, single, /*withElseRegion=*/true);
      SmallVector<Value> operands(first.getKernelOperands());
      llvm::append_range(operands, second.getKernelOperands());
      b.setInsertionPoint(choice.thenYield());
      gpu::LaunchFuncOp::create(b, loc, kernel, first.getGridSizeOperandValues(), first.getBlockSizeOperandValues(),
                                /*dynamicSharedMemorySize=*/nullptr, operands);
      first->moveBefore(choice.elseYield());
      second->moveBefore(choice.elseYield());
    }
  }
};
} // namespace

//===- LowerWorkers.cpp - moe.workers to a runtime call -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace moe {
#define GEN_PASS_DEF_LOWERWORKERS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

static constexpr llvm::StringLiteral workerCount = "moe_rt_worker_count";

namespace {
struct LowerWorkersPass : moe::impl::LowerWorkersBase<LowerWorkersPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    auto declare = [&] {
      if (auto declared = symbols.lookup<func::FuncOp>(workerCount))
        return declared;
      OpBuilder b(module.getContext());
      auto function = func::FuncOp::create(module.getLoc(), workerCount, b.getFunctionType({}, b.getI64Type()));
      function.setPrivate();
      symbols.insert(function, module.getBody()->begin());
      return function;
    };
    for (auto function : llvm::to_vector(module.getOps<func::FuncOp>()))
      function.walk([&](moe::WorkersOp op) {
        OpBuilder b(op);
        Value count = func::CallOp::create(b, op.getLoc(), declare()).getResult(0);
        op.replaceAllUsesWith(arith::IndexCastOp::create(b, op.getLoc(), b.getIndexType(), count).getResult());
        op.erase();
      });
  }
};
} // namespace

//===- DropStateResults.cpp - states are updated in place -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEDROPSTATERESULTS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// The argument of `function` that is the state called `name`.
static Value findState(func::FuncOp function, StringAttr name) {
  for (BlockArgument argument : function.getArguments()) {
    auto role = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), roleAttr);
    if (role && role.getValue() == "state" &&
        function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), nameAttr) == name)
      return argument;
  }
  return {};
}

static LogicalResult dropStateResults(func::FuncOp function) {
  BitVector states(function.getNumResults());
  for (unsigned result = 0; result < function.getNumResults(); ++result) {
    auto role = function.getResultAttrOfType<StringAttr>(result, roleAttr);
    if (role && role.getValue() == "state")
      states.set(result);
  }
  if (states.none())
    return success();

  WalkResult walked = function.walk([&](func::ReturnOp op) {
    OpBuilder b(op);
    for (unsigned result : states.set_bits()) {
      auto name = function.getResultAttrOfType<StringAttr>(result, nameAttr);
      Value state = name ? findState(function, name) : Value();
      if (!state) {
        function.emitError("expected a state argument with the name of state result ") << result;
        return WalkResult::interrupt();
      }
      Value value = op.getOperand(result);
      while (auto cast = value.getDefiningOp<memref::CastOp>())
        value = cast.getSource();
      if (value != state)
        memref::CopyOp::create(b, op.getLoc(), value, state);
    }
    op->eraseOperands(states);
    return WalkResult::advance();
  });
  if (walked.wasInterrupted())
    return failure();
  return function.eraseResults(states);
}

namespace {
struct MoeDropStateResultsPass : moe::impl::MoeDropStateResultsBase<MoeDropStateResultsPass> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPublic() && !function.isExternal() && failed(dropStateResults(function)))
        return signalPassFailure();
  }
};
} // namespace

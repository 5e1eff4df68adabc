//===- ParametersToArguments.cpp - parameters as function arguments -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEPARAMETERSTOARGUMENTS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

namespace {
/// Rewrites functions callees first, so that a caller's loads for its calls become its own arguments.
class Rewriter {
public:
  explicit Rewriter(ModuleOp module) : module(module) {}
  LogicalResult rewrite(func::FuncOp function);

private:
  ModuleOp module;
  /// The globals each finished function takes, in the order of its added arguments.
  DenseMap<func::FuncOp, SmallVector<StringAttr>> parametersOf;
  DenseSet<func::FuncOp> underWay;
};

struct MoeParametersToArgumentsPass : moe::impl::MoeParametersToArgumentsBase<MoeParametersToArgumentsPass> {
  void runOnOperation() override {
    Rewriter rewriter(getOperation());
    for (func::FuncOp function : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      if (failed(rewriter.rewrite(function)))
        return signalPassFailure();
  }
};
} // namespace

LogicalResult Rewriter::rewrite(func::FuncOp function) {
  if (function.isExternal() || parametersOf.contains(function))
    return success();
  if (!underWay.insert(function).second)
    return function.emitError("expected functions that do not call themselves but '")
           << function.getSymName() << "' is recursive";

  MLIRContext *context = module.getContext();
  llvm::MapVector<StringAttr, Value> arguments;
  auto argumentFor = [&](StringAttr global, Type type, Location loc) {
    Value &argument = arguments[global];
    if (argument)
      return argument;
    NamedAttrList attributes;
    attributes.set(bufferization::BufferizationDialect::kWritableAttrName, BoolAttr::get(context, false));
    if (function.isPublic()) {
      attributes.set(nameAttr, global);
      attributes.set(roleAttr, StringAttr::get(context, "parameter"));
      attributes.set(parameterAttr, FlatSymbolRefAttr::get(global));
    }
    unsigned number = function.getNumArguments();
    (void)function.insertArgument(number, type, attributes.getDictionary(context), loc); // fails for declarations only
    return argument = function.getArgument(number);
  };

  // Callees first; the calls pass on what the callee has come to need.
  SmallVector<func::CallOp> calls;
  function.walk([&](func::CallOp call) { calls.push_back(call); });
  for (func::CallOp call : calls) {
    auto callee = module.lookupSymbol<func::FuncOp>(call.getCallee());
    if (!callee)
      return call.emitOpError("expected a function of this module but got ") << call.getCallee();
    if (failed(rewrite(callee)))
      return failure();
    auto added = callee.getArgumentTypes().take_back(parametersOf[callee].size());
    SmallVector<Value> operands(call.getOperands());
    for (auto [global, type] : llvm::zip(parametersOf[callee], added))
      operands.push_back(argumentFor(global, type, callee.getLoc()));
    call.getOperandsMutable().assign(operands);
  }
  function.walk([&](ml_program::GlobalLoadConstOp load) {
    StringAttr global = load.getGlobal().getLeafReference();
    load.replaceAllUsesWith(argumentFor(global, load.getType(), load.getLoc()));
    load.erase();
  });

  parametersOf[function] = llvm::map_to_vector(arguments, [](auto &entry) { return entry.first; });
  return success();
}

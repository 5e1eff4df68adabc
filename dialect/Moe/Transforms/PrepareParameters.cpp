//===- PrepareParameters.cpp - what is computed at compile time -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace moe;

namespace moe {
#define GEN_PASS_DEF_MOEPREPAREPARAMETERS
#include "dialect/Moe/Transforms/Passes.h.inc"
} // namespace moe

/// Whether `op` gives the same on every call, where what it takes from outside is `allowed`.
static bool isPureFunctionOf(Operation *op, function_ref<bool(Value)> allowed) {
  if (!isa<ml_program::GlobalLoadConstOp>(op) && !isMemoryEffectFree(op))
    return false;
  // Regions (linalg bodies) may use values from above.
  WalkResult result = op->walk([&](Operation *inner) {
    bool all = llvm::all_of(inner->getOperands(), [&](Value operand) {
      return op->isAncestor(operand.getParentRegion()->getParentOp()) || allowed(operand);
    });
    return all ? WalkResult::advance() : WalkResult::interrupt();
  });
  return !result.wasInterrupted();
}

/// The ops `value` is computed by, operands first; false if it depends on more than parameters and constants.
static bool collectSlice(Value value, SetVector<Operation *> &slice) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  if (slice.contains(op))
    return true;
  if (!isPureFunctionOf(op, [&](Value operand) { return collectSlice(operand, slice); }))
    return false;
  slice.insert(op);
  return true;
}

bool moe::isParameterOnly(Value value) {
  SetVector<Operation *> slice;
  return collectSlice(value, slice);
}

namespace {
struct MoePrepareParametersPass : moe::impl::MoePrepareParametersBase<MoePrepareParametersPass> {
  void runOnOperation() override;

private:
  /// Ops of the function that depend on parameters and constants alone.
  void findParameterOnly(func::FuncOp function);
  /// Whether it pays to compute `value` at compile time: it takes a parameter, or packs a constant.
  bool isWorthwhile(Value value, SetVector<Operation *> &slice);
  /// Replaces `value` by a load of a new global.
  void prepare(Value value, const SetVector<Operation *> &slice);
  /// The function in @prepare that computes `value` from the loads of `slice`, in order.
  FlatSymbolRefAttr prepareFunction(Value value, const SetVector<Operation *> &slice);

  DenseSet<Operation *> parameterOnly;
  ModuleOp prepareModule;
  llvm::StringMap<FlatSymbolRefAttr> functions; // by text
  int64_t numGlobals = 0;
};
} // namespace

void MoePrepareParametersPass::findParameterOnly(func::FuncOp function) {
  parameterOnly.clear();
  // In one walk, operands first: big models have thousands of loads feeding one value.
  function.walk([&](Operation *op) {
    if (op->getParentOp() != function || op->hasTrait<OpTrait::IsTerminator>())
      return;
    auto isKnown = [&](Value operand) {
      Operation *definition = operand.getDefiningOp();
      return definition && parameterOnly.contains(definition);
    };
    if (isPureFunctionOf(op, isKnown))
      parameterOnly.insert(op);
  });
}

bool MoePrepareParametersPass::isWorthwhile(Value value, SetVector<Operation *> &slice) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || !type.hasStaticShape() || isa<ml_program::GlobalLoadConstOp>(value.getDefiningOp()))
    return false;
  return collectSlice(value, slice) &&
         llvm::any_of(slice, [](Operation *op) { return isa<ml_program::GlobalLoadConstOp, linalg::PackOp>(op); });
}

FlatSymbolRefAttr MoePrepareParametersPass::prepareFunction(Value value, const SetVector<Operation *> &slice) {
  Location loc = UnknownLoc::get(&getContext()); // equal computations must print equally
  OpBuilder b(&getContext());
  SmallVector<Type> arguments;
  for (Operation *op : slice)
    if (isa<ml_program::GlobalLoadConstOp>(op))
      arguments.push_back(op->getResult(0).getType());
  OwningOpRef<func::FuncOp> function = func::FuncOp::create(loc, "f", b.getFunctionType(arguments, value.getType()));
  b.setInsertionPointToStart(function->addEntryBlock());
  IRMapping mapping;
  unsigned argument = 0;
  for (Operation *op : slice) {
    if (isa<ml_program::GlobalLoadConstOp>(op))
      mapping.map(op->getResult(0), function->getArgument(argument++));
    else
      b.clone(*op, mapping);
  }
  func::ReturnOp::create(b, loc, mapping.lookup(value));

  std::string text;
  llvm::raw_string_ostream stream(text);
  function->print(stream, OpPrintingFlags().useLocalScope());
  FlatSymbolRefAttr &symbol = functions[text];
  if (!symbol) {
    function->setName(("prepare." + Twine(functions.size() - 1)).str());
    symbol = FlatSymbolRefAttr::get(function->getNameAttr());
    prepareModule.push_back(function.release());
  }
  return symbol;
}

void MoePrepareParametersPass::prepare(Value value, const SetVector<Operation *> &slice) {
  OpBuilder b(&getContext());
  SmallVector<Attribute> sources;
  for (Operation *op : slice)
    if (auto load = dyn_cast<ml_program::GlobalLoadConstOp>(op))
      sources.push_back(b.getStringAttr(load.getGlobal().getLeafReference().getValue()));
  auto initial = PreparedAttr::get(prepareFunction(value, slice), b.getArrayAttr(sources), value.getType());

  b.setInsertionPoint(prepareModule);
  StringAttr name = b.getStringAttr("param." + Twine(numGlobals++));
  ml_program::GlobalOp::create(b, value.getLoc(), name.getValue(), value.getType(), /*is_mutable=*/false, initial,
                               b.getStringAttr("private"));
  b.setInsertionPointAfterValue(value);
  auto load = ml_program::GlobalLoadConstOp::create(b, value.getLoc(), value.getType(), FlatSymbolRefAttr::get(name));
  // Other parameters may be computed from it too; their functions start from the checkpoint's tensors.
  value.replaceUsesWithIf(load, [&](OpOperand &use) {
    Operation *top = use.getOwner();
    while (top && !isa<func::FuncOp>(top->getParentOp()))
      top = top->getParentOp();
    return !parameterOnly.contains(top);
  });
}

void MoePrepareParametersPass::runOnOperation() {
  ModuleOp module = getOperation();
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  prepareModule = module.lookupSymbol<ModuleOp>(prepareModuleName);
  if (prepareModule)
    return; // done before
  prepareModule = ModuleOp::create(b, module.getLoc(), prepareModuleName);
  functions.clear();
  numGlobals = 0;

  for (func::FuncOp function : llvm::to_vector(module.getOps<func::FuncOp>())) {
    if (function.isExternal())
      continue;
    findParameterOnly(function);
    // The frontier: values with a user that depends on more.
    SmallVector<Value> frontier;
    function.walk([&](Operation *op) {
      if (!parameterOnly.contains(op))
        return;
      for (Value result : op->getResults()) {
        bool leaves = llvm::any_of(result.getUsers(), [&](Operation *user) {
          Operation *top = function.getBody().findAncestorOpInRegion(*user);
          return !parameterOnly.contains(top);
        });
        if (leaves)
          frontier.push_back(result);
      }
    });
    for (Value value : frontier) {
      SetVector<Operation *> slice;
      if (isWorthwhile(value, slice))
        prepare(value, slice);
    }
    // What only fed them is dead: last ops first.
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front())))
      if (parameterOnly.contains(&op) && op.use_empty())
        op.erase();
  }
  // Tensors that are only sources need no global: #moe.prepared names them.
  DenseSet<StringAttr> used;
  module.walk([&](ml_program::GlobalLoadConstOp load) { used.insert(load.getGlobal().getLeafReference()); });
  for (auto global : llvm::make_early_inc_range(module.getOps<ml_program::GlobalOp>()))
    if (global.isPrivate() && !used.contains(global.getSymNameAttr()))
      global.erase();
  if (prepareModule.getBody()->empty())
    prepareModule.erase();
}

//===- ShareLevels.cpp - one copy of what no level changes ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Levels differ by their kernels. What starts the parallel loops is the same for all, and bodies without a kernel are
// the same for levels that LLVM sees the same processor in. Compiling them once saves more than half of the code, and
// of the time that it takes to make it.
//
//===----------------------------------------------------------------------===//
#include "moe/Conversion/Passes.h"

#include "LoopCalls.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/SymbolTable.h"

namespace moe {
#define GEN_PASS_DEF_SHARELEVELS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static StringRef levelOf(func::FuncOp function) {
  auto level = function->getAttrOfType<StringAttr>(isaAttr);
  return level ? level.getValue() : StringRef();
}

/// `name` of a function of `level` without the level: "f.avx2.parallel.0" and "f.avx512.parallel.0" are the same.
static std::string withoutLevel(StringRef name, StringRef level) {
  auto [before, after] = name.split(("." + level).str());
  return (before + after).str();
}

namespace {
/// Compares functions of two levels. Constants are equal if their values are, wherever they stand.
class Comparison {
public:
  Comparison(StringRef levelA, StringRef levelB) : levelA(levelA), levelB(levelB) {}

  bool functions(func::FuncOp a, func::FuncOp b) {
    return a.getFunctionType() == b.getFunctionType() && a.getArgAttrsAttr() == b.getArgAttrsAttr() &&
           regions(a.getBody(), b.getBody());
  }

private:
  bool regions(Region &a, Region &b) {
    if (a.empty() || b.empty())
      return a.empty() && b.empty();
    return a.hasOneBlock() && b.hasOneBlock() && blocks(a.front(), b.front());
  }

  bool blocks(Block &a, Block &b) {
    if (a.getArgumentTypes() != b.getArgumentTypes())
      return false;
    mapping.map(a.getArguments(), b.getArguments());
    auto isCode = [](Operation &op) { return !op.hasTrait<OpTrait::ConstantLike>(); };
    auto codeA = llvm::make_filter_range(a, isCode), codeB = llvm::make_filter_range(b, isCode);
    auto x = codeA.begin(), y = codeB.begin();
    for (; x != codeA.end() && y != codeB.end(); ++x, ++y)
      if (!operations(*x, *y))
        return false;
    return x == codeA.end() && y == codeB.end();
  }

  bool operations(Operation &a, Operation &b) {
    if (a.getName() != b.getName() || a.getResultTypes() != b.getResultTypes() ||
        a.getNumOperands() != b.getNumOperands() || a.getNumRegions() != b.getNumRegions())
      return false;
    auto loopA = LoopCall::from(&a), loopB = LoopCall::from(&b);
    if (bool(loopA) != bool(loopB) || (loopA && !loopA->matches(*loopB)))
      return false;
    for (auto [number, x, y] : llvm::enumerate(a.getOperands(), b.getOperands()))
      if (!(loopA && loopA->isInTable(number)) && !values(x, y))
        return false;
    if (!attributes(a, b))
      return false;
    for (auto [x, y] : llvm::zip_equal(a.getRegions(), b.getRegions()))
      if (!regions(x, y))
        return false;
    mapping.map(a.getResults(), b.getResults());
    return true;
  }

  bool values(Value a, Value b) {
    Attribute x, y;
    if (matchPattern(a, m_Constant(&x)) && matchPattern(b, m_Constant(&y)))
      return a.getType() == b.getType() && x == y;
    return mapping.lookupOrNull(a) == b;
  }

  bool attributes(Operation &a, Operation &b) {
    auto callA = dyn_cast<func::CallOp>(a);
    if (!callA)
      return a.getAttrDictionary() == b.getAttrDictionary();
    return withoutLevel(callA.getCallee(), levelA) == withoutLevel(cast<func::CallOp>(b).getCallee(), levelB);
  }

  StringRef levelA, levelB;
  IRMapping mapping;
};

/// Whether code gains by more instructions than all processors have: there is arithmetic on floats or vectors.
bool gainsByLevel(func::FuncOp function) {
  auto result = function.walk([](Operation *op) {
    if (op->hasTrait<OpTrait::ConstantLike>())
      return WalkResult::advance();
    bool isArithmetic = isa<arith::ArithDialect, math::MathDialect>(op->getDialect()) &&
                        llvm::any_of(op->getOperandTypes(), llvm::IsaPred<FloatType>);
    bool isVector = llvm::any_of(op->getResultTypes(), llvm::IsaPred<VectorType>);
    return isArithmetic || isVector ? WalkResult::interrupt() : WalkResult::advance();
  });
  return result.wasInterrupted();
}

class Sharing {
public:
  Sharing(ModuleOp module, ArrayRef<StringRef> levels) : module(module), levels(levels), symbols(module) {}

  void run() {
    sortFunctions();
    for (auto [number, level] : llvm::enumerate(levels))
      for (StringRef lower : levels.drop_front(number + 1))
        if (findIsaLevel(level)->cpu == findIsaLevel(lower)->cpu)
          mergeBodies(level, lower);
    if (canShareCallers())
      shareCallers();
  }

private:
  /// Tells the bodies of parallel loops, and what they call, from the functions that start the loops.
  void sortFunctions() {
    SmallVector<func::FuncOp> open;
    module.walk([&](func::ConstantOp constant) {
      if (auto body = symbols.lookup<func::FuncOp>(constant.getValue()); body && bodies.insert(body))
        open.push_back(body);
    });
    while (!open.empty())
      open.pop_back_val().walk([&](func::CallOp call) {
        auto callee = symbols.lookup<func::FuncOp>(call.getCallee());
        if (callee && !callee.isExternal() && bodies.insert(callee))
          open.push_back(callee);
      });
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isExternal() && !bodies.contains(function))
        callers[levelOf(function)].push_back(function);
  }

  /// Lets `level` use the bodies of `lower` that are equal to its own.
  void mergeBodies(StringRef level, StringRef lower) {
    llvm::DenseMap<StringAttr, FlatSymbolRefAttr> replaced;
    for (func::FuncOp body : llvm::to_vector(bodies)) {
      if (levelOf(body) != level)
        continue;
      auto [before, after] = body.getName().split(("." + level).str());
      auto other = symbols.lookup<func::FuncOp>((before + "." + lower + after).str());
      if (!other || !Comparison(level, lower).functions(body, other))
        continue;
      replaced[body.getNameAttr()] = FlatSymbolRefAttr::get(other);
      bodies.remove(body);
      symbols.erase(body);
    }
    module.walk([&](Operation *op) {
      if (auto constant = dyn_cast<func::ConstantOp>(op)) {
        if (FlatSymbolRefAttr other = replaced.lookup(constant.getValueAttr().getAttr()))
          constant.setValueAttr(other);
      } else if (auto call = dyn_cast<func::CallOp>(op)) {
        if (FlatSymbolRefAttr other = replaced.lookup(call.getCalleeAttr().getAttr()))
          call.setCalleeAttr(other);
      }
    });
  }

  bool canShareCallers() {
    MutableArrayRef<func::FuncOp> last = callers[levels.back()];
    if (llvm::any_of(last, gainsByLevel))
      return false;
    return llvm::all_of(levels.drop_back(), [&](StringRef level) {
      MutableArrayRef<func::FuncOp> own = callers[level];
      return own.size() == last.size() && llvm::all_of(llvm::zip_equal(own, last), [&](auto pair) {
               auto [a, b] = pair;
               return withoutLevel(a.getName(), level) == withoutLevel(b.getName(), levels.back()) &&
                      Comparison(level, levels.back()).functions(a, b);
             });
    });
  }

  SmallVector<LoopCall> loopsOf(StringRef level) {
    SmallVector<LoopCall> loops;
    for (func::FuncOp caller : callers[level])
      caller.walk([&](Operation *op) {
        if (auto loop = LoopCall::from(op))
          loops.push_back(*loop);
      });
    return loops;
  }

  /// Keeps the callers of the last level: all processors can run them.
  void shareCallers() {
    StringRef last = levels.back();
    SmallVector<LoopCall> loops = loopsOf(last);
    for (StringRef level : levels) {
      SmallVector<LoopCall> own = loopsOf(level);
      makeTable(level, own);
    }
    for (StringRef level : levels.drop_back())
      for (func::FuncOp caller : callers[level])
        symbols.erase(caller);

    llvm::DenseMap<StringAttr, func::FuncOp> shared;
    for (func::FuncOp caller : callers[last]) {
      shared[caller.getNameAttr()] = caller;
      takeTable(caller, loops.size());
    }
    for (func::FuncOp caller : callers[last])
      caller.walk([&](func::CallOp call) {
        func::FuncOp callee = shared.lookup(call.getCalleeAttr().getAttr());
        if (!callee)
          return;
        call->insertOperands(0, caller.getArgument(0));
        call.setCallee(withoutLevel(callee.getName(), last));
      });
    for (func::FuncOp caller : callers[last])
      caller.setSymName(withoutLevel(caller.getName(), last));
    for (auto [number, loop] : llvm::enumerate(loops))
      loop.readRow(loop.call->getParentOfType<func::FuncOp>().getArgument(0), number);
  }

  void takeTable(func::FuncOp caller, size_t size) {
    OpBuilder b(caller.getContext());
    auto mark = b.getDictionaryAttr(b.getNamedAttr(loopTableAttr, b.getI64IntegerAttr(size)));
    (void)caller.insertArgument(0, LLVM::LLVMPointerType::get(b.getContext()), mark, caller.getLoc());
  }

  /// A function that writes the table of `level`.
  void makeTable(StringRef level, MutableArrayRef<LoopCall> loops) {
    OpBuilder b(module.getContext());
    b.setInsertionPointToEnd(module.getBody());
    Location loc = module.getLoc();
    auto pointer = LLVM::LLVMPointerType::get(b.getContext());
    auto function = func::FuncOp::create(b, loc, loopTableFunction(level), b.getFunctionType({pointer}, {}),
                                         b.getStringAttr("private"), nullptr, nullptr);
    function->setAttr(isaAttr, b.getStringAttr(level));
    b.setInsertionPointToStart(function.addEntryBlock());
    for (auto [number, loop] : llvm::enumerate(loops))
      loop.writeRow(b, function.getArgument(0), number);
    func::ReturnOp::create(b, loc);
  }

  ModuleOp module;
  ArrayRef<StringRef> levels;
  SymbolTable symbols;
  llvm::SetVector<func::FuncOp> bodies;
  llvm::StringMap<SmallVector<func::FuncOp>> callers; ///< of each level, in the module's order
};

struct ShareLevelsPass : moe::impl::ShareLevelsBase<ShareLevelsPass> {
  void runOnOperation() override {
    auto names = getOperation()->getAttrOfType<ArrayAttr>(isaLevelsAttr);
    if (!names || names.size() < 2)
      return;
    SmallVector<StringRef> levels;
    for (auto name : names.getAsRange<StringAttr>())
      levels.push_back(name.getValue());
    Sharing(getOperation(), levels).run();
  }
};
} // namespace

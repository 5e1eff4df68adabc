//===- Multiversion.cpp - one clone per instruction-set level -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "BaselineX86.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/StringSet.h"

namespace moe {
#define GEN_PASS_DEF_MULTIVERSION
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// The names in `names` as levels, all levels where there are none.
static LogicalResult resolveLevels(ModuleOp module, ArrayRef<std::string> names,
                                   SmallVectorImpl<const IsaLevel *> &levels) {
  for (const std::string &name : names) {
    const IsaLevel *level = findIsaLevel(name);
    if (!level) {
      auto known = llvm::map_range(knownIsaLevels(), [](const IsaLevel &level) { return level.name; });
      return module.emitError("expected an instruction-set level of ")
             << llvm::join(known, ", ") << " but got '" << name << "'";
    }
    if (llvm::is_contained(levels, level))
      return module.emitError("expected each instruction-set level once but got '") << name << "' twice";
    levels.push_back(level);
  }
  if (names.empty())
    for (const IsaLevel &level : knownIsaLevels())
      levels.push_back(&level);
  return success();
}

/// Sets what LLVM may use in `function`.
static void setTarget(LLVM::LLVMFuncOp function, const IsaLevel &level) {
  MLIRContext *context = function.getContext();
  function.setTargetCpu(level.cpu);
  SmallVector<StringRef> features(level.features.begin(), level.features.end());
  if (!features.empty())
    function.setTargetFeaturesAttr(LLVM::TargetFeaturesAttr::get(context, features));
}

namespace {
struct MultiversionPass : moe::impl::MultiversionBase<MultiversionPass> {
  using MultiversionBase::MultiversionBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<const IsaLevel *> wanted;
    if (failed(resolveLevels(module, levels, wanted)))
      return signalPassFailure();

    SmallVector<LLVM::LLVMFuncOp> functions;
    llvm::StringSet<> names;
    for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
      if (function.isExternal())
        continue;
      functions.push_back(function);
      names.insert(function.getName());
    }
    // Data has no level: a function in it could mean any of the clones.
    for (auto global : module.getOps<LLVM::GlobalOp>()) {
      WalkResult result = global.walk([&](LLVM::AddressOfOp address) {
        if (!names.contains(address.getGlobalName()))
          return WalkResult::advance();
        return WalkResult(global.emitOpError("expected data without functions before cloning but got '")
                          << address.getGlobalName() << "'");
      });
      if (result.wasInterrupted())
        return signalPassFailure();
    }

    OpBuilder b(&getContext());
    for (const IsaLevel *level : wanted) {
      AttrTypeReplacer references;
      references.addReplacement([&](FlatSymbolRefAttr reference) -> std::optional<Attribute> {
        if (!names.contains(reference.getValue()))
          return std::nullopt;
        return FlatSymbolRefAttr::get(b.getStringAttr(reference.getValue() + "." + level->name));
      });
      for (LLVM::LLVMFuncOp function : functions) {
        b.setInsertionPoint(function);
        auto clone = cast<LLVM::LLVMFuncOp>(b.clone(*function));
        clone.setSymName((function.getName() + "." + level->name).str());
        references.recursivelyReplaceElementsIn(clone);
        setTarget(clone, *level);
        legalizeForLevel(clone, *level);
      }
    }
    for (LLVM::LLVMFuncOp function : functions)
      function.erase();
  }
};
} // namespace

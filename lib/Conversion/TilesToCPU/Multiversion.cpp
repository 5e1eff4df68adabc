//===- Multiversion.cpp - one clone per instruction-set level -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "KernelRecipe.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/StringSet.h"

namespace moe {
#define GEN_PASS_DEF_MULTIVERSION
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// The names in `names` as levels, best first; all levels of this machine's architecture where there are none.
static LogicalResult resolveLevels(ModuleOp module, ArrayRef<std::string> names,
                                   SmallVectorImpl<const IsaLevel *> &levels) {
  for (const std::string &name : names) {
    const IsaLevel *level = findIsaLevel(name);
    if (!level) {
      SmallVector<StringRef> known;
      for (Architecture architecture : allArchitectures)
        for (const IsaLevel &level : knownIsaLevels(architecture))
          known.push_back(level.name);
      return module.emitError("expected an instruction-set level of ")
             << llvm::join(known, ", ") << " but got '" << name << "'";
    }
    if (!levels.empty() && levels.front()->architecture != level->architecture)
      return module.emitError("expected instruction-set levels of one architecture but got '")
             << levels.front()->name << "' and '" << name << "'";
    if (llvm::is_contained(levels, level))
      return module.emitError("expected each instruction-set level once but got '") << name << "' twice";
    levels.push_back(level);
  }
  if (names.empty())
    for (const IsaLevel &level : knownIsaLevels())
      levels.push_back(&level);
  // The table is in order; the level for tests comes last.
  auto rank = [](const IsaLevel *level) {
    ArrayRef<IsaLevel> table = knownIsaLevels(level->architecture);
    return level >= table.begin() && level < table.end() ? level - table.begin() : ptrdiff_t(table.size());
  };
  llvm::sort(levels, [&](const IsaLevel *a, const IsaLevel *b) { return rank(a) < rank(b); });
  return success();
}

/// The best level not above `level` that `ops` have a kernel for. What levels above avx512 and NEON add is kernels
/// alone: without one, their code would be that of the level below.
static const IsaLevel *usefulLevel(const IsaLevel *level, ArrayRef<GroupedMatmulOp> ops) {
  ArrayRef<IsaLevel> table = knownIsaLevels(level->architecture);
  while (level >= table.begin() && level < table.end() && (level->hasAmx || level->hasBf16Dot) &&
         llvm::none_of(ops, [&](GroupedMatmulOp op) { return hasKernelOfItsOwn(op, *level); }))
    ++level;
  return level;
}

namespace {
struct MultiversionPass : moe::impl::MultiversionBase<MultiversionPass> {
  using MultiversionBase::MultiversionBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<const IsaLevel *> wanted;
    if (failed(resolveLevels(module, levels, wanted)))
      return signalPassFailure();
    SmallVector<GroupedMatmulOp> ops;
    module.walk([&](GroupedMatmulOp op) { ops.push_back(op); });
    llvm::SetVector<const IsaLevel *> useful;
    for (const IsaLevel *level : wanted)
      useful.insert(usefulLevel(level, ops));

    SmallVector<func::FuncOp> functions;
    llvm::StringSet<> names;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      functions.push_back(function);
      names.insert(function.getName());
    }
    OpBuilder b(&getContext());
    SmallVector<StringRef> levelNames;
    for (const IsaLevel *level : useful) {
      levelNames.push_back(level->name);
      AttrTypeReplacer references;
      references.addReplacement([&](FlatSymbolRefAttr reference) -> std::optional<Attribute> {
        if (!names.contains(reference.getValue()))
          return std::nullopt;
        return FlatSymbolRefAttr::get(b.getStringAttr(reference.getValue() + "." + level->name));
      });
      for (func::FuncOp function : functions) {
        b.setInsertionPoint(function);
        auto clone = cast<func::FuncOp>(b.clone(*function));
        clone.setSymName((function.getName() + "." + level->name).str());
        references.recursivelyReplaceElementsIn(clone);
        clone->setAttr(isaAttr, b.getStringAttr(level->name));
      }
    }
    for (func::FuncOp function : functions)
      function.erase();
    module->setAttr(isaLevelsAttr, b.getStrArrayAttr(levelNames));
  }
};
} // namespace

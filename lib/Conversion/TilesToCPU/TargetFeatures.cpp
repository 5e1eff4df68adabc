//===- TargetFeatures.cpp - what LLVM may use at a level ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "BaselineX86.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

namespace moe {
#define GEN_PASS_DEF_TARGETFEATURES
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {
struct TargetFeaturesPass : moe::impl::TargetFeaturesBase<TargetFeaturesPass> {
  void runOnOperation() override {
    Builder b(&getContext());
    for (auto function : getOperation().getOps<LLVM::LLVMFuncOp>()) {
      const IsaLevel *level = getIsaLevel(function);
      if (!level || function.isExternal())
        continue;
      function.setTargetCpu(level->cpu);
      SmallVector<StringRef> features(level->features.begin(), level->features.end());
      if (!features.empty())
        function.setTargetFeaturesAttr(LLVM::TargetFeaturesAttr::get(&getContext(), features));
      // LLVM keeps this text, and so knows the level too.
      function.setPassthroughAttr(b.getArrayAttr(b.getStrArrayAttr({isaAttr, level->name})));
      function->removeAttr(isaAttr);
      legalizeForLevel(function, *level);
    }
    getOperation()->removeAttr(isaLevelsAttr);
  }
};
} // namespace

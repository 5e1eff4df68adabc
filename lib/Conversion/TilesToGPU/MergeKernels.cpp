//===- MergeKernels.cpp - one of several equal kernels --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Kernel.h"

#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace moe;

void moe::mergeKernels(ModuleOp module, gpu::GPUModuleOp kernels) {
  llvm::StringMap<std::string> names; // of what stands for a kernel
  SmallVector<gpu::GPUFuncOp> kept;
  for (auto kernel : llvm::make_early_inc_range(kernels.getOps<gpu::GPUFuncOp>())) {
    auto same = llvm::find_if(kept, [&](gpu::GPUFuncOp other) {
      return other.getFunctionType() == kernel.getFunctionType() &&
             other->getAttr(teamAttr) == kernel->getAttr(teamAttr) &&
             OperationEquivalence::isRegionEquivalentTo(&other.getBody(), &kernel.getBody(),
                                                        OperationEquivalence::IgnoreLocations);
    });
    if (same == kept.end()) {
      kept.push_back(kernel);
      continue;
    }
    names[kernel.getName()] = same->getName().str();
    kernel.erase();
  }
  module.walk([&](gpu::LaunchFuncOp launch) {
    if (auto found = names.find(launch.getKernelName().getValue()); found != names.end()) {
      auto name = FlatSymbolRefAttr::get(module.getContext(), found->second);
      launch.setKernelAttr(SymbolRefAttr::get(launch.getKernelModuleName(), {name}));
    }
  });
}

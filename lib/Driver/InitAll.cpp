//===- InitAll.cpp - the one place where everything is registered ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/InitAll.h"

#include "dialect/Check/CheckOps.h"
#include "dialect/Check/Passes.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "dialect/Moe/Transforms/Passes.h"
#include "moe/Conversion/Passes.h"
#include "moe/Pipelines/Phases.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"

void moe::registerAllDialects(mlir::DialectRegistry &registry) {
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerAllToLLVMIRTranslations(registry);
  registry.insert<MoeDialect>();
  registerBufferizableOpInterfaceExternalModels(registry);
}

void moe::registerTestDialects(mlir::DialectRegistry &registry) { registry.insert<check::CheckDialect>(); }

void moe::registerMoePasses() {
  registerMoeTransformsPasses();
  registerMoeConversionPasses();
  registerMoePipelines();
}

void moe::registerAllPasses() {
  mlir::registerAllPasses();
  registerMoePasses();
}

void moe::registerTestPasses() { check::registerCheckPasses(); }

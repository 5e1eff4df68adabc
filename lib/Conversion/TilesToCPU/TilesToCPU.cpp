//===- TilesToCPU.cpp - from bufferized tiles to the LLVM dialect ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/TilesToCPU.h"

#include "moe/Conversion/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Affine/Transforms/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

static void addNarrowFloatEmulation(OpPassManager &pm) {
  // Arithmetic is done in f32 and rounded after every operation; loads, stores and conversions stay in the storage
  // type.
  math::MathExtendToSupportedTypesOptions math;
  math.targetTypeStr = "f32";
  pm.addPass(math::createMathExtendToSupportedTypes(math));
  arith::ArithEmulateUnsupportedFloatsOptions arith;
  arith.sourceTypeStrs = {"bf16", "f16"};
  arith.targetTypeStr = "f32";
  pm.addPass(arith::createArithEmulateUnsupportedFloats(arith));
}

void moe::addKernelPasses(OpPassManager &pm) {
  pm.addPass(createGroupedMatmulToLoops());
  pm.addPass(createAttentionToLoops());
  pm.addPass(createExpandCopies());
  pm.addPass(createRowReductionsToVectors());
  pm.addNestedPass<func::FuncOp>(createConvertLinalgToLoopsPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createLowerWorkers());
  pm.addPass(createOutlineParallel());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createLoopInvariantCodeMotionPass());
  addNarrowFloatEmulation(pm);
  pm.addPass(createExpandMath());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

void moe::addLLVMConversion(OpPassManager &pm) {
  pm.addPass(createExpandReshapes());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(affine::createAffineExpandIndexOpsPass());
  pm.addPass(createLowerAffinePass());
  arith::ArithExpandOpsPassOptions expand;
  expand.includeBf16 = true; // round to nearest even in integers: no library call at any level
  pm.addPass(arith::createArithExpandOpsPass(expand));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  FinalizeMemRefToLLVMConversionPassOptions memref;
  memref.useGenericFunctions = true; // the runtime's allocator
  pm.addPass(createFinalizeMemRefToLLVMConversionPass(memref));
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createStoreBf16AsIntegers());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

void moe::addLLVMPasses(OpPassManager &pm, ArrayRef<std::string> levels) {
  pm.addPass(createEmitEntryPoints());
  addLLVMConversion(pm);
  MultiversionOptions versions;
  versions.levels = llvm::to_vector(levels);
  pm.addPass(createMultiversion(versions));
}

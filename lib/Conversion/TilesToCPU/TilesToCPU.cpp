//===- TilesToCPU.cpp - from bufferized tiles to the LLVM dialect ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/TilesToCPU.h"

#include "moe/Conversion/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Affine/Transforms/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void moe::addNarrowFloatEmulation(OpPassManager &pm) {
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

// Passes that need one function only are nested: there are many functions (bodies of parallel loops, times levels), and
// they are done side by side.

void moe::addKernelPasses(OpPassManager &pm, std::optional<ArrayRef<std::string>> levels) {
  // What is the same at all levels comes before there is a clone for each.
  pm.addPass(createMarkStages());
  pm.addPass(createExpandCopies());
  pm.addPass(createRowReductionsToVectors());
  pm.addPass(createElementwiseToVectors());
  OpPassManager &loops = pm.nest<func::FuncOp>();
  loops.addPass(createConvertLinalgToLoopsPass());
  loops.addPass(createCanonicalizerPass());
  if (levels) {
    MultiversionOptions options;
    options.levels = llvm::to_vector(*levels);
    pm.addPass(createMultiversion(options));
  }
  pm.addPass(createGroupedMatmulToLoops());
  pm.addPass(createAttentionToLoops());
  pm.addPass(createLowerWorkers());
  pm.addPass(createOutlineParallel());
  pm.addPass(createShareLevels());
  OpPassManager &bodies = pm.nest<func::FuncOp>();
  bodies.addPass(createCanonicalizerPass());
  bodies.addPass(createCSEPass());
  bodies.addPass(createLoopInvariantCodeMotionPass());
  addNarrowFloatEmulation(bodies);
  bodies.addPass(createExpandMath());
  bodies.addPass(createCanonicalizerPass());
  bodies.addPass(createCSEPass());
}

void moe::addLLVMConversion(OpPassManager &pm) {
  OpPassManager &arithmetic = pm.nest<func::FuncOp>();
  arithmetic.addPass(createExpandReshapes());
  arithmetic.addPass(memref::createExpandStridedMetadataPass());
  arithmetic.addPass(affine::createAffineExpandIndexOpsPass());
  arithmetic.addPass(createLowerAffinePass());
  arith::ArithExpandOpsPassOptions expand;
  expand.includeBf16 = true; // round to nearest even in integers: no library call at any level
  arithmetic.addPass(arith::createArithExpandOpsPass(expand));
  arithmetic.addPass(createCanonicalizerPass());
  arithmetic.addPass(createCSEPass());
  pm.addPass(createLowerAmx());
  OpPassManager &vectors = pm.nest<func::FuncOp>();
  vectors.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vector;
  vector.x86Vector = true;
  vectors.addPass(createConvertVectorToLLVMPass(vector));
  vectors.addPass(createConvertMathToLLVMPass());
  FinalizeMemRefToLLVMConversionPassOptions memref;
  memref.useGenericFunctions = true; // the runtime's allocator
  pm.addPass(createFinalizeMemRefToLLVMConversionPass(memref));
  OpPassManager &scalars = pm.nest<func::FuncOp>();
  scalars.addPass(createArithToLLVMConversionPass());
  scalars.addPass(createConvertIndexToLLVMPass());
  scalars.addPass(createUBToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createStoreBf16AsIntegers());
  pm.addPass(createTargetFeatures());
  OpPassManager &clean = pm.nest<LLVM::LLVMFuncOp>();
  clean.addPass(createCanonicalizerPass());
  clean.addPass(createCSEPass());
}

void moe::addLLVMPasses(OpPassManager &pm) {
  pm.addPass(createEmitEntryPoints());
  addLLVMConversion(pm);
}

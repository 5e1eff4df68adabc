//===- TilesToGPU.cpp - from bufferized tiles to kernels ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/TilesToGPU.h"

#include "moe/Conversion/Passes.h"
#include "moe/Conversion/TilesToCPU.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Affine/Transforms/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

static void addCleanUp(OpPassManager &pm) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

void moe::addGPUKernelPasses(OpPassManager &pm, ArrayRef<std::string> architectures) {
  FormKernelsOptions blocks;
  if (!architectures.empty())
    blocks.architecture = architectures.front();
  pm.addPass(createFormKernels(blocks));
  pm.addPass(createJoinKernels());
  if (llvm::is_contained(architectures, "sm_90a")) {
    addCleanUp(pm.nest<gpu::GPUModuleOp>().nest<gpu::GPUFuncOp>());
    pm.addPass(createAddWgmmaKernels());
  }
  pm.nest<func::FuncOp>().addPass(createFreeDeviceBuffers());
  OpPassManager &kernels = pm.nest<gpu::GPUModuleOp>();
  OpPassManager &kernel = kernels.nest<gpu::GPUFuncOp>();
  addCleanUp(kernel);
  kernel.addPass(createDistributeKernels());
  kernel.addPass(createGroupedMatmulToThreads());
  kernel.addPass(createScheduleToThreads()); // takes what shared memory the products have left
  kernel.addPass(createAttentionToWarps());
  addCleanUp(kernel);
  kernel.addPass(createLoopInvariantCodeMotionPass());
  addNarrowFloatEmulation(kernel);
  kernel.addPass(createExpandMath());
  addCleanUp(kernel);
}

void moe::addGPULLVMPasses(OpPassManager &pm) {
  OpPassManager &kernels = pm.nest<gpu::GPUModuleOp>();
  kernels.addPass(createExpandReshapes());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(affine::createAffineExpandIndexOpsPass());
  kernels.addPass(createLowerAffinePass());
  arith::ArithExpandOpsPassOptions expand;
  expand.includeBf16 = true; // the emulator's host has no instruction for it
  kernels.addPass(arith::createArithExpandOpsPass(expand));
  addCleanUp(kernels);
  kernels.addPass(createSCFToControlFlowPass());
  kernels.addPass(createConvertNVGPUToNVVMPass());
  kernels.addPass(createConvertVectorToLLVMPass());
  // Before the conversion of everything else, which would call libdevice.
  kernels.addPass(createConvertMathToLLVMPass());
  kernels.addPass(createKeepIntrinsics());
  ConvertGpuOpsToNVVMOpsOptions nvvm;
  nvvm.useBarePtrCallConv = true;
  kernels.addPass(createConvertGpuOpsToNVVMOps(nvvm));
  kernels.addPass(createConvertNVVMToLLVMPass());
  kernels.addPass(createReconcileUnrealizedCastsPass());
  addCleanUp(kernels);
  pm.addPass(createEmitDeviceEntryPoints());
  pm.addPass(createLowerLaunches());
  addLLVMConversion(pm);
}

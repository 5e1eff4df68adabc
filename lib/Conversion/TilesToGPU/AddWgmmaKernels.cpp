//===- AddWgmmaKernels.cpp - products of many rows on sm_90a --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"
#include "moe/Conversion/TilesToGPU.h"

#include "Kernel.h"
#include "MmaKernelBuilder.h"
#include "RuntimeCalls.h"
#include "TileOffsets.h"
#include "WgmmaKernelBuilder.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace moe {
#define GEN_PASS_DEF_ADDWGMMAKERNELS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static constexpr llvm::StringLiteral architecture = "sm_90a";
/// What the runtime says of a device that runs it.
static constexpr int64_t architectureNumber = 90;

namespace {
/// The kernel for sm_90a beside another one.
struct Twin {
  gpu::GPUFuncOp kernel; ///< null: there is none
  WgmmaShape shape;
  SmallVector<TensorMap> maps; ///< in terms of the other one
  KernelBuffer weight, result; ///< likewise
};

class Adder {
public:
  Adder(ModuleOp module, gpu::GPUModuleOp kernels, int64_t manyRows)
      : symbols(kernels), runtime(module), manyRows(manyRows) {}

  void add(gpu::LaunchFuncOp launch);

private:
  Twin makeTwin(gpu::GPUFuncOp kernel);
  Value hasManyRows(OpBuilder &b, const Twin &twin, gpu::LaunchFuncOp launch);

  SymbolTable symbols;
  RuntimeCalls runtime;
  int64_t manyRows;
  llvm::DenseMap<Operation *, Twin> twins;
};
} // namespace

/// The only product of `kernel` where it does nothing else but find its tiles; else none, and in `why` a reason where
/// there are products.
static GroupedMatmulOp onlyProduct(gpu::GPUFuncOp kernel, std::string &why) {
  GroupedMatmulOp product;
  auto check = [&](Operation *op) {
    if (auto found = dyn_cast<GroupedMatmulOp>(op)) {
      why = "expected one product";
      if (product)
        return WalkResult::interrupt();
      product = found;
      return WalkResult::skip();
    }
    if (isMemoryEffectFree(op) || isa<memref::LoadOp, memref::AllocaOp, scf::ForOp, scf::IfOp, gpu::ReturnOp>(op))
      return WalkResult::advance();
    if (auto store = dyn_cast<memref::StoreOp>(op); store && isTileOffsets(store.getMemRef()))
      return WalkResult::advance();
    if (op == kernel)
      return WalkResult::advance();
    why = ("expected nothing beside the product but got " + op->getName().getStringRef()).str();
    return WalkResult::interrupt();
  };
  bool stopped = kernel.walk<WalkOrder::PreOrder>(check).wasInterrupted();
  return stopped ? GroupedMatmulOp() : product;
}

Twin Adder::makeTwin(gpu::GPUFuncOp kernel) {
  auto team = kernel->getAttrOfType<StringAttr>(teamAttr);
  if (!team || team.getValue() != teamName(Team::Block))
    return {};
  bool multiplies = kernel
                        .walk([](GroupedMatmulOp op) {
                          return op->hasAttr(blockRowsAttr) ? WalkResult::advance() : WalkResult::interrupt();
                        })
                        .wasInterrupted();
  if (!multiplies)
    return {};
  std::string why;
  GroupedMatmulOp product = onlyProduct(kernel, why);
  std::optional<WgmmaShape> shape;
  std::optional<KernelBuffer> result;
  if (product) {
    shape = chooseWgmmaShape(product, why);
    result = KernelBuffer::of(product.getInit());
    if (shape && !result)
      why = "expected results in a contiguous argument of the kernel";
  }
  if (!shape || !result) {
    kernel.emitRemark("no kernel for ") << architecture << ": " << why;
    return {};
  }

  SmallVector<TensorMap> maps = tensorMapsOf(product, *shape);
  auto weight = *KernelBuffer::of(product.getWeights().front());
  auto twin = cast<gpu::GPUFuncOp>(kernel->clone());
  twin.setName((kernel.getName() + "_" + architecture).str());
  symbols.insert(twin, std::next(kernel->getIterator()));
  OpBuilder b(twin);
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  for (size_t map = 0; map < maps.size(); ++map)
    (void)twin.insertArgument(twin.getNumArguments(), pointer, /*argAttrs=*/{}, kernel.getLoc());
  GroupedMatmulOp op = onlyProduct(twin, why);
  buildWgmmaKernel(op, *shape, twin);
  twin->removeAttr(teamAttr);
  twin->setAttr(gpuArchitectureAttr, b.getStringAttr(architecture));
  twin->setAttr(gpuTensorMapsAttr, b.getI64IntegerAttr(maps.size()));
  return {twin, *shape, maps, weight, *result};
}

/// Whether the groups of the product have many rows on average, as the host can tell.
Value Adder::hasManyRows(OpBuilder &b, const Twin &twin, gpu::LaunchFuncOp launch) {
  Location loc = launch.getLoc();
  auto size = [&](OpFoldResult size) -> Value {
    if (std::optional<int64_t> known = getConstantIntValue(size))
      return arith::ConstantIndexOp::create(b, loc, *known);
    return launch.getKernelOperands()[cast<BlockArgument>(cast<Value>(size)).getArgNumber()];
  };
  auto whole = [](const KernelBuffer &buffer) { return memref::ReinterpretCastOp(buffer.whole); };
  Value rows = size(whole(twin.result).getMixedSizes().front());
  Value groups = size(whole(twin.weight).getMixedSizes().front());
  Value most = arith::MulIOp::create(b, loc, groups, arith::ConstantIndexOp::create(b, loc, manyRows));
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::uge, rows, most);
}

void Adder::add(gpu::LaunchFuncOp launch) {
  auto kernel = symbols.lookup<gpu::GPUFuncOp>(launch.getKernelName());
  auto [place, isNew] = twins.try_emplace(kernel);
  if (isNew)
    place->second = makeTwin(kernel);
  const Twin &twin = place->second;
  if (!twin.kernel)
    return;

  OpBuilder b(launch);
  Location loc = launch.getLoc();
  Value device = runtime.call(b, loc, "moe_rt_gpu_architecture", {}, b.getI32Type());
  Value wanted = arith::ConstantIntOp::create(b, loc, architectureNumber, 32);
  Value fits = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, device, wanted);
  fits = arith::AndIOp::create(b, loc, fits, hasManyRows(b, twin, launch));
  auto choice = scf::IfOp::create(b, loc, fits, /*withElseRegion=*/true);
  launch->moveBefore(choice.elseYield());
  b.setInsertionPoint(choice.thenYield());
  SmallVector<Value> operands(launch.getKernelOperands());
  for (const TensorMap &map : twin.maps)
    operands.push_back(emitTensorMap(b, map, launch, runtime));
  Value one = arith::ConstantIndexOp::create(b, loc, 1);
  Value threads = arith::ConstantIndexOp::create(b, loc, wgmmaThreads);
  Value shared = arith::ConstantIntOp::create(b, loc, twin.shape.sharedBytes(), 32);
  gpu::LaunchFuncOp::create(b, loc, twin.kernel, launch.getGridSizeOperandValues(), gpu::KernelDim3{threads, one, one},
                            shared, operands);
}

namespace {
struct AddWgmmaKernelsPass : moe::impl::AddWgmmaKernelsBase<AddWgmmaKernelsPass> {
  using AddWgmmaKernelsBase::AddWgmmaKernelsBase;

  void runOnOperation() override {
    auto kernels = getOperation().lookupSymbol<gpu::GPUModuleOp>(kernelModuleName);
    if (!kernels)
      return;
    Adder adder(getOperation(), kernels, manyRows);
    SmallVector<gpu::LaunchFuncOp> launches;
    getOperation().walk([&](gpu::LaunchFuncOp launch) { launches.push_back(launch); });
    for (gpu::LaunchFuncOp launch : launches)
      adder.add(launch);
  }
};
} // namespace

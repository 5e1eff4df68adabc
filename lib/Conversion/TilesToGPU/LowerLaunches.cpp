//===- LowerLaunches.cpp - launches and device memory as runtime calls ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "RuntimeCalls.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/DataLayoutInterfaces.h"

namespace moe {
#define GEN_PASS_DEF_LOWERLAUNCHES
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {
/// Lowers one function of the host.
class Lowering {
public:
  Lowering(func::FuncOp function, RuntimeCalls &runtime)
      : function(function), runtime(runtime), b(function.getContext()), types(function.getContext()),
        pointer(LLVM::LLVMPointerType::get(function.getContext())) {}

  LogicalResult run();

private:
  void lower(memref::AllocOp alloc);
  void lower(memref::DeallocOp dealloc);
  LogicalResult lower(gpu::LaunchFuncOp launch);
  Value toI64(Value index) { return arith::IndexCastOp::create(b, index.getLoc(), b.getI64Type(), index); }
  Value constant(Location loc, int64_t value) {
    return LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(value));
  }
  Value pointerTo(Value memref) {
    Value number = memref::ExtractAlignedPointerAsIndexOp::create(b, memref.getLoc(), memref);
    return LLVM::IntToPtrOp::create(b, memref.getLoc(), pointer, toI64(number));
  }

  func::FuncOp function;
  RuntimeCalls &runtime;
  OpBuilder b;
  LLVMTypeConverter types;
  LLVM::LLVMPointerType pointer;
};
} // namespace

void Lowering::lower(memref::AllocOp alloc) {
  b.setInsertionPoint(alloc);
  Location loc = alloc.getLoc();
  MemRefType type = alloc.getType();
  SmallVector<OpFoldResult> sizes = alloc.getMixedSizes(), strides(sizes.size());
  Value bytes = arith::ConstantIndexOp::create(
      b, loc, DataLayout::closest(function).getTypeSize(type.getElementType()).getFixedValue());
  OpFoldResult stride = b.getIndexAttr(1);
  Value elements;
  for (size_t dim = sizes.size(); dim-- > 0;) {
    strides[dim] = stride;
    Value size = getValueOrCreateConstantIndexOp(b, loc, sizes[dim]);
    elements = elements ? b.createOrFold<arith::MulIOp>(loc, elements, size) : size;
    stride = getAsOpFoldResult(elements);
  }
  if (elements)
    bytes = b.createOrFold<arith::MulIOp>(loc, bytes, elements);
  Value memory = runtime.call(b, loc, "moe_rt_gpu_alloc", toI64(bytes), pointer);

  auto base = MemRefType::get({}, type.getElementType());
  Value descriptor = LLVM::PoisonOp::create(b, loc, types.convertType(base));
  const Value fields[] = {memory, memory, constant(loc, 0)};
  for (auto [position, field] : llvm::enumerate(fields))
    descriptor = LLVM::InsertValueOp::create(b, loc, descriptor, field, static_cast<int64_t>(position));
  Value buffer = UnrealizedConversionCastOp::create(b, loc, base, descriptor).getResult(0);
  if (type.getRank() > 0)
    buffer = memref::ReinterpretCastOp::create(b, loc, type, buffer, OpFoldResult(b.getIndexAttr(0)), sizes, strides);
  alloc.replaceAllUsesWith(buffer);
  alloc.erase();
}

void Lowering::lower(memref::DeallocOp dealloc) {
  b.setInsertionPoint(dealloc);
  // Buffers begin where the memory of the runtime does.
  runtime.call(b, dealloc.getLoc(), "moe_rt_gpu_free", pointerTo(dealloc.getMemref()));
  dealloc.erase();
}

LogicalResult Lowering::lower(gpu::LaunchFuncOp launch) {
  b.setInsertionPoint(launch);
  Location loc = launch.getLoc();
  SmallVector<Value> values;
  SmallVector<Type> fields;
  for (Value operand : launch.getKernelOperands()) {
    // What a kernel takes by value lies in memory already.
    if (isa<LLVM::LLVMPointerType>(operand.getType()))
      values.push_back(operand);
    else if (isa<BaseMemRefType>(operand.getType()))
      values.push_back(pointerTo(operand));
    else if (operand.getType().isIndex())
      values.push_back(toI64(operand));
    else if (isa<IntegerType, FloatType>(operand.getType()))
      values.push_back(operand);
    else
      return launch.emitOpError("expected numbers and buffers as operands but got ") << operand.getType();
    fields.push_back(values.back().getType());
  }
  int64_t count = values.size();
  auto structType = LLVM::LLVMStructType::getLiteral(b.getContext(), fields);
  auto tableType = LLVM::LLVMArrayType::get(pointer, std::max<int64_t>(count, 1));
  Value storage, table;
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&function.front());
    Value one = constant(loc, 1);
    storage = LLVM::AllocaOp::create(b, loc, pointer, structType, one);
    table = LLVM::AllocaOp::create(b, loc, pointer, tableType, one);
  }
  for (auto [position, value] : llvm::enumerate(values)) {
    auto at = static_cast<int32_t>(position);
    Value slot = value;
    if (!isa<LLVM::LLVMPointerType>(launch.getKernelOperands()[position].getType())) {
      slot = LLVM::GEPOp::create(b, loc, pointer, structType, storage, ArrayRef<LLVM::GEPArg>{0, at});
      LLVM::StoreOp::create(b, loc, value, slot);
    }
    Value entry = LLVM::GEPOp::create(b, loc, pointer, tableType, table, ArrayRef<LLVM::GEPArg>{0, at});
    LLVM::StoreOp::create(b, loc, slot, entry);
  }
  Value shared = constant(loc, 0);
  if (Value bytes = launch.getDynamicSharedMemorySize())
    shared = arith::ExtUIOp::create(b, loc, b.getI64Type(), bytes);
  gpu::KernelDim3 grid = launch.getGridSizeOperandValues(), block = launch.getBlockSizeOperandValues();
  SmallVector<Value> arguments{runtime.kernel(b, loc, launch.getKernelName().getValue())};
  for (Value size : {grid.x, grid.y, grid.z, block.x, block.y, block.z})
    arguments.push_back(toI64(size));
  arguments.append({shared, table, constant(loc, count)});
  runtime.call(b, loc, "moe_rt_gpu_launch", arguments);
  launch.erase();
  return success();
}

LogicalResult Lowering::run() {
  WalkResult result = function.walk([&](Operation *op) {
    if (auto alloc = dyn_cast<memref::AllocOp>(op)) {
      lower(alloc);
    } else if (auto dealloc = dyn_cast<memref::DeallocOp>(op)) {
      lower(dealloc);
    } else if (auto workers = dyn_cast<WorkersOp>(op)) {
      b.setInsertionPoint(workers);
      Value count = runtime.call(b, op->getLoc(), "moe_rt_gpu_multiprocessors", {}, b.getI64Type());
      workers.replaceAllUsesWith(arith::IndexCastOp::create(b, op->getLoc(), b.getIndexType(), count).getResult());
      workers.erase();
    } else if (auto launch = dyn_cast<gpu::LaunchFuncOp>(op)) {
      if (failed(lower(launch)))
        return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

namespace {
struct LowerLaunchesPass : moe::impl::LowerLaunchesBase<LowerLaunchesPass> {
  void runOnOperation() override {
    RuntimeCalls runtime(getOperation());
    for (auto function : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      if (!function.isDeclaration() && failed(Lowering(function, runtime).run()))
        return signalPassFailure();
  }
};
} // namespace

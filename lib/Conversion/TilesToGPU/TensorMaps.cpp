//===- TensorMaps.cpp - how kernels have tensors copied by TMA ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TensorMaps.h"

#include "RuntimeCalls.h"
#include "moe/Conversion/TilesToGPU.h"
#include "moe/Runtime/Gpu.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace moe;

std::optional<KernelBuffer> KernelBuffer::of(Value memref) {
  while (auto part = memref.getDefiningOp<memref::SubViewOp>())
    memref = part.getSource();
  auto whole = memref.getDefiningOp<memref::ReinterpretCastOp>();
  if (!whole || !cast<MemRefType>(whole.getType()).getLayout().isIdentity())
    return std::nullopt;
  auto base = dyn_cast<BlockArgument>(whole.getSource());
  if (!base || !isa<gpu::GPUFuncOp>(base.getOwner()->getParentOp()))
    return std::nullopt;
  return KernelBuffer{base, whole};
}

namespace {
/// Emits one map.
class Emitter {
public:
  Emitter(OpBuilder &b, const TensorMap &map, gpu::LaunchFuncOp launch)
      : b(b), map(map), launch(launch), loc(launch.getLoc()), pointer(LLVM::LLVMPointerType::get(b.getContext())) {}

  Value emit(RuntimeCalls &runtime);

private:
  Value number(int64_t value, unsigned bits) {
    auto type = b.getIntegerType(bits);
    return LLVM::ConstantOp::create(b, loc, type, b.getIntegerAttr(type, value));
  }
  Value times(Value value, int64_t factor) { return LLVM::MulOp::create(b, loc, value, number(factor, 64)); }
  /// Memory in the frame of the function.
  Value allocate(Type type, int64_t count, int64_t alignment) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&launch->getParentOfType<func::FuncOp>().front());
    return LLVM::AllocaOp::create(b, loc, pointer, type, number(count, 64), static_cast<unsigned>(alignment));
  }
  /// `values`, of `bits` bits each, side by side in memory.
  Value inMemory(ArrayRef<Value> values, unsigned bits) {
    Type type = b.getIntegerType(bits);
    Value array = allocate(type, values.size(), bits / 8);
    for (auto [position, value] : llvm::enumerate(values)) {
      Value at =
          LLVM::GEPOp::create(b, loc, pointer, type, array, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(position)});
      LLVM::StoreOp::create(b, loc, value, at);
    }
    return array;
  }
  Value operand(Value argument) { return launch.getKernelOperands()[cast<BlockArgument>(argument).getArgNumber()]; }
  /// Rows of the buffer, all dimensions but the last together.
  Value rows();

  OpBuilder &b;
  TensorMap map;
  gpu::LaunchFuncOp launch;
  Location loc;
  LLVM::LLVMPointerType pointer;
};
} // namespace

Value Emitter::rows() {
  Value rows = number(1, 64);
  SmallVector<OpFoldResult> sizes = map.buffer.whole.getMixedSizes();
  for (OpFoldResult size : ArrayRef(sizes).drop_back()) {
    if (std::optional<int64_t> known = getConstantIntValue(size)) {
      rows = times(rows, *known);
      continue;
    }
    Value dynamic = arith::IndexCastOp::create(b, loc, b.getI64Type(), operand(cast<Value>(size)));
    rows = LLVM::MulOp::create(b, loc, rows, dynamic);
  }
  return rows;
}

Value Emitter::emit(RuntimeCalls &runtime) {
  MemRefType type = map.buffer.type();
  int64_t depth = type.getShape().back(), rowBytes = 2 * depth, run = map.run;
  SmallVector<Value> sizes{number(depth, 64)}, strides, box{number(TensorMap::boxColumns, 32)};
  auto add = [&](Value size, int64_t strideRows, int64_t boxed) {
    sizes.push_back(size);
    strides.push_back(number(strideRows * rowBytes, 64));
    box.push_back(number(boxed, 32));
  };
  if (run == 2) {
    add(rows(), 1, map.boxRows);
  } else {
    add(number(2, 64), 1, 2);
    add(number(4, 64), run, 4);
    add(number(run / 2, 64), 2, run / 2);
    add(LLVM::UDivOp::create(b, loc, rows(), number(4 * run, 64)), 4 * run, map.boxRows / (4 * run));
  }

  Value address = memref::ExtractAlignedPointerAsIndexOp::create(b, loc, operand(map.buffer.base));
  address = LLVM::IntToPtrOp::create(b, loc, pointer,
                                     arith::IndexCastOp::create(b, loc, b.getI64Type(), address).getResult());
  Value memory = allocate(b.getI8Type(), gpuTensorMapBytes, gpuTensorMapAlignment);
  int32_t element = type.getElementType().isBF16() ? MoeGpuBF16 : MoeGpuF16;
  const Value arguments[] = {memory,
                             address,
                             number(element, 32),
                             number(sizes.size(), 32),
                             inMemory(sizes, 64),
                             inMemory(strides, 64),
                             inMemory(box, 32),
                             number(2 * TensorMap::boxColumns, 32)};
  runtime.call(b, loc, "moe_rt_gpu_tensor_map", arguments);
  return memory;
}

Value moe::emitTensorMap(OpBuilder &b, const TensorMap &map, gpu::LaunchFuncOp launch, RuntimeCalls &runtime) {
  return Emitter(b, map, launch).emit(runtime);
}

//===- EmitDeviceEntryPoints.cpp - entries of programs with a GPU ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "RuntimeCalls.h"
#include "moe/Conversion/TilesToGPU.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Interfaces/DataLayoutInterfaces.h"

namespace moe {
#define GEN_PASS_DEF_EMITDEVICEENTRYPOINTS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {
class EntryPoint {
public:
  EntryPoint(func::FuncOp function, const LLVMTypeConverter &types, RuntimeCalls &runtime)
      : function(function), types(types), runtime(runtime), b(function), loc(function.getLoc()),
        pointer(LLVM::LLVMPointerType::get(b.getContext())) {}

  void emit();

private:
  Value field(Value descriptor, ArrayRef<int64_t> at) { return LLVM::ExtractValueOp::create(b, loc, descriptor, at); }
  Value number(int64_t value) { return LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(value)); }
  Value bytesOf(MemRefType type, Value descriptor);
  /// `descriptor` with memory that begins at `memory`.
  Value withMemory(Value descriptor, Value memory) {
    for (int64_t at : {0, 1})
      descriptor = LLVM::InsertValueOp::create(b, loc, descriptor, memory, at);
    return LLVM::InsertValueOp::create(b, loc, descriptor, number(0), 2);
  }

  func::FuncOp function;
  const LLVMTypeConverter &types;
  RuntimeCalls &runtime;
  OpBuilder b;
  Location loc;
  LLVM::LLVMPointerType pointer;
};
} // namespace

Value EntryPoint::bytesOf(MemRefType type, Value descriptor) {
  Value bytes = number(DataLayout::closest(function).getTypeSize(type.getElementType()).getFixedValue());
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    bytes = LLVM::MulOp::create(b, loc, bytes, field(descriptor, {3, dim}));
  return bytes;
}

void EntryPoint::emit() {
  std::string name = ("moe_entry_" + function.getName() + "." + gpuLevel).str();
  auto entry = func::FuncOp::create(b, loc, name, b.getFunctionType({pointer}, {}));
  b.setInsertionPointToStart(entry.addEntryBlock());
  auto loadPointer = [&](size_t at) -> Value {
    Value slot = LLVM::GEPOp::create(b, loc, pointer, pointer, entry.getArgument(0),
                                     ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(at)});
    return LLVM::LoadOp::create(b, loc, pointer, slot);
  };

  SmallVector<Value> arguments, copies;
  for (auto [position, type] : llvm::enumerate(function.getArgumentTypes())) {
    auto memref = cast<MemRefType>(type);
    Value descriptor = LLVM::LoadOp::create(b, loc, types.convertType(type), loadPointer(position));
    // Parameters and states are on the device, past and keep are read by the host.
    auto role = function.getArgAttrOfType<StringAttr>(position, "moe.role");
    if (!role || role.getValue() == "input") {
      Value bytes = bytesOf(memref, descriptor);
      copies.push_back(runtime.call(b, loc, "moe_rt_gpu_alloc", bytes, pointer));
      runtime.call(b, loc, "moe_rt_gpu_copy_in", {copies.back(), field(descriptor, {1}), bytes});
      descriptor = withMemory(descriptor, copies.back());
    }
    arguments.push_back(UnrealizedConversionCastOp::create(b, loc, type, descriptor).getResult(0));
  }
  auto call = func::CallOp::create(b, loc, function, arguments);
  for (Value copy : copies)
    runtime.call(b, loc, "moe_rt_gpu_free", copy);

  Value results = call.getNumResults() > 0 ? loadPointer(function.getNumArguments()) : Value();
  int32_t offset = 0;
  for (Value result : call.getResults()) {
    auto memref = cast<MemRefType>(result.getType());
    Type type = types.convertType(memref);
    Value descriptor = UnrealizedConversionCastOp::create(b, loc, type, result).getResult(0);
    Value bytes = bytesOf(memref, descriptor), device = field(descriptor, {1});
    Value memory = runtime.call(b, loc, "_mlir_memref_to_llvm_alloc", bytes, pointer);
    runtime.call(b, loc, "moe_rt_gpu_copy_out", {memory, device, bytes});
    runtime.call(b, loc, "moe_rt_gpu_free", device);
    Value room = LLVM::GEPOp::create(b, loc, pointer, b.getI8Type(), results, ArrayRef<LLVM::GEPArg>{offset});
    LLVM::StoreOp::create(b, loc, withMemory(descriptor, memory), room);
    offset += static_cast<int32_t>(8 * (3 + 2 * memref.getRank()));
  }
  func::ReturnOp::create(b, loc);
}

namespace {
struct EmitDeviceEntryPointsPass : moe::impl::EmitDeviceEntryPointsBase<EmitDeviceEntryPointsPass> {
  void runOnOperation() override {
    LLVMTypeConverter types(&getContext());
    RuntimeCalls runtime(getOperation());
    auto internal = LLVM::LinkageAttr::get(&getContext(), LLVM::Linkage::Internal);
    for (auto function : llvm::to_vector(getOperation().getOps<func::FuncOp>())) {
      if (function.isDeclaration())
        continue;
      if (function.isPublic()) {
        for (Type type : llvm::concat<const Type>(function.getArgumentTypes(), function.getResultTypes()))
          if (auto memref = dyn_cast<MemRefType>(type); !memref || !memref.getLayout().isIdentity()) {
            function.emitOpError("expected only contiguous memrefs as arguments and results of an entry function but "
                                 "got ")
                << type;
            return signalPassFailure();
          }
        EntryPoint(function, types, runtime).emit();
      }
      function.setPrivate();
      function->setAttr("llvm.linkage", internal);
    }
  }
};
} // namespace

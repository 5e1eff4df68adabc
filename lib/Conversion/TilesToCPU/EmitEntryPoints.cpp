//===- EmitEntryPoints.cpp - entry functions the runtime calls ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "moe/Conversion/IsaLevels.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"

namespace moe {
#define GEN_PASS_DEF_EMITENTRYPOINTS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

/// Bytes of a descriptor of rank `rank`: two pointers, the offset, sizes and strides.
static int32_t descriptorSize(int64_t rank) { return static_cast<int32_t>(8 * (3 + 2 * rank)); }

static LogicalResult checkSignature(func::FuncOp function) {
  for (Type type : llvm::concat<const Type>(function.getArgumentTypes(), function.getResultTypes()))
    if (!isa<MemRefType>(type))
      return function.emitOpError("expected only memrefs as arguments and results of an entry function but got ")
             << type;
  return success();
}

static void emitEntryPoint(func::FuncOp function, const LLVMTypeConverter &types) {
  OpBuilder b(function);
  Location loc = function.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto entry =
      func::FuncOp::create(b, loc, ("moe_entry_" + function.getName()).str(), b.getFunctionType({pointer}, {}));
  if (Attribute level = function->getAttr(moe::isaAttr))
    entry->setAttr(moe::isaAttr, level);
  b.setInsertionPointToStart(entry.addEntryBlock());
  auto loadPointer = [&](size_t number) -> Value {
    Value slot = LLVM::GEPOp::create(b, loc, pointer, pointer, entry.getArgument(0),
                                     ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(number)});
    return LLVM::LoadOp::create(b, loc, pointer, slot);
  };

  SmallVector<Value> arguments;
  for (auto [number, type] : llvm::enumerate(function.getArgumentTypes())) {
    Value descriptor = LLVM::LoadOp::create(b, loc, types.convertType(type), loadPointer(number));
    arguments.push_back(UnrealizedConversionCastOp::create(b, loc, type, descriptor).getResult(0));
  }
  auto call = func::CallOp::create(b, loc, function, arguments);
  if (function.getNumResults() > 0) {
    Value results = loadPointer(function.getNumArguments());
    int32_t offset = 0;
    for (Value result : call.getResults()) {
      Value room = LLVM::GEPOp::create(b, loc, pointer, b.getI8Type(), results, ArrayRef<LLVM::GEPArg>{offset});
      Type type = types.convertType(result.getType());
      LLVM::StoreOp::create(b, loc, UnrealizedConversionCastOp::create(b, loc, type, result).getResult(0), room);
      offset += descriptorSize(cast<MemRefType>(result.getType()).getRank());
    }
  }
  func::ReturnOp::create(b, loc);
}

namespace {
struct EmitEntryPointsPass : moe::impl::EmitEntryPointsBase<EmitEntryPointsPass> {
  void runOnOperation() override {
    LLVMTypeConverter types(&getContext());
    auto internal = LLVM::LinkageAttr::get(&getContext(), LLVM::Linkage::Internal);
    for (auto function : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      if (function.isDeclaration())
        continue;
      if (function.isPublic()) {
        if (failed(checkSignature(function)))
          return signalPassFailure();
        emitEntryPoint(function, types);
      }
      function.setPrivate();
      function->setAttr("llvm.linkage", internal);
    }
  }
};
} // namespace

//===- EmitEntryPoints.cpp - entry functions the runtime calls ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "LoopCalls.h"
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

/// Rows of the table of loops that `function` takes; none if it takes no table.
static std::optional<int64_t> sizeOfTable(func::FuncOp function) {
  if (function.getNumArguments() == 0)
    return std::nullopt;
  auto size = function.getArgAttrOfType<IntegerAttr>(0, moe::loopTableAttr);
  return size ? std::optional(size.getInt()) : std::nullopt;
}

static LogicalResult checkSignature(func::FuncOp function) {
  ArrayRef<Type> arguments = function.getArgumentTypes().drop_front(sizeOfTable(function) ? 1 : 0);
  for (Type type : llvm::concat<const Type>(arguments, function.getResultTypes()))
    if (!isa<MemRefType>(type))
      return function.emitOpError("expected only memrefs as arguments and results of an entry function but got ")
             << type;
  return success();
}

static std::string entryName(func::FuncOp function) { return ("moe_entry_" + function.getName()).str(); }

/// The entry of `function` for `level`, which calls `shared`, the entry for all levels, with the table of this one.
static void emitEntryOfLevel(func::FuncOp function, func::FuncOp shared, StringAttr level, int64_t rows) {
  OpBuilder b(function);
  Location loc = function.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto entry = func::FuncOp::create(b, loc, entryName(function) + "." + level.str(), b.getFunctionType({pointer}, {}));
  entry->setAttr(moe::isaAttr, level);
  b.setInsertionPointToStart(entry.addEntryBlock());
  Value one = LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(1));
  auto type = LLVM::LLVMArrayType::get(moe::loopTableRow(b.getContext()), rows);
  Value table = LLVM::AllocaOp::create(b, loc, pointer, type, one);
  func::CallOp::create(b, loc, moe::loopTableFunction(level), TypeRange(), table);
  func::CallOp::create(b, loc, shared, ValueRange{entry.getArgument(0), table});
  func::ReturnOp::create(b, loc);
}

static void emitEntryPoint(func::FuncOp function, const LLVMTypeConverter &types) {
  OpBuilder b(function);
  Location loc = function.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  std::optional<int64_t> rows = sizeOfTable(function);
  SmallVector<Type> parameters(rows ? 2 : 1, pointer);
  auto entry = func::FuncOp::create(b, loc, entryName(function), b.getFunctionType(parameters, {}));
  if (Attribute level = function->getAttr(moe::isaAttr))
    entry->setAttr(moe::isaAttr, level);
  if (rows) {
    auto levels = function->getParentOfType<ModuleOp>()->getAttrOfType<ArrayAttr>(moe::isaLevelsAttr);
    for (auto level : levels.getAsRange<StringAttr>())
      emitEntryOfLevel(function, entry, level, *rows);
  }
  b.setInsertionPointToStart(entry.addEntryBlock());
  auto loadPointer = [&](size_t number) -> Value {
    Value slot = LLVM::GEPOp::create(b, loc, pointer, pointer, entry.getArgument(0),
                                     ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(number)});
    return LLVM::LoadOp::create(b, loc, pointer, slot);
  };

  SmallVector<Value> arguments;
  if (rows)
    arguments.push_back(entry.getArgument(1));
  for (auto [number, type] : llvm::enumerate(function.getArgumentTypes().drop_front(arguments.size()))) {
    Value descriptor = LLVM::LoadOp::create(b, loc, types.convertType(type), loadPointer(number));
    arguments.push_back(UnrealizedConversionCastOp::create(b, loc, type, descriptor).getResult(0));
  }
  auto call = func::CallOp::create(b, loc, function, arguments);
  if (function.getNumResults() > 0) {
    Value results = loadPointer(function.getNumArguments() - (rows ? 1 : 0));
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

//===- CheckToRuntime.cpp - check ops become calls ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The functions called are those of lib/Runtime/Check: one per element type, so that the library needs no type tags.
//
//===----------------------------------------------------------------------===//

#include "dialect/Check/CheckOps.h"
#include "dialect/Check/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

namespace moe::check {
#define GEN_PASS_DEF_CHECKTORUNTIMEPASS
#include "dialect/Check/Passes.h.inc"
} // namespace moe::check

using namespace mlir;
using namespace moe::check;

/// `check.expect_eq at FILE:LINE:COLUMN`, or the location as MLIR prints it where there is no such place.
static std::string describe(Operation *op) {
  std::string text = (op->getName().getStringRef() + " at ").str();
  llvm::raw_string_ostream stream(text);
  if (auto place = op->getLoc()->findInstanceOf<FileLineColLoc>())
    stream << place.getFilename().getValue() << ':' << place.getLine() << ':' << place.getColumn();
  else
    stream << op->getLoc();
  return text;
}

/// Element type as it appears in a function's name: f32, bf16, i32, index.
static std::string typeText(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

namespace {

/// The private declaration of `name`, made on first use.
class Runtime {
public:
  explicit Runtime(ModuleOp module) : module(module), symbols(module) {}

  func::FuncOp declare(StringRef name, TypeRange arguments) {
    if (auto found = symbols.lookup<func::FuncOp>(name))
      return found;
    OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
    auto function =
        func::FuncOp::create(builder, module.getLoc(), name, builder.getFunctionType(arguments, TypeRange()));
    function.setPrivate();
    symbols.insert(function);
    return function;
  }

  /// Address of `text`, ended by a zero.
  Value textAddress(ImplicitLocOpBuilder &b, std::string text) {
    text.push_back('\0');
    OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
    auto type = LLVM::LLVMArrayType::get(top.getI8Type(), text.size());
    auto global = LLVM::GlobalOp::create(top, module.getLoc(), type, /*isConstant=*/true, LLVM::Linkage::Internal,
                                         "check.at", top.getStringAttr(text));
    symbols.insert(global); // makes the name unique
    return LLVM::AddressOfOp::create(b, global);
  }

private:
  ModuleOp module;
  SymbolTable symbols;
};

} // namespace

/// `tensor` as an unranked memref of whatever layout bufferization finds.
static Value asBuffer(ImplicitLocOpBuilder &b, Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<int64_t> strides(type.getRank(), ShapedType::kDynamic);
  auto layout = StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, strides);
  auto buffer = MemRefType::get(type.getShape(), type.getElementType(), layout);
  Value ranked = bufferization::ToBufferOp::create(b, buffer, tensor, /*read_only=*/true);
  return memref::CastOp::create(b, UnrankedMemRefType::get(type.getElementType(), Attribute()), ranked);
}

/// Replaces `op`, which compares `actual` with `expected` and allows `tolerance`.
static void lower(Runtime &runtime, Operation *op, Value actual, Value expected, double tolerance) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Type element = cast<RankedTensorType>(actual.getType()).getElementType();
  SmallVector<Value> arguments{asBuffer(b, actual), asBuffer(b, expected)};
  arguments.push_back(arith::ConstantOp::create(b, b.getF64FloatAttr(tolerance)));
  arguments.push_back(runtime.textAddress(b, describe(op)));
  func::FuncOp callee = runtime.declare("moe_check_" + typeText(element), TypeRange(ValueRange(arguments)));
  func::CallOp::create(b, callee, arguments);
  op->erase();
}

namespace {
struct CheckToRuntime : moe::check::impl::CheckToRuntimePassBase<CheckToRuntime> {
  void runOnOperation() override {
    Runtime runtime(getOperation());
    SmallVector<Operation *> checks;
    llvm::SetVector<func::FuncOp> functions;
    getOperation().walk([&](Operation *op) {
      if (!isa_and_present<CheckDialect>(op->getDialect()))
        return;
      checks.push_back(op);
      if (auto function = op->getParentOfType<func::FuncOp>())
        functions.insert(function);
    });

    for (Operation *op : checks) {
      auto constant = [&](ElementsAttr value) -> Value {
        OpBuilder b(op);
        return arith::ConstantOp::create(b, op->getLoc(), value);
      };
      TypeSwitch<Operation *>(op)
          .Case([&](ExpectEqOp check) { lower(runtime, check, check.getActual(), check.getExpected(), 0); })
          .Case([&](ExpectEqConstOp check) {
            lower(runtime, check, check.getActual(), constant(check.getExpected()), 0);
          })
          .Case([&](ExpectAlmostEqOp check) {
            lower(runtime, check, check.getActual(), check.getExpected(), check.getTolerance().convertToDouble());
          })
          .Case([&](ExpectAlmostEqConstOp check) {
            lower(runtime, check, check.getActual(), constant(check.getExpected()),
                  check.getTolerance().convertToDouble());
          });
    }
    for (func::FuncOp function : functions) {
      func::FuncOp finish = runtime.declare("moe_check_finish", TypeRange());
      function.walk([&](func::ReturnOp end) {
        OpBuilder b(end);
        func::CallOp::create(b, end.getLoc(), finish, ValueRange());
      });
    }
  }
};
} // namespace

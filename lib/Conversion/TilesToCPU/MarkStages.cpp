//===- MarkStages.cpp - tell the runtime which stage begins ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"
#include "moe/Conversion/StageLocation.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

namespace moe {
#define GEN_PASS_DEF_MARKSTAGES
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

static constexpr llvm::StringLiteral runtimeFunction = "moe_rt_stage";

namespace {
class Marker {
public:
  explicit Marker(ModuleOp module) : module(module), symbols(module) {}

  void mark(Block &block);

private:
  void call(Operation *before, StringAttr stage);
  LLVM::GlobalOp nameOf(StringAttr stage);

  ModuleOp module;
  SymbolTable symbols;
  DenseMap<StringAttr, LLVM::GlobalOp> names;
  func::FuncOp runtime;
};
} // namespace

/// The name as a null-terminated string that the program holds.
LLVM::GlobalOp Marker::nameOf(StringAttr stage) {
  LLVM::GlobalOp &global = names[stage];
  if (global)
    return global;
  OpBuilder b(module.getContext());
  std::string text(stage.getValue());
  text.push_back('\0');
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), unsigned(text.size()));
  global = LLVM::GlobalOp::create(b, module.getLoc(), type, /*isConstant=*/true, LLVM::Linkage::Internal, "moe_stage",
                                  b.getStringAttr(text));
  symbols.insert(global, module.getBody()->begin());
  return global;
}

void Marker::call(Operation *before, StringAttr stage) {
  OpBuilder b(before);
  if (!runtime) {
    auto type = b.getFunctionType({LLVM::LLVMPointerType::get(b.getContext())}, {});
    runtime = func::FuncOp::create(module.getLoc(), runtimeFunction, type);
    runtime.setPrivate();
    symbols.insert(runtime, module.getBody()->begin());
  }
  Value name = LLVM::AddressOfOp::create(b, before->getLoc(), nameOf(stage));
  func::CallOp::create(b, before->getLoc(), runtime, name);
}

void Marker::mark(Block &block) {
  StringAttr current; // null: unknown, at the beginning of a block and after ops that may have begun others
  for (Operation &op : llvm::make_early_inc_range(block)) {
    // Scalars between the loops have locations of stages too, but take no time.
    StringAttr stage = isa<LoopLikeOpInterface, DestinationStyleOpInterface>(op) ? moe::getStage(op.getLoc()) : nullptr;
    if (stage) {
      if (stage != current)
        call(&op, stage);
      current = stage;
    } else if (isa<func::CallOp>(op)) {
      current = nullptr;
    } else if (isa<scf::IfOp, scf::ForOp, scf::WhileOp>(op)) {
      for (Region &region : op.getRegions())
        for (Block &inner : region)
          mark(inner);
      current = nullptr;
    }
  }
}

namespace {
struct MarkStagesPass : moe::impl::MarkStagesBase<MarkStagesPass> {
  void runOnOperation() override {
    Marker marker(getOperation());
    for (auto function : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      for (Block &block : function.getBody())
        marker.mark(block);
  }
};
} // namespace

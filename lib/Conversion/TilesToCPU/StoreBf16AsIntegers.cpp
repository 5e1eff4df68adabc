//===- StoreBf16AsIntegers.cpp - bf16 as i16 in the LLVM dialect ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/BuiltinOps.h"

namespace moe {
#define GEN_PASS_DEF_STOREBF16ASINTEGERS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;

namespace {
struct StoreBf16AsIntegersPass : moe::impl::StoreBf16AsIntegersBase<StoreBf16AsIntegersPass> {
  void runOnOperation() override {
    Type integer = IntegerType::get(&getContext(), 16);
    AttrTypeReplacer replacer;
    replacer.addReplacement([&](BFloat16Type) -> Type { return integer; });
    // Values, before the replacer would give a float attribute an integer type.
    replacer.addReplacement([&](FloatAttr attribute) -> std::optional<std::pair<Attribute, WalkResult>> {
      if (!attribute.getType().isBF16())
        return std::nullopt;
      return std::make_pair(Attribute(IntegerAttr::get(integer, attribute.getValue().bitcastToAPInt())),
                            WalkResult::skip());
    });
    replacer.addReplacement([&](DenseFPElementsAttr attribute) -> std::optional<std::pair<Attribute, WalkResult>> {
      if (!attribute.getElementType().isBF16())
        return std::nullopt;
      return std::make_pair(Attribute(attribute.bitcast(integer)), WalkResult::skip());
    });

    WalkResult result = getOperation().walk([&](Operation *op) {
      auto isBf16 = [](Type type) { return getElementTypeOrSelf(type).isBF16(); };
      bool touches = llvm::any_of(op->getOperandTypes(), isBf16) || llvm::any_of(op->getResultTypes(), isBf16);
      if (touches &&
          isa<LLVM::FPExtOp, LLVM::FPTruncOp, LLVM::FCmpOp, LLVM::FAddOp, LLVM::FSubOp, LLVM::FMulOp, LLVM::FDivOp,
              LLVM::FNegOp, LLVM::FAbsOp, LLVM::FMAOp, LLVM::SIToFPOp, LLVM::UIToFPOp, LLVM::FPToSIOp, LLVM::FPToUIOp>(
              op)) {
        op->emitOpError("expected no arithmetic on bf16 after its expansion");
        return WalkResult::interrupt();
      }
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return signalPassFailure();
    replacer.recursivelyReplaceElementsIn(getOperation(), /*replaceAttrs=*/true, /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);

    // Dot products and conversions are instructions: they do take and give bf16.
    getOperation().walk([&](LLVM::CallIntrinsicOp op) {
      OpBuilder b(op);
      if (op.getIntrin().contains("cvtneps2bf16")) {
        Value result = op.getResult(0);
        auto type = cast<VectorType>(result.getType());
        result.setType(type.clone(b.getBF16Type()));
        b.setInsertionPointAfter(op);
        auto bits = LLVM::BitcastOp::create(b, op.getLoc(), type, result);
        result.replaceAllUsesExcept(bits, bits);
        return;
      }
      if (!op.getIntrin().contains("dpbf16ps") && !op.getIntrin().contains("bfdot"))
        return;
      for (OpOperand &operand : op->getOpOperands())
        if (auto type = dyn_cast<VectorType>(operand.get().getType()); type && type.getElementType() == integer)
          operand.set(LLVM::BitcastOp::create(b, op.getLoc(), type.clone(b.getBF16Type()), operand.get()));
    });
  }
};
} // namespace

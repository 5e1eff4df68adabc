//===- ExpandMath.cpp - math functions to arithmetic ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "MathFunctions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace moe {
#define GEN_PASS_DEF_EXPANDMATH
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// What replaces the results of `op`; none for an operation that stays.
static SmallVector<Value> expand(OpBuilder &b, Operation *op) {
  if (op->getNumOperands() == 0)
    return {};
  Value x = op->getOperand(0);
  Type element = getElementTypeOrSelf(x.getType());
  if (!element.isF32() && !element.isF64())
    return {};
  MathFunctions functions(b, op->getLoc(), x.getType());
  return llvm::TypeSwitch<Operation *, SmallVector<Value>>(op)
      .Case([&](math::ExpOp) { return SmallVector<Value>{functions.exp(x)}; })
      .Case([&](math::Exp2Op) { return SmallVector<Value>{functions.exp2(x)}; })
      .Case([&](math::ExpM1Op) { return SmallVector<Value>{functions.expm1(x)}; })
      .Case([&](math::LogOp) { return SmallVector<Value>{functions.log(x, LogKind::Natural)}; })
      .Case([&](math::Log2Op) { return SmallVector<Value>{functions.log(x, LogKind::Base2)}; })
      .Case([&](math::Log10Op) { return SmallVector<Value>{functions.log(x, LogKind::Base10)}; })
      .Case([&](math::Log1pOp) { return SmallVector<Value>{functions.log(x, LogKind::OnePlus)}; })
      .Case([&](math::TanhOp) { return SmallVector<Value>{functions.tanh(x)}; })
      .Case([&](math::ErfOp) { return element.isF32() ? SmallVector<Value>{functions.erf(x)} : SmallVector<Value>{}; })
      .Case([&](math::SinOp) { return SmallVector<Value>{functions.sinOrCos(x, false)}; })
      .Case([&](math::CosOp) { return SmallVector<Value>{functions.sinOrCos(x, true)}; })
      .Case(
          [&](math::SincosOp) { return SmallVector<Value>{functions.sinOrCos(x, false), functions.sinOrCos(x, true)}; })
      .Case([&](math::RsqrtOp) { return SmallVector<Value>{functions.rsqrt(x)}; })
      .Case([&](math::PowFOp power) { return SmallVector<Value>{functions.pow(x, power.getRhs())}; })
      .Case([&](math::FPowIOp power) {
        Value exponent = arith::SIToFPOp::create(b, op->getLoc(), x.getType(), power.getRhs());
        return SmallVector<Value>{functions.pow(x, exponent)};
      })
      .Default(SmallVector<Value>{});
}

/// Operations that code generation turns into instructions (or moe-multiversion into arithmetic).
static bool isInstruction(Operation *op) {
  return isa<math::AbsFOp, math::AbsIOp, math::CeilOp, math::CopySignOp, math::CountLeadingZerosOp,
             math::CountTrailingZerosOp, math::CtPopOp, math::FloorOp, math::FmaOp, math::IsFiniteOp, math::IsInfOp,
             math::IsNaNOp, math::IsNormalOp, math::RoundEvenOp, math::RoundOp, math::SqrtOp, math::TruncOp>(op);
}

namespace {
struct ExpandMathPass : moe::impl::ExpandMathBase<ExpandMathPass> {
  void runOnOperation() override {
    // Upstream's formulas first: they are written in terms of exp, log and the like, which we expand.
    RewritePatternSet patterns(&getContext());
    math::populateExpansionPatterns(patterns, {"sinh", "cosh", "tan", "asinh", "acosh", "atanh", "clampf"});
    static const auto approximated = [](StringRef name) {
      return llvm::is_contained({"math.atan", "math.atan2", "math.asin", "math.acos", "math.erfc", "math.cbrt"}, name);
    };
    populateMathPolynomialApproximationPatterns(patterns, approximated);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();

    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      if (isa<math::MathDialect>(op->getDialect()) || isa<arith::RemFOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops) {
      if (isInstruction(op))
        continue;
      OpBuilder b(op);
      SmallVector<Value> values = expand(b, op);
      if (values.empty()) {
        op->emitOpError("expected a math function that can be expanded to arithmetic but got operand types ")
            << op->getOperandTypes();
        return signalPassFailure();
      }
      op->replaceAllUsesWith(values);
      op->erase();
    }
  }
};
} // namespace

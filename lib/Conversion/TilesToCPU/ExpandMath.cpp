//===- ExpandMath.cpp - math functions to arithmetic ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "lib/Conversion/Common/MathFunctions.h"

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

/// f32 from f8E4M3FN, scalar or vector, in integer arithmetic; null for other conversions.
static Value expandFloat8(OpBuilder &b, arith::ExtFOp op) {
  Type from = op.getIn().getType();
  if (!isa<Float8E4M3FNType>(getElementTypeOrSelf(from)) || !getElementTypeOrSelf(op.getType()).isF32())
    return {};
  Location loc = op.getLoc();
  auto like = [&](Type element) -> Type {
    auto vector = dyn_cast<VectorType>(from);
    return vector ? Type(vector.clone(element)) : element;
  };
  Type i32 = like(b.getI32Type()), f32 = op.getType();
  auto constant = [&](TypedAttr value) -> Value {
    auto vector = dyn_cast<VectorType>(from);
    auto type = vector ? vector.clone(value.getType()) : VectorType();
    return vector ? arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, ArrayRef<Attribute>(value)))
                  : arith::ConstantOp::create(b, loc, value);
  };
  auto integer = [&](int32_t value) { return constant(b.getI32IntegerAttr(value)); };
  Value code = arith::BitcastOp::create(b, loc, like(b.getI8Type()), op.getIn());
  code = arith::ExtUIOp::create(b, loc, i32, code);
  Value magnitude = arith::AndIOp::create(b, loc, code, integer(0x7f));
  // seeeemmm: exponents are less by 120 than those of f32; what lies below the least is m * 2^-9; 127 is NaN.
  Value bits = arith::ShLIOp::create(b, loc, magnitude, integer(20));
  bits = arith::AddIOp::create(b, loc, bits, integer(120 << 23));
  Value small = arith::UIToFPOp::create(b, loc, f32, magnitude);
  small = arith::MulFOp::create(b, loc, small, constant(b.getF32FloatAttr(0x1p-9f)));
  small = arith::BitcastOp::create(b, loc, i32, small);
  auto choose = [&](arith::CmpIPredicate predicate, int32_t bound, Value value) {
    Value is = arith::CmpIOp::create(b, loc, predicate, magnitude, integer(bound));
    bits = arith::SelectOp::create(b, loc, is, value, bits);
  };
  choose(arith::CmpIPredicate::ult, 8, small);
  choose(arith::CmpIPredicate::eq, 0x7f, integer(0x7fc00000));
  Value sign = arith::AndIOp::create(b, loc, code, integer(0x80));
  sign = arith::ShLIOp::create(b, loc, sign, integer(24));
  return arith::BitcastOp::create(b, loc, f32, arith::OrIOp::create(b, loc, bits, sign));
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
      if (isa<math::MathDialect>(op->getDialect()) || isa<arith::RemFOp, arith::ExtFOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops) {
      if (isInstruction(op))
        continue;
      OpBuilder b(op);
      if (auto widen = dyn_cast<arith::ExtFOp>(op)) {
        if (Value value = expandFloat8(b, widen)) {
          widen.replaceAllUsesWith(value);
          widen.erase();
        }
        continue;
      }
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

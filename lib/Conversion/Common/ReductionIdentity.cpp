//===- ReductionIdentity.cpp - what a reduction may start with ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ReductionIdentity.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

std::optional<TypedAttr> moe::getReductionIdentity(Operation *combine) {
  OpBuilder b(combine->getContext());
  Type type = combine->getResult(0).getType();
  if (isa<arith::MaxSIOp>(combine) && (type.isInteger(32) || type.isInteger(64)))
    return b.getIntegerAttr(type, APInt::getSignedMinValue(type.getIntOrFloatBitWidth()));
  if (!type.isF32())
    return std::nullopt;
  const llvm::fltSemantics &f32 = APFloat::IEEEsingle();
  auto attribute = [&](const APFloat &value) -> std::optional<TypedAttr> { return b.getFloatAttr(type, value); };
  return llvm::TypeSwitch<Operation *, std::optional<TypedAttr>>(combine)
      .Case<arith::AddFOp>([&](auto) { return attribute(APFloat::getZero(f32, /*Negative=*/true)); }) // keeps -0
      .Case<arith::MaximumFOp>([&](auto) { return attribute(APFloat::getInf(f32, /*Negative=*/true)); })
      .Case<arith::MinimumFOp>([&](auto) { return attribute(APFloat::getInf(f32)); })
      .Case<arith::MaxNumFOp, arith::MinNumFOp>([&](auto) { return attribute(APFloat::getQNaN(f32)); })
      .Default([](Operation *) { return std::nullopt; });
}

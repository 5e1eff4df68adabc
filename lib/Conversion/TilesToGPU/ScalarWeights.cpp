//===- ScalarWeights.cpp - one weight at a time ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ScalarWeights.h"

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;
using namespace moe;

static Value i32(ImplicitLocOpBuilder &b, int64_t value) { return arith::ConstantIntOp::create(b, value, 32); }

Value moe::loadNumber(OpBuilder &builder, Location loc, Value memref, ValueRange at) {
  ImplicitLocOpBuilder b(loc, builder);
  Value value = memref::LoadOp::create(b, memref, at);
  if (value.getType().isInteger())
    return arith::ExtSIOp::create(b, b.getI32Type(), value);
  return value.getType().isF32() ? value : arith::ExtFOp::create(b, b.getF32Type(), value);
}

/// The number that `code` (i32) stands for: its lowest eight bits (fp8), or four.
static Value decode(ImplicitLocOpBuilder &b, Value code, StringRef format) {
  if (format == "int4") {
    Value high = arith::ShLIOp::create(b, code, i32(b, 28));
    return arith::SIToFPOp::create(b, b.getF32Type(), arith::ShRSIOp::create(b, high, i32(b, 28)));
  }
  // e4m3 or e2m1 as sign, lowest bits of the exponent and highest of the significand of an f32: all codes, the denormal
  // ones too, stand for 2^-120 or 2^-126 of their value.
  bool isBytes = format == "fp8";
  auto part = [&](int64_t mask, int64_t left) -> Value {
    return arith::ShLIOp::create(b, arith::AndIOp::create(b, code, i32(b, mask)), i32(b, left));
  };
  Value bits = arith::OrIOp::create(b, isBytes ? part(0x7f, 20) : part(7, 22), isBytes ? part(0x80, 24) : part(8, 28));
  Value small = arith::BitcastOp::create(b, b.getF32Type(), bits);
  return arith::MulFOp::create(b, small,
                               arith::ConstantOp::create(b, b.getF32FloatAttr(isBytes ? 0x1p120f : 0x1p126f)));
}

/// 2^(e - 127) of an exponent in i8; 255 is NaN.
static Value decodeExponent(ImplicitLocOpBuilder &b, Value scale) {
  Value exponent = arith::ExtUIOp::create(b, b.getI32Type(), scale);
  Value bits = arith::ShLIOp::create(b, exponent, i32(b, 23));
  auto replace = [&](int64_t exponentWas, int64_t by) {
    Value is = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, exponent, i32(b, exponentWas));
    bits = arith::SelectOp::create(b, is, i32(b, by), bits);
  };
  replace(0, 0x00400000);
  replace(255, 0x7fc00000);
  return arith::BitcastOp::create(b, b.getF32Type(), bits);
}

Value moe::loadWeight(OpBuilder &builder, GroupedMatmulOp op, size_t number, Value group, Value column, Value k) {
  ImplicitLocOpBuilder b(op.getLoc(), builder);
  Value weight = op.getWeights()[number];
  if (!op.getFormat())
    return loadNumber(b, b.getLoc(), weight, {group, column, k});

  AffineExpr d0 = b.getAffineDimExpr(0), d1 = b.getAffineDimExpr(1);
  auto apply = [&](AffineExpr expression) -> Value {
    return affine::AffineApplyOp::create(b, AffineMap::get(2, 0, expression), ValueRange{column, k});
  };
  GroupedMatmulOp::CodePlace place = op.placeOfCode(d0, d1);
  SmallVector<Value> at{group}, scaleAt{group};
  llvm::append_range(at, llvm::map_range(place.byte, apply));
  llvm::append_range(scaleAt, llvm::map_range(place.scale, apply));
  Value byte = arith::ExtUIOp::create(b, b.getI32Type(), memref::LoadOp::create(b, weight, at).getResult());
  Value shift = arith::IndexCastOp::create(b, b.getI32Type(), apply(place.part * op.getCodeBits()));
  Value value = decode(b, arith::ShRUIOp::create(b, byte, shift), *op.getFormat());
  Value scale = memref::LoadOp::create(b, op.getScales()[number], scaleAt);
  if (scale.getType().isInteger())
    scale = decodeExponent(b, scale);
  else if (!scale.getType().isF32())
    scale = arith::ExtFOp::create(b, b.getF32Type(), scale);
  return arith::MulFOp::create(b, value, scale);
}

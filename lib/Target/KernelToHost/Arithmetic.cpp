//===- Arithmetic.cpp - NVVM intrinsics that one thread computes ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/Instructions.h"

using namespace moe::emulator;
using namespace llvm;

/// f32 to tf32, to the nearest: ties away from zero, or to even.
static Value *roundToTf32(Calls &calls, Value *value, bool tiesToEven) {
  Value *bits = calls.CreateBitCast(value, calls.getInt32Ty());
  Value *bias = calls.getInt32(0x1000);
  if (tiesToEven)
    bias = calls.CreateAdd(calls.getInt32(0xfff), calls.CreateAnd(calls.CreateLShr(bits, 13), calls.getInt32(1)));
  Value *rounded = calls.CreateAnd(calls.CreateAdd(bits, bias), calls.getInt32(0xffffe000));
  // Infinities and what is not a number stay.
  Value *isFinite = calls.CreateICmpULT(calls.CreateAnd(bits, calls.getInt32(0x7f800000)), calls.getInt32(0x7f800000));
  return calls.CreateSelect(isFinite, rounded, bits);
}

/// A vector of the two results, the second operand first, as the instructions have it.
static Value *pair(Calls &calls, Value *high, Value *low) {
  Value *vector = PoisonValue::get(FixedVectorType::get(low->getType(), 2));
  vector = calls.CreateInsertElement(vector, low, uint64_t(0));
  return calls.CreateInsertElement(vector, high, uint64_t(1));
}

std::optional<Value *> moe::emulator::convertArithmetic(Calls &calls, StringRef name, CallInst &call) {
  auto argument = [&](unsigned i) { return call.getArgOperand(i); };
  Type *f32 = calls.getFloatTy();
  // The suffix .f or .f32, and .ftz before it.
  StringRef base = name;
  bool isFloat = base.consume_back(".f32") || base.consume_back(".f");
  bool isDouble = !isFloat && (base.consume_back(".f64") || base.consume_back(".d"));
  bool flush = base.consume_back(".ftz");

  // Approximations.
  if (isFloat) {
    StringRef function = StringSwitch<StringRef>(base)
                             .Case("ex2.approx", "moe_simt_exp2")
                             .Case("lg2.approx", "moe_simt_log2")
                             .Case("rsqrt.approx", "moe_simt_rsqrt")
                             .Default({});
    if (!function.empty())
      return calls.callPure(function, f32, {argument(0), calls.getInt32(flush)});
    function = StringSwitch<StringRef>(base)
                   .Case("sin.approx", "moe_simt_sin")
                   .Case("cos.approx", "moe_simt_cos")
                   .Case("tanh.approx", "moe_simt_tanh")
                   .Default({});
    if (!function.empty())
      return calls.callPure(function, f32, {argument(0)});
  }
  // Where denormal numbers are flushed on the GPU, they are not here.
  if (isFloat || isDouble) {
    Type *type = isFloat ? f32 : calls.getDoubleTy();
    if (base == "rcp.approx" || base == "rcp.rn")
      return calls.CreateFDiv(ConstantFP::get(type, 1.0), argument(0));
    if (base == "div.rn" || base == "div.approx" || base == "div.full")
      return calls.CreateFDiv(argument(0), argument(1));
    if (base == "add.rn")
      return calls.CreateFAdd(argument(0), argument(1));
    if (base == "mul.rn")
      return calls.CreateFMul(argument(0), argument(1));
    std::optional<Intrinsic::ID> intrinsic = StringSwitch<std::optional<Intrinsic::ID>>(base)
                                                 .Case("fma.rn", Intrinsic::fma)
                                                 .Cases({"sqrt.rn", "sqrt.approx", "sqrt"}, Intrinsic::sqrt)
                                                 .Case("fabs", Intrinsic::fabs)
                                                 .Case("fmax", Intrinsic::maxnum)
                                                 .Case("fmin", Intrinsic::minnum)
                                                 .Cases({"fmax.nan", "fmax.ftz.nan"}, Intrinsic::maximum)
                                                 .Cases({"fmin.nan", "fmin.ftz.nan"}, Intrinsic::minimum)
                                                 .Case("floor", Intrinsic::floor)
                                                 .Case("ceil", Intrinsic::ceil)
                                                 .Case("trunc", Intrinsic::trunc)
                                                 .Case("round", Intrinsic::roundeven)
                                                 .Default(std::nullopt);
    if (intrinsic) {
      SmallVector<Value *> operands(call.args());
      return calls.CreateIntrinsic(*intrinsic, {type}, operands);
    }
  }

  // Conversions; the types of results differ between the intrinsics and the instructions.
  Type *type = call.getType();
  if (name == "f2bf16.rn")
    return calls.CreateBitCast(roundToBf16(calls, argument(0)), type);
  if (name == "ff2bf16x2.rn")
    return calls.CreateBitCast(pair(calls, roundToBf16(calls, argument(0)), roundToBf16(calls, argument(1))), type);
  if (name == "ff2f16x2.rn") {
    auto convert = [&](unsigned i) { return calls.callPure("moe_simt_to_f16", calls.getInt16Ty(), {argument(i)}); };
    return calls.CreateBitCast(pair(calls, convert(0), convert(1)), type);
  }
  if (name == "f2tf32.rna" || name == "f2tf32.rn")
    return calls.CreateBitCast(roundToTf32(calls, argument(0), name == "f2tf32.rn"), type);
  // Two elements in a word. Their arithmetic is expanded with all other.
  if (name == "fma.rn.bf16x2" || name == "fma.rn.f16x2") {
    Type *pair = FixedVectorType::get(name.ends_with("bf16x2") ? calls.getBFloatTy() : calls.getHalfTy(), 2);
    SmallVector<Value *> operands;
    for (Value *word : call.args())
      operands.push_back(calls.CreateBitCast(word, pair));
    return calls.CreateBitCast(calls.CreateIntrinsic(Intrinsic::fma, {pair}, operands), type);
  }
  if (name == "prmt")
    return calls.callPure("moe_simt_permute_bytes", calls.getInt32Ty(), {argument(0), argument(1), argument(2)});
  return std::nullopt;
}

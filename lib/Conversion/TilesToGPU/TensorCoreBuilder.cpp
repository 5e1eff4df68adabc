//===- TensorCoreBuilder.cpp - what kernels on tensor cores share ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TensorCoreBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace moe;

std::optional<int64_t> moe::rowStride(Value memref, unsigned dim) {
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<int64_t> strides;
  int64_t offset;
  if (failed(type.getStridesAndOffset(strides, offset)) || strides.back() != 1 || ShapedType::isDynamic(strides[dim]))
    return std::nullopt;
  return strides[dim];
}

void TensorCoreBuilder::allocateShared(gpu::GPUFuncOp kernel, int64_t bytes) {
  auto space = gpu::AddressSpaceAttr::get(b.getContext(), gpu::AddressSpace::Workgroup);
  Value memory = kernel.addWorkgroupAttribution(MemRefType::get({bytes}, b.getI8Type(), AffineMap(), space), loc);
  kernel.setWorkgroupAttributionAttr(kernel.getNumWorkgroupAttributions() - 1, "llvm.align", b.getI64IntegerAttr(1024));
  Value address = memref::ExtractAlignedPointerAsIndexOp::create(b, loc, memory);
  address = arith::IndexCastOp::create(b, loc, b.getI64Type(), address);
  shared = LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), address);
}

Value TensorCoreBuilder::sharedAt(Value offset, int64_t more) {
  auto pointer = shared.getType();
  Value at = LLVM::GEPOp::create(b, loc, pointer, b.getI8Type(), shared, ValueRange{offset});
  if (more == 0)
    return at;
  return LLVM::GEPOp::create(b, loc, pointer, b.getI8Type(), at, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(more)});
}

Value TensorCoreBuilder::addressOf(Value memref) {
  auto metadata = memref::ExtractStridedMetadataOp::create(b, loc, memref);
  Value start = memref::ExtractAlignedPointerAsIndexOp::create(b, loc, metadata.getBaseBuffer());
  Value bytes = make<arith::MulIOp>(metadata.getOffset(), elementBytes(memref));
  return make<arith::AddIOp>(start, bytes);
}

Value TensorCoreBuilder::globalPointer(Value address) {
  Value number = arith::IndexCastOp::create(b, loc, b.getI64Type(), address);
  return LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 1), number);
}

Value TensorCoreBuilder::globalAt(Value pointer, Value offset) {
  return LLVM::GEPOp::create(b, loc, pointer.getType(), b.getI8Type(), pointer, ValueRange{offset});
}

Value TensorCoreBuilder::globalAt(Value pointer, int64_t offset) {
  if (offset == 0)
    return pointer;
  return globalAt(pointer, LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(offset)));
}

void TensorCoreBuilder::copyAsync(Value to, Value from, int64_t bytes, Value size) {
  auto cache = bytes == 16 ? NVVM::LoadCacheModifierKind::CG : NVVM::LoadCacheModifierKind::CA;
  NVVM::CpAsyncOp::create(b, loc, to, from, bytes, cache, size);
}

SmallVector<Value, 4> TensorCoreBuilder::loadMatrices(Value address, bool transposed) {
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, b.getI32Type()));
  auto tile = NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8);
  Value four =
      NVVM::LdMatrixOp::create(b, loc, type, address, 4, transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row, tile,
                               NVVM::LdStMatrixEltType::B16);
  SmallVector<Value, 4> registers;
  for (int64_t number = 0; number < 4; ++number)
    registers.push_back(LLVM::ExtractValueOp::create(b, loc, four, number));
  return registers;
}

void TensorCoreBuilder::multiplyAdd(Type element, ArrayRef<Value> a, ArrayRef<Value> columns,
                                    MutableArrayRef<Value> sums) {
  bool isInteger = element.isInteger(8);
  auto kind = isInteger          ? NVVM::MMATypes::s8
              : element.isF32()  ? NVVM::MMATypes::tf32
              : element.isBF16() ? NVVM::MMATypes::bf16
                                 : NVVM::MMATypes::f16;
  Type sum = isInteger ? Type(b.getI32Type()) : Type(b.getF32Type());
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, sum));
  std::optional<NVVM::MMAIntOverflow> overflow;
  if (isInteger)
    overflow = NVVM::MMAIntOverflow::wrapped;
  auto registers = [&](ArrayRef<Value> values) {
    SmallVector<Value> converted(values);
    auto pair = VectorType::get({2}, b.getF16Type());
    if (element.isF16())
      for (Value &value : converted)
        value = LLVM::BitcastOp::create(b, loc, pair, value);
    return converted;
  };
  int64_t depth = 32 * 8 / element.getIntOrFloatBitWidth();
  Value result =
      NVVM::MmaOp::create(b, loc, type, registers(a), registers(columns), sums, ArrayRef<int64_t>{16, 8, depth},
                          std::nullopt, overflow, std::array<NVVM::MMATypes, 2>{kind, kind},
                          std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row, NVVM::MMALayout::col});
  for (int64_t number = 0; number < 4; ++number)
    sums[number] = LLVM::ExtractValueOp::create(b, loc, result, number);
}

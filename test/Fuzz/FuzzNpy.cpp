//===- FuzzNpy.cpp - any bytes as a .npy file -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Convert.h"
#include "moe/Runtime/TensorFile.h"

#include <cstdlib>

using namespace moe::rt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string error;
  std::optional<TensorView> array = parseNpy(data, size, "input", error);
  if (array.has_value() != error.empty() || error.find('\n') != std::string::npos)
    std::abort();
  if (!array)
    return 0;
  if (array->data + array->size != data + size || tensorBytes(array->dtype, array->shape) != int64_t(array->size))
    std::abort();
  // Any bytes are values; converting them there and back must be defined.
  int64_t count = static_cast<int64_t>(array->size / (dtypeBits(array->dtype) / 8));
  for (DType type : {DType::F32, DType::BF16, DType::F16, DType::I32, DType::U64, DType::Bool}) {
    std::vector<unsigned char> converted(count * (dtypeBits(type) / 8)), back(array->size);
    if (convertElements(array->data, array->dtype, converted.data(), type, count, error))
      convertElements(converted.data(), type, back.data(), array->dtype, count, error);
  }
  return 0;
}

//===- FuzzSafetensors.cpp - any bytes as a safetensors file --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Safetensors.h"

#include <cstdlib>

using namespace moe::rt;

/// Does nothing but must not be optimised away: reads a tensor's first and last byte.
static volatile unsigned char sink;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string error;
  std::optional<SafetensorsFile> file = SafetensorsFile::parse(data, size, "input", error);
  if (file.has_value() != error.empty() || error.find('\n') != std::string::npos)
    std::abort();
  if (!file)
    return 0;
  // What is accepted covers the data exactly.
  uint64_t total = 0;
  for (const TensorView &tensor : file->tensors()) {
    std::optional<int64_t> bytes = tensorBytes(tensor.dtype, tensor.shape);
    if (!bytes || static_cast<uint64_t>(*bytes) != tensor.size || file->find(tensor.name) != &tensor)
      std::abort();
    total += tensor.size;
    if (tensor.size > 0)
      sink = tensor.data[0] ^ tensor.data[tensor.size - 1];
  }
  uint64_t header = 0;
  for (int i = 7; i >= 0; --i)
    header = header << 8 | data[i];
  if (8 + header + total != size)
    std::abort();
  return 0;
}

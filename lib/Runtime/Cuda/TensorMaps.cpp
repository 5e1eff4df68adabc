//===- TensorMaps.cpp - descriptions of tensors for bulk copies -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TensorMaps.h"

#include "moe/Runtime/Abi.h"

#include <cstring>
#include <iterator>

namespace moe::rt::cuda {

/// CU_TENSOR_MAP_DATA_TYPE of f16, bf16, f32.
static constexpr int types[] = {6, 9, 7};
/// Descriptions that are kept at most. Weights have a few for each layer; those of rows change with addresses.
static constexpr size_t mostKnown = 4096;

TensorMaps::Description::Description(const void *address, int32_t element, int32_t rank, const int64_t *sizes,
                                     const int64_t *strideBytes, const int32_t *box, int32_t swizzleBytes)
    : address(address), element(element), rank(rank), swizzleBytes(swizzleBytes) {
  if (rank < 1 || rank > rankLimit || element < 0 || element >= static_cast<int32_t>(std::size(types)))
    moe_rt_fail("GPU: a tensor map of an unknown type, or of more than five dimensions");
  for (int32_t d = 0; d < rank; ++d) {
    this->sizes[d] = static_cast<uint64_t>(sizes[d]);
    this->box[d] = static_cast<uint32_t>(box[d]);
    if (d)
      this->strideBytes[d - 1] = static_cast<uint64_t>(strideBytes[d - 1]);
  }
}

void TensorMaps::describe(void *map, const Description &of) {
  if (!api.TensorMapEncodeTiled)
    refuse("expected an NVIDIA driver for CUDA 12 or later but got one without cuTensorMapEncodeTiled; update the "
           "driver, or compile with --gpu-arch=sm_80");
  if (auto found = known.find(of); found != known.end()) {
    memcpy(map, found->second.data(), mapBytes);
    return;
  }
  constexpr int promoteTo256Bytes = 3;
  constexpr uint32_t ones[rankLimit] = {1, 1, 1, 1, 1};
  int swizzle = of.swizzleBytes == 128 ? 3 : of.swizzleBytes == 64 ? 2 : of.swizzleBytes == 32 ? 1 : 0;
  check(api.TensorMapEncodeTiled(map, types[of.element], static_cast<unsigned>(of.rank), of.address, of.sizes.data(),
                                 of.strideBytes.data(), of.box.data(), ones, /*interleave=*/0, swizzle,
                                 promoteTo256Bytes, /*fill=*/0),
        "describing a tensor for bulk copies");
  if (known.size() == mostKnown)
    known.clear();
  memcpy(known[of].data(), map, mapBytes);
}

} // namespace moe::rt::cuda

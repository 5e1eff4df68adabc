//===- TensorMaps.h - descriptions of tensors for bulk copies -------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_CUDA_TENSORMAPS_H
#define MOE_LIB_RUNTIME_CUDA_TENSORMAPS_H

#include "Driver.h"

#include <array>
#include <cstdint>
#include <map>

namespace moe::rt::cuda {

/// The driver's descriptions of tensors (CUtensorMap). A launch asks for those of its operands, the same ones from step
/// to step: they are kept, and the driver is asked once for each.
class TensorMaps {
public:
  static constexpr int32_t rankLimit = 5;
  static constexpr size_t mapBytes = 128;

  /// The arguments of moe_rt_gpu_tensor_map. Ends the process where the rank or the element type is none.
  struct Description {
    Description(const void *address, int32_t element, int32_t rank, const int64_t *sizes, const int64_t *strideBytes,
                const int32_t *box, int32_t swizzleBytes);
    auto operator<=>(const Description &) const = default;

    const void *address;
    int32_t element, rank, swizzleBytes;
    // Of dimensions behind the last zeros; strides of dimensions 1 and on.
    std::array<uint64_t, rankLimit> sizes{}, strideBytes{};
    std::array<uint32_t, rankLimit> box{};
  };

  explicit TensorMaps(const Driver &api) : api(api) {}

  /// Writes the driver's description to `map`, of 128 bytes.
  void describe(void *map, const Description &description);

private:
  const Driver &api;
  /// By what they say alone: memory that was freed and taken again for the same is described alike.
  std::map<Description, std::array<unsigned char, mapBytes>> known;
};

} // namespace moe::rt::cuda

#endif // MOE_LIB_RUNTIME_CUDA_TENSORMAPS_H

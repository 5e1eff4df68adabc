//===- TensorMap.h - what a bulk copy knows of a tensor -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_EMULATOR_TENSORMAP_H
#define MOE_LIB_RUNTIME_EMULATOR_TENSORMAP_H

#include <cstdint>

namespace moe::rt::simt {

/// The emulator's own contents of the 128 bytes of a tensor map. Dimensions are innermost first.
struct TensorMap {
  static constexpr uint64_t magicNumber = 0x70616d726f736e65; // "ensormap"
  static constexpr uint32_t mostDimensions = 5;

  uint64_t magic;
  const char *address;
  uint64_t sizes[mostDimensions];
  uint64_t strides[mostDimensions - 1]; // bytes, of dimension 1 and the ones behind it
  uint16_t box[mostDimensions];
  uint8_t rank, elementBytes, swizzleBytes;

  uint64_t boxBytes() const {
    uint64_t bytes = elementBytes;
    for (uint32_t i = 0; i < rank; ++i)
      bytes *= box[i];
    return bytes;
  }
};
static_assert(sizeof(TensorMap) <= 128);

/// Where the byte at `address` of shared memory lies when rows of `swizzleBytes` bytes (32, 64, 128; 0: none) are
/// swizzled: its chunk of 16 bytes is exchanged by the number of its line of 128 bytes.
inline uint64_t swizzled(uint64_t address, uint32_t swizzleBytes) {
  uint64_t mask = swizzleBytes == 0 ? 0 : swizzleBytes / 16 - 1;
  return address ^ (address >> 7 & mask) << 4;
}

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_TENSORMAP_H

//===- RandomParameters.cpp - parameters from a seed ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Diagnostics.h"
#include "Parameters.h"

#include "moe/Runtime/Convert.h"

#include "llvm/ADT/bit.h"
#include "llvm/Support/xxhash.h"

#include <cstring>
#include <new>

using namespace moe;
using namespace moe::frontend;

/// The finaliser of SplitMix64: element i of a tensor is a hash of key and i, so it depends on nothing else.
static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// Close to normal with standard deviation 0.02: the sum of four uniform 16-bit numbers. Integers and one product only,
/// so the bits are the same everywhere, which the functions of libm do not promise.
static float element(uint64_t key, uint64_t index) {
  uint64_t bits = mix(key + (index + 1) * 0x9e3779b97f4a7c15);
  int32_t sum = 0;
  for (int part = 0; part < 4; ++part)
    sum += static_cast<int32_t>((bits >> (16 * part)) & 0xffff);
  // Mean 2 * 65535; a uniform number's deviation is 65536 / sqrt(12), that of four is twice as much.
  constexpr float scale = static_cast<float>(0.02 / (65536 / 1.7320508075688772));
  return static_cast<float>(sum - 2 * 65535) * scale;
}

/// Nearest, ties to even; for finite values.
static uint16_t toBf16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename T, typename Convert>
static void fillTensor(char *bytes, int64_t count, Init init, uint64_t key, Convert convert) {
  for (int64_t i = 0; i < count; ++i) {
    float value = init == Init::Normal ? element(key, i) : init == Init::One ? 1.0f : 0.0f;
    T stored = convert(value);
    std::memcpy(bytes + i * sizeof(T), &stored, sizeof(T));
  }
}

llvm::Expected<rt::DType> RandomParameters::declare(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init) {
  std::optional<int64_t> size = rt::tensorBytes(dtype, shape.vec());
  if (!size || *size > maxBytes - total)
    return errorIn(path, "with tensor " + quoted(name) + " of shape " + shapeText(shape) + " the model has more than " +
                             llvm::Twine(maxBytes) + " bytes");
  total += *size;
  declared[name] = Entry{shape.vec(), init};
  return dtype;
}

llvm::Expected<ParameterData> RandomParameters::get(llvm::StringRef name) {
  auto found = declared.find(name);
  if (found == declared.end())
    return errorIn(path, "tensor " + quoted(name) + " is no parameter of the model");
  const Entry &entry = found->second;
  int64_t size = *rt::tensorBytes(dtype, entry.shape);
  std::shared_ptr<char[]> bytes(new (std::nothrow) char[size]);
  if (!bytes)
    return errorIn(path, "tensor " + quoted(name) + " of " + llvm::Twine(size) + " bytes does not fit into memory");
  int64_t count = size / (rt::dtypeBits(dtype) / 8);
  uint64_t key = mix(seed ^ llvm::xxh3_64bits(name));
  switch (dtype) {
  case rt::DType::BF16:
    fillTensor<uint16_t>(bytes.get(), count, entry.init, key, toBf16);
    break;
  case rt::DType::F16:
    fillTensor<uint16_t>(bytes.get(), count, entry.init, key, rt::floatToF16);
    break;
  default:
    fillTensor<float>(bytes.get(), count, entry.init, key, [](float value) { return value; });
    break;
  }
  std::string_view typeName = rt::dtypeName(dtype);
  return ParameterData{llvm::StringRef(typeName.data(), typeName.size()), entry.shape,
                       llvm::ArrayRef<char>(bytes.get(), size), bytes};
}

//===- RandomParameters.cpp - parameters from a seed ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Diagnostics.h"
#include "Parameters.h"

#include "moe/Runtime/Convert.h"
#include "moe/Runtime/ThreadPool.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/APInt.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/xxhash.h"

#include <algorithm>
#include <array>
#include <new>

using namespace moe;
using namespace moe::frontend;

/// The finaliser of SplitMix64: element i of a tensor is a hash of key and i, so it depends on nothing else.
[[gnu::always_inline]] static inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// The sum of four uniform 16-bit numbers.
[[gnu::always_inline]] static inline int32_t uniformSum(uint64_t key, uint64_t index) {
  uint64_t bits = mix(key + (index + 1) * 0x9e3779b97f4a7c15);
  int32_t sum = 0;
  for (int part = 0; part < 4; ++part)
    sum += static_cast<int32_t>((bits >> (16 * part)) & 0xffff);
  return sum;
}

/// Close to normal with standard deviation 0.02, from such a sum. Integers and one product only, so the bits are the
/// same everywhere, which the functions of libm do not promise.
[[gnu::always_inline]] static inline float toNormal(int32_t sum) {
  // Mean 2 * 65535; a uniform number's deviation is 65536 / sqrt(12), that of four is twice as much.
  constexpr float scale = static_cast<float>(0.02 / (65536 / 1.7320508075688772));
  return static_cast<float>(sum - 2 * 65535) * scale;
}
[[gnu::always_inline]] static inline float element(uint64_t key, uint64_t index) {
  return toNormal(uniformSum(key, index));
}

/// Nearest, ties to even; for finite values.
[[gnu::always_inline]] static inline uint16_t toBf16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// Elements [begin, end) of a tensor of normal numbers. Inlined into functions for the instruction sets below: a 64-bit
/// product of vectors takes AVX-512, and is what the time goes into. The same bits in all of them.
template <typename T, typename Convert>
[[gnu::always_inline]] static inline void fillNormal(T *to, int64_t begin, int64_t end, uint64_t key, Convert convert) {
  for (int64_t i = begin; i < end; ++i)
    to[i] = convert(element(key, static_cast<uint64_t>(i)));
}

static void fillPlain(uint16_t *to, int64_t begin, int64_t end, uint64_t key) {
  fillNormal(to, begin, end, key, toBf16);
}
static void fillPlain(float *to, int64_t begin, int64_t end, uint64_t key) {
  fillNormal(to, begin, end, key, [](float value) { return value; });
}

#if defined(__x86_64__)
#define MOE_WIDE [[gnu::target("avx512f,avx512dq,avx512bw,avx512vl")]]
MOE_WIDE static void fillWide(uint16_t *to, int64_t begin, int64_t end, uint64_t key) {
  fillNormal(to, begin, end, key, toBf16);
}
MOE_WIDE static void fillWide(float *to, int64_t begin, int64_t end, uint64_t key) {
  fillNormal(to, begin, end, key, [](float value) { return value; });
}
#undef MOE_WIDE
static bool isWide() { return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"); }
#else
static bool isWide() { return false; }
template <typename T> static void fillWide(T *to, int64_t begin, int64_t end, uint64_t key) {
  fillPlain(to, begin, end, key);
}
#endif

/// About what a code of 1 stands for. The largest number, below 0.07, has a code below 448 then.
static constexpr float codeScale = 1.0f / 4096;

/// Codes (e4m3) of normal numbers by the upper 8 bits of their sums, which are at most 4 * 65535.
static std::array<uint8_t, 256> codesOfSums() {
  std::array<uint8_t, 256> codes;
  for (int32_t bin = 0; bin < 256; ++bin) {
    llvm::APFloat value(toNormal((bin << 10) + 512) / codeScale);
    bool losesInfo;
    value.convert(llvm::APFloat::Float8E4M3FN(), llvm::APFloat::rmNearestTiesToEven, &losesInfo);
    codes[bin] = static_cast<uint8_t>(value.bitcastToAPInt().getZExtValue());
  }
  return codes;
}

/// Elements are counted, so it does not matter which thread makes which.
static void fillTensor(char *bytes, int64_t count, rt::DType dtype, Init init, uint64_t key) {
  constexpr int64_t piece = 1 << 16;
  auto fill = [&](auto *to, auto constant, auto normal) {
    rt::parallelFor((count + piece - 1) / piece, [&](int64_t first, int64_t last) {
      int64_t begin = first * piece, end = std::min(last * piece, count);
      if (init != Init::One && init != Init::Zero)
        normal(to, begin, end);
      else
        std::fill(to + begin, to + end, constant);
    });
  };
  float constant = init == Init::One ? 1.0f : 0.0f;
  auto fast = [&](auto *to, int64_t begin, int64_t end) {
    isWide() ? fillWide(to, begin, end, key) : fillPlain(to, begin, end, key);
  };
  if (init == Init::Codes) {
    std::array<uint8_t, 256> codes = codesOfSums();
    return fill(reinterpret_cast<uint8_t *>(bytes), uint8_t(0), [&](uint8_t *to, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        to[i] = codes[uniformSum(key, static_cast<uint64_t>(i)) >> 10];
    });
  }
  if (init == Init::Scales) // no two blocks have the same
    return fill(reinterpret_cast<float *>(bytes), 0.0f, [&](float *to, int64_t begin, int64_t end) {
      fillNormal(to, begin, end, key, [](float value) { return codeScale * (1 + value); });
    });
  auto *narrow = reinterpret_cast<uint16_t *>(bytes);
  switch (dtype) {
  case rt::DType::BF16:
    return fill(narrow, toBf16(constant), fast);
  case rt::DType::F16:
    return fill(narrow, rt::floatToF16(constant),
                [&](uint16_t *to, int64_t begin, int64_t end) { fillNormal(to, begin, end, key, rt::floatToF16); });
  default:
    return fill(reinterpret_cast<float *>(bytes), constant, fast);
  }
}

/// Routers, the embedding and the output head stay as they are.
bool RandomParameters::hasCodes(llvm::StringRef name) {
  return withCodes && (name.contains(".experts.") || name.ends_with("_proj.weight"));
}

llvm::Expected<rt::DType> RandomParameters::declare(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init) {
  rt::DType stored = init == Init::Codes ? rt::DType::F8E4M3 : init == Init::Scales ? rt::DType::F32 : dtype;
  std::optional<int64_t> size = rt::tensorBytes(stored, shape.vec());
  if (!size || *size > maxBytes - total)
    return errorIn(path, "with tensor " + quoted(name) + " of shape " + shapeText(shape) + " the model has more than " +
                             llvm::Twine(maxBytes) + " bytes");
  total += *size;
  declared[name] = Entry{shape.vec(), init, stored};
  return stored;
}

llvm::Expected<ParameterData> RandomParameters::get(llvm::StringRef name) {
  auto found = declared.find(name);
  if (found == declared.end())
    return errorIn(path, "tensor " + quoted(name) + " is no parameter of the model");
  const Entry &entry = found->second;
  int64_t size = *rt::tensorBytes(entry.dtype, entry.shape);
  std::shared_ptr<char[]> bytes(new (std::nothrow) char[size]);
  if (!bytes)
    return errorIn(path, "tensor " + quoted(name) + " of " + llvm::Twine(size) + " bytes does not fit into memory");
  int64_t count = size / (rt::dtypeBits(entry.dtype) / 8);
  uint64_t key = mix(seed ^ llvm::xxh3_64bits(name));
  fillTensor(bytes.get(), count, entry.dtype, entry.init, key);
  std::string_view typeName = rt::dtypeName(entry.dtype);
  return ParameterData{llvm::StringRef(typeName.data(), typeName.size()), entry.shape,
                       llvm::ArrayRef<char>(bytes.get(), size), bytes};
}

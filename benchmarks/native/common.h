// What the native programs share: memory in huge pages, bfloat16 conversions, errors for a caller in C.
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_BENCHMARKS_NATIVE_COMMON_H
#define MOE_BENCHMARKS_NATIVE_COMMON_H

#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <sys/mman.h>
#include <utility>

namespace bench {

/// What made the last call of guarded() fail.
inline thread_local std::string message;

/// Calls `f`; false where it throws, as callers in C cannot catch.
template <typename F> bool guarded(F f) {
  try {
    f();
    return true;
  } catch (const std::exception &error) {
    message = error.what();
    return false;
  }
}

/// Memory from the kernel, in huge pages where it has them; zero at first.
class Pages {
public:
  Pages() = default;
  explicit Pages(size_t bytes, bool huge = true) : size(bytes) {
    if (bytes == 0)
      return;
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      throw std::bad_alloc();
    madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    begin = static_cast<char *>(p);
  }
  Pages(Pages &&other) noexcept : begin(other.begin), size(other.size) { other.begin = nullptr; }
  Pages &operator=(Pages &&other) noexcept {
    std::swap(begin, other.begin);
    std::swap(size, other.size);
    return *this;
  }
  ~Pages() {
    if (begin)
      munmap(begin, size);
  }
  template <typename T> T *as() const { return reinterpret_cast<T *>(begin); }
  char *begin = nullptr;
  size_t size = 0;
};

inline float fromBf16(uint16_t bits) {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

/// Nearest bfloat16, ties to even.
inline uint16_t toBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

} // namespace bench

#endif // MOE_BENCHMARKS_NATIVE_COMMON_H

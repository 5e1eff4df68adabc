//===- Cpu.cpp - instruction-set levels of this machine -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Cpu.h"

#include <array>
#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace moe::rt {
namespace {

#if defined(__x86_64__)

/// Registers of the cpuid leaves that features are looked up in, plus the state components the operating system saves.
enum Word : uint8_t { leaf1C, leaf1D, leaf7B, leaf7C, leaf7D, leaf7Sub1A, extendedC, xcr0, wordCount };

struct Feature {
  Word word;
  uint8_t bit;
};

// Bits from the processor manuals ("CPUID" and "XCR0").
constexpr Feature sse3{leaf1C, 0}, ssse3{leaf1C, 9}, fma{leaf1C, 12}, cx16{leaf1C, 13}, sse41{leaf1C, 19},
    sse42{leaf1C, 20}, movbe{leaf1C, 22}, popcnt{leaf1C, 23}, osxsave{leaf1C, 27}, avx{leaf1C, 28}, f16c{leaf1C, 29},
    lahf{extendedC, 0}, lzcnt{extendedC, 5}, bmi1{leaf7B, 3}, avx2{leaf7B, 5}, bmi2{leaf7B, 8}, avx512f{leaf7B, 16},
    avx512dq{leaf7B, 17}, avx512cd{leaf7B, 28}, avx512bw{leaf7B, 30}, avx512vl{leaf7B, 31}, savesXmm{xcr0, 1},
    avx512vnni{leaf7C, 11}, amxBf16{leaf7D, 22}, amxTile{leaf7D, 24}, amxInt8{leaf7D, 25}, avx512bf16{leaf7Sub1A, 5},
    savesYmm{xcr0, 2}, savesMasks{xcr0, 5}, savesZmmHigh{xcr0, 6}, savesZmm16{xcr0, 7}, savesTileShape{xcr0, 17},
    savesTiles{xcr0, 18};

/// A level needs its own features and those of the level it builds on (an index of `levels`, or -1).
struct Level {
  const char *name;
  int base;
  std::array<Feature, 20> features;
  int featureCount;
};

template <typename... Features> constexpr Level makeLevel(const char *name, int base, Features... features) {
  return {name, base, {features...}, sizeof...(features)};
}

// Best first. A new level is one more row and its name in the compiler's list.
constexpr Level levels[] = {
    makeLevel("amx", 1, amxTile, amxBf16, amxInt8, savesTileShape, savesTiles),
    makeLevel("avx512bf16", 2, avx512bf16),
    makeLevel("avx512", 3, avx512f, avx512bw, avx512cd, avx512dq, avx512vl, avx512vnni, savesMasks, savesZmmHigh,
              savesZmm16),
    makeLevel("avx2", 4, sse3, ssse3, cx16, sse41, sse42, popcnt, lahf, fma, movbe, osxsave, avx, f16c, lzcnt, bmi1,
              avx2, bmi2, savesXmm, savesYmm),
    makeLevel("x86-64", -1),
};

std::array<uint32_t, wordCount> readWords() {
  std::array<uint32_t, wordCount> words{};
  uint32_t a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    words[leaf1C] = c;
    words[leaf1D] = d;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    words[leaf7B] = b;
    words[leaf7C] = c;
    words[leaf7D] = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
      words[leaf7Sub1A] = a;
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d))
    words[extendedC] = c;
  // xgetbv is an illegal instruction where the system has not turned it on.
  if (words[leaf1C] >> osxsave.bit & 1) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    words[xcr0] = low;
  }
  return words;
}

/// Linux lets a process use the tile registers once it has asked: their state is large, and signal stacks must have
/// room for it. The permission is the process's, so threads that run already have it too.
bool mayUseTiles() {
#if defined(__linux__)
  constexpr long requestPermission = 0x1023, tileData = 18; // ARCH_REQ_XCOMP_PERM, number of the state component
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
#else
  return false;
#endif
}

bool available(int index) {
  static const std::array<uint32_t, wordCount> words = readWords();
  const Level &level = levels[index];
  for (; index >= 0; index = levels[index].base)
    for (int i = 0; i < levels[index].featureCount; ++i)
      if (!(words[levels[index].features[i].word] >> levels[index].features[i].bit & 1))
        return false;
  if (level.name != std::string_view("amx"))
    return true;
  static const bool permitted = mayUseTiles();
  return permitted;
}

#else

#if !defined(__aarch64__)
#error "unknown architecture: add its instruction-set levels here"
#endif

/// A level needs these of the bits that the system sets for what the processor has (AT_HWCAP2).
struct Level {
  const char *name;
  unsigned long bits;
};

constexpr unsigned long hasBf16 = 1 << 14; // HWCAP2_BF16

constexpr Level levels[] = {{"aarch64-bf16", hasBf16}, {"aarch64", 0}};

bool available(int index) {
  static const unsigned long found = getauxval(AT_HWCAP2);
  return (found & levels[index].bits) == levels[index].bits;
}

#endif

} // namespace

std::vector<std::string> knownIsaLevels() {
  std::vector<std::string> names;
  for (const Level &level : levels)
    names.emplace_back(level.name);
  return names;
}

bool isaLevelAvailable(std::string_view level) {
  if (level == gpuLevel)
    return true;
#if defined(__x86_64__)
  if (level == emulatedAmxLevel)
    return true;
#endif
  for (int i = 0; i < int(std::size(levels)); ++i)
    if (level == levels[i].name)
      return available(i);
  return false;
}

std::string chooseIsaLevel(const std::vector<std::string> &candidates) {
  for (const std::string &level : candidates)
    if (isaLevelAvailable(level))
      return level;
  return {};
}

} // namespace moe::rt

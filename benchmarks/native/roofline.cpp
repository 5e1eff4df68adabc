// Measures what this machine can do: bytes read from memory per second, and the rates of the instructions that matrix
// products are made of. Prints JSON. Usage: roofline THREADS MEGABYTES SECONDS_PER_CONFIGURATION
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "common.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

#ifndef __x86_64__
#error "the roofline is written for x86-64"
#endif

namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

volatile uint64_t sink;

/// Runs body(thread) on `threads` threads at once; seconds from the common start to the last end.
double together(int threads, const std::function<void(int)> &body) {
  std::atomic<int> waiting{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t)
    pool.emplace_back([&, t] {
      ++waiting;
      while (!go)
        std::this_thread::yield();
      body(t);
    });
  while (waiting < threads)
    std::this_thread::yield();
  auto start = Clock::now();
  go = true;
  for (auto &thread : pool)
    thread.join();
  return secondsSince(start);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Reads [begin, begin + bytes) in `streams` parts side by side, a cache line of each in turn.
typedef uint64_t Line __attribute__((vector_size(64)));
#define DEFINE_READ(NAME, TARGET)                                                                                      \
  __attribute__((target(TARGET))) void NAME(const char *begin, size_t bytes, int streams) {                            \
    size_t part = bytes / streams / 4096 * 4096;                                                                       \
    Line sum = {};                                                                                                     \
    for (size_t at = 0; at < part; at += 256)                                                                          \
      for (int s = 0; s < streams; ++s) {                                                                              \
        const char *p = begin + s * part + at;                                                                         \
        for (int line = 0; line < 256; line += 64) {                                                                   \
          __builtin_prefetch(p + 1024 + line);                                                                         \
          sum |= *reinterpret_cast<const Line *>(p + line);                                                            \
        }                                                                                                              \
      }                                                                                                                \
    sink = sum[0] | sum[1] | sum[2] | sum[3] | sum[4] | sum[5] | sum[6] | sum[7];                                      \
  }
DEFINE_READ(read512, "avx512f")
DEFINE_READ(read256, "avx2")
DEFINE_READ(read128, "sse2")

struct Bandwidth {
  double best = 0;
  int streams = 0;
};

Bandwidth bandwidth(int threads, size_t bytes, bool huge, double seconds) {
  bench::Pages pages(bytes + 4096, huge);
  std::fill(pages.begin, pages.begin + bytes, 1);
  auto *read = __builtin_cpu_supports("avx512f") ? read512 : __builtin_cpu_supports("avx2") ? read256 : read128;
  Bandwidth result;
  size_t share = bytes / threads / 4096 * 4096;
  for (int streams : {1, 2, 4, 8, 16}) {
    auto start = Clock::now();
    do {
      double took = together(threads, [&](int t) { read(pages.begin + t * share, share, streams); });
      double rate = static_cast<double>(share) * threads / took * 1e-9;
      if (rate > result.best)
        result = {rate, streams};
    } while (secondsSince(start) < seconds);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Instructions
//===----------------------------------------------------------------------===//

// Each loop keeps independent sums in registers and nothing else in the way.

#define ROW(op, r) op " %%" r "14, %%" r "15, %%" r
#define CODE12(op, r)                                                                                                  \
  ROW(op, r)                                                                                                           \
  "0\n" ROW(op, r) "1\n" ROW(op, r) "2\n" ROW(op, r) "3\n" ROW(op, r) "4\n" ROW(op, r) "5\n" ROW(op, r) "6\n" ROW(     \
      op, r) "7\n" ROW(op, r) "8\n" ROW(op, r) "9\n" ROW(op, r) "10\n" ROW(op, r) "11\n"

#define CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"
#define DEFINE_RATE(NAME, OP, R)                                                                                       \
  void NAME(int64_t rounds) {                                                                                          \
    asm volatile("vzeroall" ::: CLOBBERED, "xmm12", "xmm13", "xmm14", "xmm15"); /* no denormals, no NaNs */            \
    for (int64_t i = 0; i < rounds; ++i)                                                                               \
      asm volatile(CODE12(OP, R)::: CLOBBERED);                                                                        \
  }
DEFINE_RATE(fma512, "vfmadd231ps", "zmm")
DEFINE_RATE(fma256, "vfmadd231ps", "ymm")
DEFINE_RATE(dot512, "vdpbf16ps", "zmm")
DEFINE_RATE(vnni512, "vpdpbusd", "zmm")
DEFINE_RATE(vnni256, "%{vex%} vpdpbusd", "ymm")

void sse(int64_t rounds) {
  for (int64_t i = 0; i < rounds; ++i) // multiplications and additions in chains of their own
    asm volatile("pxor %%xmm14, %%xmm14\npxor %%xmm15, %%xmm15\n"
                 "mulps %%xmm14, %%xmm0\naddps %%xmm15, %%xmm1\nmulps %%xmm14, %%xmm2\naddps %%xmm15, %%xmm3\n"
                 "mulps %%xmm14, %%xmm4\naddps %%xmm15, %%xmm5\nmulps %%xmm14, %%xmm6\naddps %%xmm15, %%xmm7\n"
                 "mulps %%xmm14, %%xmm8\naddps %%xmm15, %%xmm9\nmulps %%xmm14, %%xmm10\naddps %%xmm15, %%xmm11\n" ::
                     : CLOBBERED, "xmm14", "xmm15");
}

/// Leave to use AMX tiles; asked for once.
bool amxAllowed() {
  static const bool allowed = syscall(SYS_arch_prctl, /*ARCH_REQ_XCOMP_PERM=*/0x1023, /*tile data=*/18) == 0;
  return allowed;
}

void configureTiles() {
  alignas(64) uint8_t config[64] = {1};
  for (int tile = 0; tile < 8; ++tile) {
    config[16 + 2 * tile] = 64; // bytes per row
    config[48 + tile] = 16;     // rows
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
  asm volatile("tilezero %tmm0\ntilezero %tmm1\ntilezero %tmm2\ntilezero %tmm3\n"
               "tilezero %tmm4\ntilezero %tmm5\ntilezero %tmm6\ntilezero %tmm7");
}

void tileBf16(int64_t rounds) {
  configureTiles();
  for (int64_t i = 0; i < rounds; ++i)
    asm volatile("tdpbf16ps %tmm6, %tmm4, %tmm0\ntdpbf16ps %tmm7, %tmm4, %tmm1\n"
                 "tdpbf16ps %tmm6, %tmm5, %tmm2\ntdpbf16ps %tmm7, %tmm5, %tmm3");
  asm volatile("tilerelease");
}

void tileInt8(int64_t rounds) {
  configureTiles();
  for (int64_t i = 0; i < rounds; ++i)
    asm volatile("tdpbssd %tmm6, %tmm4, %tmm0\ntdpbssd %tmm7, %tmm4, %tmm1\n"
                 "tdpbssd %tmm6, %tmm5, %tmm2\ntdpbssd %tmm7, %tmm5, %tmm3");
  asm volatile("tilerelease");
}

struct Instruction {
  const char *kind, *name;
  void (*loop)(int64_t);
  double operations; // per round
  bool present;
};

double rate(const Instruction &instruction, int threads, double seconds) {
  double best = 0;
  int64_t rounds = 1000;
  auto start = Clock::now();
  do {
    double took = together(threads, [&](int) { instruction.loop(rounds); });
    best = std::max(best, instruction.operations * static_cast<double>(rounds) * threads / took * 1e-9);
    if (took < 0.02)
      rounds *= 2;
  } while (secondsSince(start) < seconds);
  return best;
}

/// The words of /proc/cpuinfo's line of flags.
bool cpuHas(const std::string &flag) {
  static const std::string flags = [] {
    std::string text = " ";
    if (FILE *file = std::fopen("/proc/cpuinfo", "r")) {
      char line[8192];
      while (std::fgets(line, sizeof(line), file))
        if (std::string(line).rfind("flags", 0) == 0) {
          text = line;
          break;
        }
      std::fclose(file);
    }
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text + " ";
  }();
  return flags.find(" " + flag + " ") != std::string::npos;
}

} // namespace

int main(int argc, char **argv) {
  int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  size_t bytes = static_cast<size_t>(argc > 2 ? std::atoi(argv[2]) : 1024) << 20;
  double seconds = argc > 3 ? std::atof(argv[3]) : 0.3;

  Bandwidth huge = bandwidth(threads, bytes, true, seconds), small = bandwidth(threads, bytes, false, seconds);
  std::printf("{\"threads\": %d, \"bandwidth\": {\"huge_pages\": %.2f, \"huge_streams\": %d, \"small_pages\": %.2f, "
              "\"small_streams\": %d}, \"peak\": {",
              threads, huge.best, huge.streams, small.best, small.streams);

  bool avx512 = cpuHas("avx512f"), tile = cpuHas("amx_tile") && amxAllowed();
  // Per kind the best first; the rate of the first that is present counts.
  const Instruction all[] = {
      {"f32", "AVX-512 FMA", fma512, 12 * 16 * 2, avx512},
      {"f32", "AVX2 FMA", fma256, 12 * 8 * 2, cpuHas("fma")},
      {"f32", "SSE", sse, 12 * 4, true},
      {"bf16", "AMX bf16", tileBf16, 4.0 * 16 * 16 * 32 * 2, tile && cpuHas("amx_bf16")},
      {"bf16", "AVX-512 bf16", dot512, 12 * 16 * 4, cpuHas("avx512_bf16")},
      {"bf16", "AVX-512 FMA", fma512, 12 * 16 * 2, avx512},
      {"bf16", "AVX2 FMA", fma256, 12 * 8 * 2, cpuHas("fma")},
      {"bf16", "SSE", sse, 12 * 4, true},
      {"int8", "AMX int8", tileInt8, 4.0 * 16 * 16 * 64 * 2, tile && cpuHas("amx_int8")},
      {"int8", "AVX-512 VNNI", vnni512, 12 * 16 * 8, cpuHas("avx512_vnni")},
      {"int8", "AVX VNNI", vnni256, 12 * 8 * 8, cpuHas("avx_vnni")},
      {"int8", "AVX2 FMA", fma256, 12 * 8 * 2, cpuHas("fma")},
      {"int8", "SSE", sse, 12 * 4, true},
  };
  std::string done;
  for (const Instruction &instruction : all) {
    std::string kind = instruction.kind;
    if (!instruction.present || done == kind)
      continue;
    std::printf("%s\"%s\": {\"instruction\": \"%s\", \"gops\": %.1f}", done.empty() ? "" : ", ", instruction.kind,
                instruction.name, rate(instruction, threads, 2 * seconds));
    done = kind;
  }
  std::printf("}}\n");
  return 0;
}

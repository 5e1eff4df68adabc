//===- Roofline.h - what this machine can do at most ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_APP_ROOFLINE_H
#define MOE_LIB_RUNTIME_APP_ROOFLINE_H

#include <cstdint>
#include <string>

namespace moe::rt {

/// Limits of this machine for a number of threads and an instruction-set level.
struct Roofline {
  double flops = 0; // f32 operations per second, a fused multiply-add counts two
  double bytes = 0; // read per second
};

/// Measures both with `threadCount()` threads, in about a fifth of a second. Bandwidth is that of reading `footprint`
/// bytes (between 1 and 256 MiB) again and again: where the weights fit into a cache, the cache is the limit.
Roofline measureRoofline(const std::string &isa, uint64_t footprint);

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_ROOFLINE_H

//===- ThreadPool.h - worker threads of the runtime -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One pool per process, behind `moe_rt_parallel_for` (Abi.h). Workers are started when they are first needed and stay.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_THREADPOOL_H
#define MOE_RUNTIME_THREADPOOL_H

#include "moe/Runtime/Abi.h"

#include <memory>
#include <type_traits>

namespace moe::rt {

/// Number of cores this process may use: the smaller of its scheduling affinity and its control group's cpu quota
/// (rounded up). At least 1. Read anew at each call.
int usableCores();

/// Most threads a pool may have.
constexpr int maxThreads = 1024;

/// Threads that `moe_rt_parallel_for` uses, the caller's included. `usableCores()` until set.
int threadCount();

/// Sets the number of threads to `count`, clamped to [1, maxThreads]. Takes effect at the next parallel loop; must not
/// be called from inside one.
void setThreadCount(int count);

/// Calls `body(begin, end)` on disjoint ranges that cover [0, count); returns when all are done. `body` must not throw.
/// `work` as for moe_rt_parallel_for.
template <typename Body> void parallelFor(int64_t count, Body &&body, int64_t work = 0) {
  using Plain = std::remove_reference_t<Body>;
  moe_rt_parallel_for(
      [](void *context, int64_t begin, int64_t end, void *) { (*static_cast<Plain *>(context))(begin, end); },
      const_cast<std::remove_const_t<Plain> *>(std::addressof(body)), count, /*scratchBytes=*/0, work);
}

/// The same for `body(begin, end, scratch)`, with that many bytes of scratch memory.
template <typename Body>
void parallelForWithScratch(int64_t count, int64_t scratchBytes, Body &&body, int64_t work = 0) {
  using Plain = std::remove_reference_t<Body>;
  moe_rt_parallel_for([](void *context, int64_t begin, int64_t end,
                         void *scratch) { (*static_cast<Plain *>(context))(begin, end, scratch); },
                      const_cast<std::remove_const_t<Plain> *>(std::addressof(body)), count, scratchBytes, work);
}

} // namespace moe::rt

#endif // MOE_RUNTIME_THREADPOOL_H

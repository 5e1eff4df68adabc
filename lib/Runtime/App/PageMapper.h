//===- PageMapper.h - maps the pages of a file before they are read -*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_APP_PAGEMAPPER_H
#define MOE_LIB_RUNTIME_APP_PAGEMAPPER_H

#include <atomic>
#include <cstddef>
#include <thread>

namespace moe::rt {

/// Enters the pages of mapped memory into the page table by a thread of its own, at low priority. Otherwise the first
/// token that chooses an expert faults all over its weights, which takes about a third of the time of reading them.
class PageMapper {
public:
  /// Starts with `size` bytes from `begin` on, which must stay mapped until the destructor has run. Does nothing where
  /// the system has no way to do it, or no thread to spare.
  PageMapper(const unsigned char *begin, size_t size);
  /// Stops, done or not.
  ~PageMapper();
  PageMapper(const PageMapper &) = delete;

  /// Whether `size` bytes are worth a thread, and few enough to stay in memory all at a time.
  static bool isWorthwhile(size_t size);

  /// Ends the work: of an object that will not be destroyed, as its library is unloaded.
  void stop();

private:
  void run(const unsigned char *begin, size_t size);

  std::atomic<bool> stopping{false};
  std::thread thread;
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_APP_PAGEMAPPER_H

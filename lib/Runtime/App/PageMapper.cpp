//===- PageMapper.cpp - maps the pages of a file before they are read -----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PageMapper.h"

#include <algorithm>
#include <mutex>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 // Linux 5.14; older ones refuse it
#endif

namespace moe::rt {
namespace {

/// Between two looks at whether to stop: some thirty microseconds of work if the file is in memory. Meanwhile other
/// threads can map nothing.
constexpr size_t chunk = size_t(1) << 20;
/// Fewer bytes fault in less time than matters.
constexpr size_t leastBytes = size_t(16) << 20;

/// Those whose threads may be running.
struct Mappers {
  std::mutex mutex;
  std::vector<PageMapper *> all;
};

Mappers &mappers() {
  static Mappers *instance = new Mappers;
  return *instance;
}

/// A library that is unloaded must not leave threads in its code.
__attribute__((destructor)) void stopMappers() {
  std::lock_guard lock(mappers().mutex);
  for (PageMapper *mapper : mappers().all)
    mapper->stop();
}

} // namespace

bool PageMapper::isWorthwhile(size_t size) {
  long pages = sysconf(_SC_PHYS_PAGES), pageSize = sysconf(_SC_PAGESIZE);
  return size >= leastBytes && pages > 0 && pageSize > 0 && size / size_t(pageSize) <= size_t(pages) / 2;
}

PageMapper::PageMapper(const unsigned char *begin, size_t size) {
  try {
    thread = std::thread([=, this] { run(begin, size); });
  } catch (const std::system_error &) {
    return;
  }
  std::lock_guard lock(mappers().mutex);
  mappers().all.push_back(this);
}

PageMapper::~PageMapper() {
  {
    std::lock_guard lock(mappers().mutex);
    std::erase(mappers().all, this);
  }
  stop();
}

void PageMapper::stop() {
  stopping = true;
  if (thread.joinable())
    thread.join();
}

void PageMapper::run(const unsigned char *begin, size_t size) {
  // Where the workers have all cores, they need them more; a system that knows no priorities of threads says no.
  constexpr int niceness = 10;
  setpriority(PRIO_PROCESS, id_t(syscall(SYS_gettid)), niceness);
  for (size_t done = 0; done < size && !stopping; done += chunk) {
    auto from = const_cast<unsigned char *>(begin) + done;
    if (madvise(from, std::min(chunk, size - done), MADV_POPULATE_READ) != 0)
      return;
  }
}

} // namespace moe::rt

//===- UsableCores.cpp - cores this process may use -----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <string>
#include <thread>

namespace moe::rt {
namespace {

/// The text of a small file; empty if it cannot be read.
std::string readSmall(const std::string &path) {
  std::string text;
  if (FILE *file = fopen(path.c_str(), "re")) {
    char buffer[4096];
    while (size_t got = fread(buffer, 1, sizeof buffer, file))
      text.append(buffer, got);
    fclose(file);
  }
  return text;
}

int affinityCores() {
  // The kernel refuses a mask smaller than its own; machines beyond 1024 cores need a larger one.
  for (int bits = 1024; bits <= 1 << 20; bits *= 4) {
    cpu_set_t *set = CPU_ALLOC(bits);
    size_t size = CPU_ALLOC_SIZE(bits);
    int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0)
      return count;
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

/// Cores of a quota of `quota` microseconds per `period`; a large number if there is no limit.
int quotaCores(long long quota, long long period) {
  constexpr int unlimited = 1 << 20;
  if (quota <= 0 || period <= 0)
    return unlimited;
  return int(std::min<long long>(unlimited, (quota + period - 1) / period));
}

/// The tightest quota of the control groups in `folder` and above, down to the mount point.
int tightestQuota(const std::string &mount, std::string group, bool unified) {
  int cores = quotaCores(0, 0);
  while (true) {
    std::string folder = mount + group;
    long long quota = -1, period = -1;
    if (unified) {
      if (sscanf(readSmall(folder + "/cpu.max").c_str(), "%lld %lld", &quota, &period) == 2)
        cores = std::min(cores, quotaCores(quota, period));
    } else if (sscanf(readSmall(folder + "/cpu.cfs_quota_us").c_str(), "%lld", &quota) == 1 &&
               sscanf(readSmall(folder + "/cpu.cfs_period_us").c_str(), "%lld", &period) == 1) {
      cores = std::min(cores, quotaCores(quota, period));
    }
    size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string::npos)
      return cores;
    group.resize(slash);
  }
}

int controlGroupCores() {
  int cores = quotaCores(0, 0);
  // Lines are "number:controllers:/group"; the unified hierarchy has number 0 and no controllers.
  std::string text = readSmall("/proc/self/cgroup");
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      continue;
    std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string group = line.substr(second + 1);
    if (group == "/")
      group.clear();
    if (controllers == ",,")
      cores = std::min(cores, tightestQuota("/sys/fs/cgroup", group, /*unified=*/true));
    else if (controllers.find(",cpu,") != std::string::npos)
      cores = std::min(cores, tightestQuota("/sys/fs/cgroup/cpu", group, /*unified=*/false));
  }
  return cores;
}

} // namespace

int usableCores() { return std::clamp(std::min(affinityCores(), controlGroupCores()), 1, maxThreads); }

} // namespace moe::rt

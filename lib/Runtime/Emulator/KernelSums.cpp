//===- KernelSums.cpp - counters of all launches of each kernel -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "KernelSums.h"

#include <algorithm>

using namespace moe::rt::simt;

void KernelSums::add(const Launch &launch, const Counters &counters) {
  if (!isAsked)
    return;
  const MoeSimtModule *module = launch.details->module;
  auto known = std::find_if(kernels.begin(), kernels.end(), [&](const Kernel &kernel) {
    return kernel.module == module && kernel.name == launch.kernel->name;
  });
  if (known == kernels.end())
    known = kernels.insert(known, {launch.kernel->name, module, 0, 0, {}});
  ++known->launches;
  known->blocks += uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  known->counters += counters;
}

std::string KernelSums::take() {
  std::string text = "[";
  for (const Kernel &kernel : kernels) {
    if (text.size() > 1)
      text += ", ";
    // Names of kernels are identifiers of PTX: nothing in them needs quoting.
    text += "{\"kernel\": \"" + kernel.name + "\", \"launches\": " + std::to_string(kernel.launches) +
            ", \"blocks\": " + std::to_string(kernel.blocks) +
            ", \"counters\": " + kernel.counters.report(kernel.module->sites, size_t(kernel.module->siteCount)) + "}";
  }
  isAsked = true;
  kernels.clear();
  return text + "]";
}

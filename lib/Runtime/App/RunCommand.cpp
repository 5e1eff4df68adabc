//===- RunCommand.cpp - an entry on tensors from a file ------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "../Host/Progress.h"
#include "Commands.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/TensorFile.h"

#include <algorithm>
#include <cstdio>

namespace moe::rt {

void runCommand(const Model &model, const RunOptions &options) {
  if (options.output.empty())
    throw UsageError("--output: expected a file to write but got nothing");
  const EntryInfo &entry = model.manifest().entry(options.entry);
  std::optional<TensorFile> file;
  if (!options.input.empty()) {
    std::string error;
    file = TensorFile::open(options.input, error);
    if (!file)
      throw InputError(error);
  } else if (!entry.withRole(Role::Input).empty()) {
    throw UsageError("--input: expected a file with the inputs of entry '" + entry.name + "' but got nothing");
  }
  static const std::vector<TensorView> nothing;
  const std::vector<TensorView> &tensors = file ? file->tensors() : nothing;

  std::vector<Tensor> results;
  std::vector<double> seconds;
  {
    Progress progress("run", options.repeat);
    for (int64_t i = 0; i < options.repeat; ++i) {
      auto start = std::chrono::steady_clock::now();
      results = runEntry(model, entry, tensors, options.input);
      seconds.push_back(secondsSince(start));
      progress.advance(1);
    }
  }
  if (options.repeat > 1) {
    std::sort(seconds.begin(), seconds.end());
    fprintf(stderr, "%s: %zu runs, median %.3f ms, fastest %.3f ms, slowest %.3f ms\n", entry.name.c_str(),
            seconds.size(), seconds[seconds.size() / 2] * 1e3, seconds.front() * 1e3, seconds.back() * 1e3);
  }

  std::vector<TensorView> views;
  for (const Tensor &result : results)
    views.push_back(result.view());
  std::string error;
  if (!writeSafetensors(options.output, views, {}, error))
    throw InputError(error);
}

} // namespace moe::rt

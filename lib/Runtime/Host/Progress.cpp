//===- Progress.cpp - a progress bar on a terminal -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Progress.h"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace moe::rt {

Progress::Progress(std::string label, int64_t total)
    : label(std::move(label)), total(std::max<int64_t>(total, 1)), terminal(isatty(STDERR_FILENO)),
      start(std::chrono::steady_clock::now()), drawn(start) {}

void Progress::advance(int64_t steps) {
  done += steps;
  if (!terminal)
    return;
  auto now = std::chrono::steady_clock::now();
  double elapsed = std::chrono::duration<double>(now - start).count();
  // Known to be long, or long already.
  bool lasting = elapsed > 2 || (elapsed > 0.3 && done > 0 && elapsed * double(total) / double(done) > 2);
  if (!lasting || now - drawn < std::chrono::milliseconds(100))
    return;
  drawn = now;
  shown = true;
  constexpr int width = 30;
  double share = std::min(1.0, double(done) / double(total));
  std::string bar(size_t(share * width), '#');
  bar.resize(width, '.');
  fprintf(stderr, "\r%s [%s] %3.0f %%, %.0f s left \x1b[K", label.c_str(), bar.c_str(), share * 100,
          share > 0 ? elapsed / share - elapsed : 0.0);
  fflush(stderr);
}

Progress::~Progress() {
  if (shown)
    fputs("\r\x1b[K", stderr);
}

} // namespace moe::rt

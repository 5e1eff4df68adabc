//===- Driver.cpp - the NVIDIA driver's library, found at run time --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Driver.h"

#include "moe/Runtime/Abi.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>

namespace moe::rt::cuda {

void refuse(const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "error: %s\n", text);
  fflush(stderr);
  // As moe_rt_fail: other threads may be anywhere, so nothing is torn down.
  _Exit(1);
}

static Driver load() {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    refuse("expected an NVIDIA driver but got no libcuda.so.1; install the driver, or compile with --run-on=host or "
           "--target=cpu");
  Driver driver = {};
#define MOE_CUDA_LOOKUP(name, symbol, parameters)                                                                      \
  driver.name = reinterpret_cast<Result(*) parameters>(dlsym(library, symbol));                                        \
  if (!driver.name)                                                                                                    \
    refuse("expected an NVIDIA driver for CUDA 11.0 or later but got one without %s; update the driver", symbol);
  MOE_CUDA_FUNCTIONS(MOE_CUDA_LOOKUP)
#undef MOE_CUDA_LOOKUP
#define MOE_CUDA_LOOKUP_NEWER(name, symbol, parameters)                                                                \
  driver.name = reinterpret_cast<Result(*) parameters>(dlsym(library, symbol));
  MOE_CUDA_NEWER_FUNCTIONS(MOE_CUDA_LOOKUP_NEWER)
#undef MOE_CUDA_LOOKUP_NEWER
  return driver;
}

const Driver &driver() {
  static const Driver loaded = load();
  return loaded;
}

void check(Result result, const char *what) {
  if (result == Success)
    return;
  const char *name = nullptr, *text = nullptr;
  driver().GetErrorName(result, &name);
  driver().GetErrorString(result, &text);
  char message[512];
  snprintf(message, sizeof message, "GPU: %s failed: %s (%s)", what, name ? name : "unknown error", text ? text : "?");
  moe_rt_fail(message);
}

} // namespace moe::rt::cuda

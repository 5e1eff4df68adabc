//===- HostKernel.cpp - kernels in C++ ------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "HostKernel.h"

using namespace moe::test;

static const MoeSimtSite sites[siteCount] = {
    {"read shared", "k", MoeSimtLoad, MoeSimtShared, 4, 4},
    {"write shared", "k", MoeSimtStore, MoeSimtShared, 4, 4},
    {"update shared", "k", MoeSimtAtomic, MoeSimtShared, 4, 4},
    {"read global", "k", MoeSimtLoad, MoeSimtGlobal, 4, 4},
    {"write global", "k", MoeSimtStore, MoeSimtGlobal, 4, 4},
    {"update global", "k", MoeSimtAtomic, MoeSimtGlobal, 4, 4},
    {"read", "k", MoeSimtLoad, MoeSimtGeneric, 4, 4},
    {"barrier a", "k", 0, 0, 0, 1},
    {"barrier b", "k", 0, 0, 0, 1},
    {"operation", "k", 0, 0, 0, 1},
    {"copy", "k", 0, 0, 0, 1},
};

void moe::test::launch(MoeHostKernel body, int64_t blocks, int64_t threads, int64_t sharedBytes,
                       std::vector<void *> params) {
  static uint64_t executions[1];
  static const uint32_t instructions[1] = {1};
  static const MoeSimtModule module = {sites, siteCount, executions, instructions, 1, nullptr, 0};
  static const MoeSimtKernel details = {&module, nullptr, 0, 0};
  MoeGpuKernel kernel = {"k", nullptr, body, &details, int64_t(params.size()), nullptr};
  moe_rt_gpu_launch(&kernel, blocks, 1, 1, threads, 1, 1, sharedBytes, params.data(), int64_t(params.size()));
}

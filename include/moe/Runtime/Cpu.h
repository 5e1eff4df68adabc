//===- Cpu.h - instruction-set levels of this machine -----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_RUNTIME_CPU_H
#define MOE_RUNTIME_CPU_H

#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

/// Names of all instruction-set levels that this build of the runtime knows, best first. On x86-64 "amx" (with bf16 and
/// int8), "avx512bf16", "avx512" (x86-64-v4 with VNNI), "avx2" (x86-64-v3), "x86-64"; on 64-bit Arm "aarch64-bf16"
/// (Armv8.6 or what has its dot products of bf16) and "aarch64" (Armv8.0, which has NEON).
std::vector<std::string> knownIsaLevels();

/// A level for tests, not among knownIsaLevels() and available on every x86-64 machine: the code of level amx with its
/// tiles in memory and a function of the runtime for each multiplication.
inline constexpr const char *emulatedAmxLevel = "amx-emulated";

/// What programs for a GPU have in place of a level. The host's part of them runs on every machine; whether there is a
/// GPU shows when it is needed.
inline constexpr const char *gpuLevel = "cuda";

/// Whether processor and operating system support `level`; false for a name that is not known. Level amx needs the
/// system's permission, which is asked for at the first question and holds for all threads of the process.
bool isaLevelAvailable(std::string_view level);

/// The first of `levels` (best first) that is available; empty if none is.
std::string chooseIsaLevel(const std::vector<std::string> &levels);

} // namespace moe::rt

#endif // MOE_RUNTIME_CPU_H

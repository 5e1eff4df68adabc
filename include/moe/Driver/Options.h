//===- Options.h - what the command line of moe-compile says --------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Plain data: the parser of the command line is compiled with exceptions, the rest of the compiler is not, and this
// header is all they share.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_DRIVER_OPTIONS_H
#define MOE_DRIVER_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moe {

enum class EmitKind { Exe, Shared, Obj, LLVM, MLIR, PTX, Cubin, Fatbin };
enum class TargetKind { CPU, CUDA };
enum class WeightsMode { Embed, External, Random };

/// Options of moe-compile, checked as far as that is possible without looking at the model.
struct CompileOptions {
  std::string model;
  /// As given with -o; empty: derived from the model's name.
  std::string output;
  EmitKind emit = EmitKind::Exe;
  /// A name `parsePhase` knows; empty: all phases.
  std::string compileTo;
  /// MoE blocks to compile instead of the whole model.
  std::vector<int64_t> layers;
  /// --numerics=f32
  bool numericsF32 = false;
  /// --cpu as given: "native", "generic" or level names; empty: all levels.
  std::vector<std::string> cpu;
  TargetKind target = TargetKind::CPU;
  /// --gpu-arch, with TargetKind::CUDA: at least one.
  std::vector<std::string> gpuArch;
  /// --run-on=host: the device of the executable is the kernel emulator.
  bool runOnHost = false;
  /// Formats of the experts' weights and of the other matrices: int8, int4, mxfp4, fp8, or empty.
  std::string quantize, quantizeOthers;
  WeightsMode weights = WeightsMode::Embed;
  /// Set with WeightsMode::Random.
  uint64_t seed = 0;
  /// Lower by the reference semantics instead of the fast path, for comparing.
  bool reference = false;
  /// File with the machine that tile sizes are chosen for, "stored" for this user's; empty: the same on every machine.
  std::string tuneFor;
  bool report = false;
  bool verbose = false;
  bool saveTemps = false;
};

/// What to do after the command line was read: go on with `options`, or leave with `status`.
struct CommandLine {
  CompileOptions options;
  std::optional<int> status;
  /// To print before leaving: on standard output if status is 0, else on standard error.
  std::string text;
};

/// Reads the command line of moe-compile. Throws nothing. `phases` are the names --compile-to accepts, `levels` those
/// of --cpu, one list for each architecture.
CommandLine parseCommandLine(int argc, const char *const *argv, const std::vector<std::string> &phases,
                             const std::vector<std::vector<std::string>> &levels);

} // namespace moe

#endif // MOE_DRIVER_OPTIONS_H

//===- IsaLevels.h - instruction-set levels of a target -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One executable holds the code of several instruction-set levels of one architecture; the runtime picks one at
// start-up. A new level is a row of the tables in IsaLevels.cpp (and a row in the runtime's check of the processor).
//
//===----------------------------------------------------------------------===//
#ifndef MOE_CONVERSION_ISALEVELS_H
#define MOE_CONVERSION_ISALEVELS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace mlir {
class Operation;
} // namespace mlir

namespace moe {

/// What an executable is made for. Levels of one architecture can be in one executable.
enum class Architecture { X86_64, AArch64 };

/// All architectures.
inline constexpr Architecture allArchitectures[] = {Architecture::X86_64, Architecture::AArch64};

/// The one this process runs on.
Architecture hostArchitecture();

/// "x86-64" or "aarch64".
llvm::StringRef architectureName(Architecture architecture);

/// What code of one level may use.
struct IsaLevel {
  llvm::StringRef name;                         ///< as in --cpu=, MOE_ISA and the manifest
  Architecture architecture;                    ///< what it is a level of
  llvm::StringRef cpu;                          ///< LLVM's target-cpu of its functions
  llvm::ArrayRef<llvm::StringLiteral> features; ///< LLVM's target-features on top of `cpu`: "+x" or "-x"
  bool hasFma;                                  ///< fused multiply-add is an instruction; else it is mul, then add
  bool hasHalf;                                 ///< f16 <-> f32 are instructions; else integer arithmetic
  bool hasRound;                                ///< floor, ceil and the like are instructions; else arithmetic
  bool hasVnni;                                 ///< dot products of bytes with 512-bit vectors (vpdpbusd)
  bool hasBf16Dot;                              ///< dot products of bf16 pairs (vdpbf16ps of 512 bits, bfdot)
  bool hasAmx;                                  ///< tiles (bf16 and int8), in instructions or emulated
  bool emulatesAmx;                             ///< the tiles are memory, the multiplications calls of the runtime
  int accumulators;                             ///< sums of 16 f32 each that stay in registers beside their operands
};

/// All levels of `architecture` that a program is made for, best first.
llvm::ArrayRef<IsaLevel> knownIsaLevels(Architecture architecture = hostArchitecture());

/// The level of any architecture called `name`, or null. Beside the known levels there is "amx-emulated", for tests:
/// code of level amx that runs on every x86-64 machine.
const IsaLevel *findIsaLevel(llvm::StringRef name);

/// Name of a function's attribute: the level it is for. A function without it is for the machine it is compiled on, and
/// takes kernels that need no particular instruction.
inline constexpr llvm::StringLiteral isaAttr = "moe.isa";

/// Name of a module's attribute: the levels it has functions for, an array of strings, best first.
inline constexpr llvm::StringLiteral isaLevelsAttr = "moe.isa_levels";

/// The level of the function that `op` is, or is in; null if it has none.
const IsaLevel *getIsaLevel(mlir::Operation *op);

} // namespace moe

#endif // MOE_CONVERSION_ISALEVELS_H

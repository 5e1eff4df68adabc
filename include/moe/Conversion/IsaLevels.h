//===- IsaLevels.h - instruction-set levels of a target -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One executable holds the code of several instruction-set levels; the runtime picks one at start-up. A new level is a
// row of the table in IsaLevels.cpp (and a row in the runtime's cpuid check).
//
//===----------------------------------------------------------------------===//
#ifndef MOE_CONVERSION_ISALEVELS_H
#define MOE_CONVERSION_ISALEVELS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace moe {

/// What code of one level may use.
struct IsaLevel {
  llvm::StringRef name;                         ///< as in --cpu=, MOE_ISA and the manifest
  llvm::StringRef cpu;                          ///< LLVM's target-cpu of its functions
  llvm::ArrayRef<llvm::StringLiteral> features; ///< LLVM's target-features on top of `cpu`: "+x" or "-x"
  bool hasFma;                                  ///< fused multiply-add is an instruction; else it is mul, then add
  bool hasHalf;                                 ///< f16 <-> f32 are instructions; else integer arithmetic
  bool hasRound;                                ///< floor, ceil and the like are instructions; else arithmetic
};

/// All levels of x86-64, best first.
llvm::ArrayRef<IsaLevel> knownIsaLevels();

/// The level called `name`, or null.
const IsaLevel *findIsaLevel(llvm::StringRef name);

} // namespace moe

#endif // MOE_CONVERSION_ISALEVELS_H

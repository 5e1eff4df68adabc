//===- IsaLevels.cpp - instruction-set levels of a target -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/IsaLevels.h"

#include "llvm/ADT/STLExtras.h"

using namespace moe;

// LLVM's x86-64-v4 prefers 256-bit vectors; our kernels are written for 512.
static constexpr llvm::StringLiteral avx512Features[] = {"-prefer-256-bit"};

llvm::ArrayRef<IsaLevel> moe::knownIsaLevels() {
  static const IsaLevel levels[] = {
      {"avx512", "x86-64-v4", avx512Features, /*hasFma=*/true, /*hasHalf=*/true, /*hasRound=*/true},
      {"avx2", "x86-64-v3", {}, /*hasFma=*/true, /*hasHalf=*/true, /*hasRound=*/true},
      {"x86-64", "x86-64", {}, /*hasFma=*/false, /*hasHalf=*/false, /*hasRound=*/false},
  };
  return levels;
}

const IsaLevel *moe::findIsaLevel(llvm::StringRef name) {
  for (const IsaLevel &level : knownIsaLevels())
    if (level.name == name)
      return &level;
  return nullptr;
}

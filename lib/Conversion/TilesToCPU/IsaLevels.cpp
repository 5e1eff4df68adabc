//===- IsaLevels.cpp - instruction-set levels of a target -----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/IsaLevels.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

#include "llvm/ADT/STLExtras.h"

using namespace moe;

// Just what the runtime asks the processor for: a model of a processor would bring more. LLVM's x86-64-v4 prefers
// 256-bit vectors; our kernels are written for 512.
static constexpr llvm::StringLiteral avx512Features[] = {"-prefer-256-bit", "+avx512vnni"};
static constexpr llvm::StringLiteral bf16Features[] = {"-prefer-256-bit", "+avx512vnni", "+avx512bf16"};
static constexpr llvm::StringLiteral amxFeatures[] = {"-prefer-256-bit", "+avx512vnni", "+avx512bf16",
                                                      "+amx-tile",       "+amx-bf16",   "+amx-int8"};
static constexpr llvm::StringLiteral neonBf16Features[] = {"+bf16"};

static IsaLevel avx512Level(llvm::StringRef name, llvm::ArrayRef<llvm::StringLiteral> features) {
  IsaLevel level = {};
  level.name = name;
  level.architecture = Architecture::X86_64;
  level.cpu = "x86-64-v4";
  level.features = features;
  level.hasFma = level.hasHalf = level.hasRound = level.hasVnni = true;
  level.accumulators = 28;
  return level;
}

static IsaLevel amxLevel() {
  IsaLevel level = avx512Level("amx", amxFeatures);
  level.hasBf16Dot = level.hasAmx = true;
  return level;
}

static IsaLevel bf16Level() {
  IsaLevel level = avx512Level("avx512bf16", bf16Features);
  level.hasBf16Dot = true;
  return level;
}

static IsaLevel avx2Level() {
  IsaLevel level = {};
  level.name = "avx2";
  level.architecture = Architecture::X86_64;
  level.cpu = "x86-64-v3";
  level.hasFma = level.hasHalf = level.hasRound = true;
  level.accumulators = 6;
  return level;
}

static IsaLevel baselineLevel() {
  IsaLevel level = {};
  level.name = level.cpu = "x86-64";
  level.architecture = Architecture::X86_64;
  level.accumulators = 3;
  return level;
}

static IsaLevel emulatedAmxLevel() {
  IsaLevel level = baselineLevel();
  level.name = "amx-emulated";
  level.hasAmx = level.emulatesAmx = true;
  return level;
}

/// Armv8.0: fused multiply-add and conversions of f16 belong to it. A vector of 16 f32 is four of the 32 registers.
static IsaLevel neonLevel(llvm::StringRef name, llvm::ArrayRef<llvm::StringLiteral> features) {
  IsaLevel level = {};
  level.name = name;
  level.architecture = Architecture::AArch64;
  level.cpu = "generic";
  level.features = features;
  level.hasFma = level.hasHalf = level.hasRound = true;
  level.accumulators = 5;
  return level;
}

static IsaLevel neonBf16Level() {
  IsaLevel level = neonLevel("aarch64-bf16", neonBf16Features);
  level.hasBf16Dot = true;
  return level;
}

Architecture moe::hostArchitecture() {
#if defined(__aarch64__)
  return Architecture::AArch64;
#else
  return Architecture::X86_64;
#endif
}

llvm::StringRef moe::architectureName(Architecture architecture) {
  return architecture == Architecture::X86_64 ? "x86-64" : "aarch64";
}

llvm::ArrayRef<IsaLevel> moe::knownIsaLevels(Architecture architecture) {
  static const IsaLevel x86[] = {amxLevel(), bf16Level(), avx512Level("avx512", avx512Features), avx2Level(),
                                 baselineLevel()};
  static const IsaLevel arm[] = {neonBf16Level(), neonLevel("aarch64", {})};
  return architecture == Architecture::X86_64 ? llvm::ArrayRef(x86) : llvm::ArrayRef(arm);
}

const IsaLevel *moe::findIsaLevel(llvm::StringRef name) {
  for (Architecture architecture : allArchitectures)
    for (const IsaLevel &level : knownIsaLevels(architecture))
      if (level.name == name)
        return &level;
  static const IsaLevel emulated = emulatedAmxLevel();
  return name == emulated.name ? &emulated : nullptr;
}

const IsaLevel *moe::getIsaLevel(mlir::Operation *op) {
  for (; op; op = op->getParentOp())
    if (llvm::isa<mlir::FunctionOpInterface>(op))
      if (auto name = op->getAttrOfType<mlir::StringAttr>(isaAttr))
        return findIsaLevel(name.getValue());
  return nullptr;
}

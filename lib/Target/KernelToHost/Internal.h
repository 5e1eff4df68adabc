//===- Internal.h - steps of convertKernelsToHost -------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_TARGET_KERNELTOHOST_INTERNAL_H
#define MOE_LIB_TARGET_KERNELTOHOST_INTERNAL_H

#include "moe/Runtime/Simt.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moe::emulator {

/// The operations that the emulator names in messages and counts by (MoeSimtModule::sites), described before anything
/// is rewritten.
class Sites {
public:
  /// Describes the operations of `module`: plain accesses to memory only if `withAccesses` is set.
  Sites(llvm::Module &module, bool withAccesses);

  /// The site of `instruction`, which has to be one.
  uint32_t at(const llvm::Instruction &instruction) const { return indices.lookup(&instruction); }
  bool contains(const llvm::Instruction &instruction) const { return indices.contains(&instruction); }

  size_t size() const { return rows.size(); }

  /// The table of MoeSimtSite.
  llvm::Constant *emit(llvm::Module &module) const;

private:
  struct Row {
    std::string text, function;
    uint32_t access, space, bytes, alignment;
  };
  std::vector<Row> rows;
  llvm::DenseMap<const llvm::Instruction *, uint32_t> indices;
};

/// Builds calls of the emulator's functions.
class Calls : public llvm::IRBuilder<> {
public:
  explicit Calls(llvm::Module &module);

  /// Calls `name`; the declaration is made from the types of the arguments.
  llvm::CallInst *call(llvm::StringRef name, llvm::Type *result, llvm::ArrayRef<llvm::Value *> arguments);
  /// The same for a function whose result depends on its arguments and the running thread alone.
  llvm::CallInst *callPure(llvm::StringRef name, llvm::Type *result, llvm::ArrayRef<llvm::Value *> arguments);

  llvm::Value *readRegister(uint32_t which);

  /// `pointer` in the generic address space.
  llvm::Value *generic(llvm::Value *pointer);

  /// Room of `type` on the stack, the same for all of a function that ask for it by that name.
  llvm::Value *stackRoom(llvm::StringRef name, llvm::Type *type);

  /// Does a MoeSimtOperation: `operands` go to the exchange words, one for each (two for a pointer), and the result of
  /// type `result`, a scalar of up to 32 bits or a struct of such, is read from them. `result` may be void.
  llvm::Value *collective(uint32_t operation, llvm::Value *mask, uint32_t site, llvm::ArrayRef<llvm::Value *> operands,
                          llvm::Type *result);

private:
  llvm::FunctionCallee declare(llvm::StringRef name, llvm::Type *result, llvm::ArrayRef<llvm::Value *> arguments,
                               bool isPure);
  llvm::Value *readWord(llvm::Value *words, unsigned index, llvm::Type *type);

  llvm::Module &module;
};

/// The value that takes the place of a call of the NVVM intrinsic `name` (without "llvm.nvvm."), built before it; null
/// if the call has no result. Fails if the intrinsic is unknown.
llvm::Expected<llvm::Value *> convertIntrinsic(Calls &calls, llvm::StringRef name, llvm::CallInst &call, uint32_t site);

/// The same for arithmetic and conversions; nullopt if it is none of these.
std::optional<llvm::Value *> convertArithmetic(Calls &calls, llvm::StringRef name, llvm::CallInst &call);

/// The same for what sm_90a has more than others, and for assembly of it.
std::optional<llvm::Value *> convertHopper(Calls &calls, llvm::StringRef name, llvm::CallInst &call, uint32_t site);
std::optional<llvm::Value *> convertHopperAssembly(Calls &calls, llvm::CallInst &call, uint32_t site);

/// Asks the emulator for the value wherever more is done with an accumulator of a product of a warpgroup than to move
/// it: the product may still be under way.
llvm::Error guardAccumulators(llvm::Module &module, const Sites &sites);

/// The intrinsic that does what the assembly string does, with the same operands in the same order; empty if there is
/// none.
llvm::StringRef intrinsicOfAssembly(llvm::StringRef assembly);

/// Adds checks of the accesses that are sites, and counts of basic blocks. Returns the constants for MoeSimtModule:
/// executions and instructions of each block.
struct BlockCounts {
  llvm::Constant *executions, *instructions;
  uint64_t blocks;
};
BlockCounts instrument(llvm::Module &module, const Sites &sites);

/// Lets others run before operations by which threads wait for each other.
void addSpins(llvm::Module &module);

/// Where a kernel finds its variables in shared memory.
struct SharedLayout {
  llvm::SmallVector<std::pair<uint64_t, uint64_t>> variables; // offset and size
  uint64_t dynamicOffset = 0;
};
/// Gives every variable of address space 3 its offset. Variables of one kernel alone share their room with those of
/// others.
llvm::Expected<llvm::DenseMap<const llvm::Function *, SharedLayout>>
layOutSharedMemory(llvm::Module &module, llvm::ArrayRef<llvm::Function *> kernels);

/// Replaces arithmetic and conversions of f16 and bf16, for which hosts call functions that may not exist, by such of
/// f32 and of integers.
void expandSmallFloats(llvm::Module &module);

/// f32 (or a vector of it) to bf16, to the nearest, ties to even.
llvm::Value *roundToBf16(llvm::IRBuilder<> &builder, llvm::Value *value);

} // namespace moe::emulator

#endif // MOE_LIB_TARGET_KERNELTOHOST_INTERNAL_H

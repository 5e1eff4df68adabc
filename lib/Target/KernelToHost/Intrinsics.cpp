//===- Intrinsics.cpp - NVVM intrinsics as calls of the emulator ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Internal.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/Instructions.h"

#include <optional>

using namespace moe::emulator;
using namespace llvm;

static std::optional<uint32_t> registerNamed(StringRef name) {
  for (auto [triple, first] : {std::pair<StringRef, uint32_t>{"tid.", MoeSimtThreadIndex},
                               {"ctaid.", MoeSimtBlockIndex},
                               {"ntid.", MoeSimtBlockSize},
                               {"nctaid.", MoeSimtGridSize}})
    if (name.size() == triple.size() + 1 && name.starts_with(triple) && name.back() >= 'x' && name.back() <= 'z')
      return first + (name.back() - 'x');
  return StringSwitch<std::optional<uint32_t>>(name)
      .Case("laneid", MoeSimtLane)
      .Case("warpid", MoeSimtWarp)
      .Case("nwarpid", MoeSimtWarpCount)
      .Case("warpsize", MoeSimtWarpSize)
      .Case("smid", MoeSimtMultiprocessor)
      .Case("nsmid", MoeSimtMultiprocessorCount)
      .Case("lanemask.eq", MoeSimtLaneMaskEqual)
      .Case("lanemask.lt", MoeSimtLaneMaskLess)
      .Case("lanemask.le", MoeSimtLaneMaskLessEqual)
      .Case("lanemask.gt", MoeSimtLaneMaskGreater)
      .Case("lanemask.ge", MoeSimtLaneMaskGreaterEqual)
      .Case("dynamic.smem.size", MoeSimtDynamicSharedBytes)
      .Default(std::nullopt);
}

/// barrier.cta.{sync,arrive,red.*}[.aligned].{all,count}
static std::optional<Value *> convertBarrier(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  uint32_t flags = 0;
  if (name == "barrier0")
    name = "sync.aligned.none";
  else if (!name.consume_front("barrier.cta."))
    return std::nullopt;
  if (name.consume_front("arrive."))
    flags |= MoeSimtArrive;
  else if (name.consume_front("red.popc."))
    flags |= MoeSimtBarrierPopulation;
  else if (name.consume_front("red.and."))
    flags |= MoeSimtBarrierAnd;
  else if (name.consume_front("red.or."))
    flags |= MoeSimtBarrierOr;
  else if (!name.consume_front("sync."))
    return std::nullopt;
  if (name.consume_front("aligned."))
    flags |= MoeSimtAligned;
  if (name != "all" && name != "count" && name != "none")
    return std::nullopt;

  unsigned next = 0;
  Value *id = name == "none" ? calls.getInt32(0) : call.getArgOperand(next++);
  Value *count = name == "count" ? call.getArgOperand(next++) : calls.getInt32(0);
  Value *predicate =
      next < call.arg_size() ? calls.CreateZExt(call.getArgOperand(next), calls.getInt32Ty()) : calls.getInt32(0);
  Value *result = calls.call("moe_simt_barrier", calls.getInt32Ty(),
                             {id, count, calls.getInt32(flags), predicate, calls.getInt32(site)});
  if (call.getType()->isVoidTy())
    return nullptr;
  return call.getType()->isIntegerTy(1) ? calls.CreateICmpNE(result, calls.getInt32(0)) : result;
}

/// Shuffles, votes, matches and reductions.
static std::optional<Value *> convertWarpOperation(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  auto argument = [&](unsigned i) { return call.getArgOperand(i); };
  auto collective = [&](uint32_t operation, Value *mask, ArrayRef<Value *> operands) {
    return calls.collective(operation, mask, site, operands, call.getType());
  };
  if (name == "bar.warp.sync")
    return collective(MoeSimtSyncWarp, argument(0), {});
  if (name == "elect.sync")
    return collective(MoeSimtElect, argument(0), {});
  if (name == "activemask") // that only this lane is active is always true of some schedule
    return calls.readRegister(MoeSimtLaneMaskEqual);

  std::optional<uint32_t> operation;
  if (StringRef mode = name; mode.consume_front("shfl.sync.")) {
    auto [direction, type] = mode.split('.');
    operation = StringSwitch<std::optional<uint32_t>>(direction)
                    .Case("up", MoeSimtShuffleUp)
                    .Case("down", MoeSimtShuffleDown)
                    .Case("bfly", MoeSimtShuffleXor)
                    .Case("idx", MoeSimtShuffleIndex)
                    .Default(std::nullopt);
    if (!operation)
      return std::nullopt;
    return collective(*operation, argument(0), {argument(1), argument(2), argument(3)});
  }
  operation = StringSwitch<std::optional<uint32_t>>(name)
                  .Case("vote.all.sync", MoeSimtVoteAll)
                  .Case("vote.any.sync", MoeSimtVoteAny)
                  .Case("vote.uni.sync", MoeSimtVoteUniform)
                  .Case("vote.ballot.sync", MoeSimtBallot)
                  .Cases({"match.any.sync.i32", "match.any.sync.i64"}, MoeSimtMatchAny)
                  .Cases({"match.all.sync.i32p", "match.all.sync.i64p"}, MoeSimtMatchAll)
                  .Default(std::nullopt);
  if (operation) {
    // Values are compared as 64 bits.
    Value *value = argument(1);
    if (name.starts_with("match"))
      value = calls.CreateZExt(value, calls.getInt64Ty());
    return collective(*operation, argument(0), {value});
  }
  if (!name.consume_front("redux.sync."))
    return std::nullopt;
  operation = StringSwitch<std::optional<uint32_t>>(name)
                  .Case("add", MoeSimtReduceAdd)
                  .Case("min", MoeSimtReduceMin)
                  .Case("max", MoeSimtReduceMax)
                  .Case("umin", MoeSimtReduceUnsignedMin)
                  .Case("umax", MoeSimtReduceUnsignedMax)
                  .Case("and", MoeSimtReduceAnd)
                  .Case("or", MoeSimtReduceOr)
                  .Case("xor", MoeSimtReduceXor)
                  .Default(std::nullopt);
  if (!operation)
    return std::nullopt;
  return collective(*operation, argument(1), {argument(0)});
}

/// ldmatrix and stmatrix of 8 x 8 matrices.
static std::optional<Value *> convertMatrixMove(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  bool isLoad = name.consume_front("ldmatrix.sync.aligned.m8n8.x");
  if (!isLoad && !name.consume_front("stmatrix.sync.aligned.m8n8.x"))
    return std::nullopt;
  unsigned count;
  if (name.consumeInteger(10, count) || (count != 1 && count != 2 && count != 4))
    return std::nullopt;
  bool isTransposed = name.consume_front(".trans");
  if (!name.consume_front(".b16") || (!name.empty() && !name.starts_with(".p")))
    return std::nullopt;
  SmallVector<Value *> operands = {call.getArgOperand(0), calls.getInt32(count), calls.getInt32(isTransposed)};
  if (!isLoad)
    append_range(operands, drop_begin(call.args()));
  return calls.collective(isLoad ? MoeSimtLoadMatrix : MoeSimtStoreMatrix, calls.getInt32(~0u), site, operands,
                          call.getType());
}

/// mma.m16n8kK with rows of A and columns of B.
static std::optional<Value *> convertProduct(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  if (!name.consume_front("mma."))
    return std::nullopt;
  std::optional<uint32_t> operation = StringSwitch<std::optional<uint32_t>>(name)
                                          .Case("m16n8k8.row.col.bf16", MoeSimtMmaBf16K8)
                                          .Case("m16n8k16.row.col.bf16", MoeSimtMmaBf16K16)
                                          .Case("m16n8k8.row.col.f32.f32", MoeSimtMmaF16K8)
                                          .Case("m16n8k16.row.col.f32.f32", MoeSimtMmaF16K16)
                                          .Case("m16n8k4.row.col.tf32", MoeSimtMmaTf32K4)
                                          .Case("m16n8k8.row.col.tf32", MoeSimtMmaTf32K8)
                                          .Case("m16n8k32.row.col.f32.e4m3.e4m3.f32", MoeSimtMmaE4M3K32)
                                          .Case("m16n8k32.row.col.f32.e5m2.e5m2.f32", MoeSimtMmaE5M2K32)
                                          .Default(std::nullopt);
  if (!operation) {
    if (name.consume_front("m16n8k16.row.col."))
      operation = MoeSimtMmaS8K16;
    else if (name.consume_front("m16n8k32.row.col."))
      operation = MoeSimtMmaS8K32;
    else
      return std::nullopt;
    if (name.consume_front("satfinite."))
      *operation |= MoeSimtSaturate;
    std::optional<uint32_t> signs = StringSwitch<std::optional<uint32_t>>(name)
                                        .Case("s8", 0)
                                        .Case("u8", MoeSimtUnsignedA | MoeSimtUnsignedB)
                                        .Case("s8.u8", MoeSimtUnsignedB)
                                        .Case("u8.s8", MoeSimtUnsignedA)
                                        .Default(std::nullopt);
    if (!signs)
      return std::nullopt;
    *operation |= *signs;
  }
  SmallVector<Value *> operands(call.args());
  return calls.collective(*operation, calls.getInt32(~0u), site, operands, call.getType());
}

static std::optional<Value *> convertAsyncCopy(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  auto done = [&](StringRef function, ArrayRef<Value *> arguments) -> std::optional<Value *> {
    calls.call(function, calls.getVoidTy(), arguments);
    return nullptr;
  };
  if (name == "cp.async.commit.group")
    return done("moe_simt_copy_commit", {});
  if (name == "cp.async.wait.group")
    return done("moe_simt_copy_wait", {call.getArgOperand(0)});
  if (name == "cp.async.wait.all")
    return done("moe_simt_copy_wait_all", {});
  if (!name.consume_front("cp.async.ca.shared.global.") && !name.consume_front("cp.async.cg.shared.global."))
    return std::nullopt;
  unsigned bytes;
  if (name.consumeInteger(10, bytes) || (!name.empty() && name != ".s"))
    return std::nullopt;
  Value *sourceBytes = name.empty() ? calls.getInt32(bytes) : call.getArgOperand(2);
  return done("moe_simt_copy_async", {calls.generic(call.getArgOperand(0)), calls.generic(call.getArgOperand(1)),
                                      calls.getInt32(bytes), sourceBytes, calls.getInt32(site)});
}

Expected<Value *> moe::emulator::convertIntrinsic(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  if (StringRef which = name; which.consume_front("read.ptx.sreg."))
    if (std::optional<uint32_t> number = registerNamed(which))
      return calls.readRegister(*number);
  for (auto *convert :
       {convertBarrier, convertWarpOperation, convertMatrixMove, convertProduct, convertAsyncCopy, convertHopper})
    if (std::optional<Value *> value = convert(calls, name, call, site))
      return *value;
  if (std::optional<Value *> value = convertArithmetic(calls, name, call))
    return *value;
  if (name.starts_with("membar.") || name.starts_with("fence.")) {
    // Threads take turns, so all there is to prevent is that the host's compiler moves accesses.
    calls.CreateFence(AtomicOrdering::SequentiallyConsistent, SyncScope::SingleThread);
    return nullptr;
  }
  if (name == "nanosleep") {
    calls.call("moe_simt_yield", calls.getVoidTy(), {});
    return nullptr;
  }
  // Hints.
  if (name.starts_with("prefetch") || name.starts_with("griddepcontrol."))
    return nullptr;
  return createStringError("the kernel emulator does not know the intrinsic 'llvm.nvvm." + name + "' in function '" +
                           call.getFunction()->getName() + "'");
}

StringRef moe::emulator::intrinsicOfAssembly(StringRef assembly) {
  // One instruction, its operands in the order of the intrinsic's: then the mnemonic says it all.
  assembly = assembly.trim();
  if (!assembly.consume_back(";") || assembly.contains(';'))
    return {};
  return StringSwitch<StringRef>(assembly.take_until(isSpace))
      .Case("ex2.approx.f32", "ex2.approx.f32")
      .Case("ex2.approx.ftz.f32", "ex2.approx.ftz.f32")
      .Case("lg2.approx.f32", "lg2.approx.f")
      .Case("tanh.approx.f32", "tanh.approx.f32")
      .Case("rcp.approx.ftz.f32", "rcp.approx.ftz.f")
      .Case("rsqrt.approx.ftz.f32", "rsqrt.approx.ftz.f")
      .Case("cvt.rn.bf16x2.f32", "ff2bf16x2.rn")
      .Case("cvt.rn.f16x2.f32", "ff2f16x2.rn")
      .Case("cvt.rna.tf32.f32", "f2tf32.rna")
      .Case("fma.rn.bf16x2", "fma.rn.bf16x2")
      .Case("fma.rn.f16x2", "fma.rn.f16x2")
      .Case("membar.gl", "membar.gl")
      .Case("membar.cta", "membar.cta")
      .Case("fence.acq_rel.gpu", "fence.acq_rel.gpu")
      .Case("fence.acq_rel.cta", "fence.acq_rel.cta")
      .Case("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", "mma.m16n8k32.row.col.f32.e4m3.e4m3.f32")
      .Case("mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32", "mma.m16n8k32.row.col.f32.e5m2.e5m2.f32")
      .Default({});
}

//===- Hopper.cpp - mbarriers, bulk copies, products of warpgroups --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What sm_90a has more than others. Some of it has no intrinsic: the NVVM dialect writes assembly then, and exactly
// that text is what is known here.
//
//===----------------------------------------------------------------------===//
#include "Internal.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"

#include <optional>

using namespace moe::emulator;
using namespace llvm;

/// mbarrier.*: the intrinsics of objects in shared memory of the own block.
static std::optional<Value *> convertMBarrier(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  if (!name.consume_front("mbarrier."))
    return std::nullopt;
  Value *object = calls.generic(call.getArgOperand(0)), *where = calls.getInt32(site);
  auto state = [&](Value *value) -> Value * {
    if (call.getType()->isVoidTy())
      return nullptr;
    return value;
  };
  auto arrive = [&](Value *count, Value *bytes) {
    return state(calls.call("moe_simt_mbarrier_arrive", calls.getInt64Ty(), {object, count, bytes, where}));
  };
  auto test = [&](unsigned flags) -> Value * {
    Value *phase = calls.CreateZExt(call.getArgOperand(1), calls.getInt64Ty());
    Value *result =
        calls.call("moe_simt_mbarrier_test", calls.getInt32Ty(), {object, phase, calls.getInt32(flags), where});
    return calls.CreateICmpNE(result, calls.getInt32(0));
  };
  Value *none = calls.getInt32(0), *one = calls.getInt32(1);
  if (name == "init" || name == "init.shared") {
    calls.call("moe_simt_mbarrier_init", calls.getVoidTy(), {object, call.getArgOperand(1), where});
    return nullptr;
  }
  if (name == "inval" || name == "inval.shared") {
    calls.call("moe_simt_mbarrier_invalidate", calls.getVoidTy(), {object, where});
    return nullptr;
  }
  if (name == "arrive" || name == "arrive.shared")
    return arrive(one, none);
  // The scope makes no difference here: everybody sees everything.
  for (StringRef scope : {".scope.cta.space.cta", ".scope.cluster.space.cta"}) {
    StringRef what = name;
    if (!what.consume_back(scope))
      continue;
    if (what == "arrive")
      return arrive(call.getArgOperand(1), none);
    if (what == "arrive.expect.tx")
      return arrive(one, call.getArgOperand(1));
    if (what == "expect.tx")
      return arrive(none, call.getArgOperand(1));
    // The hardware, too, may wait as long as it likes.
    if (what == "try.wait" || what == "try.wait.tl")
      return test(MoeSimtWait);
    if (what == "try.wait.parity" || what == "try.wait.parity.tl")
      return test(MoeSimtWait | MoeSimtParity);
    if (what == "test.wait")
      return test(0);
    if (what == "test.wait.parity")
      return test(MoeSimtParity);
  }
  if (name == "test.wait.shared" || name == "test.wait")
    return test(0);
  return std::nullopt;
}

/// cp.async.mbarrier.arrive and cp.async.bulk.tensor from global to shared memory, of tiles.
static std::optional<Value *> convertBulkCopy(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  if (!name.consume_front("cp.async."))
    return std::nullopt;
  auto argument = [&](unsigned i) { return call.getArgOperand(i); };
  Value *where = calls.getInt32(site);
  if (name.consume_front("mbarrier.arrive")) {
    bool countsItself = !name.consume_front(".noinc");
    if (!name.empty() && name != ".shared")
      return std::nullopt;
    calls.call("moe_simt_mbarrier_copies", calls.getVoidTy(),
               {calls.generic(argument(0)), calls.getInt32(countsItself), where});
    return nullptr;
  }
  if (!name.consume_front("bulk.tensor.g2s."))
    return std::nullopt;
  bool isOfCluster = !name.consume_front("cta.");
  unsigned rank;
  if (!name.consume_front("tile.") || name.consumeInteger(10, rank) || name != "d" || rank < 1 || rank > 5)
    return std::nullopt;
  // A cluster has one block here. Behind the coordinates: which blocks get a copy, a hint for the cache, and whether
  // there is either.
  unsigned flags = 3 + rank;
  if (isOfCluster && !cast<ConstantInt>(argument(flags + 2))->isZero())
    return std::nullopt;
  Value *at = calls.stackRoom("moe.at", ArrayType::get(calls.getInt32Ty(), rank));
  for (unsigned i = 0; i < rank; ++i)
    calls.CreateStore(argument(3 + i), calls.CreateConstInBoundsGEP1_32(calls.getInt32Ty(), at, i));
  // Address space 7, shared memory of a cluster, is the own block's.
  Value *to = calls.CreateAddrSpaceCast(argument(0), calls.getPtrTy(3));
  calls.call(
      "moe_simt_copy_tensor", calls.getVoidTy(),
      {calls.generic(to), calls.generic(argument(2)), calls.generic(argument(1)), calls.getInt32(rank), at, where});
  return nullptr;
}

std::optional<Value *> moe::emulator::convertHopper(Calls &calls, StringRef name, CallInst &call, uint32_t site) {
  for (auto *convert : {convertMBarrier, convertBulkCopy})
    if (std::optional<Value *> value = convert(calls, name, call, site))
      return value;
  if (name.starts_with("fence.proxy.async") || name.starts_with("fence.mbarrier_init.")) {
    calls.call("moe_simt_proxy_fence", calls.getVoidTy(), {});
    return nullptr;
  }
  Value *all = calls.getInt32(~0u);
  auto collective = [&](uint32_t operation, ArrayRef<Value *> operands) {
    return calls.collective(operation, all, site, operands, call.getType());
  };
  if (name == "wgmma.fence.sync.aligned")
    return collective(MoeSimtWgmmaFence, {});
  if (name == "wgmma.commit_group.sync.aligned")
    return collective(MoeSimtWgmmaCommit, {});
  if (name == "wgmma.wait_group.sync.aligned") {
    Value *pending = calls.CreateTrunc(call.getArgOperand(0), calls.getInt32Ty());
    calls.call("moe_simt_wgmma_wait", calls.getVoidTy(), {pending, calls.getInt32(site)});
    return nullptr;
  }
  if (name == "setmaxnreg.inc.sync.aligned.u32" || name == "setmaxnreg.dec.sync.aligned.u32")
    return collective(MoeSimtSetRegisters, {call.getArgOperand(0), calls.getInt32(name.contains(".inc."))});
  return std::nullopt;
}

namespace {

/// A product as the NVVM dialect writes it: N / 2 accumulators, two descriptors, then 32-bit constants.
struct Wgmma {
  unsigned columns;
  bool isHalf;

  unsigned registers() const { return columns / 2; }
  /// Which operand of the call.
  unsigned descriptors() const { return registers(); }
  unsigned constants() const { return registers() + 2; }

  static std::optional<Wgmma> match(const CallInst &call);
};

} // namespace

std::optional<Wgmma> Wgmma::match(const CallInst &call) {
  auto *assembly = dyn_cast<InlineAsm>(call.getCalledOperand());
  if (!assembly)
    return std::nullopt;
  StringRef text = assembly->getAsmString();
  size_t at = text.find("wgmma.mma_async.sync.aligned.m64n");
  if (at == StringRef::npos)
    return std::nullopt;
  StringRef rest = text.drop_front(at + strlen("wgmma.mma_async.sync.aligned.m64n"));
  Wgmma product;
  if (rest.consumeInteger(10, product.columns) || !rest.consume_front("k16.f32.") || product.columns % 8 ||
      product.columns < 8 || product.columns > 256)
    return std::nullopt;
  StringRef type = rest.take_front(3) == "f16" ? "f16" : "bf16";
  product.isHalf = type == "f16";
  unsigned count = product.registers();
  if (call.arg_size() != product.constants() + 5)
    return std::nullopt;
  // $0 to $(N/2 - 1) are the results; the accumulators that go in have the same registers, but numbers of their own.
  auto operand = [&](unsigned i) { return "$" + std::to_string(i); };
  std::string results;
  for (unsigned i = 0; i < count; ++i)
    results += (i ? ", " : "") + operand(i);
  unsigned next = 2 * count;
  std::string expected = "{\n.reg .pred p;\nsetp.ne.b32 p, " + operand(next + 2) +
                         ", 0;\nwgmma.mma_async.sync.aligned.m64n" + std::to_string(product.columns) + "k16.f32." +
                         type.str() + "." + type.str() + " {" + results + "}, " + operand(next) + ", " +
                         operand(next + 1) + ", p, " + operand(next + 3) + ",  " + operand(next + 4) + ", " +
                         operand(next + 5) + ",  " + operand(next + 6) + ";\n}\n";
  if (text != expected)
    return std::nullopt;
  // Both matrices with K innermost; constants are such.
  for (unsigned i = 0; i < 5; ++i)
    if (auto *value = dyn_cast<ConstantInt>(call.getArgOperand(product.constants() + i));
        !value || (i >= 3 && !value->isZero()))
      return std::nullopt;
  return product;
}

/// Begins the product; the results are tokens.
static Value *convertWgmma(Calls &calls, const Wgmma &product, CallInst &call, uint32_t site) {
  Type *f32 = calls.getFloatTy();
  auto constant = [&](unsigned i) { return cast<ConstantInt>(call.getArgOperand(product.constants() + i)); };
  uint32_t flags = product.columns | (product.isHalf ? MoeSimtWgmmaF16 : 0);
  if (constant(0)->isZero())
    flags |= MoeSimtWgmmaZero;
  if (constant(1)->getSExtValue() < 0)
    flags |= MoeSimtWgmmaNegateA;
  if (constant(2)->getSExtValue() < 0)
    flags |= MoeSimtWgmmaNegateB;
  Value *registers = calls.stackRoom("moe.accumulators", ArrayType::get(f32, 128));
  auto place = [&](unsigned i) { return calls.CreateConstInBoundsGEP1_32(f32, registers, i); };
  for (unsigned i = 0; i < product.registers(); ++i)
    calls.CreateStore(call.getArgOperand(i), place(i));
  calls.call("moe_simt_wgmma", calls.getVoidTy(),
             {registers, call.getArgOperand(product.descriptors()), call.getArgOperand(product.descriptors() + 1),
              calls.getInt32(flags), calls.getInt32(site)});
  Value *result = PoisonValue::get(call.getType());
  for (unsigned i = 0; i < product.registers(); ++i)
    result = calls.CreateInsertValue(result, calls.CreateLoad(f32, place(i)), i);
  return result;
}

std::optional<Value *> moe::emulator::convertHopperAssembly(Calls &calls, CallInst &call, uint32_t site) {
  if (std::optional<Wgmma> product = Wgmma::match(call))
    return convertWgmma(calls, *product, call, site);
  // nvvm.mbarrier.try_wait.parity: tries until it is true.
  static constexpr StringRef wait = "{\n\t.reg .pred       P1; \n\tLAB_WAIT: \n\t"
                                    "mbarrier.try_wait.parity.shared.b64 P1, [$0], $1, $2; \n\t"
                                    "@P1 bra.uni DONE; \n\tbra.uni     LAB_WAIT; \n\tDONE: \n\t}";
  auto *assembly = cast<InlineAsm>(call.getCalledOperand());
  if (assembly->getAsmString() != wait || call.arg_size() != 3)
    return std::nullopt;
  calls.call("moe_simt_mbarrier_test", calls.getInt32Ty(),
             {calls.generic(call.getArgOperand(0)), calls.CreateZExt(call.getArgOperand(1), calls.getInt64Ty()),
              calls.getInt32(MoeSimtWait | MoeSimtParity), calls.getInt32(site)});
  return nullptr;
}

/// Whether `user` only moves a register.
static bool isMove(const User *user) {
  return isa<PHINode, SelectInst, ExtractValueInst, InsertValueInst, FreezeInst>(user);
}

Error moe::emulator::guardAccumulators(Module &module, const Sites &sites) {
  Calls calls(module);
  for (Function &function : module) {
    // What may hold a token.
    SetVector<Instruction *> holders;
    for (Instruction &instruction : instructions(function))
      if (auto *call = dyn_cast<CallInst>(&instruction); call && Wgmma::match(*call))
        holders.insert(call);
    for (size_t i = 0; i < holders.size(); ++i)
      for (User *user : holders[i]->users())
        if (isMove(user))
          holders.insert(cast<Instruction>(user));
    for (Instruction *holder : holders)
      for (Use &use : make_early_inc_range(holder->uses())) {
        auto *user = cast<Instruction>(use.getUser());
        auto *call = dyn_cast<CallInst>(user);
        if (isMove(user) || (call && Wgmma::match(*call)))
          continue;
        if (!holder->getType()->isFloatTy())
          return createStringError("the kernel emulator does not know what happens to the accumulators of a product "
                                   "in function '" +
                                   function.getName() + "': expected them one by one");
        calls.SetInsertPoint(user);
        uint32_t site = sites.contains(*user) ? sites.at(*user) : ~0u;
        use.set(calls.call("moe_simt_wgmma_value", calls.getFloatTy(), {holder, calls.getInt32(site)}));
      }
  }
  return Error::success();
}

//===- Kernel.cpp - what the passes know of a kernel ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Kernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace moe;

static constexpr std::pair<Team, llvm::StringLiteral> teams[] = {
    {Team::Grid, "grid"}, {Team::Block, "block"}, {Team::Warp, "warp"}};

StringRef moe::teamName(Team team) {
  for (auto [known, name] : teams)
    if (known == team)
      return name;
  llvm_unreachable("no such team");
}

std::optional<Team> moe::parseTeam(StringRef name) {
  for (auto [team, known] : teams)
    if (known == name)
      return team;
  return std::nullopt;
}

int64_t moe::getBlockSize(gpu::GPUFuncOp kernel) { return kernel.getKnownBlockSize().value()[0]; }

ThreadNumbers moe::makeThreadNumbers(OpBuilder &b, Location loc, Team team, int64_t blockSize) {
  auto index = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(b, loc, value); };
  Value inBlock = gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x);
  switch (team) {
  case Team::Block:
    return {inBlock, blockSize, index(blockSize)};
  case Team::Warp:
    if (blockSize == warpSize)
      return {inBlock, warpSize, index(warpSize)};
    return {arith::RemUIOp::create(b, loc, inBlock, index(warpSize)), warpSize, index(warpSize)};
  case Team::Grid: {
    Value block = gpu::BlockIdOp::create(b, loc, gpu::Dimension::x);
    Value blocks = gpu::GridDimOp::create(b, loc, gpu::Dimension::x);
    Value begin = arith::MulIOp::create(b, loc, block, index(blockSize));
    Value thread = arith::AddIOp::create(b, loc, begin, inBlock);
    return {thread, 0, arith::MulIOp::create(b, loc, blocks, index(blockSize))};
  }
  }
  llvm_unreachable("no such team");
}

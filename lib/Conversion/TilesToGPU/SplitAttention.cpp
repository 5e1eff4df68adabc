//===- SplitAttention.cpp - several blocks for the keys of a sequence -----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// When a few long texts are decoded there are only as many blocks as sequences times key-value heads, and most of the
// GPU has nothing to do. Chunks of keys have sums of their own anyway (AttentionTiles.cpp), so other blocks can make
// them: a first kernel leaves the sums of each chunk in memory, a second one merges them in order.
//
//===----------------------------------------------------------------------===//

#include "BlockRows.h"

#include "AttentionKernelBuilder.h"
#include "DeviceWork.h"
#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace moe;

/// Blocks of the first kernel for each multiprocessor: as many as it runs at once.
static constexpr int64_t blocksPerMultiprocessor = 2;
/// Columns of a block of the second kernel: eight for each of its warps.
static constexpr int64_t columnsPerBlock = 32;

/// `kernel` with the arguments for memory between kernels, doing `part` of its attention.
static gpu::GPUFuncOp makePart(gpu::GPUFuncOp kernel, AttentionPart part, StringRef suffix, SymbolTable &symbols) {
  gpu::GPUFuncOp clone = kernel.clone();
  MLIRContext *context = kernel.getContext();
  clone.setName((kernel.getName() + suffix).str());
  for (Type type : {Type(MemRefType::get({}, Float32Type::get(context))), Type(IndexType::get(context))})
    (void)clone.insertArgument(clone.getNumArguments(), type, /*argAttrs=*/{}, kernel.getLoc());
  clone.walk([&](AttentionOp op) {
    op->setAttr(attentionPartAttr, IntegerAttr::get(IntegerType::get(context, 64), static_cast<int64_t>(part)));
  });
  symbols.insert(clone, std::next(kernel->getIterator()));
  return clone;
}

void moe::splitAttention(OpBuilder &host, AttentionOp attention, gpu::GPUFuncOp kernel, Value blocks,
                         SymbolTable &symbols, LaunchKernel launch) {
  Location loc = attention.getLoc();
  Value cache = rootBuffer(attention.getKeys());
  auto type = cast<MemRefType>(cache.getType());
  if (type.getRank() != 4 || (type.getDimSize(1) >= 0 && type.getDimSize(1) <= AttentionShape::chunkKeys))
    return;
  auto index = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(host, loc, value); };
  // The host may not know how much of the cache is in use: blocks without a chunk end at once.
  Value capacity = host.createOrFold<memref::DimOp>(loc, cache, 1);
  Value chunks = host.createOrFold<arith::CeilDivUIOp>(loc, capacity, index(AttentionShape::chunkKeys));
  if (std::optional<uint64_t> window = attention.getWindow()) {
    // Of up to 16 queries, wherever the first one begins.
    int64_t most = (static_cast<int64_t>(*window) + 14) / AttentionShape::chunkKeys + 2;
    chunks = host.createOrFold<arith::MinUIOp>(loc, chunks, index(most));
  }
  Value room = arith::MulIOp::create(host, loc, WorkersOp::create(host, loc), index(blocksPerMultiprocessor));
  Value share = arith::MinUIOp::create(host, loc, chunks, arith::CeilDivUIOp::create(host, loc, room, blocks));
  Value isShared = arith::CmpIOp::create(host, loc, arith::CmpIPredicate::ugt, share, index(1));
  auto branch = scf::IfOp::create(host, loc, isShared, /*withElseRegion=*/true);

  // Each stands right behind `kernel`.
  gpu::GPUFuncOp second = makePart(kernel, AttentionPart::Combine, "_combine", symbols);
  gpu::GPUFuncOp first = makePart(kernel, AttentionPart::Chunks, "_chunks", symbols);
  host.setInsertionPoint(branch.thenYield());
  auto shape = *chooseAttentionShape(attention, /*fewRows=*/true);
  Value floats = arith::MulIOp::create(host, loc, chunks, index(shape.chunkBytes() / 4));
  floats = arith::MulIOp::create(host, loc, floats, blocks);
  Value memory = memref::AllocOp::create(host, loc, MemRefType::get({ShapedType::kDynamic}, host.getF32Type()), floats);
  auto number = MemRefType::get({}, host.getF32Type());
  Value begin = memref::ReinterpretCastOp::create(host, loc, number, memory, OpFoldResult(host.getIndexAttr(0)),
                                                  ArrayRef<OpFoldResult>(), ArrayRef<OpFoldResult>());
  launch(first, share, {begin, chunks});
  launch(second, index(llvm::divideCeil(shape.depth, columnsPerBlock)), {begin, chunks});
  host.setInsertionPoint(branch.elseYield());
}

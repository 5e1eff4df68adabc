//===- BlockRows.h - kernels for few rows beside those for many -----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_CONVERSION_TILESTOGPU_BLOCKROWS_H
#define MOE_LIB_CONVERSION_TILESTOGPU_BLOCKROWS_H

#include "moe/Runtime/GpuCostModel.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/SymbolTable.h"

namespace moe {

class AttentionOp;

/// No tile of the products in `loop` has more rows, nor of attention, whose rows only the host knows. 0: there are
/// neither.
int64_t mostBlockRows(mlir::Operation *loop);

/// Says to the lowering of the products and attentions in `kernel` how many rows a block has.
void setBlockRows(mlir::gpu::GPUFuncOp kernel, int64_t rows);

/// Emits a launch of a kernel with `blocksY` blocks along y (null: one), and `more` behind the kernel's operands.
using LaunchKernel = llvm::function_ref<void(mlir::gpu::GPUFuncOp kernel, mlir::Value blocksY, mlir::ValueRange more)>;

/// Launches `kernel`, which does `loop` in `blocks` blocks, or one that does the same in smaller blocks and is made
/// here: the one for the rows that the groups have on average, or the queries of a sequence, which is what the host can
/// tell. Which sizes there are, and for how many rows each, is what `machine` takes the least time for. Where few
/// sequences have few queries, several blocks share the keys of each (splitAttention).
void launchByRows(mlir::OpBuilder &host, mlir::Operation *loop, mlir::gpu::GPUFuncOp kernel, mlir::Value blocks,
                  mlir::SymbolTable &symbols, const rt::GpuMachine &machine, LaunchKernel launch);

/// In front of a launch of `kernel`, which does `attention` for few rows in `blocks` blocks: launches instead two
/// kernels made of it, the first with several blocks for each, if the GPU has room for these and the cache for several
/// chunks of keys. Leaves `host` where `kernel` is to be launched if not. The same bits in either way.
void splitAttention(mlir::OpBuilder &host, AttentionOp attention, mlir::gpu::GPUFuncOp kernel, mlir::Value blocks,
                    mlir::SymbolTable &symbols, LaunchKernel launch);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOGPU_BLOCKROWS_H

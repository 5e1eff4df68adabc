//===- KernelRecipe.h - how a level multiplies matrices -------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A recipe is how a level multiplies the rows of a moe.grouped_matmul with panels of packed weights: the instruction,
// the order of each sum, how rows are packed first, how many panels and rows one inner loop takes. What surrounds it
// (groups, blocks of rows, steps over panels, the epilogue and the stores) is GroupedMatmulToLoops.cpp's. It emits
//
//     recipe.prepare                               scratch buffers, in front of all loops
//     for each block of rows of a group            at most the rows of the recipe's last plan
//       choose a plan by the number of rows        scf.if
//         recipe.packRows                          gather the rows, once
//         for each step over panels                the plan's steps: many at once, then fewer
//           recipe.multiply                        sums of all rows of the block times the step's panels -> scratch
//             for each row: epilogue on the sums, store      as the recipe says which rows are done
//     recipe.finish
//
// A plan may cut K into blocks, for rows that would not stay in the cache otherwise: then packRows and the steps over
// panels are done for each block, for a bounded number of panels at a time, and rows are done in the last block.
//
// A new recipe (another weight format, another instruction) is a class of its own in a file of its own with a function
// that makes it or says that it does not fit; makeKernelRecipe in KernelRecipe.cpp asks them in turn. Which recipe an
// op gets depends on the level and on its static types alone, never on the number of rows, and all plans of a recipe
// must add each element in the same order: then neither batches nor tiles change a bit of the result.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_CONVERSION_TILESTOCPU_KERNELRECIPE_H
#define MOE_LIB_CONVERSION_TILESTOCPU_KERNELRECIPE_H

#include "mlir/IR/Builders.h"

#include <memory>

namespace moe {

class GroupedMatmulOp;
struct IsaLevel;

/// Whether `op` gets other instructions at `level` than at the levels below.
bool hasKernelOfItsOwn(GroupedMatmulOp op, const IsaLevel &level);

/// The rows that a product multiplies.
class RowSource {
public:
  virtual ~RowSource() = default;
  /// The row of x for row `row` of the output: a memref of rank 1 with K elements and a static stride where x has one.
  /// A row of zeros for a choice of -1.
  virtual mlir::Value row(mlir::OpBuilder &b, mlir::Value row) = 0;
};

/// Rows [begin, end) of the output, at least one, all of group `group`.
struct RowBlock {
  mlir::Value group, begin, end;
  RowSource &source;
};

/// Panels side by side: `count` of them from index `first`.
struct PanelBlock {
  mlir::Value first;
  int64_t count;
};

/// A block of K, for plans that cut it.
struct DepthBlock {
  mlir::Value number;     ///< 0 .. Plan::depthBlocks - 1
  mlir::Value firstPanel; ///< of at most Plan::panelsOfBlock that are done for all blocks before the next ones
};

/// Emits the load of 16 sums: those of the row at `position` of its block with panel `number`, counted as
/// (weight operand) * panels.count + (panel).
using LoadSums = llvm::function_ref<mlir::Value(mlir::OpBuilder &b, mlir::Value position, int64_t number)>;
/// Emits what follows when the sums of the rows at positions [first, end) of a block are complete.
using RowsDone = llvm::function_ref<void(mlir::OpBuilder &b, mlir::Value first, mlir::Value end, LoadSums loadSums)>;

class KernelRecipe {
public:
  /// How blocks of at most `maxRows` rows are done. Panels are taken in steps of panelSteps[0] as long as there are
  /// that many, then of panelSteps[1], ...; the last step is 1.
  struct Plan {
    int64_t maxRows;
    llvm::SmallVector<int64_t, 3> panelSteps;
    int64_t depthBlocks = 1;
    int64_t panelsOfBlock = 0; ///< if depthBlocks > 1: a multiple of panelSteps[0]
    bool passesCaches = false; ///< a large result is stored past the caches, where its columns are whole lines
  };

  virtual ~KernelRecipe() = default;

  /// Plans by ascending maxRows. The last one's is the number of rows of a block.
  llvm::ArrayRef<Plan> getPlans() const { return plans; }
  /// Element type of the sums, the type of the epilogue's accumulators.
  virtual mlir::Type getSumType(mlir::MLIRContext *context) const;

  /// Emits what is needed once for the op: views of the weights, scratch buffers. A scratch buffer is a memref.alloc of
  /// static size, aligned to 64, made by allocate().
  virtual void prepare(mlir::OpBuilder &b) = 0;
  /// Emits the packing of the rows of `rows`, which are at most the plan's; of one block of K if `block` is not null.
  virtual void packRows(mlir::OpBuilder &b, size_t plan, const RowBlock &rows, const DepthBlock *block) = 0;
  /// Emits the product of the packed rows with `panels`, and calls `done` where it emits the code behind the last
  /// addition to the sums of some rows; what `done` emits covers each row of `rows` once. With a `block` the product is
  /// added to that of the blocks before, and rows are done in the last block only.
  virtual void multiply(mlir::OpBuilder &b, size_t plan, const RowBlock &rows, const PanelBlock &panels,
                        const DepthBlock *block, RowsDone done) = 0;
  /// Emits the end: frees what allocate() made.
  void finish(mlir::OpBuilder &b);

  /// A scratch buffer for the time of the op.
  mlir::Value allocate(mlir::OpBuilder &b, mlir::MemRefType type);

protected:
  KernelRecipe(mlir::Location loc) : loc(loc) {}

  mlir::Value index(mlir::OpBuilder &b, int64_t value) const;
  mlir::Value add(mlir::OpBuilder &b, mlir::Value left, int64_t right) const;
  mlir::Value add(mlir::OpBuilder &b, mlir::Value left, mlir::Value right) const;
  mlir::Value subtract(mlir::OpBuilder &b, mlir::Value left, mlir::Value right) const;
  /// `left / right` rounded down, of non-negative numbers.
  mlir::Value divide(mlir::OpBuilder &b, mlir::Value left, int64_t right) const;
  mlir::Value remainder(mlir::OpBuilder &b, mlir::Value left, int64_t right) const;
  mlir::Value multiplyBy(mlir::OpBuilder &b, mlir::Value left, int64_t right) const;
  /// scf.for with a body written by `body`; the insertion point stays behind the loop.
  void loop(mlir::OpBuilder &b, mlir::Value begin, mlir::Value end, int64_t step,
            llvm::function_ref<void(mlir::OpBuilder &, mlir::Value)> body) const;

  mlir::Location loc;
  llvm::SmallVector<Plan, 3> plans;

  /// Buffers for the sums of all rows of a plan's blocks and its first step over panels of `weights` operands.
  void allocateSums(mlir::OpBuilder &b, int64_t weights);
  /// Where multiply() of a recipe with such buffers puts the sums of the row at `position` for LoadSums' `number`.
  void storeSums(mlir::OpBuilder &b, size_t plan, mlir::Value vector, mlir::Value position, int64_t number) const;
  /// Calls `done` for all rows of the block.
  void finishRows(mlir::OpBuilder &b, size_t plan, const RowBlock &rows, RowsDone done) const;

private:
  llvm::SmallVector<mlir::Value> buffers;
  llvm::SmallVector<mlir::Value> sums; ///< for each plan: [rows, panels, 16]
};

/// The recipe for `op` (packed weights, checked by MicroKernelBuilder::check) at `level`; null: on the machine it is
/// compiled on.
std::unique_ptr<KernelRecipe> makeKernelRecipe(GroupedMatmulOp op, const IsaLevel *level);

// The recipes there are. Each function returns null where its recipe does not fit.

/// BuilderRecipe.cpp: quantised weights, by a KernelBuilder of QuantizedKernels.h.
std::unique_ptr<KernelRecipe> makeBuilderRecipe(GroupedMatmulOp op, const IsaLevel *level);
/// AmxRecipe.cpp: bf16 times pairs of bf16 in tiles of 16 rows and 32 k, i8 times quads of i8 in tiles of 64 k.
std::unique_ptr<KernelRecipe> makeAmxRecipe(GroupedMatmulOp op, const IsaLevel *level);
/// VectorRecipe.cpp: vdpbf16ps on pairs of bf16.
std::unique_ptr<KernelRecipe> makeBf16DotRecipe(GroupedMatmulOp op, const IsaLevel *level);
/// VectorRecipe.cpp: f32 fused multiply-add, for everything.
std::unique_ptr<KernelRecipe> makeFmaRecipe(GroupedMatmulOp op, const IsaLevel *level);

} // namespace moe

#endif // MOE_LIB_CONVERSION_TILESTOCPU_KERNELRECIPE_H

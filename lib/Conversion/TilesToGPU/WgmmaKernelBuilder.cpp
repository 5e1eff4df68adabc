//===- WgmmaKernelBuilder.cpp - a grouped matmul on sm_90a ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One warpgroup produces: it has tiles of x and of the weights copied into a ring of stages in shared memory. Two
// consume: each multiplies 64 rows of a stage with all its columns by asynchronous instructions (wgmma) that read
// shared memory themselves. Both go through the tiles of the kernel at their own pace, so the next tile's copies run
// while sums are stored. Two barriers of each stage tell them of each other: `full` counts the bytes that have come,
// `empty` the warps that are done.
//
// Weights come by TMA: one thread names a box of a tensor map. Rows of x that are chosen one by one cannot; all threads
// of the warpgroup copy them, 16 bytes each, to where TMA would have put them.
//
// A row of a stage has 128 bytes, whose 16-byte chunks are exchanged by the row's number modulo 8, as TMA and wgmma do
// for "128 byte swizzle". Tiles of several weights lie one behind the other: the columns of one instruction are those
// of gate and up, and their sums meet in one thread.
//
//===----------------------------------------------------------------------===//

#include "WgmmaKernelBuilder.h"

#include "Kernel.h"
#include "ProductBuilder.h"
#include "TileOffsets.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"

#include <numeric>

using namespace mlir;
using namespace moe;

static constexpr int64_t rowBytes = WgmmaShape::depth * 2;
static constexpr int64_t chunksPerRow = rowBytes / 16;
static constexpr int64_t warpgroup = 128;
/// Rows and depth of an instruction.
static constexpr int64_t wgmmaRows = 64, wgmmaDepth = 16;
/// Rows of x that the producers copy at a time, where they do.
static constexpr int64_t rowsPerCopy = warpgroup / chunksPerRow;
static constexpr int64_t consumerWarps = (wgmmaThreads - warpgroup) / warpSize;
/// Registers of a thread: what consumers need for sums, the producers give. Together not more than 65536.
static constexpr int64_t producerRegisters = 40, consumerRegisters = 232;
/// Shared memory that a block can have on sm_90.
static constexpr int64_t mostShared = 227 * 1024;
static constexpr int64_t mostStages = 6;

//===----------------------------------------------------------------------===//
// Which products
//===----------------------------------------------------------------------===//

/// A number that divides `value`; 0 if it is 0.
static int64_t divisorOf(Value value) {
  if (std::optional<int64_t> constant = getConstantIntValue(value))
    return std::abs(*constant);
  Operation *op = value.getDefiningOp();
  if (isa_and_nonnull<arith::MulIOp>(op))
    return divisorOf(op->getOperand(0)) * divisorOf(op->getOperand(1));
  if (isa_and_nonnull<arith::AddIOp, arith::SubIOp, arith::MinUIOp, arith::MinSIOp>(op))
    return std::gcd(divisorOf(op->getOperand(0)), divisorOf(op->getOperand(1)));
  return 1;
}

/// A number that divides the position of the first row of `part` in its buffer, counting all rows of all dimensions.
static int64_t firstRowDivisor(Value part) {
  int64_t divisor = 0;
  while (auto subview = part.getDefiningOp<memref::SubViewOp>()) {
    int64_t rows = 1;
    auto shape = cast<MemRefType>(subview.getSource().getType()).getShape();
    for (int64_t dim = shape.size() - 1; dim-- > 0;) {
      OpFoldResult offset = subview.getMixedOffsets()[dim];
      std::optional<int64_t> known = getConstantIntValue(offset);
      divisor = std::gcd(divisor, rows * (known ? *known : divisorOf(cast<Value>(offset))));
      rows = ShapedType::isDynamic(shape[dim]) ? 0 : rows * shape[dim];
    }
    part = subview.getSource();
  }
  return divisor;
}

std::optional<WgmmaShape> moe::chooseWgmmaShape(GroupedMatmulOp op, std::string &why) {
  auto no = [&](const Twine &reason) {
    why = reason.str();
    return std::nullopt;
  };
  int64_t weights = op.getWeights().size(), depth = op.getDepth();
  Type element = elementOf(op.getX());
  if (op.isPacked() || op.getFormat() || !(element.isBF16() || element.isF16()))
    return no("expected plain rows and weights of bf16 or f16");
  if (!getTileOffsets(op).second)
    return no("expected a tile of one group");
  if (weights > 2)
    return no("expected one weight or two");
  if (depth % 8 || rowStride(op.getX(), 0).value_or(1) % 8)
    return no("expected rows of whole 16 bytes");
  for (Value weight : op.getWeights())
    if (elementOf(weight) != element || rowStride(weight, 1) != depth || !KernelBuffer::of(weight))
      return no("expected weights of the element type of the rows, in a contiguous argument of the kernel");
  if (!op.getChoices() && (!KernelBuffer::of(op.getX()) || rowStride(op.getX(), 0) != depth))
    return no("expected rows in a contiguous argument of the kernel");

  // Wide where there are so many columns: x is read less often.
  int64_t mostColumns = 0;
  for (Value weight : op.getWeights())
    mostColumns += KernelBuffer::of(weight)->type().getShape()[1];
  WgmmaShape shape{mostColumns > 128 ? 256 : 128, 0, columnsPerStore(op)};
  shape.stages = std::min(mostStages, mostShared / (shape.stageBytes() + 16));
  int64_t perWeight = shape.columns / weights;
  for (Value weight : op.getWeights())
    if (firstRowDivisor(weight) % (4 * shape.run) || KernelBuffer::of(weight)->type().getShape()[1] % (4 * shape.run) ||
        perWeight % (4 * shape.run))
      shape.run = 2;
  return shape;
}

SmallVector<TensorMap> moe::tensorMapsOf(GroupedMatmulOp op, const WgmmaShape &shape) {
  SmallVector<TensorMap> maps;
  int64_t perWeight = shape.columns / op.getWeights().size();
  for (Value weight : op.getWeights())
    maps.push_back({*KernelBuffer::of(weight), perWeight, shape.run});
  if (!op.getChoices())
    maps.push_back({*KernelBuffer::of(op.getX()), WgmmaShape::rows, /*run=*/2});
  return maps;
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

namespace {
/// What both roles know of their kernel.
struct WgmmaBlock {
  Value shared;                    ///< pointer to the stages
  Value thread;                    ///< i32
  Value stageSlot, phaseSlot;      ///< memory of a thread: where in the ring it goes on with the next tile
  SmallVector<BlockArgument> maps; ///< as tensorMapsOf has them
};

/// Where in the ring of stages a role is: the stage and how often, modulo 2, it came around.
struct Position {
  Value stage, phase; // i32
};

class WgmmaBuilder : ProductBuilder {
public:
  WgmmaBuilder(GroupedMatmulOp op, const WgmmaShape &shape, const WgmmaBlock &block)
      : ProductBuilder(op), shape(shape), block(block), maps(tensorMapsOf(op, shape)),
        perWeight(shape.columns / weights) {
    run = shape.run;
    shared = block.shared;
    prepareTile();
  }

  void produce();
  void consume();

private:
  using Body = function_ref<SmallVector<Value>(Value number, ArrayRef<Value> carried)>;
  SmallVector<Value> loop(Value end, int64_t step, ArrayRef<Value> carried, Body body);
  void forParts(function_ref<Position(Value firstRow, Value firstColumn, Position)> part);
  Position next(Position position);
  Value equal(Value value, int64_t number) {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, value, i32(number));
  }

  enum class Barrier { Full, Empty };
  Value barrierAt(Barrier barrier, Value stage);
  void waitFor(Barrier barrier, Value stage, Value parity) {
    NVVM::MBarrierTryWaitParityOp::create(b, loc, barrierAt(barrier, stage), parity, i32(10000000));
  }

  Value firstRowOf(size_t map, Value part);
  void copyBox(size_t map, Value to, Value row, Value k, Value barrier);
  void prepareRows(Value firstRow);
  void copyRows(Value k, Value to);
  void copyStage(Value k, Value firstRow, Value firstColumn, Position position);

  Value lowerDescriptor(Value offset);
  Value descriptorOf(Value lower);
  Value multiply(Value sums, Value stage);
  void release(Value stage, Value condition);
  void epilogue(Value firstRow, Value firstColumn, Value sums);

  WgmmaShape shape;
  const WgmmaBlock &block;
  SmallVector<TensorMap> maps;
  int64_t perWeight;
  // Of producers.
  SmallVector<Value> firstRows; ///< of the part in the tensor of each map, in its coordinates, i32
  SmallVector<Value> pointers;  ///< of the rows this thread copies
  Value copyRow, copyChunk;     ///< the first of them, and the chunk of each, i32
  Value chosen;                 ///< bytes of a copy << n, if there is an n-th row to copy
  // Of consumers.
  Value lane, warp;     ///< warp: of the two warpgroups, i32
  Value lowerA, lowerB; ///< lower descriptors of this warpgroup's rows and of the columns, in stage 0
};
} // namespace

SmallVector<Value> WgmmaBuilder::loop(Value end, int64_t step, ArrayRef<Value> carried, Body body) {
  auto op = scf::ForOp::create(b, loc, i32(0), end, i32(step), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(op.getBody());
  scf::YieldOp::create(b, loc, body(op.getInductionVar(), llvm::to_vector_of<Value>(op.getRegionIterArgs())));
  return llvm::to_vector_of<Value>(op.getResults());
}

/// Emits `part` for each part of the tile that a block multiplies at a time.
void WgmmaBuilder::forParts(function_ref<Position(Value, Value, Position)> part) {
  auto load = [&](Value slot) -> Value { return memref::LoadOp::create(b, loc, slot); };
  SmallVector<Value> end = loop(
      columns, perWeight, {load(block.stageSlot), load(block.phaseSlot)}, [&](Value column, ArrayRef<Value> carried) {
        return loop(rows, WgmmaShape::rows, carried, [&](Value row, ArrayRef<Value> carried) -> SmallVector<Value> {
          Position after = part(row, column, {carried[0], carried[1]});
          return {after.stage, after.phase};
        });
      });
  memref::StoreOp::create(b, loc, end[0], block.stageSlot);
  memref::StoreOp::create(b, loc, end[1], block.phaseSlot);
}

Position WgmmaBuilder::next(Position position) {
  Value stage = make<arith::AddIOp>(position.stage, 1);
  Value around = equal(stage, shape.stages);
  return {select(around, i32(0), stage),
          make<arith::XOrIOp>(position.phase, arith::ExtUIOp::create(b, loc, b.getI32Type(), around).getResult())};
}

Value WgmmaBuilder::barrierAt(Barrier barrier, Value stage) {
  int64_t first = shape.stages * (shape.stageBytes() + (barrier == Barrier::Full ? 0 : 8));
  return sharedAt(make<arith::MulIOp>(stage, 8), first);
}

//===----------------------------------------------------------------------===//
// The producers
//===----------------------------------------------------------------------===//

/// The coordinate of the first row of `part` in the tensor of `map`.
Value WgmmaBuilder::firstRowOf(size_t map, Value part) {
  Value offset = memref::ExtractStridedMetadataOp::create(b, loc, part).getOffset();
  return toI32(make<arith::DivUIOp>(offset, op.getDepth() * maps[map].rowsPerCoordinate()));
}

/// Has the box of `map` that begins at `row` (i32, behind the first of the part) and `k` copied.
void WgmmaBuilder::copyBox(size_t map, Value to, Value row, Value k, Value barrier) {
  SmallVector<Value> coordinates{k};
  coordinates.append(maps[map].middleDimensions(), i32(0));
  if (int64_t rows = maps[map].rowsPerCoordinate(); rows > 1)
    row = make<arith::DivUIOp>(row, rows);
  coordinates.push_back(make<arith::AddIOp>(firstRows[map], row));
  // A block alone is a cluster of one.
  auto inCluster =
      LLVM::LLVMPointerType::get(b.getContext(), static_cast<unsigned>(NVVM::NVVMMemorySpace::SharedCluster));
  to = LLVM::AddrSpaceCastOp::create(b, loc, inCluster, to);
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      b, loc, to, block.maps[map], coordinates, barrier, /*im2colOffsets=*/ValueRange(), /*multicastMask=*/Value(),
      /*l2CacheHint=*/Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/false, /*group=*/nullptr, /*predicate=*/Value());
}

/// Which rows of x this thread copies: those that do not exist become zero bytes to copy, and the copy fills in zeros.
void WgmmaBuilder::prepareRows(Value firstRow) {
  copyRow = make<arith::DivUIOp>(block.thread, chunksPerRow);
  copyChunk = make<arith::RemUIOp>(block.thread, chunksPerRow);
  pointers.clear();
  chosen = i32(0);
  Value base = addressOf(op.getX()), last = make<arith::SubIOp>(rows, 1);
  for (int64_t at = 0; at < WgmmaShape::rows; at += rowsPerCopy) {
    Value row = make<arith::AddIOp>(firstRow, make<arith::AddIOp>(copyRow, at));
    Value exists = less(row, rows);
    row = make<arith::AddIOp>(begin, make<arith::MinSIOp>(row, last));
    Value choice = memref::LoadOp::create(b, loc, op.getChoices(), toIndex(row));
    exists = make<arith::AndIOp>(exists, arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, choice, i32(0)));
    row = make<arith::DivUIOp>(make<arith::MaxSIOp>(choice, 0), op.getFanout());
    chosen = make<arith::OrIOp>(chosen, select(exists, i32(chunkBytes << pointers.size()), i32(0)));
    Value address = make<arith::AddIOp>(base, make<arith::MulIOp>(toIndex(row), 2 * *rowStride(op.getX(), 0)));
    address = make<arith::AddIOp>(address, make<arith::MulIOp>(toIndex(copyChunk), chunkBytes));
    pointers.push_back(globalPointer(address));
  }
}

/// Starts copies of the gathered rows to `to`, offset of a stage.
void WgmmaBuilder::copyRows(Value k, Value to) {
  Value place = make<arith::XOrIOp>(copyChunk, make<arith::RemUIOp>(copyRow, 8));
  to = make<arith::AddIOp>(to, make<arith::MulIOp>(copyRow, rowBytes));
  to = make<arith::AddIOp>(to, make<arith::MulIOp>(place, chunkBytes));
  Value bytes = make<arith::MulIOp>(k, 2), inside;
  if (op.getDepth() % WgmmaShape::depth)
    inside = less(make<arith::AddIOp>(k, make<arith::MulIOp>(copyChunk, chunkBytes / 2)), i32(op.getDepth()));
  for (auto [number, pointer] : llvm::enumerate(pointers)) {
    Value size = make<arith::AndIOp>(make<arith::ShRUIOp>(chosen, number), chunkBytes);
    if (inside)
      size = select(inside, size, i32(0));
    copyAsync(sharedAt(to, number * rowsPerCopy * rowBytes), globalAt(pointer, bytes), chunkBytes, size);
  }
}

/// Has everything for the step at `k` copied, once the stage is empty.
void WgmmaBuilder::copyStage(Value k, Value firstRow, Value firstColumn, Position position) {
  // A new barrier lets pass who waits for the time before the first one.
  waitFor(Barrier::Empty, position.stage, make<arith::XOrIOp>(position.phase, 1));
  Value full = barrierAt(Barrier::Full, position.stage);
  Value stage = make<arith::MulIOp>(position.stage, shape.stageBytes());
  auto byTma = [&] {
    int64_t copied = shape.columns + (op.getChoices() ? 0 : WgmmaShape::rows);
    NVVM::MBarrierArriveExpectTxOp::create(b, loc, /*res=*/Type(), full, i32(copied * rowBytes),
                                           NVVM::MemScopeKind::CTA, /*relaxed=*/false, /*predicate=*/Value());
    for (int64_t weight = 0; weight < weights; ++weight)
      copyBox(weight, sharedAt(stage, (WgmmaShape::rows + weight * perWeight) * rowBytes), firstColumn, k, full);
    if (!op.getChoices())
      copyBox(weights, sharedAt(stage, 0), make<arith::AddIOp>(begin, firstRow), k, full);
  };
  if (!op.getChoices())
    return byTma();
  {
    auto first = scf::IfOp::create(b, loc, equal(block.thread, 0), /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(first.thenYield());
    byTma();
  }
  copyRows(k, stage);
  NVVM::CpAsyncMBarrierArriveOp::create(b, loc, full, /*noinc=*/true);
}

void WgmmaBuilder::produce() {
  for (auto [number, weight] : llvm::enumerate(op.getWeights()))
    firstRows.push_back(firstRowOf(number, weight));
  if (!op.getChoices())
    firstRows.push_back(firstRowOf(weights, op.getX()));
  OpBuilder::InsertionGuard guard(b);
  // Where TMA copies everything, one thread has it do so.
  if (!op.getChoices())
    b.setInsertionPoint(scf::IfOp::create(b, loc, equal(block.thread, 0), /*withElseRegion=*/false).thenYield());
  forParts([&](Value firstRow, Value firstColumn, Position position) -> Position {
    if (op.getChoices())
      prepareRows(firstRow);
    auto end = loop(i32(op.getDepth()), WgmmaShape::depth, {position.stage, position.phase},
                    [&](Value k, ArrayRef<Value> carried) -> SmallVector<Value> {
                      Position now{carried[0], carried[1]};
                      copyStage(k, firstRow, firstColumn, now);
                      Position after = next(now);
                      return {after.stage, after.phase};
                    });
    return {end[0], end[1]};
  });
}

//===----------------------------------------------------------------------===//
// The consumers
//===----------------------------------------------------------------------===//

/// The lower half of what a wgmma needs to know of rows in shared memory at `offset` (i32) of stage 0: their address.
/// It has more bits than an address: shared memory begins where the window of descriptors, 256 KiB, does, so no carry
/// leaves those of the address when offsets are added.
Value WgmmaBuilder::lowerDescriptor(Value offset) {
  Value address = LLVM::PtrToIntOp::create(b, loc, b.getI32Type(), sharedAt(offset, 0));
  address = make<arith::ShRUIOp>(make<arith::AndIOp>(address, 0x3ffff), 4);
  return make<arith::OrIOp>(address, 1 << 16);
}

/// With the upper half: sets of eight rows with exchanged chunks are 1024 bytes from each other.
Value WgmmaBuilder::descriptorOf(Value lower) {
  constexpr uint64_t eightRows = 8 * rowBytes / 16, swizzle128 = 1;
  Value upper = LLVM::ConstantOp::create(b, loc, b.getI64Type(),
                                         b.getI64IntegerAttr(static_cast<int64_t>(eightRows << 32 | swizzle128 << 62)));
  return LLVM::OrOp::create(b, loc, arith::ExtUIOp::create(b, loc, b.getI64Type(), lower), upper);
}

/// Starts the products of a stage; they are one group.
Value WgmmaBuilder::multiply(Value sums, Value stage) {
  auto element = elementOf(op.getX()).isBF16() ? NVVM::WGMMATypes::bf16 : NVVM::WGMMATypes::f16;
  Value distance = make<arith::MulIOp>(stage, shape.stageBytes() / 16);
  auto at = [&](Value lower, int64_t k) {
    return descriptorOf(make<arith::AddIOp>(make<arith::AddIOp>(lower, distance), k * 2 / 16));
  };
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  for (int64_t k = 0; k < WgmmaShape::depth; k += wgmmaDepth)
    sums = NVVM::WgmmaMmaAsyncOp::create(b, loc, sums.getType(), sums, at(lowerA, k), at(lowerB, k),
                                         NVVM::MMAShapeAttr::get(b.getContext(), wgmmaRows, shape.columns, wgmmaDepth),
                                         element, element, NVVM::WGMMATypes::f32, NVVM::WGMMAScaleOut::one,
                                         NVVM::WGMMAScaleIn::one, NVVM::WGMMAScaleIn::one, NVVM::MMALayout::row,
                                         NVVM::MMALayout::col, /*satfinite=*/nullptr);
  NVVM::WgmmaGroupSyncAlignedOp::create(b, loc);
  return sums;
}

/// Tells the producers that this warp is done with `stage`, if `condition` holds.
void WgmmaBuilder::release(Value stage, Value condition) {
  auto arrives = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(arrives.thenYield());
  NVVM::MBarrierArriveOp::create(b, loc, /*res=*/Type(), barrierAt(Barrier::Empty, stage), /*count=*/Value(),
                                 NVVM::MemScopeKind::CTA, /*relaxed=*/false);
}

/// A thread of a wgmma has of each eight columns two, of the rows lane / 4 and eight further of its warp's 16.
void WgmmaBuilder::epilogue(Value firstRow, Value firstColumn, Value sums) {
  Value row = make<arith::AddIOp>(make<arith::MulIOp>(warp, 16), make<arith::ShRUIOp>(lane, 2));
  row = make<arith::AddIOp>(firstRow, row);
  Value column = make<arith::AddIOp>(firstColumn, make<arith::MulIOp>(make<arith::AndIOp>(lane, 3), run));
  for (int64_t half = 0; half < 2; ++half)
    storeRow(make<arith::AddIOp>(row, 8 * half), column, perWeight,
             [&](int64_t weight, int64_t eight, int64_t element) -> Value {
               int64_t number = (weight * (perWeight / 8) + eight) * 4 + 2 * half + element;
               return LLVM::ExtractValueOp::create(b, loc, sums, number);
             });
}

void WgmmaBuilder::consume() {
  Value thread = make<arith::SubIOp>(block.thread, warpgroup);
  lane = make<arith::AndIOp>(thread, warpSize - 1);
  warp = make<arith::ShRUIOp>(thread, 5);
  // From the first lane: so ptxas knows that all have the same, and keeps it in registers of the warp.
  Value group = make<arith::ShRUIOp>(thread, 7);
  group = gpu::ShuffleOp::create(b, loc, group, 0, warpSize, gpu::ShuffleMode::IDX).getShuffleResult();
  lowerA = lowerDescriptor(make<arith::MulIOp>(group, wgmmaRows * rowBytes));
  lowerB = lowerDescriptor(i32(WgmmaShape::rows * rowBytes));
  Value speaks = equal(lane, 0);
  int64_t sumCount = shape.columns / 2;
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(sumCount, b.getF32Type()));

  forParts([&](Value firstRow, Value firstColumn, Position position) -> Position {
    Value zeros = LLVM::ZeroOp::create(b, loc, type);
    auto end =
        loop(i32(op.getDepth()), WgmmaShape::depth, {zeros, position.stage, position.phase, position.stage},
             [&](Value k, ArrayRef<Value> carried) -> SmallVector<Value> {
               Position now{carried[1], carried[2]};
               waitFor(Barrier::Full, now.stage, now.phase);
               // What threads copied, wgmma reads on another way than they wrote it.
               if (op.getChoices())
                 NVVM::FenceProxyOp::create(b, loc, NVVM::ProxyKind::async_shared,
                                            NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
               Value sums = multiply(carried[0], now.stage);
               // The stage before is read; this one's products go on.
               NVVM::WgmmaWaitGroupSyncOp::create(b, loc, 1);
               release(carried[3], make<arith::AndIOp>(speaks, less(i32(0), k)));
               Position after = next(now);
               return {sums, after.stage, after.phase, now.stage};
             });
    NVVM::WgmmaWaitGroupSyncOp::create(b, loc, 0);
    release(end[3], speaks);
    epilogue(firstRow, firstColumn, end[0]);
    return {end[1], end[2]};
  });
}

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

/// The dynamic shared memory of the kernels in `module`.
static LLVM::GlobalOp sharedMemoryOf(gpu::GPUModuleOp module) {
  constexpr llvm::StringLiteral name = "moe_dynamic_shared";
  if (auto known = module.lookupSymbol<LLVM::GlobalOp>(name))
    return known;
  OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), 0);
  // Chunks are exchanged by bits of the address, within 1024 bytes.
  return LLVM::GlobalOp::create(b, module.getLoc(), type, /*isConstant=*/false, LLVM::Linkage::External, name,
                                Attribute(), /*alignment=*/1024, /*addrSpace=*/3);
}

/// Emits what comes before the roles: the barriers of the stages. Returns what the roles share.
static WgmmaBlock prepareBlock(OpBuilder &b, GroupedMatmulOp op, const WgmmaShape &shape, gpu::GPUFuncOp kernel) {
  Location loc = op.getLoc();
  auto i32 = [&](int64_t value) -> Value { return arith::ConstantIntOp::create(b, loc, value, 32); };
  WgmmaBlock block;
  block.shared = LLVM::AddressOfOp::create(b, loc, sharedMemoryOf(kernel->getParentOfType<gpu::GPUModuleOp>()));
  Value thread = gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x);
  block.thread = arith::IndexCastOp::create(b, loc, b.getI32Type(), thread);
  for (Value *slot : {&block.stageSlot, &block.phaseSlot}) {
    *slot = memref::AllocaOp::create(b, loc, MemRefType::get({}, b.getI32Type()));
    memref::StoreOp::create(b, loc, i32(0), *slot);
  }
  size_t maps = tensorMapsOf(op, shape).size();
  block.maps = llvm::to_vector(kernel.getArguments().take_back(maps));

  Value first = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, block.thread, i32(0));
  auto initialises = scf::IfOp::create(b, loc, first, /*withElseRegion=*/false);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(initialises.thenYield());
    // Of a full stage: the thread that has boxes copied, and all that copy rows. Of an empty one: a thread of each
    // warp.
    const int64_t arrivals[] = {op.getChoices() ? 1 + warpgroup : 1, consumerWarps};
    int64_t at = shape.stages * shape.stageBytes();
    for (int64_t count : arrivals)
      for (int64_t stage = 0; stage < shape.stages; ++stage, at += 8) {
        Value barrier = LLVM::GEPOp::create(b, loc, block.shared.getType(), b.getI8Type(), block.shared,
                                            ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(at)});
        NVVM::MBarrierInitOp::create(b, loc, barrier, i32(count), /*predicate=*/Value());
      }
    NVVM::FenceMbarrierInitOp::create(b, loc);
  }
  gpu::BarrierOp::create(b, loc);
  return block;
}

/// Emits the role of `op`, takes the op away, and with it the offsets of its tile.
template <typename Emit> static void replaceByRole(GroupedMatmulOp op, Emit &&emit) {
  emit(op);
  Value offsets = op.getOffsets();
  op.erase();
  eraseTileOffsets(offsets);
}

void moe::buildWgmmaKernel(GroupedMatmulOp op, const WgmmaShape &shape, gpu::GPUFuncOp kernel) {
  Location loc = op.getLoc();
  mlir::Block &body = kernel.getBody().front();
  SmallVector<Operation *> work = llvm::map_to_vector(body.without_terminator(), [](Operation &op) { return &op; });
  OpBuilder b = OpBuilder::atBlockBegin(&body);
  WgmmaBlock block = prepareBlock(b, op, shape, kernel);
  Value produces = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, block.thread,
                                         arith::ConstantIntOp::create(b, loc, warpgroup, 32));
  auto roles = scf::IfOp::create(b, loc, produces, /*withElseRegion=*/true);

  // Both roles go through the tiles.
  IRMapping mapping;
  b.setInsertionPoint(roles.thenYield());
  NVVM::SetMaxRegisterOp::create(b, loc, producerRegisters, NVVM::SetMaxRegisterAction::decrease);
  for (Operation *op : work)
    b.clone(*op, mapping);
  b.setInsertionPoint(roles.elseYield());
  NVVM::SetMaxRegisterOp::create(b, loc, consumerRegisters, NVVM::SetMaxRegisterAction::increase);
  for (Operation *op : work)
    op->moveBefore(roles.elseYield());

  GroupedMatmulOp ofProducers;
  roles.getThenRegion().walk([&](GroupedMatmulOp found) { ofProducers = found; });
  replaceByRole(ofProducers, [&](GroupedMatmulOp op) { WgmmaBuilder(op, shape, block).produce(); });
  replaceByRole(op, [&](GroupedMatmulOp op) { WgmmaBuilder(op, shape, block).consume(); });
  kernel.setKnownBlockSizeAttr(b.getDenseI32ArrayAttr({static_cast<int32_t>(wgmmaThreads), 1, 1}));
  // Registers are given and taken by a count that ptxas has to know.
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(1));
}

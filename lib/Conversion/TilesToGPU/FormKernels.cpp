//===- FormKernels.cpp - host functions and the kernels they launch -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "AttentionKernelBuilder.h"
#include "BlockRows.h"
#include "DeviceWork.h"
#include "Kernel.h"
#include "MmaKernelBuilder.h"
#include "TileOffsets.h"
#include "WarpLoops.h"
#include "dialect/Moe/IR/MoeOps.h"
#include "lib/Conversion/Common/Outlining.h"
#include "lib/Conversion/Common/WorkerScratch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Transforms/RegionUtils.h"

#include "llvm/Support/FormatVariadic.h"

namespace moe {
#define GEN_PASS_DEF_FORMKERNELS
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

/// Threads of a block: four warps, one for each scheduler of a multiprocessor.
static constexpr int64_t blockSize = 128;
/// Scratch memory of a block that is shared memory; more goes to global memory.
static constexpr int64_t mostShared = 16 * 1024;
/// Shared memory of a block whose size a kernel states.
static constexpr int64_t allShared = 48 * 1024;
/// Left for a schedule's counters, which may join a kernel with a product.
static constexpr int64_t leftForSchedule = 8 * 1024;
/// Threads of the block that sorts choices: many, since nothing else runs.
static constexpr int64_t scheduleThreads = 512;
/// No grid is larger: its teams take further iterations in turn.
static constexpr int64_t mostBlocks = int64_t(1) << 20;

namespace {
/// Operations of a block of host code that become one kernel.
struct Segment {
  Place place;
  SmallVector<Operation *> ops;

  /// Whether `op` may join.
  bool accepts(Place other, Operation *op) const;
};

/// A kernel in the making.
struct KernelForm {
  explicit KernelForm(Segment &segment);
  Operation *last() const { return segment.ops.back(); }

  Segment &segment;
  std::optional<ParallelLoop> loop; ///< the parallel loop that the segment is
  Team team;                        ///< who takes an iteration
  int64_t threads, teamsPerBlock;   ///< of a block
  int64_t blockRows = 0;            ///< as mostBlockRows of the loop says
  SmallVector<WorkerScratch> scratch;
  SmallVector<Value> memories; ///< in global memory, one for each of `scratch`; null where it is shared memory
  SmallVector<Capture> captures;
  SmallVector<Value> operands;
};

/// Splits one function.
class Splitter {
public:
  Splitter(func::FuncOp function, gpu::GPUModuleOp kernels, SymbolTable &symbols, const rt::GpuMachine &machine)
      : function(function), kernels(kernels), symbols(symbols), machine(machine), host(function.getContext()) {}

  LogicalResult run();

private:
  LogicalResult splitBlock(Block &block);
  LogicalResult emit(Segment &segment);
  LogicalResult placeScratch(KernelForm &form, int64_t &room);
  Value countBlocks(const KernelForm &form, Value one);
  LogicalResult captureValues(KernelForm &form, Value blocks, int64_t room);
  gpu::GPUFuncOp createKernel(const KernelForm &form);
  void fillKernel(KernelForm &form, gpu::GPUFuncOp kernel);
  LogicalResult checkSync(Operation *op);

  void collect(Value value, const Segment &segment, llvm::SetVector<Value> &captured);
  bool isUsedLater(Value value, const Segment &segment);
  Value slotOf(Value value);
  Value materialize(Value value);
  void cloneOp(Operation *op);
  Value openLoop(const ParallelLoop &loop, Value team, Value teams);
  Value iterations(OpBuilder &b, const ParallelLoop &loop, function_ref<Value(Value)> local, SmallVector<Value> *sizes);
  std::string nameOf(const Segment &segment);

  func::FuncOp function;
  gpu::GPUModuleOp kernels;
  SymbolTable &symbols;
  const rt::GpuMachine &machine; ///< whose cost decides which kernel has how many rows
  DeviceWork work;
  OpBuilder host;
  llvm::DenseMap<Value, Value> slots; ///< device memory that carries a number from one kernel to others
  SmallVector<Operation *> done;      ///< operations that are in kernels now
  int number = 0;

  // Of the kernel in the making.
  std::unique_ptr<OpBuilder> device;
  IRMapping mapping;
};
} // namespace

bool Segment::accepts(Place other, Operation *op) const {
  if (ops.empty() || place != other)
    return ops.empty();
  // Threads of a grid do not wait for each other.
  return place == Place::Serial || llvm::all_of(ops, [&](Operation *before) { return isIndependent(before, op); });
}

/// Adds to `captured` what the kernel of `segment` needs from the host for `value`.
void Splitter::collect(Value value, const Segment &segment, llvm::SetVector<Value> &captured) {
  Operation *op = value.getDefiningOp();
  if (op && llvm::is_contained(segment.ops, op))
    return;
  if (op && (op->hasTrait<OpTrait::ConstantLike>() || isa<memref::GetGlobalOp>(op)))
    return;
  if (work.isProduced(value)) {
    captured.insert(slotOf(value));
    return;
  }
  if (!work.isDeviceValue(value)) {
    captured.insert(value);
    return;
  }
  for (Value operand : op->getOperands())
    collect(operand, segment, captured);
}

/// Whether another kernel needs the number `value` of this one.
bool Splitter::isUsedLater(Value value, const Segment &segment) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    Operation *top = value.getParentBlock()->findAncestorOpInBlock(*user);
    if (llvm::is_contained(segment.ops, top))
      return false;
    if (work.placeOf(top) != Place::Sunk)
      return true;
    return llvm::any_of(top->getResults(), [&](Value result) { return isUsedLater(result, segment); });
  });
}

/// Memory for one number, made at the start of the function.
Value Splitter::slotOf(Value value) {
  Value &slot = slots[value];
  if (!slot) {
    OpBuilder::InsertionGuard guard(host);
    host.setInsertionPointToStart(&function.front());
    slot = memref::AllocOp::create(host, value.getLoc(), MemRefType::get({}, value.getType()));
  }
  return slot;
}

/// What stands for `value` in the kernel, made there if need be.
Value Splitter::materialize(Value value) {
  if (Value known = mapping.lookupOrNull(value))
    return known;
  Operation *op = value.getDefiningOp();
  if (work.isProduced(value)) {
    Value loaded = memref::LoadOp::create(*device, value.getLoc(), mapping.lookup(slotOf(value)));
    mapping.map(value, loaded);
    return loaded;
  }
  if (auto global = dyn_cast<memref::GetGlobalOp>(op); global && !kernels.lookupSymbol(global.getName())) {
    auto data = cast<memref::GlobalOp>(SymbolTable::lookupNearestSymbolFrom(op, global.getNameAttr()));
    OpBuilder atStart = OpBuilder::atBlockBegin(kernels.getBody());
    atStart.clone(*data);
  }
  cloneOp(op);
  return mapping.lookup(value);
}

void Splitter::cloneOp(Operation *op) {
  SetVector<Value> used(op->operand_begin(), op->operand_end());
  getUsedValuesDefinedAbove(op->getRegions(), used);
  for (Value value : used)
    materialize(value);
  device->clone(*op, mapping);
}

/// The number of iterations of all dimensions of `loop`, and of each in `sizes`. `local` gives what stands for a bound.
Value Splitter::iterations(OpBuilder &b, const ParallelLoop &loop, function_ref<Value(Value)> local,
                           SmallVector<Value> *sizes) {
  Location loc = loop.op->getLoc();
  auto value = [&](OpFoldResult bound) -> Value {
    if (auto dynamic = dyn_cast<Value>(bound))
      return local(dynamic);
    return getValueOrCreateConstantIndexOp(b, loc, bound);
  };
  Value zero = arith::ConstantIndexOp::create(b, loc, 0), total;
  for (auto [lower, upper, step] : llvm::zip_equal(loop.lowerBounds, loop.upperBounds, loop.steps)) {
    Value extent = b.createOrFold<arith::SubIOp>(loc, value(upper), value(lower));
    extent = b.createOrFold<arith::MaxSIOp>(loc, extent, zero);
    Value size = b.createOrFold<arith::CeilDivUIOp>(loc, extent, value(step));
    if (sizes)
      sizes->push_back(size);
    total = total ? b.createOrFold<arith::MulIOp>(loc, total, size) : size;
  }
  return total;
}

/// Opens the kernel's loop over the iterations of `loop`: each team takes every `teams`-th. Maps the induction
/// variables.
Value Splitter::openLoop(const ParallelLoop &loop, Value team, Value teams) {
  OpBuilder &b = *device;
  Location loc = loop.op->getLoc();
  auto local = [&](Value value) { return materialize(value); };
  SmallVector<Value> sizes;
  Value total = iterations(b, loop, local, &sizes);
  // In 32 bits: no device runs more iterations, and 64-bit numbers would take two registers through the whole body.
  auto toI32 = [&](Value value) -> Value { return arith::IndexCastOp::create(b, loc, b.getI32Type(), value); };
  auto outer = scf::ForOp::create(b, loc, toI32(team), toI32(total), toI32(teams));
  b.setInsertionPoint(outer.getBody()->getTerminator());
  Value rest = outer.getInductionVar();
  for (size_t dim = loop.inductionVars.size(); dim-- > 0;) {
    Value position = rest;
    if (dim > 0) {
      Value size = toI32(sizes[dim]);
      position = arith::RemUIOp::create(b, loc, rest, size);
      rest = arith::DivUIOp::create(b, loc, rest, size);
    }
    position = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), position);
    auto value = [&](OpFoldResult bound) -> Value {
      auto dynamic = dyn_cast<Value>(bound);
      return dynamic ? materialize(dynamic) : getValueOrCreateConstantIndexOp(b, loc, bound);
    };
    position = b.createOrFold<arith::MulIOp>(loc, position, value(loop.steps[dim]));
    mapping.map(loop.inductionVars[dim], b.createOrFold<arith::AddIOp>(loc, position, value(loop.lowerBounds[dim])));
  }
  return outer.getInductionVar();
}

/// "layer_0_3_grouped_matmul": a name that PTX takes as it is.
std::string Splitter::nameOf(const Segment &segment) {
  StringRef what = "rows";
  if (segment.place != Place::Forall)
    what = segment.place == Place::Grid ? "grid" : "serial";
  if (llvm::any_of(segment.ops, llvm::IsaPred<ScheduleOp>))
    what = "schedule";
  segment.ops.front()->walk([&](Operation *op) {
    if (isa<GroupedMatmulOp>(op))
      what = "grouped_matmul";
    else if (isa<AttentionOp>(op))
      what = "attention";
  });
  std::string name = llvm::formatv("{0}_{1}_{2}", function.getName(), number++, what);
  for (char &letter : name)
    if (!llvm::isAlnum(letter))
      letter = '_';
  return name;
}

/// Moves the buffers of the bodies of `form` out of them, and says how much of a block's shared memory they may take.
LogicalResult Splitter::placeScratch(KernelForm &form, int64_t &room) {
  Operation *last = form.last();
  // Offsets of tiles never reach memory: the lowering of the product takes them as they are.
  last->walk([](memref::AllocOp alloc) {
    if (!isTileOffsets(alloc))
      return;
    OpBuilder b(alloc);
    alloc.replaceAllUsesWith(memref::AllocaOp::create(b, alloc.getLoc(), alloc.getType()).getResult());
    alloc.erase();
  });

  bool fits = true;
  auto place = [&](Operation *op) {
    return placeWorkerScratch(op, [&](Operation *alloc, StringRef reason) {
      alloc->emitOpError("cannot be memory of a kernel's threads: ") << reason;
      fits = false;
    });
  };
  if (form.team == Team::Block)
    for (Operation *inner : loopsOfWarps(last))
      giveToWarps(inner, place(inner), form.threads / warpSize);
  for (Operation *op : form.segment.ops)
    if (WorkerScratch memory = place(op); memory.memory)
      form.scratch.push_back(memory);

  room = mostShared;
  auto leaveRoom = [&](int64_t bytes) {
    room = std::min(room, std::max<int64_t>(allShared - bytes - leftForSchedule, 0));
  };
  last->walk([&](GroupedMatmulOp op) {
    if (auto shape = findMmaShape(op, form.blockRows))
      leaveRoom(shape->sharedBytes());
  });
  last->walk([&](AttentionOp op) {
    if (auto shape = chooseAttentionShape(op, /*fewRows=*/false))
      leaveRoom(shape->sharedBytes());
  });
  return success(fits);
}

/// Blocks of the grid; `one` is the number 1.
Value Splitter::countBlocks(const KernelForm &form, Value one) {
  Operation *last = form.last();
  Location loc = last->getLoc();
  auto index = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(host, loc, value); };
  if (form.segment.place == Place::Serial)
    return one;
  Value blocks;
  if (form.segment.place == Place::Grid) {
    auto structured = cast<linalg::LinalgOp>(last);
    Value elements = one;
    auto ranges = structured.createLoopRanges(host, loc);
    for (auto [range, type] : llvm::zip(ranges, structured.getIteratorTypesArray()))
      if (linalg::isParallelIterator(type))
        elements =
            host.createOrFold<arith::MulIOp>(loc, elements, getValueOrCreateConstantIndexOp(host, loc, range.size));
    // A thread does a few elements.
    blocks = arith::CeilDivUIOp::create(host, loc, elements, index(4 * blockSize));
  } else if (llvm::none_of(last->getOperands(), [&](Value bound) { return work.isDeviceValue(bound); })) {
    blocks = iterations(host, *form.loop, [](Value bound) { return bound; }, nullptr);
    if (form.teamsPerBlock > 1)
      blocks = host.createOrFold<arith::CeilDivUIOp>(loc, blocks, index(form.teamsPerBlock));
  } else {
    // How many iterations there are is known on the device alone: as many blocks as it runs at once.
    blocks = WorkersOp::create(host, loc);
  }
  blocks = host.createOrFold<arith::MinUIOp>(loc, blocks, index(mostBlocks));
  return host.createOrFold<arith::MaxUIOp>(loc, blocks, one);
}

/// What the kernel takes: values of the host, and memory for the scratch that is more than `room`.
LogicalResult Splitter::captureValues(KernelForm &form, Value blocks, int64_t room) {
  Location loc = form.last()->getLoc();
  llvm::SetVector<Value> captured;
  for (Operation *op : form.segment.ops) {
    SetVector<Value> used(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), used);
    for (Value value : used)
      if (llvm::none_of(form.scratch, [&](const WorkerScratch &memory) { return memory.memory == value; }))
        collect(value, form.segment, captured);
    for (Value result : op->getResults())
      if (isUsedLater(result, form.segment)) {
        if (!work.isProduced(result))
          return op->emitOpError("expected device code that gives numbers to other device code but got ")
                 << result.getType();
        captured.insert(slotOf(result));
      }
  }
  for (const WorkerScratch &memory : form.scratch) {
    std::optional<int64_t> bytes = getConstantIntValue(memory.bytes);
    if (bytes && *bytes * form.teamsPerBlock <= room && !holdsRows(memory.memory)) {
      form.memories.push_back(nullptr);
      continue;
    }
    if (auto size = dyn_cast<Value>(memory.bytes)) {
      if (work.isDeviceValue(size))
        return form.last()->emitOpError("expected buffers in a parallel loop whose size is known on the host");
      captured.insert(size);
    }
    Value size = getValueOrCreateConstantIndexOp(host, loc, memory.bytes);
    size = arith::MulIOp::create(host, loc, size, blocks);
    size = host.createOrFold<arith::MulIOp>(loc, size, arith::ConstantIndexOp::create(host, loc, form.teamsPerBlock));
    auto type = MemRefType::get({ShapedType::kDynamic}, host.getI8Type());
    form.memories.push_back(memref::AllocOp::create(host, loc, type, size, host.getI64IntegerAttr(64)));
    captured.insert(form.memories.back());
  }
  for (Value value : captured) {
    form.captures.push_back(Capture::make(host, value));
    llvm::append_range(form.operands, form.captures.back().parts);
  }
  return success();
}

/// The empty kernel; what it takes is mapped.
gpu::GPUFuncOp Splitter::createKernel(const KernelForm &form) {
  Location loc = form.last()->getLoc();
  device = std::make_unique<OpBuilder>(function.getContext());
  OpBuilder &b = *device;
  mapping = IRMapping();
  b.setInsertionPointToEnd(kernels.getBody());
  auto kernel =
      gpu::GPUFuncOp::create(b, loc, nameOf(form.segment), b.getFunctionType(TypeRange(ValueRange(form.operands)), {}));
  kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  kernel.setKnownBlockSizeAttr(b.getDenseI32ArrayAttr({static_cast<int32_t>(form.threads), 1, 1}));
  kernel->setAttr(teamAttr, b.getStringAttr(teamName(form.team)));
  b.setInsertionPointToEnd(&kernel.getBody().front());
  ArrayRef<BlockArgument> arguments = kernel.getArguments();
  for (const Capture &capture : form.captures) {
    SmallVector<Value> parts(arguments.take_front(capture.parts.size()));
    arguments = arguments.drop_front(parts.size());
    mapping.map(capture.value, capture.rebuild(b, parts));
  }
  b.setInsertionPoint(gpu::ReturnOp::create(b, loc));
  return kernel;
}

/// Emits what the kernel does.
void Splitter::fillKernel(KernelForm &form, gpu::GPUFuncOp kernel) {
  OpBuilder &b = *device;
  Location loc = form.last()->getLoc();
  Value block = gpu::BlockIdOp::create(b, loc, gpu::Dimension::x), inBlock, first = block;
  Value teams = gpu::GridDimOp::create(b, loc, gpu::Dimension::x);
  if (form.teamsPerBlock > 1) {
    Value width = arith::ConstantIndexOp::create(b, loc, warpSize);
    inBlock = arith::DivUIOp::create(b, loc, gpu::ThreadIdOp::create(b, loc, gpu::Dimension::x), width);
    Value factor = arith::ConstantIndexOp::create(b, loc, form.teamsPerBlock);
    first = arith::AddIOp::create(b, loc, arith::MulIOp::create(b, loc, block, factor), inBlock);
    teams = arith::MulIOp::create(b, loc, teams, factor);
  }
  // Where a team's part of the scratch memory begins.
  SmallVector<std::pair<Value, Value>> places;
  for (auto [memory, global] : llvm::zip_equal(form.scratch, form.memories)) {
    Value base, at;
    if (global) {
      Value size = isa<Value>(memory.bytes) ? mapping.lookup(cast<Value>(memory.bytes))
                                            : getValueOrCreateConstantIndexOp(b, loc, memory.bytes);
      base = mapping.lookup(global);
      at = arith::MulIOp::create(b, loc, first, size);
    } else {
      int64_t bytes = *getConstantIntValue(memory.bytes);
      auto space = gpu::AddressSpaceAttr::get(b.getContext(), gpu::AddressSpace::Workgroup);
      auto type = MemRefType::get({bytes * form.teamsPerBlock}, b.getI8Type(), AffineMap(), space);
      Value shared = kernel.addWorkgroupAttribution(type, loc);
      kernel.setWorkgroupAttributionAttr(kernel.getNumWorkgroupAttributions() - 1, "llvm.align",
                                         b.getI64IntegerAttr(128));
      base = memref::MemorySpaceCastOp::create(b, loc, MemRefType::get(type.getShape(), type.getElementType()), shared);
      at = inBlock ? Value(arith::MulIOp::create(b, loc, inBlock, arith::ConstantIndexOp::create(b, loc, bytes)))
                   : arith::ConstantIndexOp::create(b, loc, 0);
    }
    // A view's source has the type that the stand-in had, but for its size.
    mapping.map(memory.memory, base);
    places.emplace_back(base, at);
  }

  if (form.loop) {
    openLoop(*form.loop, first, teams);
    SetVector<Value> used;
    getUsedValuesDefinedAbove(form.last()->getRegions(), used);
    for (Value value : used)
      materialize(value);
    for (Operation &op : form.loop->body().without_terminator())
      b.clone(op, mapping);
  } else {
    for (Operation *op : form.segment.ops) {
      cloneOp(op);
      for (Value result : op->getResults())
        if (isUsedLater(result, form.segment))
          memref::StoreOp::create(b, loc, mapping.lookup(result), mapping.lookup(slotOf(result)), ValueRange());
    }
  }
  for (auto [base, at] : places)
    for (Operation *user : llvm::to_vector(base.getUsers()))
      if (auto view = dyn_cast<memref::ViewOp>(user)) {
        OpBuilder before(view);
        Value shift = arith::AddIOp::create(before, loc, view.getByteShift(), at);
        view.getByteShiftMutable().assign(shift);
      }
  SmallVector<Operation *> warps;
  if (form.team == Team::Block)
    warps = loopsOfWarps(kernel);
  kernel.walk<WalkOrder::PostOrder>([&](Operation *op) {
    if (auto nested = ParallelLoop::from(op); nested && !llvm::is_contained(warps, op))
      makeSequential(*nested);
  });
}

KernelForm::KernelForm(Segment &segment) : segment(segment) {
  if (segment.place == Place::Forall) {
    loop = ParallelLoop::from(last());
    blockRows = mostBlockRows(last());
  }
  auto isShared = [](Operation *op) {
    return isa<GroupedMatmulOp, AttentionOp>(op) ? WalkResult::interrupt() : WalkResult::advance();
  };
  bool shares = last()->walk(isShared).wasInterrupted() || (loop && !loopsOfWarps(last()).empty());
  bool schedules = llvm::any_of(segment.ops, llvm::IsaPred<ScheduleOp>);
  team = segment.place == Place::Grid ? Team::Grid : (loop && shares) || schedules ? Team::Block : Team::Warp;
  threads = schedules ? scheduleThreads : segment.place == Place::Serial ? warpSize : blockSize;
  teamsPerBlock = team == Team::Warp ? threads / warpSize : 1;
}

LogicalResult Splitter::emit(Segment &segment) {
  KernelForm form(segment);
  Operation *last = form.last();
  Location loc = last->getLoc();
  if (form.loop && last->getNumResults() > 0)
    return last->emitOpError("expected a parallel loop without results");
  int64_t room = 0;
  if (failed(placeScratch(form, room)))
    return failure();
  host.setInsertionPointAfter(last);
  Value one = arith::ConstantIndexOp::create(host, loc, 1), blocks = countBlocks(form, one);
  if (failed(captureValues(form, blocks, room)))
    return failure();
  gpu::GPUFuncOp kernel = createKernel(form);
  fillKernel(form, kernel);
  symbols.insert(kernel);

  Value width = arith::ConstantIndexOp::create(host, loc, form.threads);
  auto launch = [&](gpu::GPUFuncOp function, Value blocksY, ValueRange more) {
    SmallVector<Value> operands(form.operands);
    llvm::append_range(operands, more);
    gpu::LaunchFuncOp::create(host, loc, function, gpu::KernelDim3{blocks, blocksY ? blocksY : one, one},
                              gpu::KernelDim3{width, one, one}, /*dynamicSharedMemorySize=*/nullptr, operands);
  };
  int64_t fewRows = rt::blockShapes().front().rows;
  if (form.blockRows > fewRows) {
    launchByRows(host, last, kernel, blocks, symbols, machine, launch);
  } else {
    if (form.blockRows > 0)
      setBlockRows(kernel, fewRows);
    launch(kernel, /*blocksY=*/nullptr, {});
  }
  for (const WorkerScratch &memory : form.scratch)
    done.push_back(memory.memory.getDefiningOp());
  llvm::append_range(done, segment.ops);
  return success();
}

LogicalResult Splitter::checkSync(Operation *op) {
  for (Value operand : op->getOperands())
    if (work.isDeviceValue(operand))
      return op->emitOpError("expected numbers that are known on the host but got one that a kernel computes");
  return success();
}

LogicalResult Splitter::splitBlock(Block &block) {
  Segment segment{Place::Host, {}};
  auto flush = [&]() -> LogicalResult {
    if (!segment.ops.empty() && failed(emit(segment)))
      return failure();
    segment.ops.clear();
    return success();
  };
  SmallVector<Operation *> ops = llvm::map_to_vector(block, [](Operation &op) { return &op; });
  for (Operation *op : ops) {
    Place place = work.placeOf(op);
    switch (place) {
    case Place::Host:
      if (isa<memref::AllocOp>(op) && failed(checkSync(op)))
        return failure();
      continue;
    case Place::Sunk:
      if (llvm::any_of(op->getResultTypes(), llvm::IsaPred<BaseMemRefType>) && op->getNumRegions() > 0)
        return op->emitOpError("expected a view of a buffer");
      continue;
    case Place::Control:
      if (failed(flush()))
        return failure();
      for (Region &region : op->getRegions())
        for (Block &inner : region)
          if (failed(splitBlock(inner)))
            return failure();
      continue;
    case Place::Sync:
      if (failed(flush()) || failed(checkSync(op)))
        return failure();
      continue;
    case Place::Forall:
    case Place::Grid:
    case Place::Serial:
      if (place == Place::Forall || !segment.accepts(place, op))
        if (failed(flush()))
          return failure();
      segment.place = place;
      segment.ops.push_back(op);
      if (place == Place::Forall && failed(flush()))
        return failure();
      continue;
    }
  }
  return flush();
}

LogicalResult Splitter::run() {
  SmallVector<memref::CopyOp> copies;
  function.walk([&](memref::CopyOp copy) { copies.push_back(copy); });
  for (memref::CopyOp copy : copies) {
    OpBuilder b(copy);
    linalg::makeMemRefCopyOp(b, copy.getLoc(), copy.getSource(), copy.getTarget());
    copy.erase();
  }
  if (!function.getBody().hasOneBlock())
    return function.emitOpError("expected structured control flow");
  if (failed(splitBlock(function.front())))
    return failure();

  // What is left of device code computes numbers nobody on the host uses.
  SmallVector<Operation *> sunk;
  function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op == function || work.placeOf(op) == Place::Control)
      return WalkResult::advance();
    if (work.placeOf(op) == Place::Sunk)
      sunk.push_back(op);
    return WalkResult::skip();
  });
  llvm::DenseSet<Operation *> dead(done.begin(), done.end());
  dead.insert(sunk.begin(), sunk.end());
  for (Operation *op : dead)
    op->dropAllUses();
  for (Operation *op : dead)
    op->erase();
  return success();
}

namespace {
struct FormKernelsPass : moe::impl::FormKernelsBase<FormKernelsPass> {
  using FormKernelsBase::FormKernelsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto functions = llvm::to_vector(module.getOps<func::FuncOp>());
    OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
    module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(), b.getUnitAttr());
    auto kernels = gpu::GPUModuleOp::create(b, module.getLoc(), kernelModuleName);
    SymbolTable symbols(kernels);
    for (func::FuncOp function : functions)
      if (!function.isDeclaration() &&
          failed(Splitter(function, kernels, symbols, rt::gpuMachineFor(architecture)).run()))
        return signalPassFailure();
    mergeKernels(module, kernels);
  }
};
} // namespace

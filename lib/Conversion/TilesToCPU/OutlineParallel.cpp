//===- OutlineParallel.cpp - parallel loops to runtime calls --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "LoopCalls.h"
#include "lib/Conversion/Common/Outlining.h"
#include "lib/Conversion/Common/WorkerScratch.h"

#include "moe/Conversion/Passes.h"

#include "moe/Conversion/IsaLevels.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Transforms/RegionUtils.h"

#include "llvm/Support/FormatVariadic.h"

namespace moe {
#define GEN_PASS_DEF_OUTLINEPARALLEL
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using moe::Capture;
using moe::ParallelLoop;

namespace {
class Outliner {
public:
  Outliner(ModuleOp module, bool remarks)
      : module(module), remarks(remarks), symbols(module), types(module.getContext()) {}

  LogicalResult outline(ParallelLoop loop);

  /// Keeps one of several equal bodies.
  void mergeBodies();

private:
  Value sizeOfDimension(OpBuilder &b, ParallelLoop &loop, size_t dim);
  func::FuncOp declareRuntime();
  FunctionType bodyType() {
    OpBuilder b(module.getContext());
    auto pointer = LLVM::LLVMPointerType::get(b.getContext());
    return b.getFunctionType({pointer, b.getI64Type(), b.getI64Type(), pointer}, {});
  }
  Value takeScratch(OpBuilder &b, Value pointer, MemRefType type, OpFoldResult bytes);
  FailureOr<func::FuncOp> makeBody(ParallelLoop &loop, const moe::WorkerScratch &scratch, ArrayRef<Capture> captured,
                                   ArrayRef<Operation *> constants, LLVM::LLVMStructType contextType);

  ModuleOp module;
  bool remarks; ///< on allocations that stay
  SymbolTable symbols;
  LLVMTypeConverter types;
  std::vector<func::ConstantOp> uses; ///< of the bodies, one each
};
} // namespace

/// Number of iterations of one dimension; constant where the bounds are.
Value Outliner::sizeOfDimension(OpBuilder &b, ParallelLoop &loop, size_t dim) {
  Location loc = loop.op->getLoc();
  auto value = [&](OpFoldResult bound) { return getValueOrCreateConstantIndexOp(b, loc, bound); };
  Value lower = value(loop.lowerBounds[dim]), upper = value(loop.upperBounds[dim]), step = value(loop.steps[dim]);
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  Value extent = b.createOrFold<arith::SubIOp>(loc, upper, lower);
  extent = b.createOrFold<arith::MaxSIOp>(loc, extent, zero);
  return b.createOrFold<arith::CeilDivUIOp>(loc, extent, step);
}

func::FuncOp Outliner::declareRuntime() {
  if (auto declared = symbols.lookup<func::FuncOp>(moe::parallelForName))
    return declared;
  OpBuilder b(module.getContext());
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Type number = b.getI64Type();
  auto function = func::FuncOp::create(module.getLoc(), moe::parallelForName,
                                       b.getFunctionType({bodyType(), pointer, number, number, number}, {}));
  function.setPrivate();
  symbols.insert(function, module.getBody()->begin());
  return function;
}

/// The scratch memory at `pointer` as a memref of `bytes` bytes.
Value Outliner::takeScratch(OpBuilder &b, Value pointer, MemRefType type, OpFoldResult bytes) {
  Location loc = pointer.getLoc();
  auto base = MemRefType::get({}, type.getElementType());
  Value descriptor = LLVM::PoisonOp::create(b, loc, types.convertType(base));
  Value zero = LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(0));
  const Value fields[] = {pointer, pointer, zero};
  for (auto [position, field] : llvm::enumerate(fields))
    descriptor = LLVM::InsertValueOp::create(b, loc, descriptor, field, static_cast<int64_t>(position));
  Value buffer = UnrealizedConversionCastOp::create(b, loc, base, descriptor).getResult(0);
  OpFoldResult offset = b.getIndexAttr(0), stride = b.getIndexAttr(1);
  return memref::ReinterpretCastOp::create(b, loc, type, buffer, offset, ArrayRef(bytes), ArrayRef(stride));
}

FailureOr<func::FuncOp> Outliner::makeBody(ParallelLoop &loop, const moe::WorkerScratch &scratch,
                                           ArrayRef<Capture> captured, ArrayRef<Operation *> constants,
                                           LLVM::LLVMStructType contextType) {
  Location loc = loop.op->getLoc();
  auto parent = loop.op->getParentOfType<func::FuncOp>();
  std::string name;
  for (int number = 0; name.empty() || symbols.lookup(name); ++number)
    name = llvm::formatv("{0}.parallel.{1}", parent.getName(), number);
  auto function = func::FuncOp::create(loc, name, bodyType());
  function.setPrivate();
  if (Attribute level = parent->getAttr(moe::isaAttr))
    function->setAttr(moe::isaAttr, level);
  symbols.insert(function, std::next(parent->getIterator()));

  OpBuilder b(module.getContext());
  // Nothing else points into a worker's scratch memory.
  function.setArgAttr(3, LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
  function.setArgAttr(3, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(64));
  Block *entry = function.addEntryBlock();
  b.setInsertionPointToEnd(entry);
  IRMapping mapping;
  for (Operation *constant : constants)
    b.clone(*constant, mapping);
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  int32_t number = 0;
  for (const Capture &capture : captured) {
    SmallVector<Value> loaded;
    for (Value part : capture.parts) {
      Type fieldType = contextType.getBody()[number];
      Value address =
          LLVM::GEPOp::create(b, loc, pointer, contextType, entry->getArgument(0), ArrayRef<LLVM::GEPArg>{0, number++});
      Value field = LLVM::LoadOp::create(b, loc, fieldType, address);
      if (fieldType != part.getType())
        field = UnrealizedConversionCastOp::create(b, loc, part.getType(), field).getResult(0);
      loaded.push_back(field);
    }
    mapping.map(capture.value, capture.rebuild(b, loaded));
  }
  if (scratch.memory) {
    OpFoldResult bytes = scratch.bytes;
    if (auto value = dyn_cast<Value>(bytes))
      bytes = mapping.lookup(value);
    mapping.map(scratch.memory,
                takeScratch(b, entry->getArgument(3), cast<MemRefType>(scratch.memory.getType()), bytes));
  }

  // Bounds are among the captured values.
  auto local = [&](OpFoldResult bound) {
    if (auto value = dyn_cast<Value>(bound))
      return mapping.lookupOrDefault(value);
    return getValueOrCreateConstantIndexOp(b, loc, bound);
  };
  ParallelLoop bounds = loop;
  SmallVector<Value> lowers, steps, sizes;
  for (size_t dim = 0; dim < loop.inductionVars.size(); ++dim) {
    bounds.lowerBounds[dim] = lowers.emplace_back(local(loop.lowerBounds[dim]));
    bounds.steps[dim] = steps.emplace_back(local(loop.steps[dim]));
    bounds.upperBounds[dim] = local(loop.upperBounds[dim]);
    sizes.push_back(sizeOfDimension(b, bounds, dim));
  }
  Value begin = arith::IndexCastOp::create(b, loc, b.getIndexType(), entry->getArgument(1));
  Value end = arith::IndexCastOp::create(b, loc, b.getIndexType(), entry->getArgument(2));
  auto loopOp = scf::ForOp::create(b, loc, begin, end, arith::ConstantIndexOp::create(b, loc, 1));
  func::ReturnOp::create(b, loc);

  b.setInsertionPoint(loopOp.getBody()->getTerminator());
  Value rest = loopOp.getInductionVar();
  for (size_t dim = loop.inductionVars.size(); dim-- > 0;) {
    Value position = rest;
    if (dim > 0) {
      position = arith::RemUIOp::create(b, loc, rest, sizes[dim]);
      rest = arith::DivUIOp::create(b, loc, rest, sizes[dim]);
    }
    position = b.createOrFold<arith::MulIOp>(loc, position, steps[dim]);
    mapping.map(loop.inductionVars[dim], b.createOrFold<arith::AddIOp>(loc, position, lowers[dim]));
  }
  for (Operation &op : loop.body().without_terminator())
    b.clone(op, mapping);

  std::vector<ParallelLoop> inner;
  function.walk<WalkOrder::PostOrder>([&](Operation *op) {
    if (auto nested = ParallelLoop::from(op))
      inner.push_back(*nested);
  });
  for (ParallelLoop &nested : inner) {
    if (nested.op->getNumResults() > 0)
      return nested.op->emitOpError("expected a parallel loop without results");
    // Loops found before may sit inside: their clones are sequential already, the order is inside out.
    moe::makeSequential(nested);
  }

  WalkResult moved = function.walk([&](memref::AllocaOp alloca) {
    if (alloca->getBlock() == entry)
      return WalkResult::advance();
    if (!alloca.getType().hasStaticShape() || !alloca.getSymbolOperands().empty())
      return WalkResult(alloca.emitOpError("expected a static size in a parallel loop but got ") << alloca.getType());
    alloca->moveBefore(entry, entry->begin());
    return WalkResult::advance();
  });
  if (moved.wasInterrupted())
    return failure();
  return function;
}

/// Operations that are cloned into the body instead of being captured.
static bool isRematerialised(Operation *op) {
  return op && op->getNumOperands() == 0 && op->getNumRegions() == 0 &&
         (op->hasTrait<OpTrait::ConstantLike>() || isa<memref::GetGlobalOp>(op));
}

LogicalResult Outliner::outline(ParallelLoop loop) {
  if (loop.op->getNumResults() > 0)
    return loop.op->emitOpError("expected a parallel loop without results");
  auto parent = loop.op->getParentOfType<func::FuncOp>();
  if (!parent)
    return loop.op->emitOpError("expected a parallel loop inside of a func.func");

  OpBuilder b(loop.op);
  moe::WorkerScratch scratch = moe::placeWorkerScratch(loop.op, [&](Operation *op, StringRef reason) {
    if (remarks)
      op->emitRemark("stays an allocation in a parallel loop: ") << reason;
  });
  FailureOr<OpFoldResult> work = moe::estimateWork(b, loop.op);

  llvm::SetVector<Value> used(loop.op->operand_begin(), loop.op->operand_end());
  getUsedValuesDefinedAbove(loop.op->getRegions(), used);
  if (auto bytes = dyn_cast_if_present<Value>(scratch.bytes))
    used.insert(bytes);
  SmallVector<Capture> captured;
  SmallVector<Value> parts;
  SmallVector<Operation *> constants;
  SmallVector<Type> fields;
  for (Value value : used) {
    if (value == scratch.memory)
      continue;
    if (Operation *op = value.getDefiningOp(); isRematerialised(op)) {
      constants.push_back(op);
      continue;
    }
    if (!types.convertType(value.getType()))
      return loop.op->emitOpError("expected values with an LLVM type in a parallel loop but got ") << value.getType();
    captured.push_back(Capture::make(b, value));
    for (Value part : captured.back().parts) {
      parts.push_back(part);
      fields.push_back(types.convertType(part.getType()));
    }
  }
  MLIRContext *context = module.getContext();
  auto contextType = LLVM::LLVMStructType::getLiteral(context, fields);
  FailureOr<func::FuncOp> body = makeBody(loop, scratch, captured, constants, contextType);
  if (failed(body))
    return failure();

  Location loc = loop.op->getLoc();
  auto pointer = LLVM::LLVMPointerType::get(context);
  b.setInsertionPointToStart(&parent.getBody().front());
  Value one = LLVM::ConstantOp::create(b, loc, b.getI64Type(), b.getI64IntegerAttr(1));
  Value storage = LLVM::AllocaOp::create(b, loc, pointer, contextType, one);
  b.setInsertionPoint(loop.op);
  for (auto [number, value] : llvm::enumerate(parts)) {
    Value field = value;
    if (fields[number] != value.getType())
      field = UnrealizedConversionCastOp::create(b, loc, fields[number], value).getResult(0);
    Value address = LLVM::GEPOp::create(b, loc, pointer, contextType, storage,
                                        ArrayRef<LLVM::GEPArg>{0, static_cast<int32_t>(number)});
    LLVM::StoreOp::create(b, loc, field, address);
  }
  Value count = sizeOfDimension(b, loop, 0);
  for (size_t dim = 1; dim < loop.inductionVars.size(); ++dim)
    count = b.createOrFold<arith::MulIOp>(loc, count, sizeOfDimension(b, loop, dim));
  auto number = [&](OpFoldResult result) -> Value {
    if (auto constant = getConstantIntValue(result))
      return arith::ConstantIntOp::create(b, loc, *constant, 64);
    Value index = getValueOrCreateConstantIndexOp(b, loc, result);
    return arith::IndexCastOp::create(b, loc, b.getI64Type(), index);
  };
  OpFoldResult none = b.getIndexAttr(0);
  SmallVector<Value> numbers = {number(count), number(scratch.memory ? scratch.bytes : none),
                                number(succeeded(work) ? *work : none)};
  auto function = func::ConstantOp::create(b, loc, bodyType(), SymbolRefAttr::get(*body));
  uses.push_back(function);
  func::CallOp::create(b, loc, declareRuntime(), ValueRange{function, storage, numbers[0], numbers[1], numbers[2]});
  loop.op->erase();
  if (scratch.memory)
    scratch.memory.getDefiningOp()->erase();
  return success();
}

void Outliner::mergeBodies() {
  std::vector<func::FuncOp> kept;
  for (func::ConstantOp use : uses) {
    auto body = symbols.lookup<func::FuncOp>(use.getValue());
    auto same = llvm::find_if(kept, [&](func::FuncOp other) {
      return other->getAttr(moe::isaAttr) == body->getAttr(moe::isaAttr) &&
             OperationEquivalence::isRegionEquivalentTo(&other.getBody(), &body.getBody(),
                                                        OperationEquivalence::IgnoreLocations);
    });
    if (same == kept.end()) {
      kept.push_back(body);
      continue;
    }
    use.setValueAttr(FlatSymbolRefAttr::get(*same));
    symbols.erase(body);
  }
}

namespace {
struct OutlineParallelPass : moe::impl::OutlineParallelBase<OutlineParallelPass> {
  using OutlineParallelBase::OutlineParallelBase;

  void runOnOperation() override {
    std::vector<ParallelLoop> loops;
    // Functions of nested modules belong to those modules.
    for (auto function : getOperation().getOps<func::FuncOp>())
      function.walk<WalkOrder::PreOrder>([&](Operation *op) {
        auto loop = ParallelLoop::from(op);
        if (!loop)
          return WalkResult::advance();
        loops.push_back(*loop);
        return WalkResult::skip();
      });
    Outliner outliner(getOperation(), remarks);
    for (ParallelLoop &loop : loops)
      if (failed(outliner.outline(loop)))
        return signalPassFailure();
    outliner.mergeBodies();
  }
};
} // namespace

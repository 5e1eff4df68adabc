//===- WorkerScratch.cpp - memory of a worker in a parallel loop ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "WorkerScratch.h"

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Transforms.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/DataLayoutInterfaces.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;

/// Of every buffer; what the runtime promises of the scratch memory itself.
static constexpr int64_t alignment = 64;
/// Bytes up to which a stack buffer stays on the stack.
static constexpr int64_t smallOnStack = 4096;

bool moe::isDefinedOutside(Value value, Operation *loop) {
  return !loop->isAncestor(value.getParentBlock()->getParentOp());
}

/// Whether the value of `expression` does not fall when that of a dimension or symbol rises.
static bool isMonotone(AffineExpr expression) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expression);
  if (!binary)
    return true;
  if (expression.getKind() == AffineExprKind::Add)
    return isMonotone(binary.getLHS()) && isMonotone(binary.getRHS());
  auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  return factor && factor.getValue() > 0 && expression.getKind() != AffineExprKind::Mod && isMonotone(binary.getLHS());
}

/// The value of `map` at the bounds of its operands, where that bounds the map.
static FailureOr<OpFoldResult> boundMap(OpBuilder &b, AffineMap map, ValueRange operands, Operation *loop) {
  if (!isMonotone(map.getResult(0)))
    return failure();
  SmallVector<OpFoldResult> bounds;
  for (auto [position, operand] : llvm::enumerate(operands)) {
    bool used = position < map.getNumDims() ? map.isFunctionOfDim(position)
                                            : map.isFunctionOfSymbol(position - map.getNumDims());
    FailureOr<OpFoldResult> bound = OpFoldResult(b.getIndexAttr(0));
    if (used)
      bound = moe::boundOutside(b, operand, loop);
    if (failed(bound))
      return failure();
    bounds.push_back(*bound);
  }
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop);
  return affine::makeComposedFoldedAffineApply(b, loop->getLoc(), map, bounds);
}

FailureOr<OpFoldResult> moe::boundOutside(OpBuilder &b, Value value, Operation *loop) {
  using Bounds = ValueBoundsConstraintSet;
  auto constant = Bounds::computeConstantBound(presburger::BoundType::UB, value, nullptr, /*closedUB=*/true);
  if (succeeded(constant))
    return OpFoldResult(b.getIndexAttr(*constant));
  if (isDefinedOutside(value, loop))
    return OpFoldResult(value);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(loop);
  auto reified = arith::reifyIndexValueBound(
      b, value.getLoc(), presburger::BoundType::UB, value,
      [&](Value stop, std::optional<int64_t>, Bounds &) { return isDefinedOutside(stop, loop); }, /*closedUB=*/true);
  if (succeeded(reified))
    return reified;
  // The above gives up where there is more than one bound (a tile of at most 16 rows that also ends where the rows
  // end), and on positions in parallel loops. The sum of the terms' bounds is a bound, if not the best.
  Operation *op = value.getDefiningOp();
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto inner = dyn_cast<LoopLikeOpInterface>(argument.getOwner()->getParentOp());
    auto ivs = inner ? inner.getLoopInductionVars() : std::nullopt;
    auto ends = inner ? inner.getLoopUpperBounds() : std::nullopt;
    auto position = ivs ? llvm::find(*ivs, value) - ivs->begin() : 0;
    if (!ivs || !ends || position == static_cast<int64_t>(ivs->size()))
      return failure();
    auto end = dyn_cast<Value>((*ends)[position]);
    if (!end)
      return OpFoldResult(b.getIndexAttr(*getConstantIntValue((*ends)[position]) - 1));
    return boundMap(b, AffineMap::get(1, 0, b.getAffineDimExpr(0) - 1), end, loop);
  }
  AffineExpr first = b.getAffineDimExpr(0), second = b.getAffineDimExpr(1);
  if (isa_and_nonnull<arith::AddIOp>(op))
    return boundMap(b, AffineMap::get(2, 0, first + second), op->getOperands(), loop);
  if (auto apply = dyn_cast_or_null<affine::AffineApplyOp>(op))
    return boundMap(b, apply.getAffineMap(), op->getOperands(), loop);
  if (auto min = dyn_cast_or_null<affine::AffineMinOp>(op))
    for (unsigned i = 0; i < min.getMap().getNumResults(); ++i)
      if (auto bound = boundMap(b, min.getMap().getSubMap(i), op->getOperands(), loop); succeeded(bound))
        return bound;
  return failure();
}

namespace {

struct Buffer {
  Operation *op;
  MemRefType type;
  SmallVector<Operation *> deallocations;
  OpFoldResult bytes; ///< a multiple of the alignment
  OpFoldResult offset;
};

class Placer {
public:
  Placer(Operation *loop, llvm::function_ref<void(Operation *, llvm::StringRef)> stays)
      : loop(loop), stays(stays), b(loop) {}

  moe::WorkerScratch run();

private:
  void consider(Operation *op, MemRefType type, ValueRange sizes);
  std::optional<llvm::StringRef> followUses(Value value, Buffer &buffer);
  FailureOr<OpFoldResult> bytesOf(MemRefType type, ValueRange sizes);
  int64_t placeConstants(Block &block, int64_t begin);
  void replace(Buffer &buffer, Value memory);

  Operation *loop;
  llvm::function_ref<void(Operation *, llvm::StringRef)> stays;
  OpBuilder b;
  SmallVector<Buffer> buffers;
};

} // namespace

/// Finds the deallocations of `value` and its views; says why the buffer cannot be moved, if so.
std::optional<llvm::StringRef> Placer::followUses(Value value, Buffer &buffer) {
  for (Operation *user : value.getUsers()) {
    if (isa<memref::DeallocOp>(user)) {
      buffer.deallocations.push_back(user);
      continue;
    }
    auto view = dyn_cast<ViewLikeOpInterface>(user);
    if (view && view.getViewSource() == value) {
      for (Value result : user->getResults())
        if (isa<BaseMemRefType>(result.getType()))
          if (auto reason = followUses(result, buffer))
            return reason;
      continue;
    }
    // What it ends up in may live longer than the iteration of the loop that the buffer belongs to.
    bool escapes = user->hasTrait<OpTrait::IsTerminator>() || isa<memref::ExtractAlignedPointerAsIndexOp>(user) ||
                   llvm::any_of(user->getResultTypes(), [](Type type) {
                     return !isa<IndexType, IntegerType, FloatType, VectorType, amx::TileType>(type);
                   });
    if (auto store = dyn_cast<memref::StoreOp>(user))
      escapes |= store.getValueToStore() == value;
    if (escapes)
      return "it leaves the block it is made in";
  }
  return std::nullopt;
}

/// The room that a buffer takes, a multiple of the alignment.
FailureOr<OpFoldResult> Placer::bytesOf(MemRefType type, ValueRange sizes) {
  DataLayout layout = DataLayout::closest(loop);
  Type element = type.getElementType();
  int64_t fixed = llvm::alignTo(layout.getTypeSize(element).getFixedValue(), layout.getTypeABIAlignment(element));
  for (int64_t size : type.getShape())
    if (!ShapedType::isDynamic(size))
      fixed *= size;
  SmallVector<Value> factors;
  for (Value size : sizes) {
    auto bound = moe::boundOutside(b, size, loop);
    if (failed(bound))
      return failure();
    if (auto constant = getConstantIntValue(*bound))
      fixed *= *constant;
    else
      factors.push_back(cast<Value>(*bound));
  }
  Location loc = loop->getLoc();
  if (factors.empty())
    return OpFoldResult(b.getIndexAttr(llvm::alignTo(std::max<int64_t>(fixed, 0), alignment)));
  Value bytes = arith::ConstantIndexOp::create(b, loc, fixed);
  for (Value factor : factors)
    bytes = b.createOrFold<arith::MulIOp>(loc, bytes, factor);
  Value step = arith::ConstantIndexOp::create(b, loc, alignment);
  bytes = b.createOrFold<arith::CeilDivUIOp>(loc, bytes, step);
  return OpFoldResult(b.createOrFold<arith::MulIOp>(loc, bytes, step));
}

void Placer::consider(Operation *op, MemRefType type, ValueRange sizes) {
  if (!type.getLayout().isIdentity() || type.getMemorySpace())
    return stays(op, "its layout or memory space is not the default");
  auto wanted = op->getAttrOfType<IntegerAttr>("alignment");
  if (wanted && wanted.getInt() > alignment)
    return stays(op, "it is aligned to more than 64 bytes");
  Buffer buffer{op, type, {}, {}, {}};
  if (auto reason = followUses(op->getResult(0), buffer))
    return stays(op, *reason);
  auto bytes = bytesOf(type, sizes);
  if (failed(bytes))
    return stays(op, "its size has no bound outside of the loop");
  buffer.bytes = *bytes;
  buffers.push_back(std::move(buffer));
}

/// Places the buffers of constant size in `block` from `begin` on, those of nested blocks behind them; returns the end
/// of all.
int64_t Placer::placeConstants(Block &block, int64_t begin) {
  for (Buffer &buffer : buffers)
    if (auto bytes = getConstantIntValue(buffer.bytes); bytes && buffer.op->getBlock() == &block) {
      buffer.offset = b.getIndexAttr(begin);
      begin += *bytes;
    }
  int64_t end = begin;
  for (Operation &op : block)
    for (Region &region : op.getRegions())
      for (Block &nested : region)
        end = std::max(end, placeConstants(nested, begin));
  return end;
}

void Placer::replace(Buffer &buffer, Value memory) {
  for (Operation *deallocation : buffer.deallocations)
    deallocation->erase();
  b.setInsertionPoint(buffer.op);
  Value offset = getValueOrCreateConstantIndexOp(b, buffer.op->getLoc(), buffer.offset);
  auto view = memref::ViewOp::create(b, buffer.op->getLoc(), buffer.type, memory, offset, buffer.op->getOperands());
  buffer.op->replaceAllUsesWith(view);
  buffer.op->erase();
}

moe::WorkerScratch Placer::run() {
  loop->walk([&](Operation *op) {
    if (auto alloc = dyn_cast<memref::AllocOp>(op))
      consider(op, alloc.getType(), alloc.getDynamicSizes());
    if (auto alloca = dyn_cast<memref::AllocaOp>(op)) {
      MemRefType type = alloca.getType();
      auto bytes = bytesOf(type, {}); // of the constant sizes
      if (!type.hasStaticShape() || *getConstantIntValue(*bytes) > smallOnStack)
        consider(op, type, alloca.getDynamicSizes());
    }
  });
  if (buffers.empty())
    return {};

  int64_t constantEnd = 0;
  for (Region &region : loop->getRegions())
    for (Block &block : region)
      constantEnd = std::max(constantEnd, placeConstants(block, 0));
  OpFoldResult end = b.getIndexAttr(constantEnd);
  Location loc = loop->getLoc();
  b.setInsertionPoint(loop);
  for (Buffer &buffer : buffers) {
    if (buffer.offset)
      continue;
    buffer.offset = end;
    end = b.createOrFold<arith::AddIOp>(loc, getValueOrCreateConstantIndexOp(b, loc, end),
                                        getValueOrCreateConstantIndexOp(b, loc, buffer.bytes));
  }
  int64_t size = getConstantIntValue(end).value_or(ShapedType::kDynamic);
  auto type = MemRefType::get({size}, b.getI8Type());
  Value memory = UnrealizedConversionCastOp::create(b, loc, type, ValueRange{}).getResult(0);
  for (Buffer &buffer : buffers)
    replace(buffer, memory);
  return {memory, end};
}

moe::WorkerScratch moe::placeWorkerScratch(Operation *loop,
                                           llvm::function_ref<void(Operation *, llvm::StringRef)> stays) {
  return Placer(loop, stays).run();
}

//===- MoeOps.cpp - verifiers and shapes of the moe ops -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

#include <limits>

using namespace mlir;
using namespace moe;

#define GET_OP_CLASSES
#include "dialect/Moe/IR/MoeOps.cpp.inc"

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

static ShapedType shaped(Value value) { return cast<ShapedType>(value.getType()); }

/// Two sizes agree if either is only known at run time.
static bool agree(int64_t a, int64_t b) { return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b; }

/// Of an op on memrefs: it writes its outputs and reads the rest.
static void addBufferEffects(DestinationStyleOpInterface op,
                             SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<MemRefType>(operand.get().getType()))
      continue;
    if (op.isDpsInit(&operand))
      effects.emplace_back(MemoryEffects::Write::get(), &operand, SideEffects::DefaultResource::get());
    else
      effects.emplace_back(MemoryEffects::Read::get(), &operand, SideEffects::DefaultResource::get());
  }
}

static std::string sizeText(int64_t size) { return ShapedType::isDynamic(size) ? "?" : std::to_string(size); }

/// Checks that dimension `dim` of `type` is `want`, where both are static.
static LogicalResult expectSize(Operation *op, StringRef name, ShapedType type, unsigned dim, int64_t want,
                                StringRef meaning) {
  if (agree(type.getDimSize(dim), want))
    return success();
  return op->emitOpError() << "expected dimension " << dim << " of '" << name << "' to be " << sizeText(want) << " ("
                           << meaning << ") but got " << sizeText(type.getDimSize(dim));
}

static LogicalResult expectRank(Operation *op, StringRef name, ShapedType type, int64_t rank) {
  if (type.getRank() == rank)
    return success();
  return op->emitOpError() << "expected '" << name << "' of rank " << rank << " but got " << type;
}

static LogicalResult expectElementType(Operation *op, StringRef name, Type found, Type want) {
  if (found == want)
    return success();
  return op->emitOpError() << "expected element type " << want << " of '" << name << "' but got " << found;
}

/// R = T * k, unknown if either factor is.
static int64_t numRows(ShapedType choices) {
  int64_t tokens = choices.getDimSize(0), k = choices.getDimSize(1);
  return ShapedType::isDynamic(tokens) || ShapedType::isDynamic(k) ? ShapedType::kDynamic : tokens * k;
}

/// The moe.yield that ends `body`, the only block of a region of `op`; null after an error where something else does.
static YieldOp expectYield(Operation *op, Block &body) {
  auto yield = body.empty() ? YieldOp() : dyn_cast<YieldOp>(body.back());
  if (yield)
    return yield;
  InFlightDiagnostic error = op->emitOpError("expected a region that ends with 'moe.yield' but got ");
  if (body.empty())
    error << "an empty one";
  else
    error << "'" << body.back().getName() << "'";
  return YieldOp();
}

/// The sizes of `value`, dynamic ones by tensor.dim.
static SmallVector<OpFoldResult> sizesOf(OpBuilder &b, Location loc, Value value) {
  return tensor::getMixedSizes(b, loc, value);
}

//===----------------------------------------------------------------------===//
// TopKOp
//===----------------------------------------------------------------------===//

LogicalResult TopKOp::verify() {
  ShapedType values = shaped(getValues()), selected = shaped(getSelected()), index = shaped(getIndex());
  if (getK().has_value() == bool(getDynamicK()))
    return emitOpError("expected either the attribute 'k' or the operand of 'k(...)' but got ")
           << (getDynamicK() ? "both" : "neither");
  int64_t experts = getNumExperts();
  bool known = !ShapedType::isDynamic(experts);
  if (experts == 0)
    return emitOpError("expected at least one expert but got ") << values;
  if (getK()) {
    int64_t k = *getK();
    if (k < 1 || (known && k > experts))
      return emitOpError("expected 'k' between 1 and the number of experts, ")
             << sizeText(experts) << ", but got " << k;
    if (selected.getDimSize(1) != k)
      return emitOpError("expected ") << k << " columns in the results but got " << selected;
  } else if (!selected.isDynamicDim(1)) {
    return emitOpError("expected results with a dynamic number of columns for a dynamic k but got ") << selected;
  }
  if (failed(expectSize(*this, "selected", selected, 0, values.getDimSize(0), "tokens")) ||
      failed(expectSize(*this, "index", index, 0, values.getDimSize(0), "tokens")) ||
      failed(expectElementType(*this, "selected", selected.getElementType(), values.getElementType())))
    return failure();
  if (selected.getDimSize(1) != index.getDimSize(1))
    return emitOpError("expected as many columns in 'index' as in 'selected', ")
           << sizeText(selected.getDimSize(1)) << ", but got " << sizeText(index.getDimSize(1));
  if (getKeys()) {
    if (failed(expectSize(*this, "keys", shaped(getKeys()), 0, values.getDimSize(0), "tokens")) ||
        failed(expectSize(*this, "keys", shaped(getKeys()), 1, experts, "experts")))
      return failure();
  }
  if (auto groups = getGroups()) {
    int64_t count = groups->getCount();
    if (!known)
      return emitOpError("expected a static number of experts with 'groups' but got ") << values;
    if (experts % count != 0)
      return emitOpError("expected the group count to divide the number of experts, ")
             << experts << ", but got count = " << count;
    if (groups->getScore() == GroupScore::SumTop2 && experts / count < 2)
      return emitOpError("expected groups of at least 2 experts for the score 'sum_top2' but got ")
             << experts / count << " expert per group";
  }
  return success();
}

LogicalResult TopKOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  OpFoldResult k = getDynamicK() ? OpFoldResult(getDynamicK()) : OpFoldResult(b.getIndexAttr(*getK()));
  SmallVector<OpFoldResult> sizes{sizesOf(b, getLoc(), getValues())[0], k};
  shapes.assign(2, sizes);
  return success();
}

//===----------------------------------------------------------------------===//
// DropOp
//===----------------------------------------------------------------------===//

/// The attribute `experts` of plan and drop.
template <typename OpTy> static LogicalResult verifyExperts(OpTy op) {
  // Experts are named by i32 indices.
  int64_t experts = op.getExperts(), most = std::numeric_limits<int32_t>::max();
  if (experts >= 1 && experts <= most)
    return success();
  return op.emitOpError("expected 'experts' between 1 and ") << most << " but got " << experts;
}

LogicalResult DropOp::verify() {
  if (failed(verifyExperts(*this)))
    return failure();
  ShapedType indices = shaped(getIndices());
  bool byPriority = getOrder() == "priority";
  if (byPriority && !getPriority())
    return emitOpError("expected a 'priority' operand for order \"priority\" but got none");
  if (!byPriority && getPriority())
    return emitOpError("expected no 'priority' operand for order \"")
           << getOrder() << "\" but got " << getPriority().getType();
  if (getPriority() &&
      (failed(expectSize(*this, "priority", shaped(getPriority()), 0, indices.getDimSize(0), "tokens")) ||
       failed(expectSize(*this, "priority", shaped(getPriority()), 1, indices.getDimSize(1), "k"))))
    return failure();
  if (getSegments())
    return expectSize(*this, "segments", shaped(getSegments()), 0, indices.getDimSize(0), "tokens");
  return success();
}

LogicalResult DropOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  shapes.push_back(sizesOf(b, getLoc(), getIndices()));
  return success();
}

//===----------------------------------------------------------------------===//
// PlanOp
//===----------------------------------------------------------------------===//

LogicalResult PlanOp::verify() {
  if (failed(verifyExperts(*this)))
    return failure();
  ShapedType indices = shaped(getIndices());
  if (failed(expectSize(*this, "offsets", shaped(getOffsets()), 0, getExperts() + 1, "experts + 1")) ||
      failed(expectSize(*this, "choices", shaped(getChoices()), 0, numRows(indices), "tokens * k")) ||
      failed(expectSize(*this, "slots", shaped(getSlots()), 0, indices.getDimSize(0), "tokens")) ||
      failed(expectSize(*this, "slots", shaped(getSlots()), 1, indices.getDimSize(1), "k")))
    return failure();
  if (shaped(getOffsets()).isDynamicDim(0))
    return emitOpError("expected static 'offsets' but got ") << getOffsets().getType();
  return success();
}

LogicalResult PlanOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  SmallVector<OpFoldResult> sizes = sizesOf(b, getLoc(), getIndices());
  AffineExpr d0, d1;
  bindDims(b.getContext(), d0, d1);
  OpFoldResult rows = affine::makeComposedFoldedAffineApply(b, getLoc(), d0 * d1, sizes);
  shapes.push_back({b.getIndexAttr(getExperts() + 1)});
  shapes.push_back({rows});
  shapes.push_back(sizes);
  return success();
}

//===----------------------------------------------------------------------===//
// GaussianOp
//===----------------------------------------------------------------------===//

LogicalResult GaussianOp::verify() {
  ShapedType noise = shaped(getNoise());
  if (noise.isDynamicDim(1))
    return emitOpError("expected a static number of columns but got ") << noise;
  return expectSize(*this, "noise", noise, 0, shaped(getIds()).getDimSize(0), "ids");
}

LogicalResult GaussianOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  shapes.push_back({sizesOf(b, getLoc(), getIds())[0], b.getIndexAttr(shaped(getNoise()).getDimSize(1))});
  return success();
}

//===----------------------------------------------------------------------===//
// DispatchOp
//===----------------------------------------------------------------------===//

LogicalResult DispatchOp::verify() {
  ShapedType x = shaped(getX()), rows = shaped(getRows());
  if (static_cast<int64_t>(getFanout()) < 1)
    return emitOpError("expected 'fanout' of at least 1 but got ") << static_cast<int64_t>(getFanout());
  if (failed(expectRank(*this, "rows", rows, x.getRank())) ||
      failed(expectElementType(*this, "rows", rows.getElementType(), x.getElementType())) ||
      failed(expectSize(*this, "rows", rows, 0, shaped(getChoices()).getDimSize(0), "choices")))
    return failure();
  for (int64_t dim = 1; dim < x.getRank(); ++dim)
    if (failed(expectSize(*this, "rows", rows, dim, x.getDimSize(dim), "the size in 'x'")))
      return failure();
  return success();
}

LogicalResult DispatchOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  SmallVector<OpFoldResult> sizes = sizesOf(b, getLoc(), getX());
  sizes[0] = sizesOf(b, getLoc(), getChoices())[0];
  shapes.push_back(sizes);
  return success();
}

//===----------------------------------------------------------------------===//
// CombineOp
//===----------------------------------------------------------------------===//

LogicalResult CombineOp::verify() {
  ShapedType ys = shaped(getYs()), slots = shaped(getSlots()), result = shaped(getResult());
  if (failed(expectSize(*this, "result", result, 0, slots.getDimSize(0), "tokens")) ||
      failed(expectSize(*this, "result", result, 1, ys.getDimSize(1), "columns of 'ys'")))
    return failure();
  if (!getWeights())
    return success();
  ShapedType weights = shaped(getWeights());
  return failure(failed(expectSize(*this, "weights", weights, 0, slots.getDimSize(0), "tokens")) ||
                 failed(expectSize(*this, "weights", weights, 1, slots.getDimSize(1), "k")));
}

LogicalResult CombineOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  shapes.push_back({sizesOf(b, getLoc(), getSlots())[0], sizesOf(b, getLoc(), getYs())[1]});
  return success();
}

//===----------------------------------------------------------------------===//
// ExpertsOp
//===----------------------------------------------------------------------===//

int64_t ExpertsOp::getNumExperts() { return shaped(getOffsets()).getDimSize(0) - 1; }
Value ExpertsOp::getGroupOffsets() { return getOffsets(); }
OperandRange ExpertsOp::getExpertParameters() { return getParams(); }

LogicalResult ExpertsOp::verify() {
  ShapedType offsets = shaped(getOffsets());
  if (offsets.isDynamicDim(0) || offsets.getDimSize(0) < 2)
    return emitOpError("expected static offsets of at least 2 elements (experts + 1) but got ") << offsets;
  if (getRows().empty())
    return emitOpError("expected at least one row operand");
  if (getResults().empty())
    return emitOpError("expected at least one result");
  int64_t experts = getNumExperts(), rows = shaped(getRows().front()).getDimSize(0);

  Block &body = getBody().front();
  size_t want = getRows().size() + getParams().size();
  if (body.getNumArguments() != want)
    return emitOpError("expected ") << want << " block arguments (one per row operand, one per parameter) but got "
                                    << body.getNumArguments();
  auto checkArgument = [&](unsigned number, Type type) -> LogicalResult {
    if (body.getArgument(number).getType() == type)
      return success();
    return emitOpError("expected block argument ")
           << number << " of type " << type << " but got " << body.getArgument(number).getType();
  };
  for (auto [number, operand] : llvm::enumerate(getRows())) {
    auto type = cast<RankedTensorType>(operand.getType());
    if (failed(expectSize(*this, "rows", type, 0, rows, "rows of the first row operand")))
      return failure();
    SmallVector<int64_t> shape(type.getShape());
    shape[0] = ShapedType::kDynamic;
    if (failed(checkArgument(number, type.clone(shape))))
      return failure();
  }
  for (auto [number, operand] : llvm::enumerate(getParams())) {
    auto type = cast<RankedTensorType>(operand.getType());
    if (type.getRank() < 1 || type.getDimSize(0) != experts)
      return emitOpError("expected a slice per expert, ")
             << experts << ", on dimension 0 of parameter " << number << " but got " << type;
    if (failed(checkArgument(getRows().size() + number, type.clone(type.getShape().drop_front()))))
      return failure();
  }
  YieldOp yield = expectYield(*this, body);
  if (!yield)
    return failure();
  if (yield.getNumOperands() != getNumResults())
    return yield.emitOpError("expected ")
           << getNumResults() << " values, one per result, but got " << yield.getNumOperands();
  for (auto [number, result, value] : llvm::enumerate(getResults(), yield.getValues())) {
    auto type = cast<RankedTensorType>(result.getType());
    if (failed(expectSize(*this, "results", type, 0, rows, "rows")))
      return failure();
    SmallVector<int64_t> shape(type.getShape());
    shape[0] = ShapedType::kDynamic;
    if (value.getType() != type.clone(shape))
      return yield.emitOpError("expected value ")
             << number << " of type " << type.clone(shape) << " but got " << value.getType();
    for (int64_t dim = 1; dim < type.getRank(); ++dim)
      if (type.isDynamicDim(dim))
        return emitOpError("expected results whose only dynamic size is the rows but got ") << type;
  }
  return success();
}

LogicalResult ExpertsOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  OpFoldResult rows = sizesOf(b, getLoc(), getRows().front())[0];
  for (Value result : getResults()) {
    SmallVector<OpFoldResult> sizes{rows};
    for (int64_t size : shaped(result).getShape().drop_front())
      sizes.push_back(b.getIndexAttr(size));
    shapes.push_back(sizes);
  }
  return success();
}

//===----------------------------------------------------------------------===//
// GroupedMatmulOp
//===----------------------------------------------------------------------===//

int64_t GroupedMatmulOp::getNumExperts() { return shaped(getOffsets()).getDimSize(0) - 1; }
int64_t GroupedMatmulOp::getColumnDivisor() {
  int64_t columns = getNumColumns();
  return ShapedType::isDynamic(columns) ? getColumnMultiple().value_or(1) : columns;
}
Value GroupedMatmulOp::getGroupOffsets() { return getOffsets(); }
OperandRange GroupedMatmulOp::getExpertParameters() { return getWeights(); }

Type GroupedMatmulOp::getAccumulatorType() {
  return isInteger() ? Type(IntegerType::get(getContext(), 32)) : Type(Float32Type::get(getContext()));
}

GroupedMatmulOp::CodePlace GroupedMatmulOp::placeOfCode(AffineExpr n, AffineExpr k) {
  CodePlace place;
  int64_t perByte = 8 / getCodeBits(), perStep = 32 / getCodeBits();
  AffineExpr scale = k.floorDiv(getScaleGroup());
  if (!isPacked()) {
    place.byte = {n, k.floorDiv(perByte)};
    place.part = k % perByte;
    place.scale = {n, scale};
    return place;
  }
  AffineExpr panel = n.floorDiv(panelWidth), column = n % panelWidth;
  if (!isPackedForTensorCores()) {
    // Of a column's 32 bits even k take the low 16, odd k the high 16.
    AffineExpr code = (k % 2) * (perStep / 2) + (k % perStep).floorDiv(2);
    place.byte = {panel, k.floorDiv(perStep), column, code.floorDiv(perByte)};
    place.part = code % perByte;
    place.scale = {panel, scale, column};
    return place;
  }
  // Lane 4 * c + t and word m of it.
  AffineExpr c = column.floorDiv(4) * 2 + column % 2, m = column.floorDiv(2) % 2, t = k.floorDiv(2) % 4;
  int64_t perTile = depthOfLaneTile(*getFormat());
  AffineExpr code = (k % 2) * (perStep / 2) + (k % perTile).floorDiv(8);
  place.byte = {panel, k.floorDiv(perTile), c * 32 + t * 8 + m * 4 + code.floorDiv(perByte)};
  place.part = code % perByte;
  place.scale = {panel, scale, c * 2 + m};
  return place;
}

/// The shape of a weight operand of rank `rank` of `op`; see the op's table.
static SmallVector<int64_t> weightShape(GroupedMatmulOp op, int64_t rank) {
  constexpr int64_t width = GroupedMatmulOp::panelWidth;
  int64_t experts = op.getNumExperts(), columns = op.getNumColumns(), depth = op.getDepth();
  int64_t panels = ShapedType::isDynamic(columns) ? columns : llvm::divideCeil(columns, width);
  auto steps = [&](int64_t size) { return static_cast<int64_t>(llvm::divideCeil(depth, size)); };
  if (rank == 3)
    return {experts, columns, op.getFormat() ? depth * op.getCodeBits() / 8 : depth};
  if (rank == 4 && op.getFormat())
    return {experts, panels, steps(32) * 32 / GroupedMatmulOp::depthOfLaneTile(*op.getFormat()), 16 * width};
  if (rank == 4)
    return {experts, panels, depth, width};
  if (op.getFormat())
    return {experts, panels, steps(32 / op.getCodeBits()), width, 4};
  if (op.isInteger())
    return {experts, panels, steps(4), width, 4};
  return {experts, panels, steps(2), width, 2};
}

/// Element types of rows, weights and scales, and the shapes of the last two.
static LogicalResult verifyWeights(GroupedMatmulOp op) {
  ShapedType x = shaped(op.getX());
  bool codes = op.getFormat().has_value();
  if (codes && op.isInteger())
    return op.emitOpError("expected rows of a float type with 'format' but got ") << x;
  if (op.getScales().size() != (codes ? op.getWeights().size() : 0))
    return op.emitOpError("expected ") << (codes ? op.getWeights().size() : 0) << " scale operands "
                                       << (codes ? "with" : "without") << " 'format' but got " << op.getScales().size();
  if (codes && op.getCodeBits() < 8 && op.getDepth() % op.getScaleGroup() != 0)
    return op.emitOpError("expected rows of a multiple of ")
           << op.getScaleGroup() << " elements with 'format' but got " << x;

  int64_t rank = op.getWeightRank();
  if (rank < 3 || rank > 5 || (rank == 4 && op.isInteger()))
    return op.emitOpError("expected weights of rank 3 (plain), ")
           << (op.isInteger() ? "or 5 (packed)"
               : codes        ? "4 (packed for tensor cores) or 5 (packed)"
                              : "4 (panels) or 5 (panels of pairs)")
           << " but got " << op.getWeights().front().getType();
  if (op.isPackedForTensorCores() && op.getColumnDivisor() % GroupedMatmulOp::panelWidth != 0)
    return op.emitOpError("expected a multiple of ")
           << GroupedMatmulOp::panelWidth << " columns with weights packed for tensor cores but got "
           << shaped(op.getInit());
  auto hasShape = [](ShapedType type, ArrayRef<int64_t> want) {
    return type.getRank() == static_cast<int64_t>(want.size()) && llvm::all_of_zip(type.getShape(), want, agree);
  };
  auto text = [](ArrayRef<int64_t> shape) { return llvm::join(llvm::map_range(shape, sizeText), ", "); };
  SmallVector<int64_t> want = weightShape(op, rank);
  for (auto [number, weight] : llvm::enumerate(op.getWeights())) {
    ShapedType type = shaped(weight);
    if (!hasShape(type, want))
      return op.emitOpError("expected weight operand ")
             << number << " of shape [" << text(want) << "] but got " << type;
    if (codes || op.isInteger() ? !type.getElementType().isInteger(8) : !isa<FloatType>(type.getElementType()))
      return op.emitOpError("expected weights of ")
             << (codes || op.isInteger() ? "i8" : "a float type") << " but got " << type;
  }
  SmallVector<int64_t> scaleShape{want[0], want[1]};
  if (codes)
    scaleShape.push_back(llvm::divideCeil(op.getDepth(), op.getScaleGroup()));
  if (op.isPacked())
    scaleShape.push_back(GroupedMatmulOp::panelWidth);
  for (auto [number, scales] : llvm::enumerate(op.getScales())) {
    ShapedType type = shaped(scales);
    if (!hasShape(type, scaleShape))
      return op.emitOpError("expected scale operand ")
             << number << " of shape [" << text(scaleShape) << "] but got " << type;
    bool exponents = *op.getFormat() == "mxfp4" && !op.isPackedForTensorCores();
    if (exponents ? !type.getElementType().isInteger(8) : !isa<FloatType>(type.getElementType()))
      return op.emitOpError("expected scales of ")
             << (exponents ? "i8" : "a float type") << " with format \"" << *op.getFormat() << "\" but got " << type;
  }
  return success();
}

LogicalResult GroupedMatmulOp::verify() {
  ShapedType x = shaped(getX()), offsets = shaped(getOffsets()), init = shaped(getInit());
  if (failed(expectRank(*this, "rows", x, 2)) || failed(expectRank(*this, "outs", init, 2)) ||
      failed(expectRank(*this, "groups", offsets, 1)))
    return failure();
  if (!offsets.getElementType().isInteger(32) || offsets.isDynamicDim(0) || offsets.getDimSize(0) < 2)
    return emitOpError("expected static i32 offsets of at least 2 elements (experts + 1) but got ") << offsets;
  if (x.isDynamicDim(1) || (!isa<FloatType>(x.getElementType()) && !isInteger()))
    return emitOpError("expected rows of a float type or i8 with a static number of columns but got ") << x;
  if (getWeights().empty())
    return emitOpError("expected at least one weight operand");
  bool tensors = isa<TensorType>(getInit().getType());
  for (Value operand : getOperands())
    if (isa<TensorType>(operand.getType()) != tensors)
      return emitOpError("expected operands that are all tensors or all memrefs but got ")
             << operand.getType() << " and " << init;
  if (tensors != bool(getResult()) || (tensors && getResult().getType() != init)) {
    InFlightDiagnostic error = emitOpError("expected ")
                               << (tensors ? "a result of the type of 'outs'" : "no result on memrefs");
    if (getResult())
      return error << " but got " << getResult().getType();
    return error << " but got none";
  }

  if (failed(verifyWeights(*this)))
    return failure();
  if (std::optional<uint64_t> multiple = getColumnMultiple()) {
    if (static_cast<int64_t>(*multiple) < 1)
      return emitOpError("expected 'column_multiple' of at least 1 but got ") << static_cast<int64_t>(*multiple);
    if (!init.isDynamicDim(1) && init.getDimSize(1) % *multiple != 0)
      return emitOpError("expected a multiple of ") << *multiple << " columns but got " << init;
  }
  if (getChoices()) {
    ShapedType choices = shaped(getChoices());
    if (failed(expectRank(*this, "choices", choices, 1)) ||
        failed(expectElementType(*this, "choices", choices.getElementType(), IntegerType::get(getContext(), 32))) ||
        failed(expectSize(*this, "choices", choices, 0, init.getDimSize(0), "rows of 'outs'")))
      return failure();
    if (static_cast<int64_t>(getFanout()) < 1)
      return emitOpError("expected 'fanout' of at least 1 but got ") << static_cast<int64_t>(getFanout());
  } else if (failed(expectSize(*this, "rows", x, 0, init.getDimSize(0), "rows of 'outs'"))) {
    return failure();
  }

  SmallVector<Type> arguments(getWeights().size(), getAccumulatorType());
  for (Value scalar : getRowScalars()) {
    if (failed(expectRank(*this, "row_scalars", shaped(scalar), 1)) ||
        failed(expectSize(*this, "row_scalars", shaped(scalar), 0, init.getDimSize(0), "rows of 'outs'")))
      return failure();
    arguments.push_back(shaped(scalar).getElementType());
  }
  for (Value scalar : getColumnScalars()) {
    if (failed(expectRank(*this, "column_scalars", shaped(scalar), 2)) ||
        failed(expectSize(*this, "column_scalars", shaped(scalar), 0, getNumExperts(), "experts")) ||
        failed(expectSize(*this, "column_scalars", shaped(scalar), 1, init.getDimSize(1), "columns of 'outs'")))
      return failure();
    arguments.push_back(shaped(scalar).getElementType());
  }
  Block &epilogue = getEpilogue().front();
  if (epilogue.getArgumentTypes() != TypeRange(arguments))
    return emitOpError("expected epilogue arguments (")
           << arguments << ") but got (" << epilogue.getArgumentTypes() << ")";
  YieldOp yield = expectYield(*this, epilogue);
  if (!yield)
    return failure();
  if (yield.getNumOperands() != 1 || yield.getOperand(0).getType() != init.getElementType())
    return yield.emitOpError("expected one value of the element type of 'outs', ")
           << init.getElementType() << ", but got (" << yield.getOperandTypes() << ")";
  return success();
}

LogicalResult GroupedMatmulOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  if (getResult())
    shapes.push_back(sizesOf(b, getLoc(), getInit()));
  return success();
}

void GroupedMatmulOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  // Rows in no group keep what 'outs' holds, but nothing of it is read.
  addBufferEffects(cast<DestinationStyleOpInterface>(getOperation()), effects);
}

//===----------------------------------------------------------------------===//
// TileMapOp
//===----------------------------------------------------------------------===//

LogicalResult TileMapOp::verify() {
  ShapedType offsets = shaped(getOffsets()), tiles = shaped(getTiles());
  if (offsets.isDynamicDim(0) || offsets.getDimSize(0) < 2)
    return emitOpError("expected static offsets of at least 2 elements (experts + 1) but got ") << offsets;
  if (static_cast<int64_t>(getBlock()) < 1)
    return emitOpError("expected 'block' of at least 1 but got ") << static_cast<int64_t>(getBlock());
  if (tiles.getDimSize(1) != 3)
    return emitOpError("expected tiles of 3 numbers (group, first row, rows) but got ") << tiles;
  return success();
}

LogicalResult TileMapOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  AffineExpr rows = b.getAffineDimExpr(0);
  int64_t groups = shaped(getOffsets()).getDimSize(0) - 1;
  OpFoldResult full = affine::makeComposedFoldedAffineApply(b, getLoc(), rows.floorDiv(getBlock()), {getRows()});
  OpFoldResult partial = affine::makeComposedFoldedAffineMin(
      b, getLoc(), AffineMap::get(1, 0, {rows, b.getAffineConstantExpr(groups)}, b.getContext()), {getRows()});
  AffineExpr d0, d1;
  bindDims(b.getContext(), d0, d1);
  shapes.push_back({affine::makeComposedFoldedAffineApply(b, getLoc(), d0 + d1, {full, partial}), b.getIndexAttr(3)});
  shapes.push_back({});
  return success();
}

//===----------------------------------------------------------------------===//
// ScheduleOp
//===----------------------------------------------------------------------===//

LogicalResult ScheduleOp::verify() {
  constexpr int64_t ranks[] = {1, 1, 2, 2, 0};
  if (getInits().size() != std::size(ranks))
    return emitOpError("expected 5 outputs (offsets, choices, slots, tiles, count) but got ") << getInits().size();
  for (auto [init, rank] : llvm::zip_equal(getInits(), ranks)) {
    ShapedType type = shaped(init);
    if (!type.hasRank() || type.getRank() != rank || !type.getElementType().isInteger(32))
      return emitOpError("expected an output of ") << rank << " dimensions of i32 but got " << type;
  }
  ShapedType indices = shaped(getIndices()), offsets = shaped(getOffsets());
  if (indices.getRank() != 2 || indices.isDynamicDim(1))
    return emitOpError("expected indices with a static number of choices per token but got ") << indices;
  if (offsets.isDynamicDim(0) || offsets.getDimSize(0) < 2)
    return emitOpError("expected static offsets of at least 2 elements (experts + 1) but got ") << offsets;
  if (shaped(getTiles()).getDimSize(1) != 3)
    return emitOpError("expected tiles of 3 numbers (group, first row, rows) but got ") << shaped(getTiles());
  if (static_cast<int64_t>(getBlock()) < 1)
    return emitOpError("expected 'block' of at least 1 but got ") << static_cast<int64_t>(getBlock());
  return success();
}

void ScheduleOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  addBufferEffects(cast<DestinationStyleOpInterface>(getOperation()), effects);
}

//===----------------------------------------------------------------------===//
// AttentionOp
//===----------------------------------------------------------------------===//

LogicalResult AttentionOp::verify() {
  ShapedType query = shaped(getQuery()), keys = shaped(getKeys()), values = shaped(getCachedValues());
  bool onTensors = hasPureTensorSemantics();
  for (Value operand : {getKeys(), getCachedValues(), getInit()})
    if (operand && isa<TensorType>(operand.getType()) != onTensors)
      return emitOpError("expected operands that are all tensors or all memrefs but got ")
             << query << " and " << operand.getType();
  if (onTensors != bool(getResult()) || (!onTensors && !getInit()))
    return emitOpError("expected ") << (onTensors ? "a result" : "'outs' and no result") << " with operands on "
                                    << (onTensors ? "tensors" : "memrefs");
  ShapedType result = shaped(onTensors ? getResult() : getInit());
  if (onTensors && getInit() && getInit().getType() != getResult().getType())
    return emitOpError("expected 'outs' of the type of the result, ")
           << getResult().getType() << ", but got " << getInit().getType();
  for (int64_t dim = 0; dim < 4; ++dim) {
    if (failed(expectSize(*this, "result", result, dim, query.getDimSize(dim), "the size in 'query'")) ||
        failed(expectSize(*this, "values", values, dim, keys.getDimSize(dim), "the size in 'keys'")))
      return failure();
  }
  if (failed(expectSize(*this, "keys", keys, 0, query.getDimSize(0), "sequences")) ||
      failed(expectSize(*this, "keys", keys, 3, query.getDimSize(3), "head size")))
    return failure();
  int64_t heads = query.getDimSize(2), cached = keys.getDimSize(2);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(cached) || query.isDynamicDim(3))
    return emitOpError("expected static head counts and head size but got ") << query << " and " << keys;
  if (cached < 1 || heads % cached != 0)
    return emitOpError("expected the number of key-value heads to divide the number of query heads, ")
           << heads << ", but got " << cached;
  if (getWindow() && static_cast<int64_t>(*getWindow()) < 1)
    return emitOpError("expected 'window' of at least 1 but got ") << static_cast<int64_t>(*getWindow());
  return success();
}

LogicalResult AttentionOp::reifyResultShapes(OpBuilder &b, ReifiedRankedShapedTypeDims &shapes) {
  if (getResult())
    shapes.push_back(sizesOf(b, getLoc(), getQuery()));
  return success();
}

void AttentionOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  if (hasPureTensorSemantics())
    return;
  for (OpOperand *operand : {&getQueryMutable(), &getKeysMutable(), &getCachedValuesMutable()})
    effects.emplace_back(MemoryEffects::Read::get(), operand);
  effects.emplace_back(MemoryEffects::Write::get(), &*getInitMutable().begin());
}

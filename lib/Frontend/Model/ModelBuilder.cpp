//===- ModelBuilder.cpp - modules, parameters, shapes ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ModelBuilder.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MLProgram/IR/MLProgram.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"

using namespace mlir;
using namespace moe;
using namespace moe::frontend;

ModelBuilder::ModelBuilder(MLIRContext &context, ParameterCatalog &parameters, Type storage)
    : parameters(parameters), builder(&context), location(builder.getUnknownLoc()), storage(storage) {
  context.loadDialect<arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
                      ml_program::MLProgramDialect, tensor::TensorDialect, MoeDialect>();
  module = ModuleOp::create(builder, location);
}

RankedTensorType ModelBuilder::tensor(ArrayRef<int64_t> shape, Type elementType) {
  return RankedTensorType::get(shape, elementType);
}

void ModelBuilder::at(const Twine &name) { location = NameLoc::get(builder.getStringAttr(name)); }

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

static DictionaryAttr portAttributes(OpBuilder &builder, const Port &port) {
  SmallVector<NamedAttribute> attributes{builder.getNamedAttr("moe.name", builder.getStringAttr(port.name))};
  if (!port.role.empty())
    attributes.push_back(builder.getNamedAttr("moe.role", builder.getStringAttr(port.role)));
  return builder.getDictionaryAttr(attributes);
}

func::FuncOp ModelBuilder::beginFunction(StringRef name, ArrayRef<Port> arguments, ArrayRef<Port> results,
                                         bool isPublic) {
  if (firstGlobal)
    builder.setInsertionPoint(firstGlobal);
  else
    builder.setInsertionPointToEnd(module->getBody());
  at(name);
  auto typeOf = [](const Port &port) { return port.type; };
  auto function = func::FuncOp::create(
      builder, location, name,
      builder.getFunctionType(llvm::map_to_vector(arguments, typeOf), llvm::map_to_vector(results, typeOf)));
  function.setVisibility(isPublic ? SymbolTable::Visibility::Public : SymbolTable::Visibility::Private);
  Block *body = function.addEntryBlock();
  for (auto [i, port] : llvm::enumerate(arguments)) {
    body->getArgument(i).setLoc(NameLoc::get(builder.getStringAttr(port.name)));
    if (isPublic)
      function.setArgAttrs(i, portAttributes(builder, port));
  }
  if (isPublic)
    for (auto [i, port] : llvm::enumerate(results))
      function.setResultAttrs(i, portAttributes(builder, port));
  builder.setInsertionPointToStart(body);
  return function;
}

void ModelBuilder::endFunction(ValueRange results) { func::ReturnOp::create(builder, location, results); }

void ModelBuilder::aside(llvm::function_ref<void()> body) {
  OpBuilder::InsertionGuard guard(builder);
  Location before = location;
  body();
  location = before;
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

Value ModelBuilder::parameter(StringRef name, ArrayRef<int64_t> shape, Init init) {
  auto [entry, isNew] = declared.try_emplace(name);
  if (!isNew)
    return load(name, entry->second);

  Type stored = storage;
  llvm::Expected<rt::DType> dtype = parameters.declare(name, shape, init);
  if (dtype) {
    stored = *dtype == rt::DType::BF16     ? Type(builder.getBF16Type())
             : *dtype == rt::DType::F16    ? Type(builder.getF16Type())
             : *dtype == rt::DType::F8E4M3 ? Type(Float8E4M3FNType::get(builder.getContext()))
                                           : Type(builder.getF32Type());
    dtypes.insert(*dtype);
    scalars += *rt::tensorBytes(*dtype, shape.vec()) / (rt::dtypeBits(*dtype) / 8);
  } else {
    errors.report(dtype.takeError());
  }

  RankedTensorType type = tensor(shape, stored);
  entry->second = type;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(module->getBody());
    auto global =
        ml_program::GlobalOp::create(builder, NameLoc::get(builder.getStringAttr(name)), name, type,
                                     /*is_mutable=*/false, ml_program::ExternAttr::get(builder.getContext(), type),
                                     builder.getStringAttr("private"));
    if (!firstGlobal)
      firstGlobal = global;
  }
  return load(name, type);
}

Value ModelBuilder::load(StringRef name, RankedTensorType type) {
  return ml_program::GlobalLoadConstOp::create(builder, NameLoc::get(builder.getStringAttr(name)), type,
                                               FlatSymbolRefAttr::get(builder.getContext(), name));
}

static double numElements(ArrayRef<int64_t> shape) {
  double count = 1;
  for (int64_t size : shape)
    count *= static_cast<double>(size);
  return count;
}

Value ModelBuilder::weight(StringRef name, ArrayRef<int64_t> shape, Init init) {
  if (parameters.hasCodes(name)) {
    cost.denseBytes += numElements(shape);
    return decoded(name.str(), shape, /*stacked=*/false);
  }
  cost.denseBytes += numElements(shape) * storageBytes();
  return convert(parameter(name, shape, init), storage);
}

Value ModelBuilder::vector(StringRef name, ArrayRef<int64_t> shape, Init init) {
  cost.denseBytes += numElements(shape) * storageBytes();
  return convert(parameter(name, shape, init), f32());
}

Value ModelBuilder::expertWeight(StringRef name, ArrayRef<int64_t> shape) {
  return convert(parameter(name, shape), storage);
}

/// `value` as f32 if it is a narrower float.
static Value widened(OpBuilder &builder, Location loc, Value value) {
  auto type = dyn_cast<FloatType>(value.getType());
  if (!type || type.getWidth() >= 32)
    return value;
  return arith::ExtFOp::create(builder, loc, builder.getF32Type(), value);
}

Value ModelBuilder::stack(ArrayRef<Value> parts, ArrayRef<int64_t> shape) {
  SmallVector<int64_t> oneShape{1};
  oneShape.append(shape.begin(), shape.end());
  SmallVector<OpFoldResult> oneSizes = getAsIndexOpFoldResult(builder.getContext(), oneShape);
  SmallVector<SmallVector<int64_t, 2>> groups{{0, 1}};
  for (int64_t dim = 1; dim < static_cast<int64_t>(shape.size()); ++dim)
    groups.push_back({dim + 1});
  SmallVector<Value> ones = llvm::map_to_vector(parts, [&](Value part) { return expand(part, groups, oneSizes); });
  return tensor::ConcatOp::create(builder, location, /*dim=*/0, ones);
}

Value ModelBuilder::decoded(ArrayRef<std::string> names, ArrayRef<int64_t> shape, bool stacked) {
  constexpr int64_t block = 128;
  assert(shape.size() == 2 && (stacked || names.size() == 1) && "expected matrices");
  SmallVector<int64_t> blocks;
  for (int64_t size : shape)
    blocks.push_back(llvm::divideCeil(size, block));
  SmallVector<Value> codeParts, scaleParts;
  bool sameType = true;
  for (const std::string &name : names) {
    codeParts.push_back(parameter(name, shape, Init::Codes));
    int64_t scalarsBefore = scalars; // a scale is no scalar of the model
    scaleParts.push_back(parameter(name + "_scale_inv", blocks, Init::Scales));
    scalars = scalarsBefore;
    sameType &= scaleParts.back().getType() == scaleParts.front().getType();
    if (failed())
      break;
  }
  if (!sameType)
    llvm::for_each(scaleParts, [&](Value &part) { part = convert(part, f32()); });
  SmallVector<int64_t> whole(shape);
  if (stacked)
    whole.insert(whole.begin(), static_cast<int64_t>(names.size()));
  SmallVector<OpFoldResult> wholeSizes = getAsIndexOpFoldResult(builder.getContext(), whole);
  if (failed()) // the parts may be of any type
    return empty(wholeSizes, f32());
  Value codes = stacked ? stack(codeParts, shape) : codeParts.front();
  Value scales = stacked ? stack(scaleParts, blocks) : scaleParts.front();

  unsigned rank = whole.size();
  AffineMap each = builder.getMultiDimIdentityMap(rank);
  SmallVector<AffineExpr> blockOf(each.getResults());
  for (AffineExpr &dim : MutableArrayRef(blockOf).take_back(2))
    dim = dim.floorDiv(block);
  SmallVector<AffineMap> maps{each, AffineMap::get(rank, 0, blockOf, builder.getContext()), each};
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  Value init = empty(wholeSizes, f32());
  auto generic = linalg::GenericOp::create(
      builder, location, init.getType(), ValueRange{codes, scales}, init, maps, iterators,
      [&](OpBuilder &nested, Location loc, ValueRange elements) {
        Value code = widened(nested, loc, elements[0]), scale = widened(nested, loc, elements[1]);
        linalg::YieldOp::create(nested, loc, arith::MulFOp::create(nested, loc, code, scale).getResult());
      });
  return sized(generic.getResult(0), wholeSizes);
}

Value ModelBuilder::stackedExpertWeights(int64_t experts, llvm::function_ref<std::string(int64_t)> name,
                                         ArrayRef<int64_t> shape) {
  // The first expert says how all are stored.
  if (parameters.hasCodes(name(0))) {
    std::vector<std::string> names;
    for (int64_t e = 0; e < experts; ++e)
      names.push_back(name(e));
    return decoded(names, shape, /*stacked=*/true);
  }
  SmallVector<Value> parts;
  bool sameType = true;
  for (int64_t e = 0; e < experts && !failed(); ++e) {
    parts.push_back(parameter(name(e), shape));
    sameType &= parts.back().getType() == parts.front().getType();
  }
  if (failed()) { // `experts` may be anything: make no more operations than there are tensors
    SmallVector<int64_t> allShape{experts};
    allShape.append(shape.begin(), shape.end());
    return empty(getAsIndexOpFoldResult(builder.getContext(), allShape), storage);
  }
  if (!sameType)
    llvm::for_each(parts, [&](Value &part) { part = convert(part, storage); });
  return convert(stack(parts, shape), storage);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

Sizes ModelBuilder::sizes(Value value) {
  auto known = knownSizes.find(value);
  if (known != knownSizes.end())
    return known->second;
  Sizes result = tensor::getMixedSizes(builder, location, value);
  knownSizes[value] = result;
  return result;
}

Value ModelBuilder::index(OpFoldResult size) { return getValueOrCreateConstantIndexOp(builder, location, size); }

Value ModelBuilder::indexFrom(Value scalar) {
  Value integer = tensor::ExtractOp::create(builder, location, scalar, ValueRange());
  return arith::IndexCastOp::create(builder, location, builder.getIndexType(), integer);
}

static RankedTensorType typeOf(ArrayRef<OpFoldResult> sizes, Type elementType) {
  SmallVector<int64_t> shape;
  SmallVector<Value> dynamic;
  dispatchIndexOpFoldResults(sizes, dynamic, shape);
  return RankedTensorType::get(shape, elementType);
}

Value ModelBuilder::empty(ArrayRef<OpFoldResult> sizes, Type elementType) {
  Value result = tensor::EmptyOp::create(builder, location, sizes, elementType);
  return sized(result, sizes);
}

Value ModelBuilder::zeros(ArrayRef<OpFoldResult> sizes, Type elementType) {
  Value zero = arith::ConstantOp::create(builder, location, builder.getZeroAttr(elementType));
  Value result = linalg::FillOp::create(builder, location, zero, empty(sizes, elementType)).getResult(0);
  return sized(result, sizes);
}

Value ModelBuilder::expand(Value value, ArrayRef<SmallVector<int64_t, 2>> groups, ArrayRef<OpFoldResult> sizes) {
  Type elementType = getElementTypeOrSelf(value);
  Value result = tensor::ExpandShapeOp::create(builder, location, typeOf(sizes, elementType), value, groups, sizes);
  return sized(result, sizes);
}

Value ModelBuilder::collapse(Value value, ArrayRef<SmallVector<int64_t, 2>> groups, ArrayRef<OpFoldResult> sizes) {
  Value result = tensor::CollapseShapeOp::create(builder, location, value, groups);
  return sized(result, sizes);
}

Value ModelBuilder::slice(Value value, ArrayRef<OpFoldResult> offsets, ArrayRef<OpFoldResult> sizes,
                          ArrayRef<int64_t> dropped) {
  Sizes kept;
  for (auto [dim, size] : llvm::enumerate(sizes))
    if (!llvm::is_contained(dropped, static_cast<int64_t>(dim)))
      kept.push_back(size);
  Sizes strides(sizes.size(), size(1));
  RankedTensorType type = typeOf(kept, getElementTypeOrSelf(value));
  Value result = tensor::ExtractSliceOp::create(builder, location, type, value, offsets, sizes, strides);
  return sized(result, kept);
}

Value ModelBuilder::insert(Value value, Value into, ArrayRef<OpFoldResult> offsets, ArrayRef<OpFoldResult> sizes) {
  Sizes strides(sizes.size(), size(1));
  return tensor::InsertSliceOp::create(builder, location, value, into, offsets, sizes, strides);
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

/// `value` rounded to `type` if that is a narrower float.
static Value narrowed(OpBuilder &builder, Location loc, Value value, Type type) {
  return value.getType() == type ? value : arith::TruncFOp::create(builder, loc, type, value);
}

Value ModelBuilder::map(ArrayRef<Operand> inputs, ArrayRef<OpFoldResult> sizes, Type elementType, ScalarBody body) {
  unsigned rank = sizes.size();
  SmallVector<AffineMap> maps;
  SmallVector<Value> values;
  for (const Operand &input : inputs) {
    maps.push_back(input.identity ? builder.getMultiDimIdentityMap(rank)
                                  : AffineMap::getMultiDimMapWithTargets(rank, input.dims, builder.getContext()));
    values.push_back(input.value);
  }
  maps.push_back(builder.getMultiDimIdentityMap(rank));
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  Value init = empty(sizes, elementType);
  auto generic = linalg::GenericOp::create(
      builder, location, init.getType(), values, init, maps, iterators,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        SmallVector<Value> elements;
        for (Value argument : arguments.drop_back())
          elements.push_back(widened(nested, loc, argument));
        linalg::YieldOp::create(nested, loc, narrowed(nested, loc, body(nested, loc, elements), elementType));
      });
  Value result = generic.getResult(0);
  return sized(result, sizes);
}

Value ModelBuilder::convert(Value value, Type elementType) {
  if (getElementTypeOrSelf(value) == elementType)
    return value;
  return map({value}, sizes(value), elementType,
             [](OpBuilder &, Location, ValueRange elements) { return elements[0]; });
}

Value ModelBuilder::add(Value a, Value b) {
  Sizes shape = sizes(a);
  unsigned rank = shape.size(), missing = rank - cast<RankedTensorType>(b.getType()).getRank();
  return map({a, Operand(b, llvm::to_vector(llvm::seq(missing, rank)))}, shape, f32(),
             [](OpBuilder &nested, Location loc, ValueRange elements) -> Value {
               return arith::AddFOp::create(nested, loc, elements[0], elements[1]);
             });
}

Value ModelBuilder::sumLast(Value value, llvm::function_ref<Value(OpBuilder &, Location, Value)> term) {
  Sizes shape = sizes(value), outer = shape;
  outer.pop_back();
  unsigned rank = shape.size();
  AffineMap identity = builder.getMultiDimIdentityMap(rank);
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  iterators.back() = utils::IteratorType::reduction;
  Value init = zeros(outer, f32());
  auto generic = linalg::GenericOp::create(builder, location, init.getType(), value, init,
                                           ArrayRef<AffineMap>{identity, identity.dropResult(rank - 1)}, iterators,
                                           [&](OpBuilder &nested, Location loc, ValueRange arguments) {
                                             Value element = term(nested, loc, widened(nested, loc, arguments[0]));
                                             Value sum = arith::AddFOp::create(nested, loc, arguments[1], element);
                                             linalg::YieldOp::create(nested, loc, sum);
                                           });
  Value result = generic.getResult(0);
  return sized(result, outer);
}

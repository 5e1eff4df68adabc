//===- Weights.cpp - from the checkpoint's tensors to the weights blob ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Weights.h"
#include "Errors.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Pipelines/Phases.h"
#include "moe/Runtime/Abi.h"
#include "moe/Target/Prepare.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MLProgram/IR/MLProgram.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

using namespace moe;
using namespace mlir;

llvm::StringRef moe::dtypeName(Type type) {
  if (isa<Float8E4M3FNType>(type))
    return "F8_E4M3";
  if (isa<Float8E5M2Type>(type))
    return "F8_E5M2";
  if (type.isF16())
    return "F16";
  if (type.isBF16())
    return "BF16";
  if (type.isF32())
    return "F32";
  if (type.isF64())
    return "F64";
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer)
    return "";
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return "BOOL";
  case 8:
    return isUnsigned ? "U8" : "I8";
  case 16:
    return isUnsigned ? "U16" : "I16";
  case 32:
    return isUnsigned ? "U32" : "I32";
  case 64:
    return isUnsigned ? "U64" : "I64";
  default:
    return "";
  }
}

static std::string describe(llvm::StringRef dtype, llvm::ArrayRef<int64_t> shape) {
  return (dtype + " [" + llvm::join(llvm::map_range(shape, [](int64_t n) { return llvm::Twine(n).str(); }), ",") + "]")
      .str();
}

/// The row of the table for `global`, without its offset.
static llvm::Expected<WeightsTensor> describeGlobal(ml_program::GlobalOp global) {
  WeightsTensor tensor;
  tensor.name = global.getSymName().str();
  auto type = dyn_cast<RankedTensorType>(global.getType());
  if (!type || !type.hasStaticShape())
    return inputError("parameter '" + tensor.name + "': expected a tensor of static shape");
  tensor.dtype = dtypeName(type.getElementType()).str();
  if (tensor.dtype.empty())
    return inputError("parameter '" + tensor.name + "' has an element type that cannot be stored");
  tensor.shape = type.getShape().vec();
  tensor.elementBytes = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  tensor.size = uint64_t(type.getNumElements()) * tensor.elementBytes;
  if (auto prepared = dyn_cast_or_null<PreparedAttr>(global.getValueAttr())) {
    tensor.function = prepared.getFunction().getValue().str();
    for (Attribute source : prepared.getSources())
      tensor.sources.push_back(cast<StringAttr>(source).str());
  } else {
    tensor.sources.push_back(tensor.name);
  }
  return tensor;
}

llvm::Expected<WeightsTable> moe::makeWeightsTable(ModuleOp module) {
  WeightsTable table;
  SymbolTable symbols(module);
  for (auto function : module.getOps<func::FuncOp>()) {
    if (!function.isPublic())
      continue;
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      auto name = function.getArgAttrOfType<FlatSymbolRefAttr>(i, "moe.parameter");
      if (!name || table.index.contains(name.getValue()))
        continue;
      auto global = symbols.lookup<ml_program::GlobalOp>(name.getAttr());
      if (!global)
        return internalError("phase pack left no global '" + name.getValue() + "'");
      auto tensor = describeGlobal(global);
      if (!tensor)
        return tensor.takeError();
      tensor->offset = llvm::alignTo(table.size, rt::weightsTensorAlignment);
      table.size = tensor->offset + tensor->size;
      table.index[tensor->name] = table.tensors.size();
      table.tensors.push_back(std::move(*tensor));
    }
  }
  return table;
}

/// The first, middle and last bytes of a tensor.
static void sampleInto(std::string &text, llvm::ArrayRef<char> bytes) {
  constexpr size_t piece = 1024;
  llvm::StringRef all(bytes.data(), bytes.size());
  if (all.size() <= 3 * piece) {
    text += all;
    return;
  }
  text += all.take_front(piece);
  text += all.substr(all.size() / 2, piece);
  text += all.take_back(piece);
}

llvm::Expected<uint64_t> moe::fingerprint(const WeightsTable &table, ModuleOp prepare, ParameterSource *values,
                                          llvm::StringRef salt) {
  std::string text = salt.str();
  llvm::raw_string_ostream stream(text);
  if (prepare)
    prepare.print(stream);
  // The text is hashed in pieces so that it stays small.
  auto fold = [&] {
    uint64_t hash = llvm::xxh3_64bits(text);
    text.assign(reinterpret_cast<const char *>(&hash), sizeof hash);
    return hash;
  };
  for (const WeightsTensor &tensor : table.tensors) {
    stream << tensor.name << ' ' << describe(tensor.dtype, tensor.shape) << ' ' << tensor.function << '\n';
    for (const std::string &source : tensor.sources) {
      stream << source << '\n';
      if (!values)
        continue;
      auto data = values->get(source);
      if (!data)
        return data.takeError();
      sampleInto(text, data->bytes);
    }
    fold();
  }
  return fold();
}

namespace {

/// Writes the blob from start to end.
class BlobWriter {
public:
  BlobWriter(llvm::raw_ostream &stream, ParameterSource &source, ModuleOp prepare, cpu::PrepareRunner *runner)
      : stream(stream), source(source), prepare(prepare), runner(runner) {}

  llvm::Error write(const WeightsTensor &tensor) {
    pad(tensor.offset - written);
    if (tensor.function.empty())
      return copy(tensor);
    return compute(tensor);
  }

  void pad(uint64_t count) {
    stream.write_zeros(count);
    written += count;
  }

private:
  llvm::Error put(llvm::ArrayRef<char> bytes) {
    stream.write(bytes.data(), bytes.size());
    written += bytes.size();
    return llvm::Error::success();
  }

  /// Checks what the source gave against what the code was compiled for.
  static llvm::Error check(const ParameterData &data, llvm::StringRef name, llvm::StringRef dtype,
                           llvm::ArrayRef<int64_t> shape) {
    if (data.dtype == dtype && llvm::ArrayRef(data.shape) == shape)
      return llvm::Error::success();
    return inputError("parameter '" + name + "': expected " + describe(dtype, shape) + " but got " +
                      describe(data.dtype, data.shape));
  }

  llvm::Error copy(const WeightsTensor &tensor) {
    auto data = source.get(tensor.sources.front());
    if (!data)
      return data.takeError();
    if (llvm::Error error = check(*data, tensor.sources.front(), tensor.dtype, tensor.shape))
      return error;
    return put(data->bytes);
  }

  llvm::Error compute(const WeightsTensor &tensor) {
    auto function = prepare.lookupSymbol<func::FuncOp>(tensor.function);
    if (!function || function.getNumArguments() != tensor.sources.size())
      return internalError("parameter '" + tensor.name + "' does not fit @prepare::@" + tensor.function);
    std::vector<ParameterData> inputs;
    for (auto [name, type] : llvm::zip_equal(tensor.sources, function.getArgumentTypes())) {
      auto data = source.get(name);
      if (!data)
        return data.takeError();
      auto tensorType = cast<RankedTensorType>(type);
      if (llvm::Error error = check(*data, name, dtypeName(tensorType.getElementType()), tensorType.getShape()))
        return error;
      inputs.push_back(std::move(*data));
    }
    std::vector<cpu::TensorView> views;
    for (const ParameterData &data : inputs)
      views.push_back({data.shape, data.bytes});
    return runner->run(tensor.function, views, tensor.shape, tensor.elementBytes,
                       [&](llvm::ArrayRef<char> bytes) { return put(bytes); });
  }

  llvm::raw_ostream &stream;
  ParameterSource &source;
  ModuleOp prepare;
  cpu::PrepareRunner *runner;
  uint64_t written = 0; // of the blob
};

} // namespace

llvm::Error moe::writeWeights(const WeightsTable &table, ModuleOp prepare, ParameterSource &source,
                              uint64_t fingerprint, uint64_t position, llvm::raw_ostream &stream) {
  std::unique_ptr<cpu::PrepareRunner> runner;
  if (llvm::any_of(table.tensors, [](const WeightsTensor &tensor) { return !tensor.function.empty(); })) {
    if (!prepare)
      return internalError("phase pack left no module @prepare");
    auto created = cpu::PrepareRunner::create(prepare, [](OpPassManager &passes) { buildPreparePipeline(passes); });
    if (!created)
      return internalError(llvm::toString(created.takeError()));
    runner = std::move(*created);
  }

  uint64_t offset = llvm::alignTo(position, rt::weightsPageSize);
  stream.write_zeros(offset - position);
  BlobWriter writer(stream, source, prepare, runner.get());
  for (const WeightsTensor &tensor : table.tensors)
    if (llvm::Error error = writer.write(tensor))
      return error;

  rt::WeightsTrailer trailer = {};
  std::copy(std::begin(rt::weightsMagic), std::end(rt::weightsMagic), trailer.magic);
  trailer.offset = offset;
  trailer.size = table.size;
  trailer.fingerprint = fingerprint;
  stream.write(reinterpret_cast<const char *>(&trailer), sizeof trailer);
  return llvm::Error::success();
}

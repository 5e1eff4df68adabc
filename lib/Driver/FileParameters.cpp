//===- FileParameters.cpp - parameters of an .mlir file -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Errors.h"
#include "Weights.h"

#include "lib/Frontend/Model/Parameters.h"

#include "mlir/Dialect/MLProgram/IR/MLProgram.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/Support/MathExtras.h"

#include <map>

using namespace moe;
using namespace mlir;

namespace {

/// The elements of `value` as they lie in memory. The bytes belong to the context or to `data.owner`.
llvm::Expected<ParameterData> readElements(ElementsAttr value, const llvm::Twine &what) {
  ParameterData data;
  ShapedType type = value.getShapedType();
  data.dtype = dtypeName(type.getElementType());
  data.shape = type.getShape().vec();
  size_t elementBytes = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  size_t count = type.getNumElements();
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(value)) {
    AsmResourceBlob *blob = resource.getRawHandle().getBlob();
    if (!blob || blob->getData().size() != count * elementBytes)
      return inputError(what + ": expected a resource of " + llvm::Twine(count * elementBytes) + " bytes");
    data.bytes = blob->getData();
    return data;
  }
  auto dense = dyn_cast<DenseIntOrFPElementsAttr>(value);
  if (!dense)
    return inputError(what + ": expected a dense value");
  auto bytes = std::make_shared<std::vector<char>>();
  ArrayRef<char> raw = dense.getRawData();
  if (type.getElementType().isInteger(1)) { // stored as single bits
    for (bool element : dense.getValues<bool>())
      bytes->push_back(element);
  } else if (dense.isSplat()) {
    bytes->reserve(count * elementBytes);
    for (size_t i = 0; i < count; ++i)
      bytes->insert(bytes->end(), raw.begin(), raw.begin() + elementBytes);
  } else {
    bytes->assign(raw.begin(), raw.end());
  }
  data.bytes = *bytes;
  data.owner = bytes;
  return data;
}

class FileParameters : public ParameterSource {
public:
  FileParameters(std::string file) : file(std::move(file)) {}

  void addValue(llvm::StringRef name, ElementsAttr value) { values[name] = value; }

  llvm::Error addRandom(llvm::StringRef name, RankedTensorType type, uint64_t seed) {
    std::optional<rt::DType> dtype = rt::dtypeFromName(dtypeName(type.getElementType()).str());
    if (!dtype || !llvm::is_contained({rt::DType::F32, rt::DType::BF16, rt::DType::F16}, *dtype))
      return inputError(file + ": parameter '" + name + "': random values are F32, BF16 or F16");
    auto [place, isNew] = random.try_emplace(*dtype, file, seed, *dtype);
    auto declared = place->second.declare(name, type.getShape(), frontend::Init::Normal);
    if (!declared)
      return declared.takeError();
    randomTypes[name] = *dtype;
    return llvm::Error::success();
  }

  llvm::Expected<ParameterData> get(llvm::StringRef name) override {
    if (ElementsAttr value = values.lookup(name))
      return readElements(value, file + ": parameter '" + name + "'");
    auto type = randomTypes.find(name);
    if (type != randomTypes.end())
      return random.at(type->second).get(name);
    return inputError(file + ": parameter '" + name +
                      "' has no value; give its ml_program.global one, or compile with --weights=random:SEED");
  }

private:
  std::string file;
  llvm::StringMap<ElementsAttr> values;
  llvm::StringMap<rt::DType> randomTypes;
  std::map<rt::DType, frontend::RandomParameters> random;
};

} // namespace

llvm::Expected<std::shared_ptr<ParameterSource>> moe::collectFileParameters(ModuleOp module, llvm::StringRef file,
                                                                            std::optional<uint64_t> seed) {
  auto parameters = std::make_shared<FileParameters>(file.str());
  for (auto global : module.getOps<ml_program::GlobalOp>()) {
    if (auto value = dyn_cast_or_null<ElementsAttr>(global.getValueAttr())) {
      parameters->addValue(global.getSymName(), value);
      continue;
    }
    auto type = dyn_cast<RankedTensorType>(global.getType());
    if (!seed || !type || !type.hasStaticShape() || !isa_and_nonnull<ml_program::ExternAttr>(global.getValueAttr()))
      continue;
    if (llvm::Error error = parameters->addRandom(global.getSymName(), type, *seed))
      return std::move(error);
  }
  return parameters;
}

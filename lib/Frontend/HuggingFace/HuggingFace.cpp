//===- HuggingFace.cpp - import of Hugging Face checkpoints ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Frontend/HuggingFace.h"

#include "Checkpoint.h"
#include "Config.h"
#include "Families/Families.h"
#include "lib/Frontend/Model/ModelBuilder.h"

#include "mlir/IR/Verifier.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace moe;
using namespace moe::frontend;
using llvm::StringRef;
using llvm::Twine;

std::vector<StringRef> moe::knownHuggingFaceFamilies() {
  std::vector<StringRef> names;
  for (const Family &family : families())
    names.push_back(family.modelType);
  return names;
}

static llvm::Expected<Config> openConfig(const std::string &folder) {
  if (!llvm::sys::fs::exists(folder))
    return errorIn(folder, "expected a model folder but there is no such file or folder");
  if (!llvm::sys::fs::is_directory(folder))
    return errorIn(folder, "expected a model folder but got a file");
  std::string path = inFolder(folder, "config.json");
  if (!llvm::sys::fs::exists(path))
    return errorIn(path, "expected a model folder with a config.json but there is none");
  return Config::open(path);
}

/// Whether matrices may be stored as codes. What is known: e4m3 with a scale for every 128 x 128 weights. Activations
/// are not quantised, so a "dynamic" scheme, which a target may follow or not, is one we can read; a "static" one has
/// scales for them in the file.
static bool readQuantization(Config &config) {
  if (!config.has("quantization_config"))
    return false;
  config.choice("quantization_config.quant_method", {"fp8"});
  config.choice("quantization_config.fmt", {"e4m3"}, "e4m3");
  config.choice("quantization_config.activation_scheme", {"dynamic"}, "dynamic");
  Keys block("quantization_config.weight_block_size");
  if (!config.has(block))
    config.fail(block, "expected [128,128] but there is no such key");
  else if (config.integers(block, 1, Config::maxSize) != std::vector<int64_t>{128, 128})
    config.fail(block, "expected [128,128] but got " + shapeText(config.integers(block, 1, Config::maxSize)));
  return true;
}

/// Reads the family that `config` names.
static llvm::Expected<std::unique_ptr<Decoder>> readFamily(Config &config, std::string &modelType) {
  modelType = config.choice("model_type", knownHuggingFaceFamilies());
  if (llvm::Error error = config.takeError())
    return std::move(error);
  const Family *family =
      llvm::find_if(families(), [&](const Family &candidate) { return candidate.modelType == modelType; });
  std::unique_ptr<Decoder> decoder = family->read(config);
  if (llvm::Error error = config.takeError())
    return std::move(error);
  return decoder;
}

/// Checks the layers of `--layers`: each exists and has experts.
static llvm::Error checkLayers(const Config &config, const Decoder &decoder, llvm::ArrayRef<int64_t> layers) {
  int64_t count = decoder.config.layers;
  for (int64_t layer : layers) {
    if (layer < 0 || layer >= count)
      return errorIn(config.path(), "expected a layer between 0 and " + Twine(count - 1) +
                                        " (num_hidden_layers = " + Twine(count) + ") but got " + Twine(layer));
    if (decoder.isMoeLayer(layer))
      continue;
    std::string others;
    for (int64_t other = 0; other < count; ++other)
      if (decoder.isMoeLayer(other))
        others += (others.empty() ? "" : ", ") + std::to_string(other);
    return errorIn(config.path(), "layer " + Twine(layer) + " has no experts (layers with experts: " +
                                      (others.empty() ? "none" : others) + ")");
  }
  return llvm::Error::success();
}

/// End-of-text ids of config.json and generation_config.json together: text ends at any of them.
static llvm::Error readEosTokenIds(Config &config, const std::string &folder, std::vector<int64_t> &ids) {
  auto add = [&](Config &from) {
    for (int64_t id : from.integers("eos_token_id", 0, Config::maxSize))
      ids.push_back(id);
    return from.takeError();
  };
  if (llvm::Error error = add(config))
    return error;
  std::string path = inFolder(folder, "generation_config.json");
  if (llvm::sys::fs::exists(path)) {
    llvm::Expected<Config> generation = Config::open(path);
    if (!generation)
      return generation.takeError();
    if (llvm::Error error = add(*generation))
      return error;
  }
  llvm::sort(ids);
  ids.erase(llvm::unique(ids), ids.end());
  return llvm::Error::success();
}

static llvm::Error readTokenizer(const std::string &folder, std::string &json) {
  std::string path = inFolder(folder, "tokenizer.json");
  if (!llvm::sys::fs::exists(path))
    return llvm::Error::success();
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return errorIn(path, buffer.getError().message());
  json = (*buffer)->getBuffer().str();
  return llvm::Error::success();
}

static std::string baseName(StringRef folder) {
  llvm::SmallString<128> path(folder);
  llvm::sys::fs::make_absolute(path);
  llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
  StringRef name = llvm::sys::path::filename(StringRef(path).rtrim('/'));
  return name.empty() || name == "/" ? "model" : name.str();
}

/// The types that parameters are in (random ones) or that activations are in (all).
static rt::DType storageType(Config &config, Checkpoint *checkpoint, Numerics numerics) {
  if (numerics == Numerics::F32)
    return rt::DType::F32;
  if (std::optional<rt::DType> dtype = config.dtype({"dtype", "torch_dtype"}))
    return *dtype;
  std::optional<rt::DType> dtype;
  if (checkpoint)
    dtype = checkpoint->storedType("model.embed_tokens.weight");
  return dtype.value_or(rt::DType::F32);
}

static mlir::Type toType(mlir::MLIRContext &context, rt::DType dtype) {
  if (dtype == rt::DType::BF16)
    return mlir::BFloat16Type::get(&context);
  if (dtype == rt::DType::F16)
    return mlir::Float16Type::get(&context);
  return mlir::Float32Type::get(&context);
}

static ModelInfo describe(Decoder &decoder, const ModelBuilder &builder) {
  const DecoderConfig &config = decoder.config;
  ModelInfo info;
  info.layers = config.layers;
  info.experts = config.experts;
  info.expertsPerToken = config.expertsPerToken;
  info.hiddenSize = config.hiddenSize;
  info.vocabSize = config.vocabSize;
  info.maxPositions = config.maxPositions;
  info.parameters = builder.numScalars();
  info.activeParameters = builder.numScalars() - decoder.idleScalars();
  for (rt::DType dtype : builder.storedTypes())
    info.dtypes.emplace_back(rt::dtypeName(dtype));
  llvm::sort(info.dtypes);
  info.costs = decoder.costs;
  return info;
}

llvm::Expected<ImportedModel> moe::importHuggingFace(mlir::MLIRContext &context, StringRef folderName,
                                                     const ImportOptions &options) {
  std::string folder = folderName.str();
  llvm::Expected<Config> config = openConfig(folder);
  if (!config)
    return config.takeError();
  std::string modelType;
  llvm::Expected<std::unique_ptr<Decoder>> decoder = readFamily(*config, modelType);
  if (!decoder)
    return decoder.takeError();
  bool mayHaveCodes = readQuantization(*config);
  if (llvm::Error error = config->takeError())
    return std::move(error);
  if (llvm::Error error = checkLayers(*config, **decoder, options.layers))
    return std::move(error);

  std::shared_ptr<ParameterCatalog> parameters;
  rt::DType storage;
  if (options.randomSeed) {
    // With --numerics=f32 the parameters keep their type, like those of a checkpoint.
    rt::DType stored = storageType(*config, nullptr, Numerics::Storage);
    parameters = std::make_shared<RandomParameters>(config->path(), *options.randomSeed, stored, mayHaveCodes);
    storage = storageType(*config, nullptr, options.numerics);
  } else {
    llvm::Expected<std::unique_ptr<Checkpoint>> checkpoint = Checkpoint::open(folder);
    if (!checkpoint)
      return checkpoint.takeError();
    if (mayHaveCodes)
      (*checkpoint)->expectCodes();
    storage = storageType(*config, checkpoint->get(), options.numerics);
    parameters = std::move(*checkpoint);
  }
  if (llvm::Error error = config->takeError())
    return std::move(error);

  ModelBuilder builder(context, *parameters, toType(context, storage));
  if (options.layers.empty()) {
    (*decoder)->emitModel(builder);
  } else {
    llvm::SetVector<int64_t> layers(options.layers.begin(), options.layers.end());
    for (int64_t layer : layers)
      (*decoder)->emitMoeBlock(builder, layer);
  }
  if (llvm::Error error = builder.takeError())
    return std::move(error);

  ImportedModel model;
  model.info = describe(**decoder, builder);
  model.info.name = baseName(folder);
  model.info.family = modelType;
  if (llvm::Error error = readEosTokenIds(*config, folder, model.info.eosTokenIds))
    return std::move(error);
  if (llvm::Error error = readTokenizer(folder, model.info.tokenizerJson))
    return std::move(error);
  model.module = builder.takeModule();
  model.parameters = std::move(parameters);
  if (mlir::failed(mlir::verify(*model.module)))
    return errorIn(folder, "the imported module does not verify (an error of the importer)");
  return model;
}

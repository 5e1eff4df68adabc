//===- Checkpoint.cpp - the tensors of a model folder ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Checkpoint.h"
#include "Config.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace moe;
using namespace moe::frontend;
using llvm::StringRef;
using llvm::Twine;

std::string moe::frontend::inFolder(StringRef folder, StringRef file) {
  llvm::SmallString<128> path(folder);
  llvm::sys::path::append(path, file);
  return path.str().str();
}

static bool isSupported(rt::DType dtype) {
  return dtype == rt::DType::F32 || dtype == rt::DType::BF16 || dtype == rt::DType::F16;
}

static StringRef typeName(rt::DType dtype) {
  std::string_view name = rt::dtypeName(dtype);
  return StringRef(name.data(), name.size());
}

/// Opens a safetensors file. Its parser's messages begin with the path.
static llvm::Error openFile(const std::string &path, std::optional<rt::SafetensorsFile> &file) {
  std::string message;
  file = rt::SafetensorsFile::open(path, message);
  if (!file)
    return llvm::createStringError(llvm::inconvertibleErrorCode(), Twine(message));
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string &folder) {
  auto checkpoint = std::make_unique<Checkpoint>();
  std::string single = inFolder(folder, "model.safetensors"), index = inFolder(folder, "model.safetensors.index.json");
  if (llvm::sys::fs::exists(single)) {
    checkpoint->source = single;
    checkpoint->shards.push_back({single, std::nullopt});
    if (llvm::Error error = openFile(single, checkpoint->shards.front().file))
      return std::move(error);
  } else if (llvm::sys::fs::exists(index)) {
    checkpoint->source = index;
    checkpoint->sharded = true;
    if (llvm::Error error = checkpoint->readIndex(folder))
      return std::move(error);
  } else {
    return errorIn(folder, "expected model.safetensors or model.safetensors.index.json but there is neither");
  }
  return checkpoint;
}

llvm::Error Checkpoint::readIndex(const std::string &folder) {
  llvm::Expected<Config> index = Config::open(source);
  if (!index)
    return index.takeError();
  const llvm::json::Value *value = index->find("weight_map");
  const llvm::json::Object *map = value ? value->getAsObject() : nullptr;
  if (!map)
    return errorIn(source, value ? "key 'weight_map': expected an object" : "key 'weight_map' is missing");
  llvm::StringMap<size_t> known;
  for (const auto &[tensor, shard] : *map) {
    std::optional<StringRef> name = shard.getAsString();
    // The index comes from elsewhere: it must not lead out of the folder.
    if (!name || name->empty() || *name == "." || *name == ".." ||
        name->find_first_of(StringRef("/\\\0", 3)) != StringRef::npos)
      return errorIn(source, "tensor " + quoted(tensor) + ": expected the name of a file in the same folder" +
                                 (name ? " but got " + quoted(*name) : std::string()));
    auto [entry, isNew] = known.try_emplace(*name, shards.size());
    if (isNew)
      shards.push_back({inFolder(folder, *name), std::nullopt});
    placement[tensor] = entry->second;
  }
  return llvm::Error::success();
}

llvm::Expected<const rt::TensorView *> Checkpoint::find(StringRef name, StringRef &path) {
  size_t number = 0;
  if (sharded) {
    auto placed = placement.find(name);
    if (placed == placement.end())
      return errorIn(source, "tensor " + quoted(name) + " is missing");
    number = placed->second;
  }
  Shard &shard = shards[number];
  path = shard.path;
  if (!shard.file) {
    if (!llvm::sys::fs::exists(shard.path))
      return errorIn(shard.path, "expected a shard with tensor " + quoted(name) + ", as " +
                                     llvm::sys::path::filename(source) + " says, but there is no such file");
    if (llvm::Error error = openFile(shard.path, shard.file))
      return std::move(error);
  }
  if (const rt::TensorView *tensor = shard.file->find(std::string_view(name.data(), name.size())))
    return tensor;
  return errorIn(shard.path, "tensor " + quoted(name) + " is missing" +
                                 (sharded ? ", but " + llvm::sys::path::filename(source).str() + " says it is here"
                                          : std::string()));
}

bool Checkpoint::contains(StringRef name) const {
  if (sharded)
    return placement.contains(name);
  return shards.front().file->find(std::string_view(name.data(), name.size())) != nullptr;
}

std::optional<rt::DType> Checkpoint::storedType(StringRef name) {
  StringRef path;
  llvm::Expected<const rt::TensorView *> tensor = find(name, path);
  if (!tensor) {
    llvm::consumeError(tensor.takeError()); // said again, with the shape, when the model asks for it
    return std::nullopt;
  }
  return isSupported((*tensor)->dtype) ? std::optional((*tensor)->dtype) : std::nullopt;
}

bool Checkpoint::hasCodes(StringRef name) {
  StringRef path;
  if (!mayHaveCodes || !contains(name))
    return false;
  llvm::Expected<const rt::TensorView *> tensor = find(name, path);
  if (!tensor) {
    llvm::consumeError(tensor.takeError()); // said again, with the shape, when the model asks for it
    return false;
  }
  return (*tensor)->dtype == rt::DType::F8E4M3;
}

llvm::Expected<rt::DType> Checkpoint::declare(StringRef name, llvm::ArrayRef<int64_t> shape, Init init) {
  StringRef path;
  llvm::Expected<const rt::TensorView *> found = find(name, path);
  if (!found)
    return found.takeError();
  const rt::TensorView &tensor = **found;
  bool codes = init == Init::Codes;
  if (codes ? tensor.dtype != rt::DType::F8E4M3 : !isSupported(tensor.dtype))
    return errorIn(path, "tensor " + quoted(name) + ": expected " + (codes ? "F8_E4M3" : "F32, BF16 or F16") +
                             " but got " + typeName(tensor.dtype));
  if (llvm::ArrayRef(tensor.shape) != shape)
    return errorIn(path, "tensor " + quoted(name) + ": expected shape " + shapeText(shape) + " but got " +
                             shapeText(tensor.shape));
  declared[name] = &tensor;
  return tensor.dtype;
}

llvm::Expected<ParameterData> Checkpoint::get(StringRef name) {
  auto found = declared.find(name);
  if (found == declared.end())
    return errorIn(source, "tensor " + quoted(name) + " is no parameter of the model");
  const rt::TensorView &tensor = *found->second;
  return ParameterData{typeName(tensor.dtype), tensor.shape,
                       llvm::ArrayRef(reinterpret_cast<const char *>(tensor.data), tensor.size), nullptr};
}

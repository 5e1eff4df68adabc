//===- Model.cpp - a compiled model and calls of its entries -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Model.h"
#include "moe/Runtime/Convert.h"
#include "moe/Runtime/Cpu.h"
#include "moe/Runtime/Error.h"
#include "moe/Runtime/LanguageModel.h"

#include <algorithm>
#include <cstring>
#include <unistd.h>

namespace moe::rt {
namespace {

std::string join(const std::vector<std::string> &words) {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::shared_ptr<unsigned char> allocateBuffer(uint64_t size) {
  return {static_cast<unsigned char *>(_mlir_memref_to_llvm_alloc(size)), _mlir_memref_to_llvm_free};
}

/// A tensor without values.
Tensor allocateTensor(std::string name, DType dtype, std::vector<int64_t> shape) {
  std::optional<int64_t> bytes = tensorBytes(dtype, shape);
  if (!bytes)
    throw InputError("tensor '" + name + "' of shape " + shapeToString(shape) + " is too large");
  return {std::move(name), dtype, std::move(shape), allocateBuffer(uint64_t(*bytes)), uint64_t(*bytes)};
}

/// The descriptor of a dense row-major tensor.
MemRefDescriptor describe(void *data, const std::vector<int64_t> &shape) {
  MemRefDescriptor descriptor{data, data, 0, {}};
  int64_t stride = 1;
  for (size_t rank = shape.size(), i = rank; i-- > 0;) {
    descriptor.sizesAndStrides[i] = shape[i];
    descriptor.sizesAndStrides[rank + i] = stride;
    stride *= shape[i];
  }
  return descriptor;
}

/// Copies the elements of a strided view, dimension by dimension, to dense memory.
unsigned char *copyStrided(unsigned char *to, const unsigned char *from, const int64_t *sizes, const int64_t *strides,
                           size_t rank, int64_t elementBytes) {
  if (rank == 0) {
    std::memcpy(to, from, size_t(elementBytes));
    return to + elementBytes;
  }
  for (int64_t i = 0; i < sizes[0]; ++i)
    to = copyStrided(to, from + i * strides[0] * elementBytes, sizes + 1, strides + 1, rank - 1, elementBytes);
  return to;
}

/// Memory that results may share and that is freed once all of them are gone; or memory that is not the caller's.
class ResultOwners {
public:
  explicit ResultOwners(std::vector<void *> foreign) : foreign(std::move(foreign)) {
    // What MLIR writes as `allocated` of a constant.
    this->foreign.push_back(reinterpret_cast<void *>(uintptr_t(0xdeadbeef)));
    this->foreign.push_back(nullptr);
  }

  /// The owner of a block; null where the block must be copied from and not freed.
  std::shared_ptr<unsigned char> owner(void *allocated) {
    if (std::find(foreign.begin(), foreign.end(), allocated) != foreign.end())
      return nullptr;
    for (auto &known : owners)
      if (known.get() == allocated)
        return known;
    return owners.emplace_back(static_cast<unsigned char *>(allocated), _mlir_memref_to_llvm_free);
  }

private:
  std::vector<void *> foreign;
  std::vector<std::shared_ptr<unsigned char>> owners;
};

/// The tensor behind a result descriptor: three fields, then sizes and strides.
Tensor takeResult(const ResultInfo &info, const int64_t *descriptor, ResultOwners &owners) {
  size_t rank = info.shape.size();
  void *allocated, *aligned;
  std::memcpy(&allocated, descriptor, sizeof allocated);
  std::memcpy(&aligned, descriptor + 1, sizeof aligned);
  const int64_t *sizes = descriptor + 3, *strides = sizes + rank;
  int64_t elementBytes = dtypeBits(info.dtype) / 8;
  std::shared_ptr<unsigned char> owner = owners.owner(allocated);

  Tensor tensor{info.name, info.dtype, {sizes, sizes + rank}, nullptr, 0};
  std::optional<int64_t> bytes = tensorBytes(tensor.dtype, tensor.shape);
  if (!bytes)
    throw InternalError("result '" + info.name + "': impossible shape " + shapeToString(tensor.shape));
  tensor.size = uint64_t(*bytes);
  auto *begin = static_cast<unsigned char *>(aligned) + descriptor[2] * elementBytes;
  bool dense = true;
  for (int64_t i = int64_t(rank) - 1, stride = 1; i >= 0; stride *= sizes[i--])
    dense &= sizes[i] == 1 || strides[i] == stride;
  if (owner && (dense || tensor.size == 0)) {
    tensor.data = std::shared_ptr<unsigned char>(owner, begin);
    return tensor;
  }
  tensor.data = allocateBuffer(tensor.size);
  if (tensor.size != 0)
    copyStrided(tensor.data.get(), begin, sizes, strides, rank, elementBytes);
  return tensor;
}

bool matches(const std::vector<int64_t> &pattern, const std::vector<int64_t> &shape) {
  return std::equal(pattern.begin(), pattern.end(), shape.begin(), shape.end(),
                    [](int64_t expected, int64_t size) { return expected == dynamicSize || expected == size; });
}

/// The weights that belong to the manifest, from where the options say.
Weights openWeights(const ModelImage &image, const Manifest &manifest, const std::string &given) {
  if (manifest.weightsMode == WeightsMode::None) {
    if (!given.empty())
      throw InputError("--weights: this program has no weights, but got '" + given + "'");
    return {};
  }
  if (!given.empty())
    return Weights::open(given, given, manifest);
  if (manifest.weightsMode == WeightsMode::Embedded)
    return Weights::open(image.file, image.path, manifest);
  std::string beside = image.path + ".weights";
  if (access(beside.c_str(), F_OK) != 0)
    throw InputError("the weights are in a file of their own: expected --weights FILE or " + beside +
                     " but got neither");
  return Weights::open(beside, beside, manifest);
}

} // namespace

Tensor Tensor::zeros(std::string name, DType dtype, std::vector<int64_t> shape) {
  Tensor tensor = allocateTensor(std::move(name), dtype, std::move(shape));
  std::memset(tensor.data.get(), 0, tensor.size);
  return tensor;
}

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

Tensor convertTensor(const TensorView &from, DType dtype) {
  Tensor to = allocateTensor(from.name, dtype, from.shape);
  std::string error;
  if (!convertElements(from.data, from.dtype, to.data.get(), dtype, to.elements(), error))
    throw InputError("tensor '" + from.name + "': " + error);
  return to;
}

std::string chooseLevel(const Manifest &manifest, const std::string &requested) {
  if (requested.empty()) {
    std::string level = chooseIsaLevel(manifest.isa);
    if (level.empty())
      throw InputError("instruction set: expected a machine with one of " + join(manifest.isa) +
                       " but this one has none of them");
    return level;
  }
  if (std::find(manifest.isa.begin(), manifest.isa.end(), requested) == manifest.isa.end())
    throw UsageError("instruction set: expected one of " + join(manifest.isa) + " but got '" + requested + "'");
  if (!isaLevelAvailable(requested))
    throw InputError("instruction set: '" + requested + "' is not available on this machine");
  return requested;
}

Model::Model(const ModelImage &image, const Options &options)
    : image(image), info(parseManifest(image.manifest)), level(chooseLevel(info, options.isa)),
      weights(openWeights(image, info, options.weightsFile)) {
  if (options.hugePages)
    weights.copyToHugePages(info);
  else if (!image.device) // which has memory of its own
    weights.mapAhead(info);
}

Tensor Model::makeState(std::string name, DType dtype, std::vector<int64_t> shape) const {
  if (!image.device)
    return Tensor::zeros(std::move(name), dtype, std::move(shape));
  std::optional<int64_t> bytes = tensorBytes(dtype, shape);
  if (!bytes)
    throw InputError("tensor '" + name + "' of shape " + shapeToString(shape) + " is too large");
  auto *memory = static_cast<unsigned char *>(image.device->alloc(*bytes));
  image.device->fill(memory, 0, *bytes);
  return {std::move(name), dtype, std::move(shape), {memory, image.device->free}, uint64_t(*bytes)};
}

std::string Model::takeKernelCounters() const {
  const char *text = image.device ? image.device->takeCounters() : nullptr;
  return text ? text : "";
}

Model::~Model() {
  if (uploaded)
    image.device->release(weights.data());
}

const unsigned char *Model::parameterData() const {
  if (!image.device || info.weightsSize == 0)
    return weights.data();
  std::call_once(uploadOnce, [&] {
    uploaded = static_cast<const unsigned char *>(image.device->upload(weights.data(), int64_t(info.weightsSize)));
  });
  return uploaded;
}

std::vector<Tensor> Model::call(const EntryInfo &entry, std::span<const Tensor> inputs, const Extra &extra) const {
  const MoeEntryVariant *variant = image.variants;
  while (variant->entry && (entry.name != variant->entry || level != variant->isa))
    ++variant;
  if (!variant->entry)
    throw InternalError("entry '" + entry.name + "' has no code for instruction set '" + level + "'");

  int64_t past = extra.past, keep = extra.keep;
  std::vector<MemRefDescriptor> descriptors;
  descriptors.reserve(entry.arguments.size());
  size_t nextInput = 0, nextState = 0;
  for (const ArgumentInfo &argument : entry.arguments) {
    // Generated code only reads inputs and parameters; descriptors have no const.
    switch (argument.role) {
    case Role::Input:
    case Role::State: {
      bool input = argument.role == Role::Input;
      size_t &next = input ? nextInput : nextState;
      if (next >= (input ? inputs.size() : extra.states.size()))
        throw InternalError("entry '" + entry.name + "': no tensor for argument '" + argument.name + "'");
      const Tensor &tensor = input ? inputs[next] : extra.states[next];
      ++next;
      if (tensor.dtype != argument.dtype || !matches(argument.shape, tensor.shape))
        throw InternalError("entry '" + entry.name + "': argument '" + argument.name + "': expected " +
                            std::string(dtypeName(argument.dtype)) + patternToString(argument.shape) + " but got " +
                            std::string(dtypeName(tensor.dtype)) + shapeToString(tensor.shape));
      descriptors.push_back(describe(tensor.data.get(), tensor.shape));
      break;
    }
    case Role::Past:
      descriptors.push_back(describe(&past, {}));
      break;
    case Role::Keep:
      descriptors.push_back(describe(&keep, {}));
      break;
    case Role::Parameter:
      descriptors.push_back(describe(
          const_cast<unsigned char *>(parameterData()) + info.tensors[argument.parameter].offset, argument.shape));
      break;
    }
  }

  size_t fields = 0;
  for (const ResultInfo &result : entry.results)
    fields += 3 + 2 * result.shape.size();
  std::vector<int64_t> results(fields);
  std::vector<void *> arguments, foreign;
  for (MemRefDescriptor &descriptor : descriptors) {
    arguments.push_back(&descriptor);
    foreign.push_back(descriptor.allocated);
  }
  arguments.push_back(results.data());
  variant->function(arguments.data());

  ResultOwners owners(std::move(foreign));
  std::vector<Tensor> tensors;
  const int64_t *descriptor = results.data();
  for (const ResultInfo &result : entry.results) {
    tensors.push_back(takeResult(result, descriptor, owners));
    descriptor += 3 + 2 * result.shape.size();
  }
  return tensors;
}

std::vector<Tensor> bindInputs(const EntryInfo &entry, const std::vector<TensorView> &tensors,
                               const std::string &where) {
  auto wanted = entry.withRole(Role::Input);
  bool unnamed = tensors.size() == 1 && tensors[0].name.empty();
  if (unnamed && wanted.size() != 1)
    throw InputError(where + ": one tensor without a name feeds an entry with one input, but entry '" + entry.name +
                     "' has " + std::to_string(wanted.size()) + "; give them by name in a safetensors file");
  std::vector<Tensor> inputs;
  for (const ArgumentInfo *argument : wanted) {
    auto found = std::find_if(tensors.begin(), tensors.end(),
                              [&](const TensorView &tensor) { return unnamed || tensor.name == argument->name; });
    if (found == tensors.end())
      throw InputError(where + ": expected a tensor '" + argument->name + "' " +
                       std::string(dtypeName(argument->dtype)) + patternToString(argument->shape) + " for entry '" +
                       entry.name + "' but got none");
    if (!matches(argument->shape, found->shape))
      throw InputError(where + ": tensor '" + argument->name + "': expected shape " + patternToString(argument->shape) +
                       " but got " + shapeToString(found->shape));
    try {
      inputs.push_back(convertTensor(*found, argument->dtype));
    } catch (const InputError &error) {
      throw InputError(where + ": " + (unnamed ? "input '" + argument->name + "': " : "") + error.what());
    }
    inputs.back().name = argument->name;
  }
  return inputs;
}

std::vector<Tensor> runEntry(const Model &model, const EntryInfo &entry, const std::vector<TensorView> &tensors,
                             const std::string &where) {
  std::vector<Tensor> inputs = bindInputs(entry, tensors, where);
  if (entry.kind == EntryKind::LanguageModel) {
    LanguageModel languageModel(model, entry);
    int64_t batch = inputs[0].shape[0], length = inputs[0].shape[1];
    Cache cache;
    try {
      cache = languageModel.makeCache(batch, length);
    } catch (const InputError &error) {
      throw InputError(where + ": tensor '" + inputs[0].name + "': " + error.what());
    }
    return languageModel.forward({inputs[0].as<int32_t>(), size_t(inputs[0].elements())}, length, length, cache,
                                 where + ": tensor '" + inputs[0].name + "'");
  }
  for (const ArgumentInfo &argument : entry.arguments)
    if (argument.role != Role::Input && argument.role != Role::Parameter)
      throw InputError("entry '" + entry.name + "': argument '" + argument.name +
                       "' is a state of a language model, which this entry is not");
  std::vector<Tensor> results = model.call(entry, inputs);
  for (Tensor &result : results)
    toPublicType(result);
  return results;
}

void toPublicType(Tensor &tensor) {
  DType dtype = isFloatDType(tensor.dtype) ? DType::F32 : DType::I32;
  if (tensor.dtype != dtype)
    tensor = convertTensor(tensor.view(), dtype);
}

} // namespace moe::rt

//===- Model.h - a compiled model, its weights and its entries --*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_RUNTIME_MODEL_H
#define MOE_RUNTIME_MODEL_H

#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Manifest.h"
#include "moe/Runtime/Safetensors.h"

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

class PageMapper;

/// What the compiler put into a program: see Abi.h.
struct ModelImage {
  std::string_view manifest;
  std::string_view tokenizer; // empty: none
  const MoeEntryVariant *variants = nullptr;
  const MoeModelDevice *device = nullptr; // null: the host
  std::string file;                       // that may carry the weights: opened for reading
  std::string path;                       // the same file for messages
};

/// The model that is linked into this program or shared library.
ModelImage linkedModel();

/// A dense row-major tensor with memory of its own, 64-byte aligned.
struct Tensor {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::shared_ptr<unsigned char> data;
  uint64_t size = 0; // bytes

  /// Zero-initialised. Throws InputError if the tensor is too large to address.
  static Tensor zeros(std::string name, DType dtype, std::vector<int64_t> shape);

  int64_t elements() const;
  TensorView view() const { return {name, dtype, shape, data.get(), size}; }
  template <typename T> T *as() const { return reinterpret_cast<T *>(data.get()); }
};

/// A copy of `from` in element type `dtype`. Throws InputError with the reason ("value 1.5 at element 3 does not fit
/// I32") where a value has no counterpart.
Tensor convertTensor(const TensorView &from, DType dtype);

/// Turns a result into what users see: F32 for any float, I32 for anything else. Throws InputError where an integer
/// does not fit.
void toPublicType(Tensor &tensor);

/// The weights of a model: mapped from the file, or a copy in memory of large pages.
class Weights {
public:
  /// Opens the weights in `file` (`shown` in messages) and checks the trailer against the manifest. Throws InputError.
  static Weights open(const std::string &file, const std::string &shown, const Manifest &manifest);

  /// Copies the mapped weights to memory of large pages, as far as the system has them, and unmaps the file. The worker
  /// threads copy; each writes the part of a tensor that it has in loops over that tensor, so that the pages lie near
  /// it where memory has several nodes. Throws InputError if there is not enough memory.
  void copyToHugePages(const Manifest &manifest);

  /// Lets a thread enter the pages of the mapped file into the page table, if the weights are large but not too large
  /// to stay in memory. It ends with the weights.
  void mapAhead(const Manifest &manifest);

  /// No weights at all.
  Weights() = default;

  const unsigned char *data() const { return blob; }

private:
  std::optional<MappedFile> mapping;
  std::shared_ptr<unsigned char> copy;
  const unsigned char *blob = nullptr;
  std::shared_ptr<PageMapper> mapper; // ends before the mapping
};

/// A model that is ready to be called. Calls of one model from several threads at a time are allowed and share the
/// worker threads; but of all models that run on a device, one thread at a time may make, use or destroy anything.
class Model {
public:
  struct Options {
    std::string weightsFile; // empty: the program itself, or PROGRAM.weights for external weights
    std::string isa;         // empty: the best level that this machine has
    bool hugePages = false;  // a copy of the weights in large pages instead of the mapped file
  };

  /// Parses the manifest, chooses the level and maps the weights. Throws InputError or InternalError.
  Model(const ModelImage &image, const Options &options);
  ~Model();

  const Manifest &manifest() const { return info; }
  const std::string &isa() const { return level; }
  bool isOnDevice() const { return image.device != nullptr; }
  std::string_view tokenizerJson() const { return image.tokenizer; }

  /// Values of one call besides inputs: for entries with arguments of these roles.
  struct Extra {
    int64_t past = 0, keep = 0;
    std::span<Tensor> states;
  };

  /// A tensor for a state, zero-initialised, in memory of the device that the model runs on. Throws InputError if it is
  /// too large to address.
  Tensor makeState(std::string name, DType dtype, std::vector<int64_t> shape) const;

  /// Counters of the kernels that ran since the last call of this function, as JSON (moe_rt_gpu_take_counters); empty
  /// if the model's device does not count.
  std::string takeKernelCounters() const;

  /// Calls an entry of this model on `inputs` (arguments of role input in order; dtype and shape must be the
  /// argument's) and returns its results. Throws InternalError if the program lacks code for the entry.
  std::vector<Tensor> call(const EntryInfo &entry, std::span<const Tensor> inputs, const Extra &extra) const;
  std::vector<Tensor> call(const EntryInfo &entry, std::span<const Tensor> inputs) const {
    return call(entry, inputs, Extra());
  }

private:
  ModelImage image;
  Manifest info;
  std::string level;
  Weights weights;
  /// The weights where the device reads them, from the first call on.
  mutable std::once_flag uploadOnce;
  mutable const unsigned char *uploaded = nullptr;

  const unsigned char *parameterData() const;
};

/// The level to run: `requested`, or the best of the manifest that this machine has if that is empty. Throws
/// UsageError for a name that the program does not have and InputError for a level that this machine lacks.
std::string chooseLevel(const Manifest &manifest, const std::string &requested);

/// The inputs of `entry` taken from `tensors` by name and converted; a single tensor without a name (a .npy file) feeds
/// an only input. Tensors that the entry does not know are ignored. `where` (a file name) begins the messages. Throws
/// InputError that names the tensor, what was expected and what was found.
std::vector<Tensor> bindInputs(const EntryInfo &entry, const std::vector<TensorView> &tensors,
                               const std::string &where);

/// Calls `entry` once on `tensors` (see bindInputs) as `run` does: a language model starts with an empty cache and
/// gives logits of all positions. Returns its results as F32 and I32.
std::vector<Tensor> runEntry(const Model &model, const EntryInfo &entry, const std::vector<TensorView> &tensors,
                             const std::string &where);

} // namespace moe::rt

#endif // MOE_RUNTIME_MODEL_H

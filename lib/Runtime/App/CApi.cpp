//===- CApi.cpp - C interface of a compiled model ------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Error.h"
#include "moe/Runtime/Model.h"
#include "moe/Runtime/MoeModel.h"
#include "moe/Runtime/ThreadPool.h"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>

using namespace moe::rt;

struct MoeModel {
  Model model;
};

namespace {

// In the order of MoeType.
constexpr DType types[] = {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32,
                           DType::I64, DType::I8,  DType::U8,  DType::Bool};

/// The list that a caller gets, and what it points into.
struct Results {
  std::vector<Tensor> tensors;
  std::vector<MoeTensor> list;
};

MoeStatus fail(const std::string &message, MoeStatus status, char **error) {
  if (error)
    *error = strdup(message.c_str());
  return status;
}

/// Held while a model that runs on a device is used: the device has one stream (moe/Runtime/Gpu.h).
std::unique_lock<std::mutex> waitForDevice(const Model &model) {
  static std::mutex mutex;
  return model.isOnDevice() ? std::unique_lock(mutex) : std::unique_lock<std::mutex>();
}

/// Runs `work`; what it throws becomes a status and a message.
template <typename Work> MoeStatus guarded(char **error, Work work) {
  if (error)
    *error = nullptr;
  try {
    work();
    return MOE_OK;
  } catch (const InputError &caught) {
    return fail(caught.what(), MOE_BAD_INPUT, error);
  } catch (const UsageError &caught) {
    return fail(caught.what(), MOE_BAD_INPUT, error);
  } catch (const std::exception &caught) {
    return fail(caught.what(), MOE_INTERNAL, error);
  }
}

TensorView viewOf(const MoeTensor &tensor) {
  TensorView view;
  view.name = tensor.name ? tensor.name : "";
  if (unsigned(tensor.type) >= std::size(types))
    throw InputError("tensor '" + view.name + "': expected a MoeType but got " + std::to_string(int(tensor.type)));
  view.dtype = types[tensor.type];
  if (tensor.rank < 0 || (tensor.rank > 0 && !tensor.shape))
    throw InputError("tensor '" + view.name + "': expected a shape but got rank " + std::to_string(tensor.rank));
  view.shape.assign(tensor.shape, tensor.shape + tensor.rank);
  std::optional<int64_t> bytes = tensorBytes(view.dtype, view.shape);
  if (!bytes)
    throw InputError("tensor '" + view.name + "': impossible shape " + shapeToString(view.shape));
  view.size = uint64_t(*bytes);
  view.data = static_cast<const unsigned char *>(tensor.data);
  if (!view.data && view.size > 0)
    throw InputError("tensor '" + view.name + "': expected data but got null");
  return view;
}

} // namespace

MoeModel *moe_open(const char *weights_file, const char *isa, char **error) {
  MoeModel *opened = nullptr;
  guarded(error,
          [&] { opened = new MoeModel{Model(linkedModel(), {weights_file ? weights_file : "", isa ? isa : ""})}; });
  return opened;
}

void moe_close(MoeModel *model) {
  if (!model)
    return;
  std::unique_lock<std::mutex> turn = waitForDevice(model->model);
  delete model;
}

const char *moe_manifest(void) {
  // The embedded text need not end with a null character.
  static const std::string text(moe_model_manifest, size_t(moe_model_manifest_size));
  return text.c_str();
}

const char *moe_entry_name(const MoeModel *model, size_t index) {
  const auto &entries = model->model.manifest().entries;
  return index < entries.size() ? entries[index].name.c_str() : nullptr;
}

MoeStatus moe_run(const MoeModel *model, const char *entry, const MoeTensor *inputs, size_t input_count,
                  MoeTensor **results, size_t *result_count, char **error) {
  return guarded(error, [&] {
    std::vector<TensorView> views;
    for (size_t i = 0; i < input_count; ++i)
      views.push_back(viewOf(inputs[i]));
    std::unique_lock<std::mutex> turn = waitForDevice(model->model);
    auto owned = std::make_unique<Results>();
    owned->tensors = runEntry(model->model, model->model.manifest().entry(entry ? entry : ""), views, "inputs");
    // One element more than there are results: it leads back to what owns them.
    for (const Tensor &tensor : owned->tensors)
      owned->list.push_back({tensor.name.c_str(), tensor.dtype == DType::F32 ? MOE_F32 : MOE_I32,
                             int(tensor.shape.size()), tensor.shape.data(), tensor.data.get()});
    owned->list.push_back({nullptr, MOE_F32, 0, nullptr, owned.get()});
    *result_count = owned->tensors.size();
    *results = owned.release()->list.data();
  });
}

void moe_free_results(MoeTensor *results, size_t result_count) {
  if (results)
    delete static_cast<Results *>(const_cast<void *>(results[result_count].data));
}

void moe_free_string(char *text) { free(text); }

MoeStatus moe_set_threads(int count, char **error) {
  return guarded(error, [&] {
    if (count < 1 || count > maxThreads)
      throw InputError("threads: expected 1 to " + std::to_string(maxThreads) + " but got " + std::to_string(count));
    setThreadCount(count);
  });
}

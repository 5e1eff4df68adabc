//===- Device.cpp - Gpu.h on an NVIDIA GPU --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../Host/Progress.h"
#include "DeviceMemory.h"
#include "LaunchQueue.h"
#include "TensorMaps.h"

#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Gpu.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>

using namespace moe::rt::cuda;

namespace {

constexpr int maxDynamicSharedMemory = 8; // of a function's attributes
constexpr int64_t uploadPiece = 32 << 20; // bytes of weights that are copied at once
constexpr unsigned nonBlocking = 1;       // a stream that does not wait for the default one

/// What a launch needs of a kernel that was launched before.
struct LoadedKernel {
  Function function;
  int64_t sharedBytes = 48 << 10; ///< what it may take without asking
};

/// Whether the user wants launches to become graphs: MOE_GPU_GRAPHS=0 does not.
bool wantsGraphs() {
  const char *text = getenv("MOE_GPU_GRAPHS");
  return !text || strcmp(text, "0") != 0;
}

/// The GPU of this process: the first that the driver shows (CUDA_VISIBLE_DEVICES chooses), with one stream.
class Gpu {
public:
  static Gpu &get() {
    static Gpu gpu;
    // The driver keeps for each thread which context it is in.
    thread_local Result current = gpu.api.CtxSetCurrent(gpu.context);
    check(current, "opening the GPU");
    return gpu;
  }

  /// `purpose` (" for ...") is for the message if there is too little.
  void *allocate(int64_t bytes, const char *purpose = "") {
    DevicePointer pointer = memory.allocate(bytes);
    if (!pointer) {
      // What other calls needed, they may need no more.
      synchronize();
      if (memory.releaseUnused())
        pointer = memory.allocate(bytes);
    }
    if (!pointer) {
      size_t free = 0, total = 0;
      api.MemGetInfo(&free, &total);
      refuse("expected %lld bytes of free GPU memory%s but got %zu of %zu on %s", static_cast<long long>(bytes),
             purpose, free, total, name.c_str());
    }
    return reinterpret_cast<void *>(pointer);
  }

  void free(void *pointer) {
    if (pointer)
      memory.free(address(pointer));
  }

  const void *upload(const void *host, int64_t bytes) {
    auto [place, isNew] = uploads.try_emplace(host);
    if (isNew) {
      place->second = allocate(bytes, " for weights");
      // In pieces, so that one can see how far it is.
      moe::rt::Progress progress("weights to the GPU", bytes);
      auto *to = static_cast<unsigned char *>(place->second);
      auto *from = static_cast<const unsigned char *>(host);
      for (int64_t at = 0; at < bytes; at += uploadPiece) {
        int64_t size = std::min(uploadPiece, bytes - at);
        copyIn(to + at, from + at, size);
        progress.advance(size);
      }
    }
    return place->second;
  }

  void release(const void *host) {
    auto place = uploads.find(host);
    if (place == uploads.end())
      moe_rt_fail("GPU: constant data is released that was not uploaded, or twice");
    free(place->second);
    uploads.erase(place);
  }

  void copyIn(void *to, const void *from, int64_t bytes) {
    queue->flush();
    // From memory that is not pinned, the driver has read everything when this returns.
    if (bytes > 0)
      check(api.MemcpyHtoDAsync(address(to), from, bytes, stream), "a copy to the GPU");
  }

  void copyOut(void *to, const void *from, int64_t bytes) {
    queue->flush();
    if (bytes > 0)
      check(api.MemcpyDtoHAsync(to, address(from), bytes, stream), "a copy from the GPU");
    synchronize();
  }

  void copy(void *to, const void *from, int64_t bytes) {
    queue->flush();
    if (bytes > 0)
      check(api.MemcpyDtoDAsync(address(to), address(from), bytes, stream), "a copy on the GPU");
  }

  void fill(void *to, int32_t value, int64_t bytes) {
    queue->flush();
    if (bytes > 0)
      check(api.MemsetD8Async(address(to), static_cast<unsigned char>(value), bytes, stream), "filling memory");
  }

  void launch(const MoeGpuKernel &kernel, const int64_t (&grid)[3], const int64_t (&block)[3], int64_t sharedBytes,
              void **params) {
    LoadedKernel &loaded = find(kernel);
    if (sharedBytes > loaded.sharedBytes) {
      int most = property(Attribute::SharedMemoryPerBlock);
      if (sharedBytes > most)
        refuse("kernel %s: expected %lld bytes of shared memory per block but got %d on %s", kernel.name,
               static_cast<long long>(sharedBytes), most, name.c_str());
      check(api.FuncSetAttribute(loaded.function, maxDynamicSharedMemory, static_cast<int>(sharedBytes)),
            "asking for shared memory");
      loaded.sharedBytes = sharedBytes;
    }
    if (std::max(grid[1], grid[2]) > 65535 || grid[0] > std::numeric_limits<int32_t>::max())
      moe_rt_fail(("GPU: kernel " + std::string(kernel.name) +
                   ": expected a grid of at most 2147483647 x 65535 x 65535 "
                   "blocks")
                      .c_str());
    queue->add(kernel, loaded.function, grid, block, sharedBytes, params);
  }

  void synchronize() {
    queue->flush();
    check(api.StreamSynchronize(stream), "the GPU's work");
  }

  void tensorMap(void *map, const TensorMaps::Description &description) { tensorMaps.describe(map, description); }

  int32_t architecture() const { return capability; }

  int64_t multiprocessors() { return property(Attribute::Multiprocessors); }

private:
  Gpu() : api(driver()), memory(api), tensorMaps(api) {
    Result started = api.Init(0);
    if (started == StubLibrary)
      refuse("expected an NVIDIA driver but got the toolkit's stub of libcuda.so.1");
    int count = 0;
    if (started == NoDevice || (started == Success && (check(api.DeviceGetCount(&count), "counting GPUs"), count == 0)))
      refuse("expected an NVIDIA GPU but got none (the driver is there); compile with --run-on=host or --target=cpu");
    check(started, "starting the driver");
    check(api.DeviceGet(&device, 0), "opening the GPU");
    char text[256] = "";
    check(api.DeviceGetName(text, sizeof text, device), "naming the GPU");
    name = text;
    capability = 10 * property(Attribute::CapabilityMajor) + property(Attribute::CapabilityMinor);
    check(api.DevicePrimaryCtxRetain(&context, device), "opening the GPU");
    check(api.CtxSetCurrent(context), "opening the GPU");
    check(api.StreamCreate(&stream, nonBlocking), "making a stream");
    queue.emplace(api, stream, wantsGraphs());
  }

  static DevicePointer address(const void *pointer) { return reinterpret_cast<DevicePointer>(pointer); }

  int property(Attribute attribute) {
    int value = 0;
    check(api.DeviceGetAttribute(&value, attribute, device), "asking for the GPU's properties");
    return value;
  }

  Module load(const void *image) {
    auto [place, isNew] = modules.try_emplace(image);
    if (!isNew)
      return place->second;
    Result result = api.ModuleLoadData(&place->second, image);
    switch (result) {
    case NoBinaryForGpu:
    case UnsupportedPtxVersion:
      refuse(
          "expected code for %s (sm_%d) but got none that this GPU and its driver take; compile with --gpu-arch=sm_%d, "
          "or update the driver",
          name.c_str(), capability, capability);
    default:
      check(result, "loading the kernels");
    }
    return place->second;
  }

  LoadedKernel &find(const MoeGpuKernel &kernel) {
    auto [place, isNew] = kernels.try_emplace(&kernel);
    if (isNew)
      check(api.ModuleGetFunction(&place->second.function, load(kernel.image), kernel.name), kernel.name);
    return place->second;
  }

  const Driver &api;
  Device device = 0;
  Context context = nullptr;
  Stream stream = nullptr;
  std::string name;
  int capability = 0;
  DeviceMemory memory;
  TensorMaps tensorMaps;
  std::optional<LaunchQueue> queue;
  std::unordered_map<const void *, Module> modules;
  std::unordered_map<const MoeGpuKernel *, LoadedKernel> kernels;
  std::unordered_map<const void *, void *> uploads;
};

} // namespace

void *moe_rt_gpu_alloc(int64_t bytes) { return Gpu::get().allocate(bytes); }

void moe_rt_gpu_free(void *device) { Gpu::get().free(device); }

void moe_rt_gpu_copy_in(void *device, const void *host, int64_t bytes) { Gpu::get().copyIn(device, host, bytes); }

void moe_rt_gpu_copy_out(void *host, const void *device, int64_t bytes) { Gpu::get().copyOut(host, device, bytes); }

void moe_rt_gpu_copy(void *to, const void *from, int64_t bytes) { Gpu::get().copy(to, from, bytes); }

void moe_rt_gpu_fill(void *device, int32_t value, int64_t bytes) { Gpu::get().fill(device, value, bytes); }

const void *moe_rt_gpu_upload(const void *host, int64_t bytes) { return Gpu::get().upload(host, bytes); }

void moe_rt_gpu_release(const void *host) { Gpu::get().release(host); }

void moe_rt_gpu_launch(const MoeGpuKernel *kernel, int64_t gridX, int64_t gridY, int64_t gridZ, int64_t blockX,
                       int64_t blockY, int64_t blockZ, int64_t sharedBytes, void **params, int64_t) {
  if (gridX > 0 && gridY > 0 && gridZ > 0)
    Gpu::get().launch(*kernel, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedBytes, params);
}

void moe_rt_gpu_synchronize(void) { Gpu::get().synchronize(); }

int64_t moe_rt_gpu_multiprocessors(void) { return Gpu::get().multiprocessors(); }

void moe_rt_gpu_tensor_map(void *map, const void *device, int32_t element, int32_t rank, const int64_t *sizes,
                           const int64_t *strideBytes, const int32_t *box, int32_t swizzleBytes) {
  Gpu::get().tensorMap(map, TensorMaps::Description(device, element, rank, sizes, strideBytes, box, swizzleBytes));
}

int32_t moe_rt_gpu_architecture(void) { return Gpu::get().architecture(); }

const char *moe_rt_gpu_take_counters(void) { return nullptr; }

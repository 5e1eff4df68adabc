//===- Driver.h - the NVIDIA driver's library, found at run time ----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What we use of the CUDA driver API, declared here (its header comes with the toolkit, which users lack) and taken
// from libcuda.so.1, which comes with the driver. Names of functions are those of the library: of several versions of a
// function the newest, as the toolkit's header chooses them.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_CUDA_DRIVER_H
#define MOE_LIB_RUNTIME_CUDA_DRIVER_H

#include <cstddef>
#include <cstdint>

namespace moe::rt::cuda {

using Device = int;
using DevicePointer = unsigned long long;
using Context = struct ContextOfDriver *;
using Module = struct ModuleOfDriver *;
using Function = struct FunctionOfDriver *;
using Stream = struct StreamOfDriver *;
using Graph = struct GraphOfDriver *;
using GraphNode = struct GraphNodeOfDriver *;
using GraphExec = struct GraphExecOfDriver *;

/// The driver's results that we tell apart.
enum Result : int {
  Success = 0,
  OutOfMemory = 2,
  StubLibrary = 34,
  NoDevice = 100,
  InvalidImage = 200,
  NoBinaryForGpu = 209,
  InvalidPtx = 218,
  UnsupportedPtxVersion = 222,
  NotFound = 500,
};

/// Properties of a device.
enum class Attribute : int {
  Multiprocessors = 16,
  CapabilityMajor = 75,
  CapabilityMinor = 76,
  SharedMemoryPerBlock = 97, ///< the most that a kernel may ask for
};

/// CUDA_KERNEL_NODE_PARAMS in its first version, which the functions below without a version take.
struct KernelNodeParams {
  Function function;
  unsigned gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes;
  void **params, **extra;
};

/// The functions, named as in the library without their `cu`.
#define MOE_CUDA_FUNCTIONS(X)                                                                                          \
  X(Init, "cuInit", (unsigned flags))                                                                                  \
  X(GetErrorName, "cuGetErrorName", (Result, const char **name))                                                       \
  X(GetErrorString, "cuGetErrorString", (Result, const char **text))                                                   \
  X(DeviceGetCount, "cuDeviceGetCount", (int *count))                                                                  \
  X(DeviceGet, "cuDeviceGet", (Device *, int ordinal))                                                                 \
  X(DeviceGetName, "cuDeviceGetName", (char *name, int size, Device))                                                  \
  X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *value, Attribute, Device))                                       \
  X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (Context *, Device))                                           \
  X(CtxSetCurrent, "cuCtxSetCurrent", (Context))                                                                       \
  X(StreamCreate, "cuStreamCreate", (Stream *, unsigned flags))                                                        \
  X(StreamSynchronize, "cuStreamSynchronize", (Stream))                                                                \
  X(MemGetInfo, "cuMemGetInfo_v2", (size_t *free, size_t *total))                                                      \
  X(MemAlloc, "cuMemAlloc_v2", (DevicePointer *, size_t bytes))                                                        \
  X(MemFree, "cuMemFree_v2", (DevicePointer))                                                                          \
  X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (DevicePointer to, const void *from, size_t bytes, Stream))               \
  X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *to, DevicePointer from, size_t bytes, Stream))                     \
  X(MemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (DevicePointer to, DevicePointer from, size_t bytes, Stream))             \
  X(MemsetD8Async, "cuMemsetD8Async", (DevicePointer, unsigned char value, size_t bytes, Stream))                      \
  X(ModuleLoadData, "cuModuleLoadData", (Module *, const void *image))                                                 \
  X(ModuleGetFunction, "cuModuleGetFunction", (Function *, Module, const char *name))                                  \
  X(FuncSetAttribute, "cuFuncSetAttribute", (Function, int attribute, int value))                                      \
  X(LaunchKernel, "cuLaunchKernel",                                                                                    \
    (Function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,      \
     unsigned sharedBytes, Stream, void **params, void **extra))

/// Those of graphs; null in drivers before CUDA 11.4.
#define MOE_CUDA_GRAPH_FUNCTIONS(X)                                                                                    \
  X(GraphCreate, "cuGraphCreate", (Graph *, unsigned flags))                                                           \
  X(GraphDestroy, "cuGraphDestroy", (Graph))                                                                           \
  X(GraphAddKernelNode, "cuGraphAddKernelNode",                                                                        \
    (GraphNode *, Graph, const GraphNode *before, size_t count, const KernelNodeParams *))                             \
  X(GraphInstantiate, "cuGraphInstantiateWithFlags", (GraphExec *, Graph, unsigned long long flags))                   \
  X(GraphExecKernelNodeSetParams, "cuGraphExecKernelNodeSetParams", (GraphExec, GraphNode, const KernelNodeParams *))  \
  X(GraphExecDestroy, "cuGraphExecDestroy", (GraphExec))                                                               \
  X(GraphLaunch, "cuGraphLaunch", (GraphExec, Stream))

/// Functions that older drivers lack; null there.
#define MOE_CUDA_NEWER_FUNCTIONS(X)                                                                                    \
  X(TensorMapEncodeTiled, "cuTensorMapEncodeTiled",                                                                    \
    (void *map, int type, unsigned rank, const void *address, const uint64_t *sizes, const uint64_t *strideBytes,      \
     const uint32_t *box, const uint32_t *elementStrides, int interleave, int swizzle, int promotion, int fill))       \
  MOE_CUDA_GRAPH_FUNCTIONS(X)

struct Driver {
#define MOE_CUDA_FIELD(name, symbol, parameters) Result(*name) parameters;
  MOE_CUDA_FUNCTIONS(MOE_CUDA_FIELD)
  MOE_CUDA_NEWER_FUNCTIONS(MOE_CUDA_FIELD)
#undef MOE_CUDA_FIELD

  /// Whether all functions of graphs are there.
  bool hasGraphs() const {
    bool all = true;
#define MOE_CUDA_HAS(name, symbol, parameters) all &= name != nullptr;
    MOE_CUDA_GRAPH_FUNCTIONS(MOE_CUDA_HAS)
#undef MOE_CUDA_HAS
    return all;
  }
};

/// The driver of this machine. Where there is none, or it is too old, ends the process with a message.
const Driver &driver();

/// Ends the process with one line on standard error, formatted as by printf, and exit status 1: the machine is not what
/// the program needs.
[[noreturn, gnu::format(printf, 1, 2)]] void refuse(const char *format, ...);

/// Ends the process with exit status 3 if `result` is an error: the driver was asked for something that it should do.
void check(Result result, const char *what);

} // namespace moe::rt::cuda

#endif // MOE_LIB_RUNTIME_CUDA_DRIVER_H

//===- FakeDriver.cpp - a libcuda.so.1 that computes on the host ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// As much of the driver as the runtime uses, with its rules: a call without a current context fails, so does more
// shared memory than was asked for. The environment says what GPU there is: FAKE_GPU=none|stub, FAKE_GPU_FREE=<bytes>,
// FAKE_GPU_GRAPHS=0 for one that makes no graphs, FAKE_GPU_GRAPHS=fixed for one that takes no changes of them. With
// MOE_FAKE_DRIVER_IS_OLD it lacks what drivers for CUDA 11 lack. Images are texts: the names of their kernels, or
// "other" for one that is for another GPU. Kernel `add` adds params[1] to each thread's element of params[0], `sub`
// subtracts it, `shift` doubles the element first. fakeCalls says how often a function was called.
//
//===----------------------------------------------------------------------===//
#include "Driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

using namespace moe::rt::cuda;

namespace {
constexpr Result invalidValue = Result(1), invalidContext = Result(201), notSupported = Result(801);

thread_local Context current = nullptr;
Context const primary = reinterpret_cast<Context>(0x10);
Stream const onlyStream = reinterpret_cast<Stream>(0x20);
std::map<DevicePointer, size_t> blocks;
size_t used = 0;
int64_t sharedAllowed = 48 << 10;
std::map<std::string, int> calls;

std::string setting(const char *name, const char *otherwise) {
  const char *text = getenv(name);
  return text ? text : otherwise;
}
size_t capacity() { return std::stoull(setting("FAKE_GPU_FREE", "1000000")); }

Result allocate(DevicePointer *pointer, size_t bytes) {
  if (!current)
    return invalidContext;
  if (used + bytes > capacity())
    return OutOfMemory;
  *pointer = reinterpret_cast<DevicePointer>(aligned_alloc(256, (bytes + 255) / 256 * 256));
  blocks[*pointer] = bytes;
  used += bytes;
  return Success;
}

Result release(DevicePointer pointer) {
  auto block = blocks.find(pointer);
  if (block == blocks.end())
    return invalidValue;
  used -= block->second;
  free(reinterpret_cast<void *>(pointer));
  blocks.erase(block);
  return Success;
}

/// Whether the range lies in one allocation.
bool isOnDevice(DevicePointer pointer, size_t bytes) {
  auto after = blocks.upper_bound(pointer);
  if (after == blocks.begin())
    return false;
  auto [begin, size] = *std::prev(after);
  return pointer + bytes <= begin + size;
}
void *memory(DevicePointer pointer) { return reinterpret_cast<void *>(pointer); }

/// What cuLaunchKernel and a graph's node do.
struct Work {
  std::string name;
  unsigned threads, sharedBytes;
  int32_t *data;
  int32_t value;

  explicit Work(const KernelNodeParams &params)
      : name(reinterpret_cast<const char *>(params.function)),
        threads(params.gridX * params.gridY * params.gridZ * params.blockX * params.blockY * params.blockZ),
        sharedBytes(params.sharedBytes), data(*static_cast<int32_t **>(params.params[0])),
        value(*static_cast<int32_t *>(params.params[1])) {
    name.resize(name.find_first_of(' ') == std::string::npos ? name.size() : name.find_first_of(' '));
  }

  Result run() const {
    if (!current || sharedBytes > sharedAllowed || !isOnDevice(reinterpret_cast<DevicePointer>(data), 4 * threads))
      return invalidValue;
    for (unsigned i = 0; i < threads; ++i)
      data[i] = name == "sub" ? data[i] - value : name == "shift" ? 2 * data[i] + value : data[i] + value;
    return Success;
  }
};
} // namespace

namespace moe::rt::cuda {
struct GraphOfDriver {
  std::vector<Work> nodes; // a chain
};
struct GraphExecOfDriver {
  GraphOfDriver *graph;
  std::vector<Work> nodes;
};
} // namespace moe::rt::cuda

/// Nodes are numbered from 1.
static GraphNode nodeOf(size_t number) { return reinterpret_cast<GraphNode>(number); }
static std::map<GraphOfDriver *, int> graphs; // that exist

extern "C" {
int fakeCalls(const char *name) { return calls[name]; }

Result cuGraphCreate(Graph *graph, unsigned) {
  if (setting("FAKE_GPU_GRAPHS", "1") == "0")
    return notSupported;
  *graph = new GraphOfDriver();
  graphs[*graph] = 1;
  return Success;
}
Result cuGraphDestroy(Graph graph) {
  if (!graphs.erase(graph))
    return invalidValue;
  delete graph;
  return Success;
}
Result cuGraphAddKernelNode(GraphNode *node, Graph graph, const GraphNode *before, size_t count,
                            const KernelNodeParams *params) {
  // What comes in a stream is a chain.
  bool isChain = graph->nodes.empty() ? count == 0 : count == 1 && *before == nodeOf(graph->nodes.size());
  if (!graphs.count(graph) || !isChain)
    return invalidValue;
  graph->nodes.emplace_back(*params);
  *node = nodeOf(graph->nodes.size());
  return Success;
}
Result cuGraphInstantiateWithFlags(GraphExec *program, Graph graph, unsigned long long) {
  ++calls["cuGraphInstantiate"];
  *program = new GraphExecOfDriver{graph, graph->nodes};
  return Success;
}
Result cuGraphExecKernelNodeSetParams(GraphExec program, GraphNode node, const KernelNodeParams *params) {
  ++calls["cuGraphExecKernelNodeSetParams"];
  // A node is known as long as the graph that it was made in.
  size_t number = reinterpret_cast<size_t>(node);
  if (!graphs.count(program->graph) || number == 0 || number > program->nodes.size() ||
      setting("FAKE_GPU_GRAPHS", "1") == "fixed")
    return invalidValue;
  program->nodes[number - 1] = Work(*params);
  return Success;
}
Result cuGraphExecDestroy(GraphExec program) {
  ++calls["cuGraphExecDestroy"];
  delete program;
  return Success;
}
Result cuGraphLaunch(GraphExec program, Stream stream) {
  ++calls["cuGraphLaunch"];
  for (const Work &work : program->nodes)
    if (Result result = stream == onlyStream ? work.run() : invalidValue; result != Success)
      return result;
  return Success;
}

Result cuInit(unsigned) {
  std::string gpu = setting("FAKE_GPU", "one");
  return gpu == "none" ? NoDevice : gpu == "stub" ? StubLibrary : Success;
}
Result cuGetErrorName(Result result, const char **name) {
  *name = result == invalidValue ? "CUDA_ERROR_INVALID_VALUE" : result == NotFound ? "CUDA_ERROR_NOT_FOUND" : "OTHER";
  return Success;
}
Result cuGetErrorString(Result, const char **text) {
  *text = "as the fake driver has it";
  return Success;
}
Result cuDeviceGetCount(int *count) {
  *count = setting("FAKE_GPU", "one") == "zero" ? 0 : 1;
  return Success;
}
Result cuDeviceGet(Device *device, int) {
  *device = 0;
  return Success;
}
Result cuDeviceGetName(char *name, int size, Device) {
  snprintf(name, size, "Fake GPU");
  return Success;
}
Result cuDeviceGetAttribute(int *value, Attribute attribute, Device) {
  switch (attribute) {
  case Attribute::Multiprocessors:
    *value = 7;
    break;
  case Attribute::CapabilityMajor:
    *value = 7;
    break;
  case Attribute::CapabilityMinor:
    *value = 5;
    break;
  case Attribute::SharedMemoryPerBlock:
    *value = 64 << 10;
    break;
  }
  return Success;
}
Result cuDevicePrimaryCtxRetain(Context *context, Device) {
  *context = primary;
  return Success;
}
Result cuCtxSetCurrent(Context context) {
  current = context;
  return Success;
}
Result cuStreamCreate(Stream *stream, unsigned) {
  *stream = onlyStream;
  return current ? Success : invalidContext;
}
#ifndef MOE_FAKE_DRIVER_IS_OLD
/// What was asked for, as numbers: so a test can see it.
Result cuTensorMapEncodeTiled(void *map, int type, unsigned rank, const void *address, const uint64_t *sizes,
                              const uint64_t *strideBytes, const uint32_t *box, const uint32_t *elementStrides,
                              int interleave, int swizzle, int, int fill) {
  ++calls["cuTensorMapEncodeTiled"];
  if (reinterpret_cast<uintptr_t>(address) % 16 || rank < 1 || rank > 5 || interleave || fill)
    return invalidValue;
  auto *words = static_cast<uint64_t *>(map);
  *words++ = uint64_t(type) << 16 | rank << 8 | unsigned(swizzle);
  *words++ = reinterpret_cast<uintptr_t>(address);
  for (unsigned d = 0; d < rank; ++d) {
    if (elementStrides[d] != 1 || (d && strideBytes[d - 1] % 16))
      return invalidValue;
    *words++ = sizes[d];
    *words++ = d ? strideBytes[d - 1] : 0;
    *words++ = box[d];
  }
  return Success;
}
#endif
Result cuStreamSynchronize(Stream) { return current ? Success : invalidContext; }
Result cuMemGetInfo_v2(size_t *free, size_t *total) {
  *free = capacity() - used;
  *total = capacity();
  return Success;
}
Result cuMemAlloc_v2(DevicePointer *pointer, size_t bytes) {
  ++calls["cuMemAlloc"];
  return allocate(pointer, bytes);
}
Result cuMemFree_v2(DevicePointer pointer) { return release(pointer); }
Result cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t bytes, Stream stream) {
  ++calls["cuMemcpyHtoDAsync"];
  if (!current || stream != onlyStream || !isOnDevice(to, bytes))
    return invalidValue;
  memcpy(memory(to), from, bytes);
  return Success;
}
Result cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t bytes, Stream stream) {
  if (!current || stream != onlyStream || !isOnDevice(from, bytes))
    return invalidValue;
  memcpy(to, memory(from), bytes);
  return Success;
}
Result cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, Stream stream) {
  if (stream != onlyStream || !isOnDevice(from, bytes) || !isOnDevice(to, bytes))
    return invalidValue;
  memcpy(memory(to), memory(from), bytes);
  return Success;
}
Result cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes, Stream stream) {
  if (stream != onlyStream || !isOnDevice(to, bytes))
    return invalidValue;
  memset(memory(to), value, bytes);
  return Success;
}
Result cuModuleLoadData(Module *module, const void *image) {
  *module = reinterpret_cast<Module>(const_cast<void *>(image));
  return strcmp(static_cast<const char *>(image), "other") == 0 ? NoBinaryForGpu : Success;
}
Result cuModuleGetFunction(Function *function, Module module, const char *name) {
  *function = reinterpret_cast<Function>(strstr(reinterpret_cast<char *>(module), name));
  return *function ? Success : NotFound;
}
Result cuFuncSetAttribute(Function, int attribute, int value) {
  if (attribute != 8 || value > 64 << 10)
    return invalidValue;
  sharedAllowed = value;
  return Success;
}
Result cuLaunchKernel(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                      unsigned blockY, unsigned blockZ, unsigned sharedBytes, Stream stream, void **params, void **) {
  ++calls["cuLaunchKernel"];
  if (stream != onlyStream)
    return invalidValue;
  return Work({function, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, params, nullptr}).run();
}
} // extern "C"

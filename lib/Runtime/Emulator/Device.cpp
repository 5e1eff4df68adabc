//===- Device.cpp - the interface of a GPU, over the emulator -------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "KernelSums.h"
#include "Machine.h"
#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Emulator.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

using namespace moe::rt::simt;

/// What a block may have on the GPUs of today.
static constexpr int64_t mostThreads = 1024, mostSharedBytes = 227 * 1024;

[[noreturn]] static void __attribute__((format(printf, 1, 2))) fail(const char *message, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, message);
  vsnprintf(text, sizeof text, message, arguments);
  va_end(arguments);
  moe_rt_fail(text);
}

/// The value of an environment variable, or `otherwise` where it is not set.
static uint64_t numberFrom(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  if (!text || !*text)
    return otherwise;
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  if (*end || *text == '-')
    fail("%s: expected a number but got '%s'", name, text);
  return value;
}

/// The machine, as the environment asks for it.
static Machine &configuredMachine() {
  static Machine &machine = [&]() -> Machine & {
    Machine &machine = Machine::get();
    machine.seed = numberFrom("MOE_GPU_SEED", machine.seed);
    machine.multiprocessors = uint32_t(numberFrom("MOE_GPU_MULTIPROCESSORS", machine.multiprocessors));
    if (machine.multiprocessors < 1 || machine.multiprocessors > 1024)
      fail("MOE_GPU_MULTIPROCESSORS: expected a number from 1 to 1024 but got %u", machine.multiprocessors);
    return machine;
  }();
  return machine;
}

static void requireMemory(const void *pointer, int64_t bytes, const char *what) {
  if (bytes < 0 || !configuredMachine().memory.contains(pointer, uint64_t(bytes)))
    fail("%s of %lld bytes is out of the bounds of device memory", what, (long long)bytes);
}

void *moe_rt_gpu_alloc(int64_t bytes) {
  if (bytes < 0)
    fail("device memory of %lld bytes was asked for", (long long)bytes);
  return configuredMachine().memory.allocate(uint64_t(bytes));
}

void moe_rt_gpu_free(void *device) {
  if (device)
    configuredMachine().memory.free(device);
}

void moe_rt_gpu_copy_in(void *device, const void *host, int64_t bytes) {
  requireMemory(device, bytes, "a copy to the device");
  memcpy(device, host, size_t(bytes));
}

void moe_rt_gpu_copy_out(void *host, const void *device, int64_t bytes) {
  requireMemory(device, bytes, "a copy from the device");
  memcpy(host, device, size_t(bytes));
}

void moe_rt_gpu_copy(void *to, const void *from, int64_t bytes) {
  requireMemory(to, bytes, "a copy on the device");
  requireMemory(from, bytes, "a copy on the device");
  memcpy(to, from, size_t(bytes));
}

void moe_rt_gpu_fill(void *device, int32_t value, int64_t bytes) {
  requireMemory(device, bytes, "a fill on the device");
  memset(device, value, size_t(bytes));
}

const void *moe_rt_gpu_upload(const void *host, int64_t bytes) {
  configuredMachine().memory.add(host, uint64_t(bytes), /*isWritable=*/false);
  return host;
}

void moe_rt_gpu_release(const void *host) { configuredMachine().memory.remove(host); }

void moe_rt_gpu_synchronize() {}

static KernelSums &kernelSums() {
  static KernelSums sums;
  return sums;
}

const char *moe_rt_gpu_take_counters() {
  static std::string text;
  text = kernelSums().take();
  return text.c_str();
}

/// Comes with the kernels, if they are converted ones.
extern "C" const int32_t moe_simt_architecture __attribute__((weak));

int32_t moe_rt_gpu_architecture() { return &moe_simt_architecture ? moe_simt_architecture : 80; }

int64_t moe_rt_gpu_multiprocessors() { return configuredMachine().multiprocessors; }

/// Appends a line with the counters of the last launch to the file that MOE_GPU_COUNTERS names ("-": standard error).
static void reportCounters() {
  static const char *path = getenv("MOE_GPU_COUNTERS");
  if (!path || !*path)
    return;
  FILE *file = strcmp(path, "-") == 0 ? stderr : fopen(path, "a");
  if (!file)
    fail("MOE_GPU_COUNTERS: '%s' cannot be written", path);
  fprintf(file, "%s\n", moe::rt::lastLaunchCounters().c_str());
  if (file != stderr)
    fclose(file);
}

void moe_rt_gpu_launch(const MoeGpuKernel *kernel, int64_t gridX, int64_t gridY, int64_t gridZ, int64_t blockX,
                       int64_t blockY, int64_t blockZ, int64_t sharedBytes, void **params, int64_t paramCount) {
  Machine &machine = configuredMachine();
  if (!kernel->host || !kernel->details)
    fail("kernel '%s' was not compiled for the emulator", kernel->name);
  if (paramCount != kernel->paramCount)
    fail("kernel '%s': expected %lld parameters but got %lld", kernel->name, (long long)kernel->paramCount,
         (long long)paramCount);
  const auto *details = static_cast<const MoeSimtKernel *>(kernel->details);
  if (blockX < 1 || blockY < 1 || blockZ < 1 || blockX > mostThreads || blockY > mostThreads || blockZ > 64 ||
      blockX * blockY * blockZ > mostThreads)
    fail("kernel '%s': a block of %lld x %lld x %lld threads is not possible", kernel->name, (long long)blockX,
         (long long)blockY, (long long)blockZ);
  if (gridX < 0 || gridY < 0 || gridZ < 0 || gridX > INT32_MAX || gridY > 65535 || gridZ > 65535)
    fail("kernel '%s': a grid of %lld x %lld x %lld blocks is not possible", kernel->name, (long long)gridX,
         (long long)gridY, (long long)gridZ);
  if (sharedBytes < 0 || details->dynamicOffset + sharedBytes > mostSharedBytes)
    fail("kernel '%s': %lld bytes of shared memory are not possible (%lld static, %lld dynamic)", kernel->name,
         (long long)(details->dynamicOffset + sharedBytes), (long long)details->dynamicOffset, (long long)sharedBytes);
  if (double(gridX) * double(gridY) * double(gridZ) >= UINT32_MAX)
    fail("kernel '%s': a grid of %lld x %lld x %lld blocks is too large for the emulator", kernel->name,
         (long long)gridX, (long long)gridY, (long long)gridZ);
  if (gridX == 0 || gridY == 0 || gridZ == 0)
    return;

  static std::set<const MoeSimtModule *> known;
  if (known.insert(details->module).second)
    for (int64_t i = 0; i < details->module->globalCount; ++i) {
      const MoeSimtRange &global = details->module->globals[i];
      machine.memory.add(global.base, uint64_t(global.bytes), /*isWritable=*/true);
    }
  Launch launch{kernel,
                details,
                {uint32_t(gridX), uint32_t(gridY), uint32_t(gridZ)},
                {uint32_t(blockX), uint32_t(blockY), uint32_t(blockZ)},
                uint64_t(sharedBytes),
                params};
  machine.run(launch);
  machine.counters.sectorsRead = machine.memory.takeSectors(/*written=*/false);
  machine.counters.sectorsWritten = machine.memory.takeSectors(/*written=*/true);
  machine.memory.forgetWrites();
  kernelSums().add(launch, machine.counters);
  reportCounters();
}

void moe::rt::setEmulatorSeed(uint64_t seed) { configuredMachine().seed = seed; }

std::string moe::rt::lastLaunchCounters() {
  const Machine &machine = Machine::get();
  if (!machine.launch.kernel)
    return "{}";
  const Launch &launch = machine.launch;
  const MoeSimtModule &module = *launch.details->module;
  char head[256];
  snprintf(head, sizeof head,
           "{\"kernel\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], \"counters\": ", launch.kernel->name,
           launch.grid[0], launch.grid[1], launch.grid[2], launch.block[0], launch.block[1], launch.block[2]);
  return head + machine.counters.report(module.sites, size_t(module.siteCount)) + "}";
}

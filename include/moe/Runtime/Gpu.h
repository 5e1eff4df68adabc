//===- Gpu.h - what compiled programs ask of a GPU ------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One C interface for two devices: an NVIDIA GPU, and the kernel emulator (docs/KernelEmulator.md), which runs the same
// kernels on the host. A program is linked with the archive of the one or of the other; the code of the program itself
// is the same. Generated code calls these functions; plain C, no MLIR and no LLVM types.
//
// There is one stream. Everything happens in the order of the calls; only `moe_rt_gpu_copy_out` and
// `moe_rt_gpu_synchronize` wait. Errors end the process with a message, as `moe_rt_fail` does (Abi.h). The functions
// are called by one thread at a time.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_GPU_H
#define MOE_RUNTIME_GPU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A kernel for the emulator: `params[i]` points to the value of parameter i, as for cuLaunchKernel.
typedef void (*MoeHostKernel)(void **params);

/// What a launch needs to know of a kernel. The part of the compiler that makes the kernels' code emits one constant of
/// this type for each kernel K, under the name `moe_gpu_kernel_K`, into the same object as that code:
/// `convertKernelsToHost` (moe/Target/KernelToHost.h) for the emulator, beside the trampoline `moe_kernel_K`; the CUDA
/// target beside the binary image. The program around the kernels declares the constant as external and only passes
/// its address on, so it is the same object for either device. Fields of the other device are null.
typedef struct MoeGpuKernel {
  const char *name;    // K, as in the PTX
  const void *image;   // CUDA: cubin, fatbin or PTX that has the kernel; kernels with the same image share a module
  MoeHostKernel host;  // emulator: the trampoline
  const void *details; // emulator: what its checks and counters need (moe/Runtime/Simt.h)
  int64_t paramCount;
  const int64_t *paramBytes; // CUDA: size of the value of each parameter
} MoeGpuKernel;

/// `bytes` of device memory, aligned to 256; never null. It is not initialised (the emulator fills it with 0xFF bytes,
/// so that floats are not a number). Of 0 bytes: a pointer that may only be freed.
void *moe_rt_gpu_alloc(int64_t bytes);

/// Gives memory of moe_rt_gpu_alloc back, once everything before is done. Null is allowed.
void moe_rt_gpu_free(void *device);

/// Copies from the host to the device. `host` may be changed or freed as soon as the call returns.
void moe_rt_gpu_copy_in(void *device, const void *host, int64_t bytes);

/// Copies from the device to the host, and waits for it.
void moe_rt_gpu_copy_out(void *host, const void *device, int64_t bytes);

/// Copies from device to device; the ranges must not overlap.
void moe_rt_gpu_copy(void *to, const void *from, int64_t bytes);

/// Sets `bytes` bytes of device memory to the low byte of `value`.
void moe_rt_gpu_fill(void *device, int32_t value, int64_t bytes);

/// Constant data on the device: a copy of `bytes` bytes at `host`, aligned to 256 where `host` is; kernels must not
/// write to it. `host` must stay as it is until the data is released: the emulator does not copy.
const void *moe_rt_gpu_upload(const void *host, int64_t bytes);

/// Ends what moe_rt_gpu_upload of `host` began, once everything before is done.
void moe_rt_gpu_release(const void *host);

/// Runs a kernel on a grid of gridX x gridY x gridZ blocks of blockX x blockY x blockZ threads, with `sharedBytes` of
/// dynamic shared memory for each block. `params[i]` points to the value of parameter i (`paramCount` of them), which
/// is read before the call returns. An empty grid is no launch. A GPU may begin only when something else than launches,
/// allocations and their ends is asked for.
void moe_rt_gpu_launch(const MoeGpuKernel *kernel, int64_t gridX, int64_t gridY, int64_t gridZ, int64_t blockX,
                       int64_t blockY, int64_t blockZ, int64_t sharedBytes, void **params, int64_t paramCount);

/// Waits until everything before is done.
void moe_rt_gpu_synchronize(void);

/// Multiprocessors of the device, for the size of persistent grids; at least 1. The emulator has 4
/// (MOE_GPU_MULTIPROCESSORS).
int64_t moe_rt_gpu_multiprocessors(void);

/// Elements of a tensor map.
enum MoeGpuElement { MoeGpuF16 = 0, MoeGpuBF16 = 1, MoeGpuF32 = 2 };

/// Describes a tensor in device memory to the bulk copies of kernels (cp.async.bulk.tensor): writes the 128 bytes at
/// `map`, aligned to 64, which are then a parameter of kernels, by value. Of `rank` dimensions (1 to 5), innermost
/// first, `sizes` are in elements and `strideBytes` (of all but the innermost, multiples of 16) in bytes; `box` is what
/// one copy brings, its rows swizzled as `swizzleBytes` says (0: not, 32, 64, 128). What a copy brings from outside of
/// the tensor is zero. Needs a GPU of architecture 90 or later and a driver that knows it.
void moe_rt_gpu_tensor_map(void *map, const void *device, int32_t element, int32_t rank, const int64_t *sizes,
                           const int64_t *strideBytes, const int32_t *box, int32_t swizzleBytes);

/// The architecture of the device: 80, 90, ... (as in sm_80), for programs that have kernels for some alone. The
/// emulator has the highest one that the kernels of the program were made for.
int32_t moe_rt_gpu_architecture(void);

/// What the kernels did since the last call of this function, where the device counts (the emulator does, from the
/// first call on): a JSON list with the counters of each kernel (docs/KernelEmulator.md), in the order of their first
/// launches. Lives until the next call. Null on a GPU.
const char *moe_rt_gpu_take_counters(void);

#ifdef __cplusplus
} // extern "C"
#endif

#endif // MOE_RUNTIME_GPU_H

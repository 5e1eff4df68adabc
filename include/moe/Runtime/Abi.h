//===- Abi.h - contract between generated code and the runtime ------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a compiled model and the runtime know of each other. Generated code calls the `moe_rt_*` functions; the runtime
// reads the `moe_model_*` data that the compiler emits into the same object. Plain C, no MLIR and no LLVM types.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_ABI_H
#define MOE_RUNTIME_ABI_H

#include <cstddef>
#include <cstdint>

extern "C" {

/// The body of a parallel loop: runs the iterations [begin, end). `scratch` is memory of the thread that runs it, for
/// the time of the call.
typedef void (*MoeLoopBody)(void *context, int64_t begin, int64_t end, void *scratch);

/// Calls `body` on disjoint ranges that cover [0, count), on the worker threads and the caller, and returns when all
/// are done; it may be called several times by one thread. Calls from inside a body run inline. Which thread runs which
/// range never changes a result: every iteration writes its own part of the output.
///
/// `scratch` points to `scratchBytes` bytes, aligned to 64 and not initialised; null if none are asked for. `work` is
/// about how many simple operations one iteration takes, 0 if that is not known: a loop with little work leaves other
/// threads alone.
void moe_rt_parallel_for(MoeLoopBody body, void *context, int64_t count, int64_t scratchBytes, int64_t work);

/// Threads that share a parallel loop, the caller's included; at least 1.
int64_t moe_rt_worker_count(void);

/// A stage of the cost model begins (docs/CostModel.md): what follows, until the next call, is part of it. `name` is a
/// null-terminated string that stays valid. Does nothing unless times are being taken (StageTimes.h).
void moe_rt_stage(const char *name);

/// Ends the process with a message on standard error and exit status 3: generated code found an input that breaks the
/// contract of the entry (an expert index out of range, say). `message` is a null-terminated string.
[[noreturn]] void moe_rt_fail(const char *message);

/// Multiplications of AMX tiles in memory, for code of level amx that runs where there is no AMX: sums[m, n] +=
/// left[m, k] * right[k / pairs or quads, n, k], in the processor's order and with its rounding. Tiles are full: 16
/// rows of 64 bytes. bf16 (tdpbf16ps): the even and the odd k are two chains of fused multiply-adds that start at 0;
/// their sum is added to the old one; denormal numbers count as zero, and become zero. i8: exact; the flags say whether
/// the bytes of an operand are unsigned.
void moe_rt_tile_dot_bf16(float *sums, const uint16_t *left, const uint16_t *right);
void moe_rt_tile_dot_i8(int32_t *sums, const uint8_t *left, const uint8_t *right, int32_t leftUnsigned,
                        int32_t rightUnsigned);

/// Buffers of generated code (names fixed by MLIR's memref lowering). 64-byte aligned; never null: out of memory ends
/// the process with a message that says how many bytes were asked for.
void *_mlir_memref_to_llvm_alloc(size_t size);
void *_mlir_memref_to_llvm_aligned_alloc(size_t alignment, size_t size);
void _mlir_memref_to_llvm_free(void *pointer);

/// An entry function for one instruction-set level. `args[i]` points to the memref descriptor of argument i (inputs,
/// states and parameters in the order of the manifest); `args[n]` points to room for the result descriptors, one after
/// the other.
typedef void (*MoeEntryFunction)(void **args);

/// One row of the variants table: entry name, level name ("avx512", "avx2", "x86-64" ...), code.
typedef struct MoeEntryVariant {
  const char *entry;
  const char *isa;
  MoeEntryFunction function;
} MoeEntryVariant;

/// Memory that a program for a GPU keeps its parameters and states in: functions of moe/Runtime/Gpu.h. All null in a
/// program that runs on the host.
typedef struct MoeModelDevice {
  void *(*alloc)(int64_t bytes);
  void (*free)(void *device);
  void (*fill)(void *device, int32_t value, int64_t bytes);
  const void *(*upload)(const void *host, int64_t bytes);
  void (*release)(const void *host);
  const char *(*takeCounters)(void);
} MoeModelDevice;

/// Data emitted by the compiler. The table ends with a row of null pointers. The manifest is JSON (see
/// docs/Executable.md); the tokenizer is the checkpoint's tokenizer.json, of size 0 where there is none.
extern const MoeEntryVariant moe_model_variants[];
extern const MoeModelDevice moe_model_device;
extern const char moe_model_manifest[];
extern const uint64_t moe_model_manifest_size;
extern const char moe_model_tokenizer[];
extern const uint64_t moe_model_tokenizer_size;
} // extern "C"

namespace moe::rt {

/// The last 64 bytes of a file that carries weights (an executable, a shared library or a weights file).
/// `offset` is a multiple of 4096, counted from the start of the file; the tensors' offsets in the manifest are
/// relative to it. All numbers are little-endian.
struct WeightsTrailer {
  char magic[8];        // "MOEWGT01"
  uint64_t offset;      // of the blob in the file
  uint64_t size;        // of the blob, bytes
  uint64_t fingerprint; // the manifest's: weights of another model are refused
  uint64_t reserved[4]; // zero
};
static_assert(sizeof(WeightsTrailer) == 64);

constexpr char weightsMagic[8] = {'M', 'O', 'E', 'W', 'G', 'T', '0', '1'};
constexpr uint64_t weightsPageSize = 4096;
constexpr uint64_t weightsTensorAlignment = 64;

/// A memref descriptor as MLIR lays it out, for ranks up to `maxRank` (strides follow `rank` sizes).
struct MemRefDescriptor {
  static constexpr int maxRank = 8;
  void *allocated;
  void *aligned;
  int64_t offset;                       // in elements
  int64_t sizesAndStrides[2 * maxRank]; // sizes[rank], then strides[rank], in elements
};

} // namespace moe::rt

#endif // MOE_RUNTIME_ABI_H

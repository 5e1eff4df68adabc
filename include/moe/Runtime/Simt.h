//===- Simt.h - what emulated kernels call --------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The contract between `convertKernelsToHost` (moe/Target/KernelToHost.h), which turns GPU kernels into host code, and
// the emulator that runs them (docs/KernelEmulator.md). Every thread of a block is a fiber; the functions below are
// called on the fiber of the thread that does the operation, and may run other threads before they return. Plain C, no
// MLIR and no LLVM types. A `site` is the index of the operation in MoeSimtModule::sites.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_SIMT_H
#define MOE_RUNTIME_SIMT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum MoeSimtSpace { MoeSimtGeneric = 0, MoeSimtGlobal = 1, MoeSimtShared = 3 };

enum MoeSimtAccess { MoeSimtLoad = 1, MoeSimtStore = 2, MoeSimtAtomic = 4 };

/// One operation of the kernels' code that is checked or counted.
typedef struct MoeSimtSite {
  const char *text;     // the operation as it stands in the kernel
  const char *function; // where
  uint32_t access;      // MoeSimtAccess; 0 for what is no access to memory
  uint32_t space;       // MoeSimtSpace
  uint32_t bytes;       // of an access
  uint32_t alignment;   // of an access, as the code promises it
} MoeSimtSite;

/// A variable in global or constant memory, or a part of a block's shared memory (then `base` is the offset in it).
typedef struct MoeSimtRange {
  const void *base;
  int64_t bytes;
} MoeSimtRange;

/// What belongs to all kernels that were converted together.
typedef struct MoeSimtModule {
  const MoeSimtSite *sites;
  int64_t siteCount;
  uint64_t *executions;         // how often each basic block ran, counted by the code itself; null if not instrumented
  const uint32_t *instructions; // in each basic block
  int64_t basicBlockCount;
  const MoeSimtRange *globals;
  int64_t globalCount;
} MoeSimtModule;

/// The `details` of a MoeGpuKernel. Dynamic shared memory begins at `dynamicOffset`.
typedef struct MoeSimtKernel {
  const MoeSimtModule *module;
  const MoeSimtRange *sharedVariables; // static ones that the kernel may use
  int64_t sharedVariableCount;
  int64_t dynamicOffset;
} MoeSimtKernel;

/// Special registers, for moe_simt_register. The first twelve are x, y and z of four triples.
enum MoeSimtRegister {
  MoeSimtThreadIndex = 0,
  MoeSimtBlockIndex = 3,
  MoeSimtBlockSize = 6,
  MoeSimtGridSize = 9,
  MoeSimtLane = 12,
  MoeSimtWarp = 13,
  MoeSimtWarpSize = 14,
  MoeSimtMultiprocessor = 15,
  MoeSimtMultiprocessorCount = 16,
  MoeSimtLaneMaskEqual = 17,
  MoeSimtLaneMaskLess = 18,
  MoeSimtLaneMaskLessEqual = 19,
  MoeSimtLaneMaskGreater = 20,
  MoeSimtLaneMaskGreaterEqual = 21,
  MoeSimtDynamicSharedBytes = 22,
  MoeSimtWarpCount = 23
};

/// The value of a MoeSimtRegister. It is the same for the whole life of a thread.
uint32_t moe_simt_register(uint32_t which);

/// Start of the block's shared memory, aligned to 1024, below 2 GiB where the system allows it (so that an address
/// survives in 32 bits).
void *moe_simt_shared_memory(void);

/// Start of its dynamic part.
void *moe_simt_dynamic_shared_memory(void);

/// Operations that lanes of a warp do together. Operands lie in the exchange words of each lane (moe_simt_lane) from
/// word 0, results are left there from word MoeSimtResult. A pointer takes two words.
enum MoeSimtOperation {
  MoeSimtSyncWarp,
  MoeSimtShuffleUp,   // value, lane operand, clamp and segment mask -> value, whether in range
  MoeSimtShuffleDown, // likewise
  MoeSimtShuffleXor,
  MoeSimtShuffleIndex,
  MoeSimtVoteAll, // predicate -> predicate
  MoeSimtVoteAny,
  MoeSimtVoteUniform,
  MoeSimtBallot,   // predicate -> mask
  MoeSimtMatchAny, // value -> mask
  MoeSimtMatchAll, // value -> mask, predicate
  MoeSimtElect,    // -> lane, predicate
  MoeSimtReduceAdd,
  MoeSimtReduceMin, // signed
  MoeSimtReduceMax,
  MoeSimtReduceUnsignedMin,
  MoeSimtReduceUnsignedMax,
  MoeSimtReduceAnd,
  MoeSimtReduceOr,
  MoeSimtReduceXor,
  // From here on the whole warp has to take part, at the same instruction.
  MoeSimtFirstAligned,
  MoeSimtLoadMatrix = MoeSimtFirstAligned, // address; word 2: matrices, word 3: transposed -> one word per matrix
  MoeSimtStoreMatrix,                      // likewise; from word 4: one word per matrix
  MoeSimtMmaBf16K8,                        // A, B, C in the order of the instruction's operands -> D
  MoeSimtMmaBf16K16,
  MoeSimtMmaF16K8,
  MoeSimtMmaF16K16,
  MoeSimtMmaTf32K4,
  MoeSimtMmaTf32K8,
  MoeSimtMmaE4M3K32,
  MoeSimtMmaE5M2K32,
  MoeSimtMmaS8K16, // 8-bit integers: add MoeSimtUnsignedA, MoeSimtUnsignedB, MoeSimtSaturate
  MoeSimtMmaS8K32,
  MoeSimtWgmma, // see moe_simt_wgmma
  MoeSimtWgmmaFence,
  MoeSimtWgmmaCommit,
  MoeSimtWgmmaWait,    // see moe_simt_wgmma_wait
  MoeSimtSetRegisters, // registers of a thread, whether they become more
  MoeSimtOperationCount,
  MoeSimtUnsignedA = 0x100,
  MoeSimtUnsignedB = 0x200,
  MoeSimtSaturate = 0x400
};
enum { MoeSimtResult = 16, MoeSimtWords = 24 };

/// The exchange words of the running thread; a thread's stay in place for its life.
extern uint32_t *moe_simt_lane;

/// Waits until all lanes of `mask` stand at the same operation, which is then done for all of them.
void moe_simt_collective(uint32_t operation, uint32_t mask, uint32_t site);

/// Flags of moe_simt_barrier.
enum MoeSimtBarrier {
  MoeSimtAligned = 1, // the threads of a warp arrive together, at the same instruction
  MoeSimtArrive = 2,  // does not wait
  MoeSimtBarrierPopulation = 4,
  MoeSimtBarrierAnd = 8,
  MoeSimtBarrierOr = 16
};

/// Barrier `id` (0 to 15) of the block, for `threads` threads (0: all of the block). With one of the three last flags
/// it returns the reduction of the predicates, otherwise 0.
uint32_t moe_simt_barrier(uint32_t id, uint32_t threads, uint32_t flags, uint32_t predicate, uint32_t site);

/// Asynchronous copy of `bytes` bytes from global to shared memory, of which the last `bytes - sourceBytes` are zero.
/// Nothing is copied before the thread waits for the copy's group.
void moe_simt_copy_async(void *shared, const void *global, uint32_t bytes, uint32_t sourceBytes, uint32_t site);

/// Makes a group of the thread's copies since the last one.
void moe_simt_copy_commit(void);

/// Waits until at most `pending` of the thread's groups are left.
void moe_simt_copy_wait(uint32_t pending);

/// Waits for all copies of the thread, those in no group too.
void moe_simt_copy_wait_all(void);

/// Objects of type mbarrier in shared memory. `moe_simt_mbarrier_arrive` expects `bytes` more bytes of copies, then
/// arrives `count` times (0: does not arrive), and returns the phase.
void moe_simt_mbarrier_init(void *barrier, uint32_t count, uint32_t site);
void moe_simt_mbarrier_invalidate(void *barrier, uint32_t site);
uint64_t moe_simt_mbarrier_arrive(void *barrier, uint32_t count, uint32_t bytes, uint32_t site);

/// Flags of moe_simt_mbarrier_test.
enum MoeSimtTest {
  MoeSimtParity = 1, // `phase` is the parity of one: of the last or of the one before
  MoeSimtWait = 2    // waits until the phase is complete
};

/// Whether a phase is complete.
uint32_t moe_simt_mbarrier_test(void *barrier, uint64_t phase, uint32_t flags, uint32_t site);

/// Arrives when all copies (moe_simt_copy_async) that the thread has begun are done; before, makes the phase wait for
/// `increments` more arrivals.
void moe_simt_mbarrier_copies(void *barrier, uint32_t increments, uint32_t site);

/// Asynchronous copy of a box, `at` its first element, of the tensor that `map` describes; its bytes count for the
/// mbarrier when it is done.
void moe_simt_copy_tensor(void *shared, const void *map, void *barrier, uint32_t rank, const int32_t *at,
                          uint32_t site);

/// Lets bulk copies and products of warpgroups access what loads and stores have left before.
void moe_simt_proxy_fence(void);

/// Begins a product of a warpgroup: D[64, N] = A[64, 16] B[N, 16]^T + D, with A and B in shared memory as the
/// descriptors say. `registers` are N / 2 accumulators of the thread; in their place it leaves tokens, which stand for
/// what will be there when the product is done. `flags`: N and the bits below.
void moe_simt_wgmma(float *registers, uint64_t a, uint64_t b, uint32_t flags, uint32_t site);
enum MoeSimtWgmmaFlags {
  MoeSimtWgmmaColumns = 0x1ff,
  MoeSimtWgmmaF16 = 0x200,  // otherwise bf16
  MoeSimtWgmmaZero = 0x400, // without the addend D
  MoeSimtWgmmaNegateA = 0x800,
  MoeSimtWgmmaNegateB = 0x1000
};

/// Waits until at most `pending` of the warp's groups of products (MoeSimtWgmmaCommit) are left.
void moe_simt_wgmma_wait(uint32_t pending, uint32_t site);

/// The accumulator that a token of moe_simt_wgmma stands for; what is no token stays as it is.
float moe_simt_wgmma_value(float token, uint32_t site);

/// Called before each access of instrumented code: checks and counts what the site describes.
void moe_simt_access(const void *address, uint32_t site);

/// The same for `bytes` bytes, for memory intrinsics.
void moe_simt_access_range(const void *address, uint64_t bytes, uint32_t site);

/// Called before operations by which threads wait for each other (atomics, volatile loads): lets others run now and
/// then.
void moe_simt_spin(void);

/// Lets others run (nanosleep).
void moe_simt_yield(void);

/// Ends the program: the kernel asked for it (trap), or cannot go on.
[[noreturn]] void moe_simt_trap(uint32_t site);

/// Approximations of the hardware and conversions that hosts lack. Denormal results and operands are flushed to zero
/// where `flush` is not 0.
float moe_simt_exp2(float x, uint32_t flush);
float moe_simt_log2(float x, uint32_t flush);
float moe_simt_rsqrt(float x, uint32_t flush);
float moe_simt_sin(float x);
float moe_simt_cos(float x);
float moe_simt_tanh(float x);
uint32_t moe_simt_permute_bytes(uint32_t a, uint32_t b, uint32_t selector);
float moe_simt_from_f16(uint16_t bits);
uint16_t moe_simt_to_f16(float value);

#ifdef __cplusplus
} // extern "C"
#endif

#endif // MOE_RUNTIME_SIMT_H

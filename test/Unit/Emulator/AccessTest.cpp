//===- AccessTest.cpp - memory of the emulated GPU and its checks ---------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "HostKernel.h"

#include "gtest/gtest.h"

using namespace moe::test;

/// Expects that the statement ends the process with a message.
#define EXPECT_FAILURE(statement, message) EXPECT_EXIT(statement, testing::ExitedWithCode(3), message)

TEST(Memory, HoldsWhatIsCopied) {
  std::vector<float> values = {1, 2, 3};
  float *memory = upload(values);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
  float *other = static_cast<float *>(moe_rt_gpu_alloc(12));
  EXPECT_NE(download(other, 3), download(other, 3)); // not a number
  moe_rt_gpu_copy(other, memory, 12);
  EXPECT_EQ(download(other, 3), values);
  moe_rt_gpu_fill(other, 0, 8);
  EXPECT_EQ(download(other, 3), (std::vector<float>{0, 0, 3}));
  moe_rt_gpu_free(memory);
  moe_rt_gpu_free(other);
  moe_rt_gpu_free(nullptr);
  moe_rt_gpu_free(moe_rt_gpu_alloc(0));
}

TEST(Memory, RefusesWhatIsOutside) {
  float *memory = upload<float>({1, 2, 3});
  float host[4] = {};
  EXPECT_FAILURE(moe_rt_gpu_copy_in(memory, host, 16), "a copy to the device of 16 bytes is out of the bounds");
  EXPECT_FAILURE(moe_rt_gpu_copy_out(host, memory + 2, 8), "a copy from the device of 8 bytes is out of the bounds");
  EXPECT_FAILURE(moe_rt_gpu_fill(host, 0, 4), "a fill on the device of 4 bytes");
  EXPECT_FAILURE(moe_rt_gpu_free(memory + 1), "freed that was not allocated");
  EXPECT_FAILURE(moe_rt_gpu_alloc(-1), "device memory of -1 bytes");
  EXPECT_FAILURE(moe_rt_gpu_alloc(int64_t(1) << 60), "out of memory: 1152921504606846976 bytes");
  EXPECT_FAILURE(
      {
        memory[3] = 0; // by code without checks
        moe_rt_gpu_free(memory);
      },
      "written behind the end of an allocation of 12 bytes");
  moe_rt_gpu_free(memory);
}

TEST(Memory, ConstantDataIsNotWritten) {
  static const float values[4] = {1, 2, 3, 4};
  const void *memory = moe_rt_gpu_upload(values, sizeof values);
  static float sum;
  launch([](void **params) { sum = read(param<const float *>(params, 0) + 3, globalRead); }, 1, 1, 0, {&memory});
  EXPECT_EQ(sum, 4);
  EXPECT_FAILURE(
      launch([](void **params) { moe_simt_access(param<float *>(params, 0), globalWrite); }, 1, 1, 0, {&memory}),
      "write of constant memory at 'write global'");
}

TEST(Access, GlobalBounds) {
  void *memory = moe_rt_gpu_alloc(100);
  auto readAt = [&](int64_t offset, Site site = globalRead) {
    static int64_t at;
    static Site where;
    at = offset;
    where = site;
    launch([](void **params) { moe_simt_access(param<char *>(params, 0) + at, where); }, 1, 2, 0, {&memory});
  };
  readAt(96);
  readAt(96, genericRead);
  EXPECT_FAILURE(readAt(100), "kernel 'k', block \\(0, 0, 0\\), thread \\(0, 0, 0\\): read out of bounds: 4 bytes at "
                              "byte 100 of an allocation of 100 bytes at 'read global' of 'k'");
  EXPECT_FAILURE(readAt(100, genericRead), "read out of bounds");
  EXPECT_FAILURE(readAt(-4), "read out of bounds");
  EXPECT_FAILURE(readAt(2), "misaligned read: expected a multiple of 4");
  moe_rt_gpu_free(memory);
}

TEST(Access, SharedBounds) {
  EXPECT_FAILURE(launch([](void **) { write(shared() + 8, 1); }, 1, 1, 32),
                 "write out of bounds: 4 bytes at shared address 0x20, the block has 32 bytes");
  EXPECT_FAILURE(launch([](void **) { write(shared() - 1, 1); }, 1, 1, 32), "write out of bounds");
}

TEST(Access, AThreadsOwnMemory) {
  // The sanitizer would move the variable away from the stack.
  launch(
      [](void **) __attribute__((no_sanitize("address"))) {
        float own = 1;
        EXPECT_EQ(read(&own, genericRead), 1);
      },
      1, 1);
}

TEST(Access, SharedMemoryOfTheLastBlockIsGone) {
  EXPECT_FAILURE(launch(
                     [](void **) {
                       if (blockIndex() == 0)
                         write(shared(), 1);
                       else
                         read(shared());
                     },
                     2, 1, 32),
                 "block \\(1, 0, 0\\).*read of shared memory that nobody has written: address 0x0");
}

TEST(Race, BarriersOrder) {
  launch(
      [](void **) {
        uint32_t t = threadIndex();
        write(shared() + t, 1);
        barrier();
        read(shared() + (t + 32) % 64);
        barrier();
        write(shared() + (t + 1) % 64, 2);
      },
      1, 64, 256);
  EXPECT_FAILURE(
      launch(
          [](void **) {
            uint32_t t = threadIndex();
            write(shared() + t, 1);
            barrier();
            read(shared() + (t + 32) % 64);
            write(shared() + t, 2);
          },
          1, 64, 256),
      "race: (read|write) of shared memory that thread \\([0-9]+, 0, 0\\) has (read|written), without a barrier");
  EXPECT_FAILURE(launch([](void **) { write(shared(), 1); }, 1, 2, 256),
                 "race: write of shared memory that thread \\(0, 0, 0\\) has written");
}

TEST(Race, ABarrierOfOtherWarpsDoesNotOrder) {
  // Warps 0 and 1 meet; warp 2 reads what warp 0 wrote.
  EXPECT_FAILURE(launch(
                     [](void **) {
                       uint32_t warp = threadIndex() / 32;
                       if (warp == 0)
                         write(shared() + threadIndex(), 1);
                       if (warp < 2)
                         barrier(1, 64);
                       else
                         read(shared() + laneIndex());
                     },
                     1, 96, 1024),
                 "race: read of shared memory that thread \\(0, 0, 0\\) has written");
  // It is enough that one follows from the other: 0 meets 1, then 1 meets 2.
  launch(
      [](void **) {
        uint32_t warp = threadIndex() / 32;
        if (warp == 0)
          write(shared() + threadIndex(), 1);
        if (warp < 2)
          barrier(1, 64);
        if (warp > 0)
          barrier(2, 64);
        if (warp == 2)
          read(shared() + laneIndex());
      },
      1, 96, 1024);
}

TEST(Race, ArrivingOrdersWhatWasBefore) {
  static bool isLate;
  auto run = [](bool late) {
    isLate = late;
    launch(
        [](void **) {
          bool isProducer = threadIndex() < 32;
          if (isProducer) {
            if (!isLate)
              write(shared() + laneIndex(), 1);
            moe_simt_barrier(1, 64, MoeSimtAligned | MoeSimtArrive, 0, barrierA);
            if (isLate)
              write(shared() + laneIndex(), 1);
          } else {
            barrier(1, 64, barrierB);
            read(shared() + laneIndex());
          }
        },
        1, 64, 1024);
  };
  run(false);
  EXPECT_FAILURE(run(true), "race: read of shared memory that thread \\([0-9]+, 0, 0\\) has written");
}

TEST(Race, WarpsAreOrderedBySyncWarpOnly) {
  static uint32_t how;
  auto run = [](uint32_t operationCode) {
    how = operationCode;
    launch(
        [](void **) {
          write(shared() + laneIndex(), 1);
          collective(how, ~0u, {0, 0, 31});
          read(shared() + (laneIndex() + 1) % 32);
        },
        1, 32, 128);
  };
  run(MoeSimtSyncWarp);
  EXPECT_FAILURE(run(MoeSimtShuffleXor), "race: read of shared memory");
}

TEST(Race, AtomicsAreOrderedAmongThemselves) {
  static bool isPlain;
  auto run = [](bool plain) {
    isPlain = plain;
    launch(
        [](void **) {
          if (threadIndex() == 0)
            write(shared(), 0);
          barrier();
          moe_simt_access(shared(), sharedAtomic);
          if (isPlain)
            read(shared());
          barrier();
          read(shared());
        },
        1, 64, 128);
  };
  run(false);
  EXPECT_FAILURE(run(true), "race: (read|atomic) of shared memory");
}

TEST(Race, BlocksAreOrderedByAtomics) {
  float *memory = upload<float>({0, 0, 0, 0});
  void *params = memory;
  auto run = [&](bool withFlag, bool isWrite) {
    static bool hasFlag, writes;
    hasFlag = withFlag;
    writes = isWrite;
    launch(
        [](void **params) {
          float *memory = param<float *>(params, 0);
          uint32_t block = blockIndex();
          if (block == 0)
            write(memory, 1, globalWrite);
          if (hasFlag) {
            moe_simt_access(memory + 3, globalAtomic);
            memory[3] += 1;
          }
          if (block == 1) {
            if (writes)
              write(memory, 2, globalWrite);
            else
              read(memory, globalRead);
          }
          write(memory + 1 + block, 1, globalWrite); // each its own
        },
        2, 1, 0, {&params});
  };
  run(true, false);
  run(true, true);
  EXPECT_FAILURE(run(false, false), "block \\(1, 0, 0\\), thread \\(0, 0, 0\\): race: read of global memory that block "
                                    "\\(0, 0, 0\\) has written in the same launch at 'read global'");
  EXPECT_FAILURE(run(false, true), "race: write of global memory that block \\(0, 0, 0\\) has written");
  // Of the launch before anybody may touch everything.
  launch([](void **params) { write(param<float *>(params, 0) + blockIndex(), 1, globalWrite); }, 3, 1, 0, {&params});
  launch([](void **params) { read(param<float *>(params, 0) + 2 - blockIndex(), globalRead); }, 3, 1, 0, {&params});
  moe_rt_gpu_free(memory);
}

TEST(Race, AnAtomicBeforeTheWriteIsNotEnough) {
  float *memory = upload<float>({0, 0, 0, 0});
  void *params = memory;
  EXPECT_FAILURE(launch(
                     [](void **params) {
                       float *memory = param<float *>(params, 0);
                       moe_simt_access(memory + 3, globalAtomic);
                       if (blockIndex() == 0)
                         write(memory, 1, globalWrite);
                       else
                         read(memory, globalRead);
                     },
                     2, 1, 0, {&params}),
                 "race: read of global memory");
  moe_rt_gpu_free(memory);
}

TEST(AsyncCopy, IsDoneWhenItIsWaitedFor) {
  float *from = upload<float>({1, 2, 3, 4, 5, 6, 7, 8});
  void *params = from;
  launch(
      [](void **params) {
        const float *from = param<const float *>(params, 0);
        moe_simt_copy_async(shared(), from, 16, 16, copy16);
        moe_simt_copy_commit();
        moe_simt_copy_async(shared() + 4, from + 4, 16, 4, copy16);
        moe_simt_copy_commit();
        EXPECT_NE(shared()[0], 1);
        moe_simt_copy_wait(1);
        EXPECT_EQ(read(shared()), 1);
        EXPECT_EQ(read(shared() + 3), 4);
        EXPECT_NE(shared()[4], 5);
        moe_simt_copy_wait(0);
        EXPECT_EQ(read(shared() + 4), 5);
        EXPECT_EQ(read(shared() + 5), 0);
        // In no group: only a wait for everything waits for it.
        moe_simt_copy_async(shared(), from + 4, 16, 16, copy16);
        moe_simt_copy_wait(0);
        EXPECT_EQ(shared()[0], 1);
        moe_simt_copy_wait_all();
        EXPECT_EQ(read(shared()), 5);
      },
      1, 1, 32, {&params});
  EXPECT_FAILURE(launch(
                     [](void **params) {
                       moe_simt_copy_async(shared(), param<const float *>(params, 0), 16, 16, copy16);
                       read(shared());
                     },
                     1, 1, 32, {&params}),
                 "read of shared memory that an asynchronous copy of thread \\(0, 0, 0\\) may still be writing");
  EXPECT_FAILURE(
      launch([](void **params) { moe_simt_copy_async(shared() + 1, param<const float *>(params, 0), 16, 16, copy16); },
             1, 1, 32, {&params}),
      "misaligned asynchronous copy: expected a multiple of 16 but got shared address 0x4");
  EXPECT_FAILURE(
      launch([](void **params) { moe_simt_copy_async(shared(), param<const float *>(params, 0) + 8, 16, 16, copy16); },
             1, 1, 32, {&params}),
      "read out of bounds: 16 bytes at byte 32");
  moe_rt_gpu_free(from);
}

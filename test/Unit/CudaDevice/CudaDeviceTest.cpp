//===- CudaDeviceTest.cpp - Gpu.h on a driver of our own ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each test runs in a process of its own: the driver is opened once per process.
//
//===----------------------------------------------------------------------===//
#include "moe/Runtime/Gpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <initializer_list>
#include <numeric>
#include <thread>
#include <vector>

namespace {

struct CudaDevice : testing::Test {
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

/// Makes the fake driver the one that is found. The loader takes a loaded library for any name that it carries.
void useFakeDriver(std::initializer_list<std::pair<const char *, const char *>> settings = {},
                   const char *driver = MOE_FAKE_DRIVER) {
  for (auto [name, value] : settings)
    setenv(name, value, 1);
  if (!dlopen(driver, RTLD_NOW | RTLD_GLOBAL)) {
    fprintf(stderr, "cannot open the fake driver: %s\n", dlerror());
    _Exit(100);
  }
}

/// Runs `body` in a process of its own and expects it to return true.
template <typename Body> void expectTrue(Body body) {
  EXPECT_EXIT(exit(body() ? 0 : 99), testing::ExitedWithCode(0), "");
}

MoeGpuKernel makeKernel(const char *name, const char *image) { return {name, image, nullptr, nullptr, 2}; }

TEST_F(CudaDevice, SaysThatThereIsNoDriver) {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL))
    GTEST_SKIP() << "this machine has an NVIDIA driver";
  EXPECT_EXIT(moe_rt_gpu_alloc(4), testing::ExitedWithCode(1),
              "^error: expected an NVIDIA driver but got no libcuda.so.1; install the driver, or compile with ");
}

TEST_F(CudaDevice, SaysThatThereIsNoGpu) {
  for (const char *kind : {"none", "zero"})
    EXPECT_EXIT((useFakeDriver({{"FAKE_GPU", kind}}), moe_rt_gpu_alloc(4)), testing::ExitedWithCode(1),
                "^error: expected an NVIDIA GPU but got none \\(the driver is there\\)");
  EXPECT_EXIT((useFakeDriver({{"FAKE_GPU", "stub"}}), moe_rt_gpu_alloc(4)), testing::ExitedWithCode(1),
              "^error: expected an NVIDIA driver but got the toolkit's stub");
}

TEST_F(CudaDevice, SaysHowMuchMemoryWasNeeded) {
  for (const char *pools : {"0", "1"})
    EXPECT_EXIT((useFakeDriver({{"FAKE_GPU_FREE", "1000"}, {"FAKE_GPU_POOLS", pools}}), moe_rt_gpu_alloc(600),
                 moe_rt_gpu_alloc(500)),
                testing::ExitedWithCode(1),
                "^error: expected 500 bytes of free GPU memory but got 400 of 1000 on Fake GPU\n$");
}

TEST_F(CudaDevice, GivesMemoryBack) {
  for (const char *pools : {"0", "1"})
    expectTrue([&] {
      useFakeDriver({{"FAKE_GPU_FREE", "1000"}, {"FAKE_GPU_POOLS", pools}});
      for (int i = 0; i < 3; ++i)
        moe_rt_gpu_free(moe_rt_gpu_alloc(600));
      moe_rt_gpu_free(nullptr);
      moe_rt_gpu_free(moe_rt_gpu_alloc(0));
      return moe_rt_gpu_multiprocessors() == 7;
    });
}

TEST_F(CudaDevice, CopiesAndFills) {
  expectTrue([&] {
    useFakeDriver();
    std::vector<uint8_t> in(100), out(100);
    std::iota(in.begin(), in.end(), 1);
    void *a = moe_rt_gpu_alloc(100), *b = moe_rt_gpu_alloc(100);
    moe_rt_gpu_copy_in(a, in.data(), 100);
    moe_rt_gpu_copy(b, a, 100);
    moe_rt_gpu_fill(b, 0x1ff, 10);
    moe_rt_gpu_copy_out(out.data(), b, 100);
    std::fill_n(in.begin(), 10, 255);
    moe_rt_gpu_copy_in(a, nullptr, 0);
    return in == out;
  });
}

TEST_F(CudaDevice, UploadsOnce) {
  expectTrue([&] {
    useFakeDriver({{"FAKE_GPU_FREE", "1000"}});
    std::vector<uint8_t> weights(600, 7), out(600);
    const void *device = moe_rt_gpu_upload(weights.data(), 600);
    bool isSame = device == moe_rt_gpu_upload(weights.data(), 600);
    moe_rt_gpu_copy_out(out.data(), device, 600);
    return isSame && out == weights;
  });
}

TEST_F(CudaDevice, ReleasesConstantData) {
  expectTrue([&] {
    useFakeDriver({{"FAKE_GPU_FREE", "1000"}});
    std::vector<uint8_t> weights(600, 7), out(600);
    moe_rt_gpu_upload(weights.data(), 600);
    moe_rt_gpu_release(weights.data());
    // There is room again, and it is not taken for what was there before.
    weights.assign(600, 8);
    moe_rt_gpu_copy_out(out.data(), moe_rt_gpu_upload(weights.data(), 600), 600);
    return out == weights;
  });
}

TEST_F(CudaDevice, DescribesTensors) {
  const int64_t sizes[] = {192, 32}, strides[] = {384};
  const int32_t box[] = {64, 16};
  alignas(64) static uint64_t map[16];
  expectTrue([&] {
    useFakeDriver();
    void *data = moe_rt_gpu_alloc(32 * 384);
    moe_rt_gpu_tensor_map(map, data, MoeGpuBF16, 2, sizes, strides, box, 128);
    // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 and CU_TENSOR_MAP_SWIZZLE_128B, then size, stride and box of each dimension.
    const uint64_t expected[] = {9 << 16 | 2 << 8 | 3, reinterpret_cast<uintptr_t>(data), 192, 0, 64, 32, 384, 16};
    return std::equal(std::begin(expected), std::end(expected), map) && moe_rt_gpu_architecture() == 75;
  });
  EXPECT_EXIT((useFakeDriver(), moe_rt_gpu_tensor_map(map, static_cast<char *>(moe_rt_gpu_alloc(16)) + 8, MoeGpuF16, 2,
                                                      sizes, strides, box, 128)),
              testing::ExitedWithCode(3), "GPU: describing a tensor for bulk copies failed: CUDA_ERROR_INVALID_VALUE");
  EXPECT_EXIT((useFakeDriver({}, MOE_OLD_FAKE_DRIVER),
               moe_rt_gpu_tensor_map(map, moe_rt_gpu_alloc(16), MoeGpuF16, 2, sizes, strides, box, 128)),
              testing::ExitedWithCode(1),
              "^error: expected an NVIDIA driver for CUDA 12 or later but got one without cuTensorMapEncodeTiled");
}

/// Launches `add` on 6 blocks of 4 threads.
void launch(const MoeGpuKernel &kernel, void *data, int32_t value, int64_t sharedBytes) {
  void *params[] = {&data, &value};
  moe_rt_gpu_launch(&kernel, 3, 2, 1, 4, 1, 1, sharedBytes, params, 2);
}

TEST_F(CudaDevice, LaunchesFromAnyThread) {
  expectTrue([&] {
    useFakeDriver();
    MoeGpuKernel kernel = makeKernel("add", "sub add");
    std::vector<int32_t> values(24, 1);
    void *data = moe_rt_gpu_alloc(96);
    moe_rt_gpu_copy_in(data, values.data(), 96);
    launch(kernel, data, 2, 1000);
    std::thread([&] { launch(kernel, data, 3, 60 << 10); }).join();
    launch(kernel, data, 4, 60 << 10);
    void *params[] = {&data, &data};
    moe_rt_gpu_launch(&kernel, 0, 1, 1, 4, 1, 1, 0, params, 2); // an empty grid
    moe_rt_gpu_copy_out(values.data(), data, 96);
    return values == std::vector<int32_t>(24, 10);
  });
}

TEST_F(CudaDevice, SaysWhatALaunchLacks) {
  auto run = [](const char *name, const char *image, int64_t sharedBytes) {
    useFakeDriver();
    MoeGpuKernel kernel = makeKernel(name, image);
    launch(kernel, moe_rt_gpu_alloc(96), 1, sharedBytes);
  };
  EXPECT_EXIT(run("add", "other", 0), testing::ExitedWithCode(1),
              "^error: expected code for Fake GPU \\(sm_75\\) but got none that .*; compile with --gpu-arch=sm_75");
  EXPECT_EXIT(run("add", "add", 70000), testing::ExitedWithCode(1),
              "^error: kernel add: expected 70000 bytes of shared memory per block but got 65536 on Fake GPU\n$");
  EXPECT_EXIT(run("mul", "add", 0), testing::ExitedWithCode(3), "^error: GPU: mul failed: CUDA_ERROR_NOT_FOUND");
}

/// PTX that every GPU since 2014 takes: data[block * 4 + thread] += value.
constexpr const char *ptx = R"(.version 6.0
.target sm_50
.address_size 64
.visible .entry add(.param .u64 data, .param .u32 value) {
  .reg .u32 %r<6>; .reg .u64 %d<4>;
  ld.param.u64 %d1, [data]; ld.param.u32 %r1, [value];
  mov.u32 %r2, %ctaid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r2, 4, %r3;
  mul.wide.u32 %d2, %r4, 4; add.u64 %d3, %d1, %d2;
  ld.global.u32 %r5, [%d3]; add.u32 %r5, %r5, %r1; st.global.u32 [%d3], %r5;
  ret;
})";

TEST_F(CudaDevice, WorksOnARealGpu) {
  if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL))
    GTEST_SKIP() << "this machine has no NVIDIA driver";
  expectTrue([&] {
    MoeGpuKernel kernel = makeKernel("add", ptx);
    std::vector<int32_t> values(24, 1);
    const void *uploaded = moe_rt_gpu_upload(values.data(), 96);
    void *data = moe_rt_gpu_alloc(96);
    moe_rt_gpu_copy(data, uploaded, 96);
    int32_t value = 2;
    void *params[] = {&data, &value};
    moe_rt_gpu_launch(&kernel, 6, 1, 1, 4, 1, 1, 60 << 10, params, 2);
    moe_rt_gpu_copy_out(values.data(), data, 96);
    moe_rt_gpu_free(data);
    return values == std::vector<int32_t>(24, 3);
  });
}

} // namespace

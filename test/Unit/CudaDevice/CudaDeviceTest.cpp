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

MoeGpuKernel makeKernel(const char *name, const char *image) {
  static const int64_t bytes[] = {8, 4};
  return {name, image, nullptr, nullptr, 2, bytes};
}

/// How often the fake driver's function `name` was called.
int calls(const char *name) {
  static auto *count = reinterpret_cast<int (*)(const char *)>(dlsym(RTLD_DEFAULT, "fakeCalls"));
  return count(name);
}

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
  EXPECT_EXIT((useFakeDriver({{"FAKE_GPU_FREE", "1000"}}), moe_rt_gpu_alloc(600), moe_rt_gpu_alloc(500)),
              testing::ExitedWithCode(1),
              "^error: expected 500 bytes of free GPU memory but got 232 of 1000 on Fake GPU\n$");
  std::vector<uint8_t> weights(2000);
  EXPECT_EXIT((useFakeDriver({{"FAKE_GPU_FREE", "1000"}}), moe_rt_gpu_upload(weights.data(), 2000)),
              testing::ExitedWithCode(1),
              "^error: expected 2000 bytes of free GPU memory for weights but got 1000 of 1000 on Fake GPU\n$");
}

TEST_F(CudaDevice, GivesMemoryBack) {
  expectTrue([&] {
    useFakeDriver({{"FAKE_GPU_FREE", "1100"}});
    for (int i = 0; i < 3; ++i)
      moe_rt_gpu_free(moe_rt_gpu_alloc(600));
    moe_rt_gpu_free(nullptr);
    moe_rt_gpu_free(moe_rt_gpu_alloc(0));
    // What lies unused is too small now.
    moe_rt_gpu_free(moe_rt_gpu_alloc(1000));
    return moe_rt_gpu_multiprocessors() == 7;
  });
}

TEST_F(CudaDevice, AsksTheDriverForMemoryOnce) {
  expectTrue([&] {
    useFakeDriver({{"FAKE_GPU_FREE", "100000000"}});
    std::vector<void *> first, again;
    for (std::vector<void *> *step : {&first, &again}) {
      // In no order, and with neighbours that become one again.
      for (int64_t bytes : {100, 5000, 256, 100000, 1, 5000})
        step->push_back(moe_rt_gpu_alloc(bytes));
      for (int i : {1, 0, 3, 5})
        moe_rt_gpu_free((*step)[i]);
      step->push_back(moe_rt_gpu_alloc(104000));
      for (int i : {6, 2, 4})
        moe_rt_gpu_free((*step)[i]);
    }
    for (size_t i = 0; i < 6; ++i)
      for (size_t j = 0; j < i; ++j)
        if (first[i] == first[j])
          return false;
    return first == again && calls("cuMemAlloc") == 1;
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

TEST_F(CudaDevice, UploadsInPieces) {
  expectTrue([&] {
    size_t bytes = (64 << 20) + 1000;
    useFakeDriver({{"FAKE_GPU_FREE", "100000000"}});
    std::vector<uint32_t> weights(bytes / 4), out(bytes / 4);
    std::iota(weights.begin(), weights.end(), 0);
    moe_rt_gpu_copy_out(out.data(), moe_rt_gpu_upload(weights.data(), int64_t(bytes)), int64_t(bytes));
    return out == weights && calls("cuMemcpyHtoDAsync") == 3;
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
    // The same again, and another one in between: the driver is asked once for each.
    alignas(64) uint64_t other[16], again[16];
    moe_rt_gpu_tensor_map(other, data, MoeGpuF16, 2, sizes, strides, box, 128);
    moe_rt_gpu_tensor_map(again, data, MoeGpuBF16, 2, sizes, strides, box, 128);
    bool isKept =
        std::equal(std::begin(map), std::end(map), again) && other[0] != map[0] && calls("cuTensorMapEncodeTiled") == 2;
    // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 and CU_TENSOR_MAP_SWIZZLE_128B, then size, stride and box of each dimension.
    const uint64_t expected[] = {9 << 16 | 2 << 8 | 3, reinterpret_cast<uintptr_t>(data), 192, 0, 64, 32, 384, 16};
    return isKept && std::equal(std::begin(expected), std::end(expected), map) && moe_rt_gpu_architecture() == 75;
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

/// A step of a model: allocations, three launches, and a result for the host. `value` is what changes from step to
/// step.
int32_t runStep(const MoeGpuKernel (&kernels)[3], int32_t value) {
  int32_t start = 1, result = 0;
  std::vector<int32_t> values(24, start);
  void *data = moe_rt_gpu_alloc(96);
  moe_rt_gpu_copy_in(data, values.data(), 96);
  launch(kernels[0], data, 5, 0);
  launch(kernels[1], data, value, 0);
  launch(kernels[2], data, 7, 0);
  moe_rt_gpu_copy_out(&result, data, 4);
  moe_rt_gpu_free(data);
  return result;
}

TEST_F(CudaDevice, RepeatsAStepAsAGraph) {
  expectTrue([&] {
    useFakeDriver();
    const MoeGpuKernel kernels[] = {makeKernel("add", "add sub shift"), makeKernel("shift", "add sub shift"),
                                    makeKernel("sub", "add sub shift")};
    for (int32_t value : {1, 1, 1, 2, 3})
      if (runStep(kernels, value) != 2 * (1 + 5) + value - 7)
        return false;
    // Seen, made, as it was, and twice with one other value.
    return calls("cuLaunchKernel") == 3 && calls("cuGraphInstantiate") == 1 && calls("cuGraphLaunch") == 4 &&
           calls("cuGraphExecKernelNodeSetParams") == 2;
  });
}

TEST_F(CudaDevice, LaunchesOtherKernelsOneByOne) {
  expectTrue([&] {
    useFakeDriver();
    const char *image = "add sub shift";
    const MoeGpuKernel kernels[] = {makeKernel("add", image), makeKernel("shift", image), makeKernel("sub", image)};
    const MoeGpuKernel others[] = {makeKernel("add", image), makeKernel("sub", image), makeKernel("sub", image)};
    bool isRight = true;
    for (int32_t value : {1, 2}) {
      isRight &= runStep(kernels, value) == 12 + value - 7;
      isRight &= runStep(others, value) == 6 - value - 7;
    }
    // Both rows were seen twice.
    isRight &= calls("cuLaunchKernel") == 6 && calls("cuGraphInstantiate") == 2 && calls("cuGraphLaunch") == 2;
    // The first one again, then one launch alone.
    isRight &= runStep(kernels, 3) == 12 + 3 - 7 && calls("cuGraphLaunch") == 3;
    void *data = moe_rt_gpu_alloc(96);
    moe_rt_gpu_fill(data, 0, 96);
    for (int i = 0; i < 3; ++i) {
      launch(kernels[0], data, 1, 0);
      moe_rt_gpu_synchronize();
    }
    return isRight && calls("cuLaunchKernel") == 9 && calls("cuGraphLaunch") == 3;
  });
}

TEST_F(CudaDevice, MakesNoGraphsWhereNoneAreWanted) {
  for (std::pair<const char *, const char *> setting :
       {std::pair("MOE_GPU_GRAPHS", "0"), std::pair("FAKE_GPU_GRAPHS", "0")})
    expectTrue([&] {
      useFakeDriver({setting});
      const char *image = "add sub shift";
      const MoeGpuKernel kernels[] = {makeKernel("add", image), makeKernel("shift", image), makeKernel("sub", image)};
      bool isRight = true;
      for (int32_t value : {1, 2, 3})
        isRight &= runStep(kernels, value) == 12 + value - 7;
      return isRight && calls("cuLaunchKernel") == 9 && calls("cuGraphLaunch") == 0;
    });
}

TEST_F(CudaDevice, MakesAGraphAgainThatCannotBeChanged) {
  expectTrue([&] {
    useFakeDriver({{"FAKE_GPU_GRAPHS", "fixed"}});
    const char *image = "add sub shift";
    const MoeGpuKernel kernels[] = {makeKernel("add", image), makeKernel("shift", image), makeKernel("sub", image)};
    bool isRight = true;
    for (int32_t value : {1, 1, 2, 2})
      isRight &= runStep(kernels, value) == 12 + value - 7;
    return isRight && calls("cuLaunchKernel") == 6 && calls("cuGraphInstantiate") == 2 &&
           calls("cuGraphExecDestroy") == 1 && calls("cuGraphLaunch") == 2;
  });
}

TEST_F(CudaDevice, ForgetsRowsThatWereNotUsedForLong) {
  expectTrue([&] {
    useFakeDriver();
    const char *image = "add sub shift";
    std::vector<MoeGpuKernel> kernels(20, makeKernel("add", image));
    void *data = moe_rt_gpu_alloc(96);
    moe_rt_gpu_fill(data, 0, 96);
    for (int round = 0; round < 2; ++round)
      for (const MoeGpuKernel &kernel : kernels)
        for (int repetition = 0; repetition < 2; ++repetition) {
          launch(kernel, data, 1, 0);
          launch(kernel, data, 1, 0);
          moe_rt_gpu_synchronize();
        }
    int32_t sum = 0;
    moe_rt_gpu_copy_out(&sum, data, 4);
    return sum == 160 && calls("cuGraphInstantiate") == 40 && calls("cuGraphExecDestroy") == 24;
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

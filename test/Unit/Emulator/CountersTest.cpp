//===- CountersTest.cpp - wavefronts and sectors of known patterns --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/Runtime/Emulator/Counters.h"
#include "HostKernel.h"

#include "gtest/gtest.h"

#include <functional>

using namespace moe::rt::simt;

static Request request(const std::function<uint64_t(uint32_t)> &address, uint32_t mask = ~0u) {
  Request request;
  request.mask = mask;
  for (uint32_t lane = 0; lane < 32; ++lane)
    request.addresses[lane] = address(lane);
  return request;
}

/// The wavefronts and the least possible ones.
static std::pair<uint64_t, uint64_t> wavefronts(const Request &request, uint32_t bytes, bool atomic = false) {
  AccessCounts counts = countShared(request, bytes, atomic);
  return {counts.wavefronts, counts.idealWavefronts};
}

using Pair = std::pair<uint64_t, uint64_t>;

TEST(Counters, WordsWithStrides) {
  EXPECT_EQ(wavefronts(request([](uint32_t) { return 64; }), 4), Pair(1, 1));
  for (uint64_t stride : {1, 3, 5, 31, 33})
    EXPECT_EQ(wavefronts(request([&](uint32_t lane) { return 4 * stride * lane; }), 4), Pair(1, 1)) << stride;
  for (uint64_t stride : {2, 4, 8, 16, 32})
    EXPECT_EQ(wavefronts(request([&](uint32_t lane) { return 4 * stride * lane; }), 4), Pair(stride, 1)) << stride;
}

TEST(Counters, SmallElementsShareWords) {
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 2 * lane; }), 2), Pair(1, 1));
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 256 * lane; }), 2), Pair(32, 1));
}

TEST(Counters, WideElementsHavePhases) {
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 8 * lane; }), 8), Pair(2, 2));
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 16 * lane; }), 16), Pair(4, 4));
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 16 * lane; }, 0xff), 16), Pair(1, 1));
  // Two instructions.
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 32 * lane; }), 32), Pair(16, 8));
}

/// Rows of 16 bytes as ldmatrix reads them: lane l has row l % 8 of matrix l / 8; matrices side by side.
static Request matrices(uint64_t rowBytes, const std::function<uint64_t(uint64_t)> &swizzle) {
  return request([&](uint32_t lane) { return swizzle((lane % 8 + lane / 16 * 8) * rowBytes + lane / 8 % 2 * 16); });
}

TEST(Counters, RowsOfMatrices) {
  auto plain = [](uint64_t address) { return address; };
  EXPECT_EQ(wavefronts(matrices(64, plain), 16), Pair(16, 4));
  EXPECT_EQ(wavefronts(matrices(128, plain), 16), Pair(32, 4));
  for (uint64_t rowBytes : {80, 144, 272})
    EXPECT_EQ(wavefronts(matrices(rowBytes, plain), 16), Pair(4, 4)) << rowBytes;
  EXPECT_EQ(wavefronts(matrices(64, [](uint64_t a) { return a ^ (a >> 7 & 3) << 4; }), 16), Pair(4, 4));
  EXPECT_EQ(wavefronts(matrices(128, [](uint64_t a) { return a ^ (a >> 7 & 7) << 4; }), 16), Pair(4, 4));
}

TEST(Counters, CopiesOfTileRows) {
  auto copies = [](uint64_t rowBytes, uint64_t apart) {
    return request([=](uint32_t lane) { return 16 * lane / rowBytes * apart + 16 * lane % rowBytes; });
  };
  EXPECT_EQ(wavefronts(copies(64, 80), 16), Pair(8, 4));
  EXPECT_EQ(wavefronts(copies(64, 64), 16), Pair(4, 4));
  EXPECT_EQ(wavefronts(copies(128, 144), 16), Pair(4, 4));
}

TEST(Counters, AtomicsOfOneWordTakeTurns) {
  EXPECT_EQ(wavefronts(request([](uint32_t) { return 0; }), 4, true), Pair(32, 1));
  EXPECT_EQ(wavefronts(request([](uint32_t lane) { return 4 * lane; }), 4, true), Pair(1, 1));
}

TEST(Counters, Sectors) {
  auto sectors = [](const Request &request, uint32_t bytes) { return countGlobal(request, bytes).sectors; };
  for (uint32_t bytes : {4, 8, 16})
    EXPECT_EQ(sectors(request([&](uint32_t lane) { return 4096 + bytes * lane; }), bytes), bytes);
  EXPECT_EQ(sectors(request([](uint32_t lane) { return 4100 + 4 * lane; }), 4), 5u); // off by one element
  EXPECT_EQ(sectors(request([](uint32_t lane) { return 4096 + 64 * lane; }), 4), 32u);
  EXPECT_EQ(sectors(request([](uint32_t lane) { return 4096 - 64 * lane; }), 4), 32u);
  EXPECT_EQ(sectors(request([](uint32_t) { return 4096; }), 4), 1u);
  // An element across the border of two sectors.
  EXPECT_EQ(sectors(request([](uint32_t) { return 4096 + 24; }, 1), 16), 2u);
  AccessCounts counts = countGlobal(request([](uint32_t lane) { return 4096 + 4 * (lane / 2); }), 4);
  EXPECT_EQ(counts.bytes, 128u);
  EXPECT_EQ(counts.sectorBytes, 64u);
  EXPECT_EQ(counts.sectors, 2u);
}

TEST(Counters, RequestsAreTheExecutionsOfAllLanes) {
  Requests requests;
  std::vector<uint32_t> masks;
  auto done = [&](uint32_t, const Request &request) {
    masks.push_back(request.mask);
    EXPECT_EQ(request.bytes, 16u);
  };
  // Two lanes, each twice, one after the other; lane 1 a third time.
  for (uint32_t lane : {0, 1})
    for (int i = 0; i < 2; ++i)
      requests.add(7, lane, 100, 16, 3, done);
  EXPECT_EQ(masks, (std::vector<uint32_t>{3, 3}));
  requests.add(7, 1, 100, 16, 3, done);
  requests.flush(done);
  EXPECT_EQ(masks, (std::vector<uint32_t>{3, 3, 2}));
  requests.flush(done);
  EXPECT_EQ(masks.size(), 3u);
}

TEST(Counters, SumsOfLaunches) {
  float *from = moe::test::upload(std::vector<float>(32));
  void *params = from;
  moe_rt_gpu_take_counters(); // from now on
  for (int i = 0; i < 2; ++i)
    moe::test::launch(
        [](void **params) {
          // Ten lanes copy 16 bytes each: the others have nothing to do with global memory.
          uint32_t lane = moe::test::laneIndex(), bytes = lane < 10 ? 16 : 0;
          moe_simt_copy_async(moe::test::shared() + 4 * lane,
                              moe::test::param<const float *>(params, 0) + 4 * (lane % 8), 16, bytes,
                              moe::test::copy16);
          moe_simt_copy_wait_all();
        },
        3, 32, 512, {&params});
  std::string text = moe_rt_gpu_take_counters();
  EXPECT_NE(text.find("[{\"kernel\": \"k\", \"launches\": 2, \"blocks\": 6, "), std::string::npos) << text;
  EXPECT_NE(text.find("\"global\": {\"requests\": 6, \"bytes\": 960, \"sectors\": 24, \"sector_bytes_used\": 768, "
                      "\"different_sectors_read\": 8, \"different_sectors_written\": 0}"),
            std::string::npos)
      << text;
  EXPECT_STREQ(moe_rt_gpu_take_counters(), "[]");
  moe_rt_gpu_free(from);
}

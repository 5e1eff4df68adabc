//===- HopperTest.cpp - mbarriers, bulk copies, products of warpgroups ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Against plain loops, with addresses computed here from the PTX manual's tables: what lies where in shared memory.
//
//===----------------------------------------------------------------------===//
#include "HostKernel.h"

#include "gtest/gtest.h"

#include <bit>
#include <cstring>

using namespace moe::test;

/// As converted kernels bring it.
extern "C" const int32_t moe_simt_architecture = 90;

TEST(Architecture, IsThatOfTheKernels) { EXPECT_EQ(moe_rt_gpu_architecture(), 90); }

/// Expects that the statement ends the process with a message.
#define EXPECT_FAILURE(statement, message) EXPECT_EXIT(statement, testing::ExitedWithCode(3), message)

namespace {

struct alignas(64) Map {
  char bytes[128];
};

/// What the kernels do; they see it as a global variable.
struct BulkCopy {
  std::vector<int64_t> sizes, strides; // elements
  std::vector<int32_t> box, at;
  int32_t swizzle;
};

/// What the rows of a box become: element i of the box, in order, or 0 outside of the tensor.
std::vector<float> boxOf(const BulkCopy &copy, const std::vector<float> &tensor) {
  size_t rank = copy.sizes.size(), count = 1;
  for (int32_t size : copy.box)
    count *= size_t(size);
  std::vector<float> result;
  for (size_t i = 0; i < count; ++i) {
    size_t rest = i;
    int64_t place = 0;
    bool isInside = true;
    for (size_t d = 0; d < rank; ++d) {
      int64_t index = copy.at[d] + int64_t(rest % size_t(copy.box[d]));
      rest /= size_t(copy.box[d]);
      isInside &= index >= 0 && index < copy.sizes[d];
      place += index * (d ? copy.strides[d - 1] : 1);
    }
    result.push_back(isInside ? tensor[size_t(place)] : 0);
  }
  return result;
}

/// The swizzles by rows, as the manual draws them: with S bytes, chunk c of row r moves to chunk c ^ p, where p counts
/// the lines of 128 bytes within the pattern.
size_t placeOf(size_t byte, int32_t swizzle) {
  size_t chunk = byte / 16 % 8, line = byte / 128;
  size_t exchanged = swizzle == 128  ? chunk ^ line % 8
                     : swizzle == 64 ? chunk ^ line % 4
                     : swizzle == 32 ? chunk ^ line % 2
                                     : chunk;
  return line * 128 + exchanged * 16 + byte % 16;
}

void *mbarrierAt(uint64_t offset) { return static_cast<char *>(moe_simt_shared_memory()) + offset; }

/// One bulk copy of f32 by one thread, read back by another warp that waits for it.
void check(const BulkCopy &what) {
  static BulkCopy copy;
  static std::vector<float> result;
  copy = what;
  size_t needed = size_t(copy.sizes[0]);
  for (size_t d = 1; d < copy.sizes.size(); ++d)
    needed += size_t((copy.sizes[d] - 1) * copy.strides[d - 1]);
  std::vector<float> tensor(needed);
  for (size_t i = 0; i < needed; ++i)
    tensor[i] = float(i + 1);
  float *memory = upload(tensor);
  Map map;
  std::vector<int64_t> strides;
  for (int64_t stride : copy.strides)
    strides.push_back(4 * stride);
  moe_rt_gpu_tensor_map(&map, memory, MoeGpuF32, int32_t(copy.sizes.size()), copy.sizes.data(), strides.data(),
                        copy.box.data(), copy.swizzle);
  std::vector<float> expected = boxOf(copy, tensor);
  result.assign(expected.size(), -1);
  launch(
      [](void **params) {
        constexpr uint64_t barrierOffset = 65536;
        if (threadIndex() == 0) {
          moe_simt_mbarrier_init(mbarrierAt(barrierOffset), 1, operation);
          moe_simt_proxy_fence();
          moe_simt_mbarrier_arrive(mbarrierAt(barrierOffset), 1, uint32_t(4 * result.size()), operation);
          moe_simt_copy_tensor(moe_simt_shared_memory(), params[0], mbarrierAt(barrierOffset), uint32_t(copy.at.size()),
                               copy.at.data(), copy16);
        }
        barrier();
        if (threadIndex() != 32)
          return;
        moe_simt_mbarrier_test(mbarrierAt(barrierOffset), 0, MoeSimtParity | MoeSimtWait, operation);
        for (size_t i = 0; i < result.size(); ++i)
          result[i] = read(shared() + placeOf(4 * i, copy.swizzle) / 4);
      },
      1, 64, 65536 + 8, {&map});
  EXPECT_EQ(result, expected);
  moe_rt_gpu_free(memory);
}

} // namespace

TEST(BulkCopies, RanksAndSwizzles) {
  check({{64}, {}, {16}, {24}, 0});
  for (int32_t swizzle : {32, 64, 128}) {
    int32_t row = swizzle / 4;
    check({{64}, {}, {row}, {8}, swizzle});
    check({{100, 30}, {104}, {row, 16}, {8, 3}, swizzle});
    check({{50, 7, 5}, {52, 400}, {row, 4, 3}, {4, 2, 1}, swizzle});
    check({{32, 2, 3, 4}, {64, 128, 32}, {row, 2, 2, 3}, {0, 0, 1, 1}, swizzle});
    check({{32, 2, 3, 4, 2}, {32, 64, 192, 768}, {row, 1, 3, 2, 2}, {0, 1, 0, 2, 0}, swizzle});
  }
  check({{100, 30}, {104}, {12, 16}, {8, 3}, 0});
}

TEST(BulkCopies, OutsideIsZero) {
  check({{40, 10}, {40}, {32, 8}, {16, 5}, 128}); // behind the end of both
  check({{40, 10}, {40}, {32, 8}, {-4, -3}, 128});
  check({{40, 10}, {40}, {32, 8}, {64, 0}, 128}); // all of it
  check({{5, 2, 3}, {8, 16}, {16, 4, 4}, {-2, -1, 1}, 64});
}

TEST(BulkCopies, MapsThatNoDriverTakes) {
  float *memory = upload(std::vector<float>(1024));
  auto make = [&](int64_t address, std::vector<int64_t> sizes, std::vector<int64_t> strides, std::vector<int32_t> box,
                  int32_t swizzle) {
    Map map;
    moe_rt_gpu_tensor_map(&map, reinterpret_cast<char *>(memory) + address, MoeGpuBF16, int32_t(sizes.size()),
                          sizes.data(), strides.data(), box.data(), swizzle);
  };
  make(0, {64, 8}, {128}, {64, 8}, 128);
  EXPECT_FAILURE(make(8, {64, 8}, {128}, {64, 8}, 128), "a tensor map: expected an address that is a multiple of 16");
  EXPECT_FAILURE(make(0, {64, 8}, {136}, {64, 8}, 128), "dimension 1: expected a stride that is a multiple of 16");
  EXPECT_FAILURE(make(0, {64, 8}, {128}, {64, 257}, 128),
                 "dimension 1: expected a box of 1 to 256 elements but got 257");
  EXPECT_FAILURE(make(0, {64, 8}, {128}, {4, 8}, 0),
                 "misaligned box: expected rows of a multiple of 16 bytes but got 8");
  EXPECT_FAILURE(make(0, {64, 8}, {128}, {32, 8}, 128),
                 "expected rows of 128 bytes, as the swizzle has it, but got 64");
  EXPECT_FAILURE(make(0, {64, 8}, {128}, {64, 8}, 48), "expected a swizzle of 0, 32, 64 or 128 bytes but got 48");
  moe_rt_gpu_free(memory);
}

TEST(BulkCopies, WhatIsNotWaitedFor) {
  static int bug;
  float *memory = upload(std::vector<float>(1024));
  Map map;
  int64_t sizes[] = {32, 32}, strides[] = {128};
  int32_t box[] = {32, 8};
  moe_rt_gpu_tensor_map(&map, memory, MoeGpuF32, 2, sizes, strides, box, 128);
  auto run = [&](int which) {
    bug = which;
    launch(
        [](void **params) {
          const int32_t at[] = {0, 0};
          if (threadIndex() == 0) {
            moe_simt_mbarrier_init(mbarrierAt(2048), 1, operation);
            moe_simt_proxy_fence();
            moe_simt_mbarrier_arrive(mbarrierAt(2048), 1, 1024, operation);
            moe_simt_copy_tensor(mbarrierAt(bug == 2 ? 128 : 0), params[0], mbarrierAt(2048), bug == 3 ? 3 : 2, at,
                                 copy16);
          }
          barrier();
          if (bug == 1)
            read(shared());
        },
        1, 32, 2056, {&map});
  };
  EXPECT_FAILURE(run(0), "thread \\(0, 0, 0\\): the block ends while copies to its shared memory that this thread has "
                         "begun are under way");
  EXPECT_FAILURE(run(1),
                 "read of shared memory that an asynchronous copy of thread \\(0, 0, 0\\) may still be writing");
  EXPECT_FAILURE(run(2), "misaligned bulk copy: expected a multiple of 1024, for the swizzle, but got shared address "
                         "0x80");
  EXPECT_FAILURE(run(3), "expected a tensor map of 3 dimensions but got one of 2");
  moe_rt_gpu_free(memory);
}

namespace {

/// A product of 64 x N by depth 64 (four instructions), from matrices of small integers: every sum is exact.
struct Product {
  uint32_t columns;
  uint32_t swizzle;
  bool isHalf;
  uint32_t flags; // MoeSimtWgmmaZero of the first, signs
};
constexpr uint32_t rows = 64, depth = 64;

const Product *product;
int a[rows][depth], b[256][depth], c[rows][256];
float d[rows][256];

uint16_t encode(int value) {
  return product->isHalf ? moe_simt_to_f16(float(value)) : uint16_t(std::bit_cast<uint32_t>(float(value)) >> 16);
}

/// Where element (row, k) of a matrix of `count` rows lies. Without a swizzle: bricks of 8 rows of 16 bytes, the bricks
/// of eight rows side by side. With one of S bytes: S bytes of each row, row by row, then the next S bytes of all rows.
uint64_t elementAt(uint32_t row, uint32_t k, uint32_t count) {
  uint32_t width = product->swizzle;
  if (width == 0)
    return row / 8 * (depth / 8 * 128) + k / 8 * 128 + row % 8 * 16 + k % 8 * 2;
  uint64_t panel = 2 * k / width * (count * width);
  return panel + placeOf(row * width + 2 * k % width, int32_t(width));
}

/// The descriptor of 16 columns from `k` on of a matrix at an address of shared memory.
uint64_t descriptorOf(const void *matrix, uint32_t k, uint32_t count) {
  uint32_t width = product->swizzle;
  uint64_t start = reinterpret_cast<uintptr_t>(matrix), leading = 16, stride = 8 * width;
  if (width == 0) {
    start += k / 8 * 128;
    leading = 128;
    stride = depth / 8 * 128;
  } else {
    start += 2 * k / width * (count * width) + 2 * k % width;
  }
  uint64_t mode = width == 128 ? 1 : width == 64 ? 2 : width == 32 ? 3 : 0;
  return (start & 0x3ffff) >> 4 | leading / 16 << 16 | stride / 16 << 32 | mode << 62;
}

void multiply(void **) {
  auto *matrixA = static_cast<char *>(moe_simt_shared_memory()), *matrixB = matrixA + 8192;
  uint32_t n = product->columns, t = threadIndex();
  auto store = [&](char *matrix, const int *row, uint32_t index, uint32_t count) {
    for (uint32_t k = 0; k < depth; k += 2) {
      uint16_t bits[] = {encode(row[k]), encode(row[k + 1])};
      char *to = matrix + elementAt(index, k, count);
      moe_simt_access(to, sharedWrite);
      memcpy(to, bits, 4);
    }
  };
  if (t < rows)
    store(matrixA, a[t], t, rows);
  for (uint32_t column = t; column < n; column += 128)
    store(matrixB, b[column], column, n);
  moe_simt_proxy_fence();
  barrier();
  float registers[128];
  auto row = [&](uint32_t i) { return 16 * (t / 32) + t % 32 / 4 + (i & 2 ? 8 : 0); };
  auto column = [&](uint32_t i) { return i / 4 * 8 + t % 4 * 2 + (i & 1); };
  for (uint32_t i = 0; i < n / 2; ++i)
    registers[i] = float(c[row(i)][column(i)]);
  collective(MoeSimtWgmmaFence, ~0u, {});
  for (uint32_t k = 0; k < depth; k += 16) {
    uint32_t flags = n | (product->isHalf ? MoeSimtWgmmaF16 : 0) | product->flags;
    if (k)
      flags &= ~uint32_t(MoeSimtWgmmaZero);
    moe_simt_wgmma(registers, descriptorOf(matrixA, k, rows), descriptorOf(matrixB, k, n), flags, operation);
  }
  collective(MoeSimtWgmmaCommit, ~0u, {});
  moe_simt_wgmma_wait(0, operation);
  for (uint32_t i = 0; i < n / 2; ++i)
    d[row(i)][column(i)] = moe_simt_wgmma_value(registers[i], operation);
}

void check(const Product &what) {
  product = &what;
  uint32_t state = what.columns;
  auto next = [&] {
    state = state * 1103515245u + 12345u;
    return int(state >> 16 & 7) - 3;
  };
  for (auto &values : a)
    for (int &value : values)
      value = next();
  for (auto &values : b)
    for (int &value : values)
      value = next();
  for (auto &values : c)
    for (int &value : values)
      value = next();
  launch(multiply, 1, 128, 8192 + 256 * 128);
  int sign = ((what.flags & MoeSimtWgmmaNegateA) != 0) == ((what.flags & MoeSimtWgmmaNegateB) != 0) ? 1 : -1;
  for (uint32_t m = 0; m < rows; ++m)
    for (uint32_t n = 0; n < what.columns; ++n) {
      int sum = what.flags & MoeSimtWgmmaZero ? 0 : c[m][n];
      for (uint32_t k = 0; k < depth; ++k)
        sum += sign * a[m][k] * b[n][k];
      ASSERT_EQ(d[m][n], float(sum)) << m << " " << n << " of " << what.columns << ", swizzle " << what.swizzle;
    }
}

} // namespace

TEST(Warpgroups, ProductsOfAllWidths) {
  for (uint32_t columns = 8; columns <= 256; columns += 8)
    check({columns, 128, columns % 16 == 0, 0});
}

TEST(Warpgroups, ProductsOfAllSwizzles) {
  for (uint32_t swizzle : {0, 32, 64, 128})
    for (bool isHalf : {false, true})
      check({96, swizzle, isHalf, 0});
}

TEST(Warpgroups, SignsAndAddends) {
  check({16, 128, false, MoeSimtWgmmaZero});
  check({16, 128, false, MoeSimtWgmmaNegateA});
  check({16, 128, true, MoeSimtWgmmaNegateB});
  check({16, 128, true, MoeSimtWgmmaNegateA | MoeSimtWgmmaNegateB | MoeSimtWgmmaZero});
}

TEST(Warpgroups, PartsOfThem) {
  auto begin = [](void **) { collective(MoeSimtWgmmaFence, ~0u, {}); };
  EXPECT_FAILURE(launch(begin, 1, 96), "warp 0 is in no warpgroup: the block has only 0 at 'operation'");
  EXPECT_FAILURE(launch(
                     [](void **) {
                       static const Product only = {8, 128, false, 0};
                       product = &only;
                       if (threadIndex() >= 96)
                         return;
                       multiply(nullptr);
                     },
                     1, 128, 8192 + 256 * 128),
                 "divergent barrier|deadlock");
}

TEST(MBarriers, CountsAndPhases) {
  static std::vector<uint32_t> order;
  order.clear();
  // Four warps arrive, with counts, in two phases; a fifth waits by state and by parity.
  launch(
      [](void **) {
        void *object = mbarrierAt(64);
        uint32_t warp = threadIndex() / 32;
        if (threadIndex() == 0)
          moe_simt_mbarrier_init(object, 10, operation);
        barrier();
        if (laneIndex() != 0)
          return;
        if (warp < 4) {
          uint64_t state = moe_simt_mbarrier_arrive(object, warp + 1, 0, operation);
          moe_simt_mbarrier_test(object, state, MoeSimtWait, operation);
          write(shared() + warp, float(warp));
          moe_simt_mbarrier_arrive(object, warp + 1, 0, operation);
          return;
        }
        order.push_back(moe_simt_mbarrier_test(object, 1, MoeSimtParity, operation)); // the phase before the first
        moe_simt_mbarrier_test(object, 0, MoeSimtParity | MoeSimtWait, operation);
        moe_simt_mbarrier_test(object, 1, MoeSimtParity | MoeSimtWait, operation);
        for (uint32_t i = 0; i < 4; ++i)
          order.push_back(uint32_t(read(shared() + i)));
        moe_simt_mbarrier_invalidate(object, operation);
        moe_simt_mbarrier_init(object, 1, operation);
      },
      1, 160, 72);
  EXPECT_EQ(order, (std::vector<uint32_t>{1, 0, 1, 2, 3}));
}

TEST(MBarriers, WrongUse) {
  static int bug;
  auto run = [&](int which) {
    bug = which;
    launch(
        [](void **) {
          void *object = mbarrierAt(bug == 1 ? 4 : 8);
          if (threadIndex() == 0 && bug != 0)
            moe_simt_mbarrier_init(object, bug == 2 ? 0 : 32, operation);
          if (bug != 3)
            barrier();
          if (bug == 4)
            moe_simt_mbarrier_arrive(object, 33, 0, operation);
          if (bug == 5 && threadIndex() == 0)
            moe_simt_mbarrier_init(object, 32, operation);
          if (bug == 6)
            write(shared() + 1 + threadIndex(), 1);
          moe_simt_mbarrier_arrive(object, 1, 0, operation);
          moe_simt_mbarrier_test(object, bug == 7 ? 1 : 0, MoeSimtParity | MoeSimtWait, operation);
          if (bug == 7)
            moe_simt_mbarrier_test(object, 1, MoeSimtParity | MoeSimtWait, operation);
        },
        1, 32, 256);
  };
  EXPECT_FAILURE(run(0), "no mbarrier is initialised at shared address 0x8 at 'operation'");
  EXPECT_FAILURE(run(1), "misaligned mbarrier: expected a multiple of 8 but got shared address 0x4");
  EXPECT_FAILURE(run(2), "mbarrier for 0 arrivals: expected a number from 1 to 1048575");
  EXPECT_FAILURE(run(3), "race: read of shared memory that thread \\(0, 0, 0\\) has written|no mbarrier");
  EXPECT_FAILURE(run(4), "mbarrier at shared address 0x8: 33 arrivals, but only 32 of 32 are missing");
  EXPECT_FAILURE(run(5), "mbarrier at shared address 0x8 is initialised again, without mbarrier.inval");
  EXPECT_FAILURE(run(6), "race: write of shared memory that thread \\([0-9]+, 0, 0\\) has ");
  EXPECT_FAILURE(run(7), "deadlock: mbarrier at shared address 0x8, phase 1: 0 of 32 arrivals and 0 of 0 bytes have "
                         "come at 'operation'");
}

//===- SamplerTest.cpp - choosing tokens ---------------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Sampler.h"
#include "StableMath.h"
#include "moe/Runtime/Error.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <vector>

using namespace moe::rt;

namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

int64_t greedy(std::vector<float> logits) { return greedyChoice(logits.data(), int64_t(logits.size())); }

std::map<int64_t, int> draw(Sampler sampler, const std::vector<float> &logits, int times) {
  std::map<int64_t, int> counts;
  for (int i = 0; i < times; ++i)
    ++counts[sampler.choose(logits.data(), int64_t(logits.size()))];
  return counts;
}

TEST(StableMath, ExponentialIsAccurate) {
  for (double x = 0; x > -699; x -= 0.37)
    EXPECT_NEAR(stableExp(x) / std::exp(x), 1, 1e-14) << x;
  EXPECT_EQ(stableExp(0), 1);
  EXPECT_EQ(stableExp(-infinity), 0);
  EXPECT_EQ(stableExp(-1000), 0);
  EXPECT_TRUE(std::isnan(stableExp(nan)));
}

TEST(StableMath, SumTakesEveryElement) {
  for (size_t count : {1, 7, 8, 9, 100}) {
    // The largest in each place in turn: alone, in a vector, behind the last one.
    for (size_t largest = 0; largest < count; ++largest) {
      std::vector<float> values(count);
      double expected = 0;
      for (size_t i = 0; i < count; ++i) {
        values[i] = 3 - 0.01f * float((i + count - largest) % count);
        expected += std::exp(double(values[i]) - 3);
      }
      SumOfExponentials result = sumOfExponentials(values.data(), int64_t(count));
      EXPECT_EQ(result.top, 3);
      EXPECT_NEAR(result.sum, expected, 1e-12 * expected);
    }
  }
}

TEST(StableMath, SumHasTheBitsOfItsExponentials) {
  // Whatever instructions this machine has: eight lanes, each in order, and a tree.
  std::vector<float> values;
  for (int i = 0; i < 1003; ++i)
    values.push_back(std::sin(float(i)) * 40);
  SumOfExponentials result = sumOfExponentials(values.data(), int64_t(values.size()));
  double lanes[8] = {};
  for (size_t i = 0; i < values.size(); ++i)
    lanes[i % 8] += stableExp(double(values[i]) - double(result.top));
  EXPECT_EQ(result.sum,
            ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])));
}

TEST(StableMath, SumOfWhatIsNotFinite) {
  std::vector<float> values(20, 1);
  values[3] = nan;
  EXPECT_EQ(sumOfExponentials(values.data(), 20).top, 1);
  EXPECT_TRUE(std::isnan(sumOfExponentials(values.data(), 20).sum));
  values[3] = -infinity;
  EXPECT_EQ(sumOfExponentials(values.data(), 20).sum, 19);
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  EXPECT_EQ(greedy({1, 3, 2, 3}), 1);
  EXPECT_EQ(greedy({-infinity, -infinity}), 0);
  EXPECT_EQ(greedy({nan, 1, nan, 2, nan}), 3);
  EXPECT_EQ(greedy({5}), 0);
  EXPECT_THROW(greedy({nan, nan}), InputError);
}

TEST(Sampler, FollowsTheProbabilities) {
  std::vector<float> logits{std::log(1.f), std::log(2.f), std::log(5.f), -infinity};
  auto counts = draw(Sampler(1, 0, 1, 7), logits, 8000);
  EXPECT_NEAR(counts[0], 1000, 150);
  EXPECT_NEAR(counts[1], 2000, 200);
  EXPECT_NEAR(counts[2], 5000, 250);
  EXPECT_EQ(counts.count(3), 0u);
}

TEST(Sampler, TemperatureComesFirst) {
  // At temperature 1/2 the odds are squared: 1 to 4, so the first holds 20 %, not enough for 25 %.
  std::vector<float> logits{0, std::log(2.f)};
  auto counts = draw(Sampler(0.5, 0, 1, 3), logits, 5000);
  EXPECT_NEAR(counts[0], 1000, 150);
  EXPECT_EQ(draw(Sampler(0.5, 0, 0.75, 3), logits, 100).count(0), 0u);
  EXPECT_EQ(draw(Sampler(1, 0, 0.75, 3), logits, 100).count(0), 1u);
}

TEST(Sampler, TopKAndTopPCut) {
  std::vector<float> logits{0, 3, 1, 3, 2};
  auto two = draw(Sampler(1, 2, 1, 1), logits, 500);
  EXPECT_EQ(two.size(), 2u);
  EXPECT_TRUE(two.count(1) && two.count(3));
  // Equal logits: the lower index is the likelier candidate.
  EXPECT_EQ(draw(Sampler(1, 1, 1, 1), logits, 100), (std::map<int64_t, int>{{1, 100}}));
  EXPECT_EQ(draw(Sampler(1, 0, 0.01, 1), logits, 100), (std::map<int64_t, int>{{1, 100}}));
  EXPECT_EQ(draw(Sampler(1, 100, 1, 1), logits, 2000).size(), 5u);
}

TEST(Sampler, TheSeedDecides) {
  std::vector<float> logits(50, 0.0f);
  auto sequence = [&](uint64_t seed) {
    Sampler sampler(1, 0, 1, seed);
    std::vector<int64_t> ids;
    for (int i = 0; i < 8; ++i)
      ids.push_back(sampler.choose(logits.data(), 50));
    return ids;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
  // mt19937_64 is the same everywhere: of its first number for seed 5489, 14514284786278117030, this is the share.
  EXPECT_EQ(sequence(5489)[0], int64_t(14514284786278117030.0 / 18446744073709551616.0 * 50));
}

TEST(Sampler, InfiniteLogitsWin) {
  EXPECT_EQ(draw(Sampler(1, 0, 1, 1), {0, infinity, 0}, 50), (std::map<int64_t, int>{{1, 50}}));
}

} // namespace

//===- VectorTranspose.cpp - blocks of 16 by 16 in registers --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "VectorTranspose.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t lanes = 16;

/// In each quarter of 4 lanes, interleaves elements of `x` and `y` in runs of `run`: those of the quarter's first half,
/// or of its second.
static Value unpack(OpBuilder &b, Location loc, Value x, Value y, int64_t run, bool second) {
  SmallVector<int64_t> mask;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    int64_t quarter = lane / 4 * 4, place = lane % 4;
    int64_t from = run == 1 ? place / 2 : place % 2; // within the half
    bool ofY = run == 1 ? place % 2 : place / 2;
    mask.push_back(quarter + (second ? 2 : 0) + from + (ofY ? lanes : 0));
  }
  return vector::ShuffleOp::create(b, loc, x, y, mask);
}

/// Quarters 0 and 2 of `x`, then of `y`; with `odd` quarters 1 and 3.
static Value everySecondQuarter(OpBuilder &b, Location loc, Value x, Value y, bool odd) {
  SmallVector<int64_t> mask;
  for (int64_t from : {int64_t(0), lanes})
    for (int64_t quarter : {0, 2})
      for (int64_t place = 0; place < 4; ++place)
        mask.push_back(from + (quarter + odd) * 4 + place);
  return vector::ShuffleOp::create(b, loc, x, y, mask);
}

SmallVector<Value> moe::transpose16x16(OpBuilder &b, Location loc, ValueRange rows) {
  // Transpose 4 x 4 elements in each quarter: blocks[4 * i + c] holds column c of its quarters, rows 4 * i .. 4 * i
  // + 3.
  SmallVector<Value> pairs(lanes), blocks(lanes), columns(lanes);
  for (int64_t i = 0; i < lanes; i += 2) {
    pairs[i] = unpack(b, loc, rows[i], rows[i + 1], 1, false);
    pairs[i + 1] = unpack(b, loc, rows[i], rows[i + 1], 1, true);
  }
  for (int64_t i = 0; i < lanes; i += 4)
    for (int64_t half = 0; half < 2; ++half) {
      blocks[i + 2 * half] = unpack(b, loc, pairs[i + half], pairs[i + half + 2], 2, false);
      blocks[i + 2 * half + 1] = unpack(b, loc, pairs[i + half], pairs[i + half + 2], 2, true);
    }
  // Then the 4 x 4 quarters.
  for (int64_t c = 0; c < 4; ++c)
    for (bool odd : {false, true}) {
      Value low = everySecondQuarter(b, loc, blocks[c], blocks[4 + c], odd);
      Value high = everySecondQuarter(b, loc, blocks[8 + c], blocks[12 + c], odd);
      columns[odd * 4 + c] = everySecondQuarter(b, loc, low, high, false);
      columns[8 + odd * 4 + c] = everySecondQuarter(b, loc, low, high, true);
    }
  return columns;
}

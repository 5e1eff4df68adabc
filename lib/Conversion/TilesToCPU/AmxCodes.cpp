//===- AmxCodes.cpp - products of codes in AMX tiles ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AmxRecipe.h"

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t tileRegisters = 8;

void AmxRecipe::decodeTile(OpBuilder &b, Value group, const PanelBlock &panels, Value k, Value to, int64_t room,
                           bool fetches) {
  int64_t lineCount = linesOfTile(), pairs = codes->codesOfStep() / 2;
  Value firstLine = multiplyBy(b, k, lineCount), end = index(b, lineCount);
  SmallVector<Value> panelIndices;
  for (int64_t p = 0; p < panels.count; ++p)
    panelIndices.push_back(add(b, panels.first, p));
  auto forLines = [&](Value begin, Value end, bool fetches,
                      function_ref<void(OpBuilder &, Value line, int64_t slot, Value to)> body) {
    loop(b, begin, end, 1, [&](OpBuilder &b, Value line) {
      if (fetches)
        codes->prefetchCodes(b, group, panelIndices, add(b, firstLine, line));
      Value toLine = add(b, to, multiplyBy(b, line, pairs * tileDepth));
      for (int64_t slot = 0; slot < weightCount() * panels.count; ++slot)
        body(b, line, slot, add(b, toLine, slot * room * tileSize));
    });
  };
  // Behind the last line of a panel there may be anything.
  if (depth % tileDepth) {
    int64_t linesOfPanel = llvm::divideCeil(depth, codes->codesOfStep());
    Value left = subtract(b, index(b, linesOfPanel), firstLine), whole = end;
    end = arith::MinSIOp::create(b, loc, left, whole);
    Value zeros = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({tileDepth}, element)));
    forLines(end, whole, /*fetches=*/false, [&](OpBuilder &b, Value, int64_t, Value to) {
      for (int64_t pair = 0; pair < pairs; ++pair)
        vector::StoreOp::create(b, loc, zeros, decoded, add(b, to, pair * tileDepth));
    });
  }
  forLines(index(b, 0), end, fetches, [&](OpBuilder &b, Value line, int64_t slot, Value to) {
    Value step = add(b, firstLine, line), panel = panelIndices[slot % panels.count];
    int64_t w = slot / panels.count;
    for (auto [pair, both] : llvm::enumerate(codes->loadPairs(b, w, group, panel, step)))
      vector::StoreOp::create(b, loc, both, decoded, add(b, to, int64_t(pair) * tileDepth));
  });
}

void AmxRecipe::multiplyGroup(OpBuilder &b, const RowTiles &tiles, int64_t panelCount, Value k, Value end, Value from,
                              int64_t room) {
  auto operandType = amx::TileType::get({tileRows, tileDepth}, element);
  auto productType = amx::TileType::get({tileRows, panelWidth}, b.getF32Type());
  auto loadWeight = [&](OpBuilder &b, Value at, int64_t p) -> Value {
    return amx::TileLoadOp::create(b, loc, operandType, decoded, ValueRange{add(b, at, p * room * tileSize)},
                                   index(b, tileDepth));
  };
  // Adds the products of tile `tile` of K. First all loads that there are registers for, then all multiplications:
  // where another thread shares the core they do not overlap, and each change from one to the other waits.
  auto addProducts = [&](OpBuilder &b, Value tile, Value at, MutableArrayRef<Value> sums) {
    Value offset = add(b, tiles.start, arith::MulIOp::create(b, loc, tile, tiles.tileStep).getResult());
    SmallVector<Value> rowTiles, weightTiles;
    for (int64_t t = 0; t < tiles.count; ++t)
      rowTiles.push_back(amx::TileLoadOp::create(b, loc, operandType, packed, ValueRange{add(b, offset, t * tileSize)},
                                                 tiles.rowStep));
    int64_t room = tileRegisters - tiles.count - int64_t(sums.size());
    for (int64_t p = 0; p < std::min(panelCount, room); ++p)
      weightTiles.push_back(loadWeight(b, at, p));
    for (int64_t p = 0; p < panelCount; ++p) {
      for (int64_t t = 0; t < tiles.count; ++t) {
        Value &sum = sums[t * panelCount + p];
        sum = amx::TileMulFOp::create(b, loc, productType, rowTiles[t], weightTiles[p], sum);
      }
      if (int64_t next = weightTiles.size(); next < panelCount)
        weightTiles.push_back(loadWeight(b, at, next));
    }
  };
  SmallVector<Value> sums;
  for (int64_t i = 0; i < tiles.count * panelCount; ++i)
    sums.push_back(amx::TileZeroOp::create(b, loc, productType));
  if (groupTiles == 1) {
    addProducts(b, k, from, sums);
  } else {
    auto body = [&](OpBuilder &b, Location, Value tile, ValueRange arguments) {
      SmallVector<Value> next(arguments);
      addProducts(b, tile, add(b, from, multiplyBy(b, subtract(b, tile, k), tileSize)), next);
      scf::YieldOp::create(b, loc, next);
    };
    sums = llvm::to_vector(ValueRange(scf::ForOp::create(b, loc, k, end, index(b, 1), sums, body).getResults()));
  }
  for (auto [i, product] : llvm::enumerate(sums))
    amx::TileStoreOp::create(b, loc, products, ValueRange{index(b, int64_t(i) * sumsOfTile)}, product,
                             index(b, panelWidth));
}

void AmxRecipe::multiplyCodes(OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                              const DepthBlock *block, Value sumStart) {
  auto vectorType = VectorType::get({panelWidth}, b.getF32Type());
  int64_t panelCount = weightCount() * panels.count, room = tiles.lines ? blockTiles : groupTiles;
  Value zero = index(b, 0);
  Depth range = codeTilesOf(b, block);
  {
    OpBuilder::InsertionGuard guard(b);
    if (block) {
      Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, block->number, zero);
      b.setInsertionPoint(scf::IfOp::create(b, loc, isFirst, /*withElseRegion=*/false).thenYield());
    }
    Value zeros = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
    loop(b, zero, index(b, tiles.count * panelCount * sumsOfTile), panelWidth,
         [&](OpBuilder &b, Value i) { vector::StoreOp::create(b, loc, zeros, sums, ValueRange{add(b, sumStart, i)}); });
  }
  // Of a tile with a few rows, only those are added.
  Value rowCount = tiles.lines ? index(b, tileRows) : subtract(b, rows.end, rows.begin);
  loop(b, zero, range.count, groupTiles, [&](OpBuilder &b, Value k) {
    Value first = add(b, range.begin, k), end = add(b, k, groupTiles);
    if (groupTiles > 1)
      end = arith::MinSIOp::create(b, loc, end, range.count);
    if (!tiles.lines)
      loop(b, k, end, 1, [&](OpBuilder &b, Value tile) {
        Value to = multiplyBy(b, subtract(b, tile, k), tileSize);
        decodeTile(b, rows.group, panels, add(b, range.begin, tile), to, room, /*fetches=*/true);
      });
    else
      loop(b, k, end, 1, [&](OpBuilder &b, Value tile) { prefetchPanels(b, tiles, rows, panels, range, tile); });
    multiplyGroup(b, tiles, panelCount, k, end, tiles.lines ? multiplyBy(b, k, tileSize) : zero, room);
    SmallVector<Value> scales, panelIndices;
    Value scaleBlock = divide(b, first, groupTiles);
    for (int64_t p = 0; p < panels.count; ++p)
      panelIndices.push_back(add(b, panels.first, p));
    if (!tiles.lines)
      codes->prefetchScales(b, rows.group, panelIndices, scaleBlock);
    for (int64_t p = 0; p < panelCount; ++p)
      scales.push_back(codes->loadScale(b, p / panels.count, rows.group, panelIndices[p % panels.count], scaleBlock));
    loop(b, zero, rowCount, 1, [&](OpBuilder &b, Value row) {
      Value inTile = multiplyBy(b, row, panelWidth), toTile = add(b, sumStart, inTile);
      for (int64_t i = 0; i < tiles.count * panelCount; ++i) {
        Value to = add(b, toTile, i * sumsOfTile);
        Value product =
            vector::LoadOp::create(b, loc, vectorType, products, ValueRange{add(b, inTile, i * sumsOfTile)});
        Value sum = vector::LoadOp::create(b, loc, vectorType, sums, ValueRange{to});
        // Rounded twice, as at levels without fused multiply-add.
        Value scaled = arith::MulFOp::create(b, loc, product, scales[i % panelCount]);
        vector::StoreOp::create(b, loc, arith::AddFOp::create(b, loc, sum, scaled), sums, ValueRange{to});
      }
    });
  });
}

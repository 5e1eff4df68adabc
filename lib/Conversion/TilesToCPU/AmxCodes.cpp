//===- AmxCodes.cpp - products of 4-bit codes in AMX tiles ----------------===//
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

void AmxRecipe::decodeTile(OpBuilder &b, Value group, const PanelBlock &panels, Value k, Value to, int64_t room,
                           bool fetches) {
  static_assert(GroupedMatmulOp::scaleGroup == 32, "a tile has one scale for each column");
  constexpr int64_t tilesAhead = 16, pairs = codesOfLine / 2;
  int64_t linesOfTile = tileDepth / codesOfLine;
  Value firstLine = multiplyBy(b, k, linesOfTile);
  loop(b, index(b, 0), index(b, linesOfTile), 1, [&](OpBuilder &b, Value line) {
    Value step = add(b, firstLine, line), toLine = add(b, to, multiplyBy(b, line, pairs * tileDepth));
    for (int64_t slot = 0; slot < weightCount() * panels.count; ++slot) {
      int64_t w = slot / panels.count;
      Value panel = add(b, panels.first, slot % panels.count);
      if (fetches)
        memref::PrefetchOp::create(b, loc, weights[w],
                                   ValueRange{group, panel, add(b, step, tilesAhead * linesOfTile), index(b, 0)},
                                   /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
      for (auto [pair, both] : llvm::enumerate(codes->loadPairs(b, w, group, panel, step))) {
        Value at = add(b, toLine, slot * room * tileSize + int64_t(pair) * tileDepth);
        vector::StoreOp::create(b, loc, both, decoded, ValueRange{at});
      }
    }
  });
}

void AmxRecipe::multiplyCodes(OpBuilder &b, const RowTiles &tiles, const RowBlock &rows, const PanelBlock &panels,
                              const DepthBlock *block, Value sumStart) {
  auto operandType = amx::TileType::get({tileRows, tileDepth}, element);
  auto productType = amx::TileType::get({tileRows, panelWidth}, b.getF32Type());
  auto vectorType = VectorType::get({panelWidth}, b.getF32Type());
  int64_t panelCount = weightCount() * panels.count, room = tiles.lines ? blockTiles : 1;
  Value zero = index(b, 0);
  Depth range = depthOf(b, block);
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
  loop(b, zero, range.count, 1, [&](OpBuilder &b, Value k) {
    Value block = add(b, range.begin, k), from = tiles.lines ? multiplyBy(b, k, tileSize) : zero;
    if (tiles.lines)
      prefetchPanels(b, tiles, rows, panels, range, k);
    else
      decodeTile(b, rows.group, panels, block, zero, room, /*fetches=*/true);
    Value offset = add(b, tiles.start, arith::MulIOp::create(b, loc, k, tiles.tileStep).getResult());
    SmallVector<Value> rowTiles, scales;
    for (int64_t t = 0; t < tiles.count; ++t)
      rowTiles.push_back(amx::TileLoadOp::create(b, loc, operandType, packed, ValueRange{add(b, offset, t * tileSize)},
                                                 tiles.rowStep));
    for (int64_t p = 0; p < panelCount; ++p) {
      Value weight = amx::TileLoadOp::create(b, loc, operandType, decoded,
                                             ValueRange{add(b, from, p * room * tileSize)}, index(b, tileDepth));
      for (int64_t t = 0; t < tiles.count; ++t) {
        Value none = amx::TileZeroOp::create(b, loc, productType);
        Value product = amx::TileMulFOp::create(b, loc, productType, rowTiles[t], weight, none);
        amx::TileStoreOp::create(b, loc, products, ValueRange{index(b, (t * panelCount + p) * sumsOfTile)}, product,
                                 index(b, panelWidth));
      }
      Value panel = add(b, panels.first, p % panels.count);
      scales.push_back(codes->loadScale(b, p / panels.count, rows.group, panel, block));
    }
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

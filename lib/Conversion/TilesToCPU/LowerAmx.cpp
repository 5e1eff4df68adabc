//===- LowerAmx.cpp - AMX tiles to registers, or to memory ----------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Conversion/Passes.h"

#include "AmxRecipe.h"
#include "moe/Conversion/IsaLevels.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/AMX/Transforms.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/Patterns.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/DialectConversion.h"

namespace moe {
#define GEN_PASS_DEF_LOWERAMX
#include "moe/Conversion/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

static constexpr llvm::StringLiteral dotBf16 = "moe_rt_tile_dot_bf16", dotI8 = "moe_rt_tile_dot_i8";

/// A tile in memory has the tile's shape.
static MemRefType bufferOf(Type tile) {
  auto type = cast<amx::TileType>(tile);
  return MemRefType::get(type.getShape(), type.getElementType());
}

namespace {
/// Operations on tiles in memory. A buffer belongs to the operation whose result it holds.
class Emulation {
public:
  Emulation(OpBuilder &b, Operation *op) : b(b), loc(op->getLoc()), function(op->getParentOfType<func::FuncOp>()) {}

  Value makeBuffer(Type tile) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&function.front());
    return memref::AllocaOp::create(b, loc, bufferOf(tile), b.getI64IntegerAttr(64));
  }
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }

  /// Calls `body` for each row of a tile, in a loop.
  void forRows(Type tile, function_ref<void(Value row)> body) {
    auto loop = scf::ForOp::create(b, loc, index(0), index(bufferOf(tile).getDimSize(0)), index(1));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(loop.getBody()->getTerminator());
    body(loop.getInductionVar());
  }
  VectorType rowType(Type tile) {
    MemRefType buffer = bufferOf(tile);
    return VectorType::get({buffer.getDimSize(1)}, buffer.getElementType());
  }
  Value loadRow(Type tile, Value memref, ValueRange at) {
    return vector::LoadOp::create(b, loc, rowType(tile), memref, at);
  }
  void storeRow(Value vector, Value memref, ValueRange at) { vector::StoreOp::create(b, loc, vector, memref, at); }

  /// Where row `row` of a tile in memory begins that starts at `indices`: rows are `stride` elements apart, or those of
  /// the buffer where it is null.
  SmallVector<Value> rowOf(ValueRange indices, Value stride, Value row) {
    SmallVector<Value> at(indices);
    if (stride) {
      Value distance = arith::MulIOp::create(b, loc, row, stride);
      at.back() = arith::AddIOp::create(b, loc, at.back(), distance);
    } else {
      Value &outer = at[at.size() - 2];
      outer = arith::AddIOp::create(b, loc, outer, row);
    }
    return at;
  }

  void call(StringRef name, ValueRange arguments) {
    auto module = function->getParentOfType<ModuleOp>();
    if (!module.lookupSymbol(name)) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(module.getBody());
      auto declared = func::FuncOp::create(b, loc, name, b.getFunctionType(TypeRange(arguments), {}));
      declared.setPrivate();
      declared->setAttr("llvm.bareptr", b.getUnitAttr());
    }
    func::CallOp::create(b, loc, name, TypeRange(), arguments);
  }

  OpBuilder &b;
  Location loc;
  func::FuncOp function;
};

struct EmulateZero : OpConversionPattern<amx::TileZeroOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(amx::TileZeroOp op, OpAdaptor, ConversionPatternRewriter &rewriter) const override {
    Emulation emulation(rewriter, op);
    Value buffer = emulation.makeBuffer(op.getType());
    Value zeros =
        arith::ConstantOp::create(rewriter, op.getLoc(), rewriter.getZeroAttr(emulation.rowType(op.getType())));
    emulation.forRows(op.getType(),
                      [&](Value row) { emulation.storeRow(zeros, buffer, ValueRange{row, emulation.index(0)}); });
    rewriter.replaceOp(op, buffer);
    return success();
  }
};

struct EmulateLoad : OpConversionPattern<amx::TileLoadOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(amx::TileLoadOp op, OpAdaptor, ConversionPatternRewriter &rewriter) const override {
    Emulation emulation(rewriter, op);
    Type tile = op.getRes().getType();
    Value buffer = emulation.makeBuffer(tile);
    emulation.forRows(tile, [&](Value row) {
      Value loaded = emulation.loadRow(tile, op.getBase(), emulation.rowOf(op.getIndices(), op.getStride(), row));
      emulation.storeRow(loaded, buffer, ValueRange{row, emulation.index(0)});
    });
    rewriter.replaceOp(op, buffer);
    return success();
  }
};

struct EmulateStore : OpConversionPattern<amx::TileStoreOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(amx::TileStoreOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    Emulation emulation(rewriter, op);
    Type tile = op.getVal().getType();
    emulation.forRows(tile, [&](Value row) {
      Value loaded = emulation.loadRow(tile, adaptor.getVal(), ValueRange{row, emulation.index(0)});
      emulation.storeRow(loaded, op.getBase(), emulation.rowOf(op.getIndices(), op.getStride(), row));
    });
    rewriter.eraseOp(op);
    return success();
  }
};

template <typename Op> struct EmulateMultiplication : OpConversionPattern<Op> {
  using OpConversionPattern<Op>::OpConversionPattern;
  LogicalResult matchAndRewrite(Op op, typename Op::Adaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    constexpr bool isFloat = std::is_same_v<Op, amx::TileMulFOp>;
    Type left = op.getLhs().getType(), tile = op.getRes().getType();
    auto isFull = [](Type type) {
      auto full = cast<amx::TileType>(type);
      return full.getDimSize(0) == 16 && full.getDimSize(1) * full.getElementTypeBitWidth() == 512;
    };
    if (!isFull(left) || !isFull(op.getRhs().getType()) || !isFull(tile) ||
        (isFloat && !cast<amx::TileType>(left).getElementType().isBF16()))
      return op.emitOpError("expected full tiles of bf16 or i8 to emulate but got ") << left;
    Emulation emulation(rewriter, op);
    Value buffer = emulation.makeBuffer(tile);
    // In a loop the sums come from this very buffer.
    emulation.forRows(tile, [&](Value row) {
      SmallVector<Value> position{row, emulation.index(0)};
      emulation.storeRow(emulation.loadRow(tile, adaptor.getAcc(), position), buffer, position);
    });
    SmallVector<Value> arguments{buffer, adaptor.getLhs(), adaptor.getRhs()};
    if constexpr (!isFloat)
      for (bool isUnsigned : {op.getIsZextLhs(), op.getIsZextRhs()})
        arguments.push_back(arith::ConstantOp::create(rewriter, op.getLoc(), rewriter.getI32IntegerAttr(isUnsigned)));
    emulation.call(isFloat ? dotBf16 : dotI8, arguments);
    rewriter.replaceOp(op, buffer);
    return success();
  }
};

struct LowerAmxPass : moe::impl::LowerAmxBase<LowerAmxPass> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> inRegisters, emulated;
    getOperation().walk([&](func::FuncOp function) {
      bool uses = function
                      .walk([](Operation *op) {
                        return isa_and_nonnull<amx::AMXDialect>(op->getDialect()) ? WalkResult::interrupt()
                                                                                  : WalkResult::advance();
                      })
                      .wasInterrupted();
      const IsaLevel *level = getIsaLevel(function);
      if (uses)
        (level && level->emulatesAmx ? emulated : inRegisters).push_back(function);
    });
    for (func::FuncOp function : inRegisters) {
      if (failed(convert(function, /*emulate=*/false)))
        return signalPassFailure();
      hintLoads(function);
    }
    for (func::FuncOp function : emulated)
      if (failed(convert(function, /*emulate=*/true)))
        return signalPassFailure();
  }

private:
  /// Marked loads: the instruction with a hint that the lines are not worth keeping. The conversion hands attributes
  /// on.
  void hintLoads(func::FuncOp function) {
    function.walk([](LLVM::CallIntrinsicOp load) {
      if (load->removeAttr(amxFromSecondLevelAttr))
        load.setIntrin("llvm.x86.tileloaddt164.internal");
    });
  }

  LogicalResult convert(func::FuncOp function, bool emulate) {
    MLIRContext *context = &getContext();
    RewritePatternSet patterns(context);
    ConversionTarget target(*context);
    LLVMTypeConverter llvmTypes(context);
    TypeConverter tiles;
    tiles.addConversion([](Type type) { return type; });
    auto cast = [](OpBuilder &b, Type type, ValueRange values, Location loc) -> Value {
      return UnrealizedConversionCastOp::create(b, loc, type, values).getResult(0);
    };
    tiles.addSourceMaterialization(cast);
    tiles.addTargetMaterialization(cast);
    if (emulate) {
      tiles.addConversion([](amx::TileType type) -> Type { return bufferOf(type); });
      patterns.add<EmulateZero, EmulateLoad, EmulateStore, EmulateMultiplication<amx::TileMulFOp>,
                   EmulateMultiplication<amx::TileMulIOp>>(tiles, context);
    } else {
      tiles.addConversion([&](amx::TileType) -> Type { return LLVM::LLVMX86AMXType::get(context); });
      populateAMXLegalizeForLLVMExportPatterns(llvmTypes, patterns);
    }
    scf::populateSCFStructuralTypeConversionsAndLegality(tiles, patterns, target);
    target.addIllegalDialect<amx::AMXDialect>();
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    return applyPartialConversion(function, target, std::move(patterns));
  }
};
} // namespace

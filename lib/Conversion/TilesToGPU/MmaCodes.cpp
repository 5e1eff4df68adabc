//===- MmaCodes.cpp - 4-bit weights, decoded in front of an mma -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Codes stay codes until they are in registers: of 32 k of a column, 16 bytes are copied to shared memory, and 2 bytes
// of its scale. They are packed in the order of lanes (see moe.grouped_matmul), so that a lane loads what it needs for
// two columns, 8 bytes, at once, side by side with the other lanes. Each half of its words has four codes, of
// neighbouring k in both halves: shifted and masked, both become bits of a pair of 16-bit floats, and two operations
// make the weights of them.
//
// int4: the code, with its highest bit flipped, is c + 8. As bits of the significand of a power of two p, in the place
// where the lowest of them is one unit, it makes p + 8 + c; p + 8 is subtracted. e2m1: sign, the lowest bits of the
// exponent and the highest of the significand make a number too small by a power of two, which it is multiplied by;
// codes without a hidden bit become denormal numbers, as they are. Either is exact. Times the scale it is rounded, as
// moe.grouped_matmul has it; weights that were quantised by this compiler are exact there, too.
//
//===----------------------------------------------------------------------===//

#include "MmaBuilder.h"

#include "Kernel.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace moe;

/// Of the weights of a panel in a stage.
static constexpr int64_t panelColumns = GroupedMatmulOp::panelWidth, scaleBytes = 2;
static constexpr int64_t panelCodeBytes = 16 * panelColumns;
static constexpr int64_t panelScaleBytes = scaleBytes * panelColumns;

int64_t moe::codeBytesPerColumn() { return (panelCodeBytes + panelScaleBytes) / panelColumns; }

namespace {
class CodeMmaBuilder final : public MmaBuilder {
public:
  CodeMmaBuilder(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel)
      : MmaBuilder(op, shape, kernel), isBF16(elementOf(op.getX()).isBF16()), isInt4(*op.getFormat() == "int4") {
    run = 4; // of two mma, as codes are packed
  }

private:
  void prepareWeights() override;
  void pointToWeights(Value firstColumn) override;
  void copyWeights(Value k, Value stage) override;
  Values loadWeights(Value stage, int64_t half, ArrayRef<Value> first) override;
  Values operandsOfWeights(ArrayRef<Value> loaded, int64_t half, int64_t column8) override;

  /// Copies of one kind of data: chunks of `perPanel`, one for each thread.
  struct Copies {
    int64_t perPanel, firstByte; ///< in a stage
    Value some;                  ///< whether this thread copies; null: all do
    Value pointer;               ///< to this thread's chunk of the first stage
    Value size;                  ///< bytes of it, 0 for columns that do not exist; i32
  };
  void point(Copies &copies, ValueRange memrefs, Value firstColumn);
  void copy(const Copies &copies, Value k, Value stage);
  /// Registers of two 16-bit floats: both elements `value`, and left * right + sum.
  Value splat(float value);
  Value fma(Value left, Value right, Value sum);
  Value decode(Value word, int64_t place);
  Value scalePair(Value both, int64_t which);

  bool isBF16, isInt4;
  Copies codes, scales;
  Value codeOffset, scaleOffset; ///< of what a lane loads in a stage, i32
};
} // namespace

Value CodeMmaBuilder::splat(float value) {
  APFloat element(value);
  bool losesInfo;
  element.convert(isBF16 ? APFloat::BFloat() : APFloat::IEEEhalf(), APFloat::rmNearestTiesToEven, &losesInfo);
  int64_t bits = element.bitcastToAPInt().getZExtValue();
  return i32(bits << 16 | bits);
}

/// As assembly: bf16 is an integer in LLVM's dialect here (see StoreBf16AsIntegers.cpp), which knows no arithmetic on
/// it.
Value CodeMmaBuilder::fma(Value left, Value right, Value sum) {
  StringRef text = isBF16 ? "fma.rn.bf16x2 $0, $1, $2, $3;" : "fma.rn.f16x2 $0, $1, $2, $3;";
  return LLVM::InlineAsmOp::create(b, loc, b.getI32Type(), ValueRange{left, right, sum}, text, "=r,r,r,r",
                                   /*has_side_effects=*/false, /*is_align_stack=*/false,
                                   LLVM::tailcallkind::TailCallKind::None,
                                   /*asm_dialect=*/nullptr, /*operand_attrs=*/nullptr)
      .getResult(0);
}

void CodeMmaBuilder::prepareWeights() {
  codes.perPanel = panelCodeBytes / chunkBytes;
  scales.perPanel = panelScaleBytes / chunkBytes;
  codes.firstByte = shape.rows * rowBytes;
  scales.firstByte = codes.firstByte + shape.columns / panelColumns * panelCodeBytes;
  for (Copies *copies : {&codes, &scales})
    if (int64_t count = shape.columns / panelColumns * copies->perPanel; count < mmaThreads)
      copies->some = less(thread, i32(count));
  Value firstPanel = make<arith::MulIOp>(warpColumn, perWarp / panelColumns);
  codeOffset = make<arith::AddIOp>(make<arith::MulIOp>(firstPanel, panelCodeBytes), make<arith::MulIOp>(lane, 8));
  codeOffset = make<arith::AddIOp>(codeOffset, codes.firstByte);
  // The scales of both columns of a lane lie side by side.
  Value inPanel = make<arith::MulIOp>(make<arith::ShRUIOp>(lane, 2), 2 * scaleBytes);
  scaleOffset = make<arith::AddIOp>(make<arith::MulIOp>(firstPanel, panelScaleBytes), inPanel);
  scaleOffset = make<arith::AddIOp>(scaleOffset, scales.firstByte);
}

void CodeMmaBuilder::point(Copies &copies, ValueRange memrefs, Value firstColumn) {
  int64_t perWeightChunks = perWeight / panelColumns * copies.perPanel;
  Value chunk = make<arith::RemUIOp>(thread, perWeightChunks), number = make<arith::DivUIOp>(thread, perWeightChunks);
  Value panel = make<arith::AddIOp>(make<arith::DivUIOp>(firstColumn, panelColumns),
                                    make<arith::DivUIOp>(chunk, copies.perPanel));
  Value address = addressOf(memrefs.front());
  for (int64_t weight = 1; weight < weights; ++weight)
    address = select(less(number, i32(weight)), address, addressOf(memrefs[weight]));
  Value bytes = make<arith::MulIOp>(toIndex(panel), *rowStride(memrefs.front(), 1) * elementBytes(memrefs.front()));
  Value inPanel = make<arith::MulIOp>(make<arith::RemUIOp>(chunk, copies.perPanel), chunkBytes);
  copies.pointer = globalPointer(make<arith::AddIOp>(make<arith::AddIOp>(address, bytes), toIndex(inPanel)));
  Value panels = make<arith::DivUIOp>(columns, panelColumns);
  copies.size = select(less(panel, panels), i32(chunkBytes), i32(0));
}

void CodeMmaBuilder::pointToWeights(Value firstColumn) {
  point(codes, op.getWeights(), firstColumn);
  point(scales, op.getScales(), firstColumn);
}

void CodeMmaBuilder::copy(const Copies &copies, Value k, Value stage) {
  OpBuilder::InsertionGuard guard(b);
  if (copies.some)
    b.setInsertionPoint(scf::IfOp::create(b, loc, copies.some, /*withElseRegion=*/false).thenYield());
  // A stage is what a scale is for.
  Value from = globalAt(copies.pointer, make<arith::MulIOp>(k, copies.perPanel * chunkBytes / stageDepth));
  Value to = make<arith::AddIOp>(stage, make<arith::MulIOp>(thread, chunkBytes));
  copyAsync(sharedAt(to, copies.firstByte), from, chunkBytes, select(less(k, i32(op.getDepth())), copies.size, i32(0)));
}

void CodeMmaBuilder::copyWeights(Value k, Value stage) {
  copy(codes, k, stage);
  copy(scales, k, stage);
}

/// For each panel: the words of two columns, and their scales.
MmaBuilder::Values CodeMmaBuilder::loadWeights(Value stage, int64_t half, ArrayRef<Value> first) {
  if (half == 1)
    return Values(first);
  Values loaded;
  auto load = [&](Type type, Value at, int64_t more, unsigned alignment) -> Value {
    return LLVM::LoadOp::create(b, loc, type, sharedAt(at, more), alignment);
  };
  Value codesAt = make<arith::AddIOp>(stage, codeOffset), scalesAt = make<arith::AddIOp>(stage, scaleOffset);
  for (int64_t weight = 0; weight < weights; ++weight)
    for (int64_t column = 0; column < perWarp; column += panelColumns) {
      int64_t panel = (weight * perWeight + column) / panelColumns;
      Value words = load(VectorType::get({2}, b.getI32Type()), codesAt, panel * panelCodeBytes, 8);
      for (int64_t which = 0; which < 2; ++which)
        loaded.push_back(LLVM::ExtractElementOp::create(b, loc, words, i32(which)));
      loaded.push_back(load(b.getI32Type(), scalesAt, panel * panelScaleBytes, 4));
    }
  return loaded;
}

/// The numbers of the codes in bits `place` .. `place` + 3 of both halves of `word`.
Value CodeMmaBuilder::decode(Value word, int64_t place) {
  /// The bits that `mask` has once they are at `to`.
  auto bits = [&](int64_t to, int64_t mask) -> Value {
    Value shifted = word;
    if (to > place)
      shifted = make<arith::ShLIOp>(word, to - place);
    else if (to < place)
      shifted = make<arith::ShRUIOp>(word, place - to);
    return make<arith::AndIOp>(shifted, mask << 16 | mask);
  };
  if (isInt4) {
    // In bits 3 to 6: the whole significand of 16, or eighths of that of 128.
    constexpr int64_t at = 3;
    int64_t power = isBF16 ? 0x4180 : 0x5800, flipped = power | 8 << at;
    Value sum = make<arith::XOrIOp>(bits(at, 15 << at), flipped << 16 | flipped);
    return fma(sum, splat(1), splat(isBF16 ? -24 : -136));
  }
  // The exponent's lowest two bits, and the significand's highest.
  int64_t at = isBF16 ? 6 : 9;
  Value magnitude = bits(at, 7 << at), sign = bits(12, 0x8000);
  return fma(make<arith::OrIOp>(magnitude, sign), splat(isBF16 ? 0x1p126f : 0x1p14f), splat(-0.0f));
}

/// A pair of one of two scales, which are bf16.
Value CodeMmaBuilder::scalePair(Value both, int64_t which) {
  Value high = which == 0 ? make<arith::ShLIOp>(both, 16) : make<arith::AndIOp>(both, -65536);
  if (!isBF16) {
    Value scale = LLVM::BitcastOp::create(b, loc, b.getF32Type(), high);
    scale = LLVM::FPTruncOp::create(b, loc, b.getF16Type(), scale);
    scale = LLVM::BitcastOp::create(b, loc, b.getI16Type(), scale);
    high = make<arith::ShLIOp>(LLVM::ZExtOp::create(b, loc, b.getI32Type(), scale), 16);
  }
  return make<arith::OrIOp>(high, make<arith::ShRUIOp>(high, 16));
}

MmaBuilder::Values CodeMmaBuilder::operandsOfWeights(ArrayRef<Value> loaded, int64_t half, int64_t column8) {
  ArrayRef<Value> ofPanel = loaded.slice(column8 / 2 * 3, 3);
  Value scale = scalePair(ofPanel[2], column8 % 2);
  Values operands;
  for (int64_t part = 0; part < 2; ++part)
    operands.push_back(fma(decode(ofPanel[column8 % 2], 4 * (2 * half + part)), scale, splat(-0.0f)));
  return operands;
}

std::unique_ptr<MmaBuilder> moe::makeCodeMmaBuilder(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel) {
  return std::make_unique<CodeMmaBuilder>(op, shape, kernel);
}

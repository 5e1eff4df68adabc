//===- MmaCodes.cpp - codes of weights, decoded in front of an mma --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Codes stay codes until they are in registers: of 32 k of a column, 16 or 32 bytes are copied to shared memory, and
// its scale. They are packed in the order of lanes (see moe.grouped_matmul), so that a lane loads what it needs for two
// columns and all of a step along k (4 bits) or half of it (8 bits), 8 bytes, at once, side by side with the other
// lanes. Each half of its words has codes of neighbouring k: shifted and masked, both become bits of a pair of 16-bit
// floats, and a few operations make the weights of them.
//
// int4: the code, with its highest bit flipped, is c + 8. As bits of the significand of a power of two p, in the place
// where the lowest of them is one unit, it makes p + 8 + c; p + 8 is subtracted. e2m1: sign, the lowest bits of the
// exponent and the highest of the significand make a number too small by a power of two, which it is multiplied by;
// codes without a hidden bit become denormal numbers, as they are. Either is exact. Times the scale it is rounded, as
// moe.grouped_matmul has it; weights that were quantised by this compiler are exact there, too.
//
// e4m3: alike, as f16 whatever the type of x is, of 2^-8 of its value. Scales have 24 bits, so the two of a pair are
// multiplied in f32 and rounded once.
//
//===----------------------------------------------------------------------===//

#include "MmaBuilder.h"

#include "Kernel.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace moe;

static constexpr int64_t panelColumns = GroupedMatmulOp::panelWidth;
/// The codes of a panel that lanes take at once.
static constexpr int64_t tileBytes = 16 * panelColumns;

/// Bytes of a column's codes in a stage, and of its scale.
static int64_t codeBytes(GroupedMatmulOp op) { return MmaShape::depth * op.getCodeBits() / 8; }
static int64_t scaleBytes(GroupedMatmulOp op) { return elementBytes(op.getScales().front()); }

int64_t moe::codeBytesPerColumn(GroupedMatmulOp op) { return codeBytes(op) + scaleBytes(op); }

namespace {
class CodeMmaBuilder final : public MmaBuilder {
public:
  CodeMmaBuilder(GroupedMatmulOp op, const MmaShape &shape, gpu::GPUFuncOp kernel)
      : MmaBuilder(op, shape, kernel), isBF16(elementOf(op.getX()).isBF16()), isInt4(*op.getFormat() == "int4"),
        isBytes(op.getCodeBits() == 8) {
    run = 4; // of two mma, as codes are packed
  }

private:
  void prepareWeights() override;
  void pointToWeights(Value firstColumn) override;
  void copyWeights(Value k, Value stage) override;
  Values loadWeights(Value stage, int64_t half, ArrayRef<Value> first) override;
  Values operandsOfWeights(ArrayRef<Value> loaded, int64_t half, int64_t column8) override;

  /// Copies of one kind of data.
  struct Copies {
    int64_t perPanel, firstByte; ///< in a stage: bytes of a panel, and of all panels the first
    int64_t depth;               ///< elements along k that they are for
    Value some;                  ///< whether this thread copies; null: all do
    Values pointers;             ///< to this thread's chunks of the first stage
    Values sizes;                ///< bytes of them, 0 for columns that do not exist; i32
  };
  void point(Copies &copies, ValueRange memrefs, Value firstColumn);
  void copy(const Copies &copies, Value k, Value stage);
  /// What one instruction makes of `operands`, all in registers of 32 bits.
  Value assembly(StringRef text, ValueRange operands, StringRef constraints);
  /// Registers of two 16-bit floats: both elements `value`, and left * right + sum.
  Value splat(float value);
  Value fma(Value left, Value right, Value sum);
  Value decode(Value word, int64_t place);
  Value scalePair(Value both, int64_t which);
  Value decodeE4M3(Value word, int64_t place, Value scale);

  bool isBF16, isInt4, isBytes;
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
Value CodeMmaBuilder::assembly(StringRef text, ValueRange operands, StringRef constraints) {
  return LLVM::InlineAsmOp::create(b, loc, b.getI32Type(), operands, text, constraints,
                                   /*has_side_effects=*/false, /*is_align_stack=*/false,
                                   LLVM::tailcallkind::TailCallKind::None,
                                   /*asm_dialect=*/nullptr, /*operand_attrs=*/nullptr)
      .getResult(0);
}

Value CodeMmaBuilder::fma(Value left, Value right, Value sum) {
  return assembly(isBF16 ? "fma.rn.bf16x2 $0, $1, $2, $3;" : "fma.rn.f16x2 $0, $1, $2, $3;", {left, right, sum},
                  "=r,r,r,r");
}

void CodeMmaBuilder::prepareWeights() {
  codes.perPanel = codeBytes(op) * panelColumns;
  codes.depth = stageDepth;
  codes.firstByte = shape.rows * rowBytes;
  scales.perPanel = scaleBytes(op) * panelColumns;
  scales.depth = op.getScaleGroup();
  scales.firstByte = codes.firstByte + shape.columns / panelColumns * codes.perPanel;
  for (Copies *copies : {&codes, &scales})
    if (int64_t count = shape.columns / panelColumns * copies->perPanel / chunkBytes; count < mmaThreads)
      copies->some = less(thread, i32(count));
  Value firstPanel = make<arith::MulIOp>(warpColumn, perWarp / panelColumns);
  codeOffset = make<arith::AddIOp>(make<arith::MulIOp>(firstPanel, codes.perPanel), make<arith::MulIOp>(lane, 8));
  codeOffset = make<arith::AddIOp>(codeOffset, codes.firstByte);
  // The scales of both columns of a lane lie side by side.
  Value inPanel = make<arith::MulIOp>(make<arith::ShRUIOp>(lane, 2), 2 * scaleBytes(op));
  scaleOffset = make<arith::AddIOp>(make<arith::MulIOp>(firstPanel, scales.perPanel), inPanel);
  scaleOffset = make<arith::AddIOp>(scaleOffset, scales.firstByte);
}

void CodeMmaBuilder::point(Copies &copies, ValueRange memrefs, Value firstColumn) {
  int64_t panelChunks = copies.perPanel / chunkBytes, perWeightChunks = perWeight / panelColumns * panelChunks;
  int64_t panelBytes = *rowStride(memrefs.front(), 1) * elementBytes(memrefs.front());
  Value chunk = make<arith::RemUIOp>(thread, perWeightChunks);
  Value panel =
      make<arith::AddIOp>(make<arith::DivUIOp>(firstColumn, panelColumns), make<arith::DivUIOp>(chunk, panelChunks));
  Value panels = make<arith::DivUIOp>(columns, panelColumns);
  Value inPanel = toIndex(make<arith::MulIOp>(make<arith::RemUIOp>(chunk, panelChunks), chunkBytes));
  auto pointerTo = [&](Value address) {
    Value bytes = make<arith::MulIOp>(toIndex(panel), panelBytes);
    return globalPointer(make<arith::AddIOp>(make<arith::AddIOp>(address, bytes), inPanel));
  };
  auto sizeOfPanel = [&](Value panel) { return select(less(panel, panels), i32(chunkBytes), i32(0)); };
  copies.pointers.clear();
  copies.sizes.clear();
  if (perWeightChunks % mmaThreads != 0) {
    Value number = make<arith::DivUIOp>(thread, perWeightChunks), address = addressOf(memrefs.front());
    for (int64_t weight = 1; weight < weights; ++weight)
      address = select(less(number, i32(weight)), address, addressOf(memrefs[weight]));
    copies.pointers.push_back(pointerTo(address));
    copies.sizes.push_back(sizeOfPanel(panel));
    return;
  }
  // All threads copy of one weight, then of the same or the next: chunks lie at constant distances, or have equal
  // sizes.
  Values sizes;
  for (int64_t skipped = 0; skipped < perWeightChunks; skipped += mmaThreads)
    sizes.push_back(sizeOfPanel(make<arith::AddIOp>(panel, skipped / panelChunks)));
  for (Value weight : memrefs) {
    Value first = pointerTo(addressOf(weight));
    for (auto [number, size] : llvm::enumerate(sizes)) {
      copies.pointers.push_back(globalAt(first, number * mmaThreads / panelChunks * panelBytes));
      copies.sizes.push_back(size);
    }
  }
}

void CodeMmaBuilder::pointToWeights(Value firstColumn) {
  point(codes, op.getWeights(), firstColumn);
  point(scales, op.getScales(), firstColumn);
}

void CodeMmaBuilder::copy(const Copies &copies, Value k, Value stage) {
  OpBuilder::InsertionGuard guard(b);
  if (copies.some)
    b.setInsertionPoint(scf::IfOp::create(b, loc, copies.some, /*withElseRegion=*/false).thenYield());
  // A scale may be for several stages, each of which has it.
  Value bytes = copies.depth == stageDepth
                    ? make<arith::MulIOp>(k, copies.perPanel / stageDepth)
                    : make<arith::MulIOp>(make<arith::DivUIOp>(k, copies.depth), copies.perPanel);
  Value to = make<arith::AddIOp>(stage, make<arith::MulIOp>(thread, chunkBytes));
  Value exists = less(k, i32(op.getDepth()));
  for (auto [number, pointer, size] : llvm::enumerate(copies.pointers, copies.sizes))
    copyAsync(sharedAt(to, copies.firstByte + number * mmaThreads * chunkBytes), globalAt(pointer, bytes), chunkBytes,
              select(exists, size, i32(0)));
}

void CodeMmaBuilder::copyWeights(Value k, Value stage) {
  copy(codes, k, stage);
  copy(scales, k, stage);
}

/// For each panel: the words of two columns, and their scales: two bf16 in a register, or two registers of f32.
MmaBuilder::Values CodeMmaBuilder::loadWeights(Value stage, int64_t half, ArrayRef<Value> first) {
  if (half == 1 && !isBytes)
    return Values(first);
  Values loaded;
  auto loadPair = [&](Type element, Value at, int64_t more) {
    Value pair = LLVM::LoadOp::create(b, loc, VectorType::get({2}, element), sharedAt(at, more), /*alignment=*/8);
    for (int64_t which = 0; which < 2; ++which)
      loaded.push_back(LLVM::ExtractElementOp::create(b, loc, pair, i32(which)));
  };
  Value codesAt = make<arith::AddIOp>(stage, codeOffset), scalesAt = make<arith::AddIOp>(stage, scaleOffset);
  for (int64_t weight = 0; weight < weights; ++weight)
    for (int64_t column = 0; column < perWarp; column += panelColumns) {
      int64_t panel = (weight * perWeight + column) / panelColumns, scalesOfPanel = panel * scales.perPanel;
      loadPair(b.getI32Type(), codesAt, panel * codes.perPanel + half * tileBytes);
      if (half == 1)
        llvm::append_range(loaded, first.slice(loaded.size(), 2));
      else if (isBytes)
        loadPair(b.getF32Type(), scalesAt, scalesOfPanel);
      else
        loaded.push_back(LLVM::LoadOp::create(b, loc, b.getI32Type(), sharedAt(scalesAt, scalesOfPanel), 4));
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

/// The numbers of the codes of 8 bits from bit `place` (0 or 8) of both halves of `word` on, times `scale` (f32).
Value CodeMmaBuilder::decodeE4M3(Value word, int64_t place, Value scale) {
  // Sign at 15, and the exponent's lowest four bits and the significand's highest three from bit 7 on.
  auto bits = [&](int64_t left, int64_t mask) -> Value {
    Value shifted = word;
    if (left > 0)
      shifted = make<arith::ShLIOp>(word, left);
    else if (left < 0)
      shifted = make<arith::ShRUIOp>(word, -left);
    return make<arith::AndIOp>(shifted, mask << 16 | mask);
  };
  Value both = make<arith::OrIOp>(bits(7 - place, 0x3f80), bits(8 - place, 0x8000));
  both = LLVM::BitcastOp::create(b, loc, VectorType::get({2}, b.getF16Type()), both);
  Value scaled[2];
  for (int64_t which = 0; which < 2; ++which) {
    Value number = LLVM::ExtractElementOp::create(b, loc, both, i32(which));
    number = LLVM::FPExtOp::create(b, loc, b.getF32Type(), number);
    scaled[which] = LLVM::FMulOp::create(b, loc, number, scale);
  }
  StringRef text = isBF16 ? "cvt.rn.bf16x2.f32 $0, $1, $2;" : "cvt.rn.f16x2.f32 $0, $1, $2;";
  return assembly(text, {scaled[1], scaled[0]}, "=r,f,f");
}

MmaBuilder::Values CodeMmaBuilder::operandsOfWeights(ArrayRef<Value> loaded, int64_t half, int64_t column8) {
  if (isBytes) {
    ArrayRef<Value> ofPanel = loaded.slice(column8 / 2 * 4, 4);
    // What an exponent of f16 is too small by.
    Value bias = LLVM::ConstantOp::create(b, loc, b.getF32Type(), b.getF32FloatAttr(0x1p8f));
    Value scale = LLVM::FMulOp::create(b, loc, ofPanel[2 + column8 % 2], bias);
    return {decodeE4M3(ofPanel[column8 % 2], 0, scale), decodeE4M3(ofPanel[column8 % 2], 8, scale)};
  }
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

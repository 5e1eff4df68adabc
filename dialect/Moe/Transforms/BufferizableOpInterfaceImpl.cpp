//===- BufferizableOpInterfaceImpl.cpp - moe ops on buffers ---------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"

using namespace mlir;
using namespace moe;
using namespace mlir::bufferization;

namespace {
struct GroupedMatmulInterface : DstBufferizableOpInterfaceExternalModel<GroupedMatmulInterface, GroupedMatmulOp> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand, const AnalysisState &state) const {
    // The output keeps its value in rows of no group.
    return true;
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto matmul = cast<GroupedMatmulOp>(op);
    if (!matmul.hasPureTensorSemantics())
      return success();
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPoint(op);
    IRMapping mapping;
    for (Value operand : op->getOperands()) {
      FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return failure();
      mapping.map(operand, *buffer);
    }
    auto lookup = [&](OperandRange range) {
      return llvm::map_to_vector(range, [&](Value value) { return mapping.lookup(value); });
    };
    Value init = mapping.lookup(matmul.getInit());
    auto onBuffers = GroupedMatmulOp::create(
        rewriter, op->getLoc(), /*resultTypes=*/Type(), mapping.lookup(matmul.getX()), lookup(matmul.getWeights()),
        mapping.lookup(matmul.getOffsets()), matmul.getChoices() ? mapping.lookup(matmul.getChoices()) : Value(),
        lookup(matmul.getRowScalars()), lookup(matmul.getColumnScalars()), init, matmul.getFanout(),
        matmul.getColumnMultipleAttr(), lookup(matmul.getScales()), matmul.getFormatAttr(), matmul.getLargeResult());
    onBuffers->setDiscardableAttrs(matmul->getDiscardableAttrDictionary());
    onBuffers.getEpilogue().takeBody(matmul.getEpilogue());
    replaceOpWithBufferizedValues(rewriter, op, init);
    return success();
  }
};

struct ScheduleInterface : DstBufferizableOpInterfaceExternalModel<ScheduleInterface, ScheduleOp> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand, const AnalysisState &) const {
    return !cast<ScheduleOp>(op).isDpsInit(&operand);
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto schedule = cast<ScheduleOp>(op);
    if (!schedule.hasPureTensorSemantics())
      return success();
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPoint(op);
    SmallVector<Value> buffers;
    for (Value operand : op->getOperands()) {
      FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return failure();
      buffers.push_back(*buffer);
    }
    ArrayRef<Value> inits = ArrayRef(buffers).drop_front();
    ScheduleOp::create(rewriter, op->getLoc(), TypeRange(), buffers.front(), inits, schedule.getBlock());
    replaceOpWithBufferizedValues(rewriter, op, inits);
    return success();
  }
};

/// Tiles of attention, which say where their result goes.
struct AttentionInterface : BufferizableOpInterface::ExternalModel<AttentionInterface, AttentionOp> {
  static bool isInit(Operation *op, OpOperand &operand) {
    auto attention = cast<AttentionOp>(op);
    return attention.getInit() && &operand == &*attention.getInitMutable().begin();
  }

  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand, const AnalysisState &) const {
    return !isInit(op, operand);
  }
  bool bufferizesToMemoryWrite(Operation *op, OpOperand &operand, const AnalysisState &) const {
    return isInit(op, operand);
  }
  AliasingValueList getAliasingValues(Operation *op, OpOperand &operand, const AnalysisState &) const {
    if (!isInit(op, operand))
      return {};
    return {{op->getResult(0), BufferRelation::Equivalent}};
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto attention = cast<AttentionOp>(op);
    if (!attention.hasPureTensorSemantics())
      return success();
    if (!attention.getInit())
      return op->emitOpError("expected 'outs' before bufferization");
    SmallVector<Value> buffers;
    for (Value operand :
         {attention.getQuery(), attention.getKeys(), attention.getCachedValues(), attention.getInit()}) {
      FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return failure();
      buffers.push_back(*buffer);
    }
    AttentionOp::create(rewriter, op->getLoc(), /*resultTypes=*/Type(), buffers[0], buffers[1], buffers[2],
                        attention.getPast(), buffers[3], attention.getScaleAttr(), attention.getWindowAttr());
    replaceOpWithBufferizedValues(rewriter, op, buffers[3]);
    return success();
  }
};
} // namespace

void moe::registerBufferizableOpInterfaceExternalModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, MoeDialect *) {
    GroupedMatmulOp::attachInterface<GroupedMatmulInterface>(*context);
    AttentionOp::attachInterface<AttentionInterface>(*context);
    ScheduleOp::attachInterface<ScheduleInterface>(*context);
  });
}

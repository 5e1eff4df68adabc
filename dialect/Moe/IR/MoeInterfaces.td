//===- MoeInterfaces.td - interfaces of the moe dialect ----*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_INTERFACES_TD
#define MOE_INTERFACES_TD

include "mlir/IR/OpBase.td"

def Moe_PerExpertOpInterface : OpInterface<"PerExpertOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    An op that works on rows grouped by expert: group e is the rows offsets[e] .. offsets[e+1]. Implemented by
    `moe.experts` and `moe.grouped_matmul`, so that passes on parameters (packing, quantisation, distribution over ranks)
    need not know which of the two they see.
  }];
  let methods = [
    InterfaceMethod<"Number of experts (groups).", "int64_t", "getNumExperts">,
    InterfaceMethod<"The offsets: tensor<(experts + 1) x i32>.", "::mlir::Value", "getGroupOffsets">,
    InterfaceMethod<"Operands with one slice per expert on dimension 0: weights, biases, scales.",
                    "::mlir::OperandRange", "getExpertParameters">,
  ];
}

#endif // MOE_INTERFACES_TD

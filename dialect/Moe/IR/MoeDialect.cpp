//===- MoeDialect.cpp - registration and attributes of the moe dialect ----===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Moe/IR/MoeOps.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moe;

#include "dialect/Moe/IR/MoeInterfaces.cpp.inc"
#include "dialect/Moe/IR/MoeOpsDialect.cpp.inc"
#include "dialect/Moe/IR/MoeOpsEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialect/Moe/IR/MoeOpsAttrs.cpp.inc"

void MoeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialect/Moe/IR/MoeOpsAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialect/Moe/IR/MoeOps.cpp.inc"
      >();
}

LogicalResult GroupsAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t count, int64_t keep,
                                 GroupScore score, StringRef masked) {
  if (count < 1)
    return emitError() << "expected at least one group but got count = " << count;
  if (keep < 1 || keep > count)
    return emitError() << "expected 'keep' between 1 and count = " << count << " but got " << keep;
  if (masked != "-inf" && masked != "zero")
    return emitError() << "expected 'masked' to be \"-inf\" or \"zero\" but got \"" << masked << "\"";
  return success();
}

LogicalResult PreparedAttr::verify(function_ref<InFlightDiagnostic()> emitError, FlatSymbolRefAttr function,
                                   ArrayAttr sources, Type type) {
  for (Attribute source : sources)
    if (!isa<StringAttr>(source))
      return emitError() << "expected tensor names as sources but got " << source;
  return success();
}

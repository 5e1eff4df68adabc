//===- CheckOps.cpp - verifiers and syntax of the check dialect -----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//

#include "dialect/Check/CheckOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace moe::check;

#include "dialect/Check/CheckOpsDialect.cpp.inc"

void CheckDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialect/Check/CheckOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Syntax of the constants
//===----------------------------------------------------------------------===//

/// `dense<...> : tensor<1x2xi32>`, and `, tensor<?x2xi32>` where the operand has another type.
static ParseResult parseExpected(OpAsmParser &parser, ElementsAttr &expected, Type &actualType) {
  Attribute attribute;
  SMLoc at = parser.getCurrentLocation();
  if (parser.parseAttribute(attribute))
    return failure();
  expected = dyn_cast<ElementsAttr>(attribute);
  if (!expected)
    return parser.emitError(at) << "expected elements but got " << attribute;
  actualType = expected.getShapedType();
  if (succeeded(parser.parseOptionalComma()))
    return parser.parseType(actualType);
  return success();
}

static void printExpected(OpAsmPrinter &printer, Operation *op, ElementsAttr expected, Type actualType) {
  printer << expected;
  if (actualType != expected.getType())
    printer << ", " << actualType;
}

//===----------------------------------------------------------------------===//
// Verifiers
//===----------------------------------------------------------------------===//

static LogicalResult verifyTypes(Operation *op, Type actual, Type expected) {
  if (getElementTypeOrSelf(actual) == getElementTypeOrSelf(expected) &&
      succeeded(verifyCompatibleShape(actual, expected)))
    return success();
  return op->emitOpError() << "expected 'actual' and 'expected' of compatible types but got " << actual << " and "
                           << expected;
}

static LogicalResult verifyTolerance(Operation *op, const APFloat &tolerance) {
  double value = tolerance.convertToDouble();
  if (value >= 0 && std::isfinite(value))
    return success();
  return op->emitOpError() << "expected a finite 'tolerance' of at least 0 but got " << value;
}

LogicalResult ExpectEqOp::verify() { return verifyTypes(*this, getActual().getType(), getExpected().getType()); }

LogicalResult ExpectEqConstOp::verify() { return verifyTypes(*this, getActual().getType(), getExpected().getType()); }

LogicalResult ExpectAlmostEqOp::verify() {
  return failure(failed(verifyTypes(*this, getActual().getType(), getExpected().getType())) ||
                 failed(verifyTolerance(*this, getTolerance())));
}

LogicalResult ExpectAlmostEqConstOp::verify() {
  return failure(failed(verifyTypes(*this, getActual().getType(), getExpected().getType())) ||
                 failed(verifyTolerance(*this, getTolerance())));
}

#define GET_OP_CLASSES
#include "dialect/Check/CheckOps.cpp.inc"

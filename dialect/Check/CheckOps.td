//===- CheckOps.td - the check dialect, for tests ----------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef CHECK_OPS_TD
#define CHECK_OPS_TD

include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpBase.td"

def Check_Dialect : Dialect {
  let name = "check";
  let cppNamespace = "::moe::check";
  let summary = "compares tensors inside a test program";
  let description = [{
    Test-only: numbers are checked where they are computed, so that a failure names the op and its location. moe-opt knows
    the dialect, moe-compile does not. `--check-to-runtime` turns the ops into calls of the library moe_check_runtime, which
    mlir-runner loads with `--shared-libs`; the program then prints what differs and ends with status 1.

    ```mlir
    func.func @main() {
      %values = arith.constant dense<[[1.0, 3.0, 2.0]]> : tensor<1x3xf32>
      %selected, %index = moe.top_k %values {k = 2} : tensor<1x3xf32> -> tensor<1x2xf32>, tensor<1x2xi32>
      check.expect_eq_const %index, dense<[[1, 2]]> : tensor<1x2xi32>
      return
    }
    ```
  }];
}

class Check_Op<string mnemonic, list<Trait> traits = []> : Op<Check_Dialect, mnemonic, traits>;

def Check_FloatTensor : RankedTensorOf<[F16, BF16, F32, F64]>;
def Check_Tensor : RankedTensorOf<[F16, BF16, F32, F64, I1, I8, I16, I32, I64, Index]>;

defvar Check_Equal = [{
    Every element of `actual` equals that of `expected`: 0 = -0, NaN = NaN (any NaN), no tolerance. Shapes are equal too;
    sizes that are not known statically are compared when the program runs.
}];

defvar Check_AlmostEqual = [{
    |actual - expected| <= tolerance * max(1, largest finite |expected| of the tensor) for every element; NaN = NaN, and an
    infinity equals only itself. Shapes are equal too; sizes that are not known statically are compared when the program runs.
}];

def Check_ExpectEqOp : Check_Op<"expect_eq"> {
  let summary = "checks that two tensors are equal";
  let description = Check_Equal # [{

    ```mlir
    check.expect_eq %got, %want : tensor<?x4xi32>, tensor<3x4xi32>
    ```
  }];
  let arguments = (ins Check_Tensor:$actual, Check_Tensor:$expected);
  let assemblyFormat = "$actual `,` $expected attr-dict `:` type($actual) `,` type($expected)";
  let hasVerifier = 1;
}

def Check_ExpectEqConstOp : Check_Op<"expect_eq_const"> {
  let summary = "checks that a tensor equals a constant";
  let description = Check_Equal # [{
    The operand's type follows after a comma where it is not the constant's.

    ```mlir
    check.expect_eq_const %got, dense<[[0, 2]]> : tensor<1x2xi32>
    check.expect_eq_const %more, dense<[[0, 2]]> : tensor<1x2xi32>, tensor<?x2xi32>
    ```
  }];
  let arguments = (ins Check_Tensor:$actual, ElementsAttr:$expected);
  let assemblyFormat = "$actual `,` custom<Expected>($expected, type($actual)) attr-dict";
  let hasVerifier = 1;
}

def Check_ExpectAlmostEqOp : Check_Op<"expect_almost_eq"> {
  let summary = "checks that two tensors are equal up to a tolerance";
  let description = Check_AlmostEqual # [{

    ```mlir
    check.expect_almost_eq %got, %want {tolerance = 1.0e-5 : f64} : tensor<?xf32>, tensor<?xf32>
    ```
  }];
  let arguments = (ins Check_FloatTensor:$actual, Check_FloatTensor:$expected,
                       DefaultValuedAttr<F64Attr, "1.0e-6">:$tolerance);
  let assemblyFormat = "$actual `,` $expected attr-dict `:` type($actual) `,` type($expected)";
  let hasVerifier = 1;
}

def Check_ExpectAlmostEqConstOp : Check_Op<"expect_almost_eq_const"> {
  let summary = "checks that a tensor equals a constant up to a tolerance";
  let description = Check_AlmostEqual # [{
    The operand's type follows after a comma where it is not the constant's.

    ```mlir
    check.expect_almost_eq_const %got, dense<[0.5, 0.25]> : tensor<2xf32> {tolerance = 1.0e-5 : f64}
    ```
  }];
  let arguments = (ins Check_FloatTensor:$actual, ElementsAttr:$expected,
                       DefaultValuedAttr<F64Attr, "1.0e-6">:$tolerance);
  let assemblyFormat = "$actual `,` custom<Expected>($expected, type($actual)) attr-dict";
  let hasVerifier = 1;
}

#endif // CHECK_OPS_TD

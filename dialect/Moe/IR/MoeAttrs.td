//===- MoeAttrs.td - attributes of the moe dialect ---------*- tablegen -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef MOE_ATTRS_TD
#define MOE_ATTRS_TD

include "dialect/Moe/IR/MoeDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/EnumAttr.td"

def Moe_GroupScore : I32EnumAttr<"GroupScore", "how a group of experts is scored", [
    I32EnumAttrCase<"Max", 0, "max">,
    I32EnumAttrCase<"SumTop2", 1, "sum_top2">]> {
  let cppNamespace = "::moe";
  let genSpecializedAttr = 0;
}

def Moe_GroupsAttr : AttrDef<Moe_Dialect, "Groups"> {
  let mnemonic = "groups";
  let summary = "group-limited selection: only experts of the best groups compete";
  let description = [{
    The experts are cut into `count` equal, contiguous groups. A group's score is its best key (`max`, DeepSeek-V2) or
    the sum of its two best keys (`sum_top2`, DeepSeek-V3); the `keep` best groups stay. The keys of the other groups are
    replaced by `masked`: "-inf", or "zero" (which still beats negative keys, as some published models do). Equal group
    scores: lowest group; a NaN score is below -inf.

    ```mlir
    #moe.groups<count = 8, keep = 4, score = sum_top2, masked = "-inf">
    ```
  }];
  let parameters = (ins "int64_t":$count, "int64_t":$keep, EnumParameter<Moe_GroupScore>:$score,
                        StringRefParameter<"\"-inf\" or \"zero\"">:$masked);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Moe_PreparedAttr : AttrDef<Moe_Dialect, "Prepared", [TypedAttrInterface]> {
  let mnemonic = "prepared";
  let summary = "value of a parameter that is computed at compile time";
  let description = [{
    Initial value of an `ml_program.global`: the result of calling `function` (in the nested module `@prepare`) on the
    checkpoint tensors named by `sources`, in that order. Made by the phase `pack`; moe-compile evaluates it and appends
    the result to the executable. Globals that differ only in their sources share one function.

    ```mlir
    ml_program.global private @param.7(#moe.prepared<@prepare.1, ["layers.0.up", "layers.0.gate"]> : tensor<8x96x128xf32>)
        : tensor<8x96x128xf32>
    ```
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$function, "::mlir::ArrayAttr":$sources,
                        AttributeSelfTypeParameter<"">:$type);
  let builders = [AttrBuilderWithInferredContext<(ins "::mlir::FlatSymbolRefAttr":$function, "::mlir::ArrayAttr":$sources,
                                                      "::mlir::Type":$type), [{
    return $_get(function.getContext(), function, sources, type);
  }]>];
  let assemblyFormat = "`<` $function `,` $sources `>`";
  let genVerifyDecl = 1;
}

/// Which choices keep their place when an expert is full; see moe.drop.
def Moe_DropOrder : StringBasedAttr<And<[
    CPred<"::llvm::isa<::mlir::StringAttr>($_self)">,
    CPred<"::llvm::is_contained(::llvm::ArrayRef<::llvm::StringRef>({\"token\", \"choice\", \"priority\"}), "
          "::llvm::cast<::mlir::StringAttr>($_self).getValue())">]>,
    "one of \"token\", \"choice\", \"priority\""> {
  let storageType = "::mlir::StringAttr";
  let returnType = "::llvm::StringRef";
}

/// How 4-bit codes stand for weights; see moe.grouped_matmul.
def Moe_WeightFormat : StringBasedAttr<And<[
    CPred<"::llvm::isa<::mlir::StringAttr>($_self)">,
    CPred<"::llvm::is_contained(::llvm::ArrayRef<::llvm::StringRef>({\"int4\", \"mxfp4\", \"fp8\"}), "
          "::llvm::cast<::mlir::StringAttr>($_self).getValue())">]>,
    "one of \"int4\", \"mxfp4\", \"fp8\""> {
  let storageType = "::mlir::StringAttr";
  let returnType = "::llvm::StringRef";
}

#endif // MOE_ATTRS_TD

//===- ModelBuilder.h - layers as operations ------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds a module out of the layers that model families share. Nothing here knows a family or a file format.
//
// Numbers: "activations" are in the storage type (bf16, f16 or f32). Sums, norms, scores and what a layer computes
// inside are f32; a value is rounded when it becomes an activation, by `round`, and nowhere else.
//
// Errors: a parameter that is missing or has the wrong shape is recorded, and building goes on with the shape that was
// asked for. `takeError` returns the first one.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_FRONTEND_MODEL_MODELBUILDER_H
#define MOE_LIB_FRONTEND_MODEL_MODELBUILDER_H

#include "Diagnostics.h"
#include "Parameters.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"

#include <set>

namespace moe::frontend {

using Sizes = llvm::SmallVector<mlir::OpFoldResult>;

/// An argument or result of a function. `role` is that of the attribute `moe.role`, empty for an input.
struct Port {
  std::string name;
  mlir::Type type;
  llvm::StringRef role;
};

/// An input of an elementwise operation: dimension i of the tensor follows dimension `dims[i]` of the result; without
/// `dims` both have the same dimensions.
struct Operand {
  Operand(mlir::Value value) : value(value) {}
  Operand(mlir::Value value, llvm::ArrayRef<unsigned> dims)
      : value(value), dims(llvm::to_vector(dims)), identity(false) {}

  mlir::Value value;
  llvm::SmallVector<unsigned> dims;
  bool identity = true;
};

/// Cosines and sines of the rotary embedding, [S, D/2] f32 each.
struct RotaryTables {
  mlir::Value cos, sin;
};

class ModelBuilder {
public:
  /// `storage` is the type of activations. Loads the dialects that are used.
  ModelBuilder(mlir::MLIRContext &context, ParameterCatalog &parameters, mlir::Type storage);

  //===--------------------------------------------------------------------===//
  // Module, functions, errors
  //===--------------------------------------------------------------------===//

  mlir::OpBuilder &ops() { return builder; }
  mlir::Location loc() const { return location; }
  mlir::Type storageType() const { return storage; }
  mlir::Type f32() { return builder.getF32Type(); }
  mlir::RankedTensorType tensor(llvm::ArrayRef<int64_t> shape, mlir::Type elementType);

  /// Operations are located at `name` from now on.
  void at(const llvm::Twine &name);

  /// Starts a function and puts the insertion point into it. Ports of public functions get `moe.name` and `moe.role`.
  mlir::func::FuncOp beginFunction(llvm::StringRef name, llvm::ArrayRef<Port> arguments, llvm::ArrayRef<Port> results,
                                   bool isPublic);
  /// Ends the function with its results.
  void endFunction(mlir::ValueRange results);
  /// Emits `body` into another function and comes back here.
  void aside(llvm::function_ref<void()> body);

  void report(llvm::Error error) { errors.report(std::move(error)); }
  bool failed() const { return static_cast<bool>(errors); }
  llvm::Error takeError() { return errors.take(); }
  mlir::OwningOpRef<mlir::ModuleOp> takeModule() { return std::move(module); }

  //===--------------------------------------------------------------------===//
  // Parameters
  //===--------------------------------------------------------------------===//

  bool hasParameter(llvm::StringRef name) const { return parameters.contains(name); }

  /// Parameter `name` in the type it is stored in.
  mlir::Value parameter(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init = Init::Normal);
  /// Parameter `name` in the type of activations; in f32 where it is stored as codes.
  mlir::Value weight(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init = Init::Normal);
  /// Parameter `name` in f32: norms, biases, scales.
  mlir::Value vector(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init = Init::One);
  /// Parameter `name` with one slice per expert on dimension 0, in the type of activations.
  mlir::Value expertWeight(llvm::StringRef name, llvm::ArrayRef<int64_t> shape);
  /// One parameter per expert, each of `shape`, stacked: [experts, shape...] in the type of activations; in f32 where
  /// they are stored as codes.
  mlir::Value stackedExpertWeights(int64_t experts, llvm::function_ref<std::string(int64_t)> name,
                                   llvm::ArrayRef<int64_t> shape);

  //===--------------------------------------------------------------------===//
  // Shapes
  //===--------------------------------------------------------------------===//

  mlir::OpFoldResult size(int64_t value) { return builder.getIndexAttr(value); }
  /// The sizes of `value`: those it was made with, or tensor.dim.
  Sizes sizes(mlir::Value value);
  /// Says that `value` has `sizes`, so that nothing need ask it.
  mlir::Value sized(mlir::Value value, llvm::ArrayRef<mlir::OpFoldResult> sizes) {
    knownSizes[value] = Sizes(sizes);
    return value;
  }
  /// `size` as a value of type index.
  mlir::Value index(mlir::OpFoldResult size);
  /// The integer in the rank-0 tensor `scalar`, as index.
  mlir::Value indexFrom(mlir::Value scalar);

  mlir::Value empty(llvm::ArrayRef<mlir::OpFoldResult> sizes, mlir::Type elementType);
  mlir::Value zeros(llvm::ArrayRef<mlir::OpFoldResult> sizes, mlir::Type elementType);
  /// Splits dimensions: result dimensions `groups[i]` come from dimension i of `value`.
  mlir::Value expand(mlir::Value value, llvm::ArrayRef<llvm::SmallVector<int64_t, 2>> groups,
                     llvm::ArrayRef<mlir::OpFoldResult> sizes);
  /// Merges dimensions: dimension i of the result is `groups[i]` of `value`.
  mlir::Value collapse(mlir::Value value, llvm::ArrayRef<llvm::SmallVector<int64_t, 2>> groups,
                       llvm::ArrayRef<mlir::OpFoldResult> sizes);
  /// `value` from `offsets` on, `sizes` elements; dimensions of `dropped` have size 1 and are left out.
  mlir::Value slice(mlir::Value value, llvm::ArrayRef<mlir::OpFoldResult> offsets,
                    llvm::ArrayRef<mlir::OpFoldResult> sizes, llvm::ArrayRef<int64_t> dropped = {});
  /// `into` with `value` written at `offsets`.
  mlir::Value insert(mlir::Value value, mlir::Value into, llvm::ArrayRef<mlir::OpFoldResult> offsets,
                     llvm::ArrayRef<mlir::OpFoldResult> sizes);

  //===--------------------------------------------------------------------===//
  // Elementwise
  //===--------------------------------------------------------------------===//

  using ScalarBody = llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::ValueRange)>;

  /// A tensor of `sizes`: `body` of the inputs' elements. Float elements narrower than f32 reach `body` as f32.
  mlir::Value map(llvm::ArrayRef<Operand> inputs, llvm::ArrayRef<mlir::OpFoldResult> sizes, mlir::Type elementType,
                  ScalarBody body);
  /// `value` with elements of another float type.
  mlir::Value convert(mlir::Value value, mlir::Type elementType);
  /// `value` as an activation.
  mlir::Value round(mlir::Value value) { return convert(value, storage); }
  /// a + b in f32; `b` may lack leading dimensions of `a`.
  mlir::Value add(mlir::Value a, mlir::Value b);
  /// Sum of `term` over the last dimension, f32.
  /// Sum of `term` of the elements over the last dimension, f32.
  mlir::Value sumLast(mlir::Value value,
                      llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::Value)> term);

  //===--------------------------------------------------------------------===//
  // Layers (Layers.cpp)
  //===--------------------------------------------------------------------===//

  /// x [R, K] times the transpose of w [N, K]: [R, N] f32.
  mlir::Value linear(mlir::Value x, mlir::Value w);
  /// x / sqrt(mean(x^2) + eps) * w over the last dimension, w [H] f32; an activation.
  mlir::Value rmsNorm(mlir::Value x, mlir::Value w, double eps);
  /// silu(gate) * up in f32.
  mlir::Value swiGlu(mlir::Value gate, mlir::Value up);
  /// Tables for the positions past .. past + length - 1; `inverseFrequencies` has D/2 elements.
  RotaryTables rotaryTables(mlir::Value past, mlir::Value length, llvm::ArrayRef<float> inverseFrequencies);
  /// Rotates x [B, S, heads, D]: element i pairs with i + D/2. An activation.
  mlir::Value rotateHalves(mlir::Value x, RotaryTables tables);

  //===--------------------------------------------------------------------===//
  // Facts
  //===--------------------------------------------------------------------===//

  /// Scalars of all parameters, and the types they are stored in.
  int64_t numScalars() const { return scalars; }
  const std::set<rt::DType> &storedTypes() const { return dtypes; }

  /// Cost of what is being built; whoever starts an entry resets it. `linear` counts `repeats` times per token.
  EntryCost cost;
  double repeats = 1;

private:
  /// The parameters `names`, each [N, K] of codes, as one [names, N, K] of numbers in f32; without the first dimension
  /// if there is one name and `stacked` is false.
  mlir::Value decoded(llvm::ArrayRef<std::string> names, llvm::ArrayRef<int64_t> shape, bool stacked);
  /// Tensors of one type, each `shape`, behind one another on a new dimension.
  mlir::Value stack(llvm::ArrayRef<mlir::Value> parts, llvm::ArrayRef<int64_t> shape);
  mlir::Value load(llvm::StringRef name, mlir::RankedTensorType type);
  int64_t storageBytes() const { return storage.getIntOrFloatBitWidth() / 8; }

  ParameterCatalog &parameters;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::OpBuilder builder;
  mlir::Location location;
  mlir::Type storage;
  /// Globals come after all functions: a reader looks for @main first.
  mlir::Operation *firstGlobal = nullptr;
  llvm::StringMap<mlir::RankedTensorType> declared;
  llvm::DenseMap<mlir::Value, Sizes> knownSizes;
  int64_t scalars = 0;
  std::set<rt::DType> dtypes;
  FirstError errors;
};

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_MODEL_MODELBUILDER_H

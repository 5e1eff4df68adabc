//===- Parameters.h - the parameters a model asks for ---------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// While a model is built it declares each parameter with the shape that its config asks for. A checkpoint answers with
// the type it is stored in, or an error; random parameters take any shape.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_FRONTEND_MODEL_PARAMETERS_H
#define MOE_LIB_FRONTEND_MODEL_PARAMETERS_H

#include "moe/Frontend/Model.h"
#include "moe/Runtime/DType.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"

namespace moe::frontend {

/// How a parameter begins where there is no checkpoint. Codes and the scales of their blocks stand for normal numbers.
enum class Init { Normal, One, Zero, Codes, Scales };

/// A source of parameters that can be asked what it has.
class ParameterCatalog : public ParameterSource {
public:
  /// Whether a tensor is called `name`. Families use it to tell the layouts of their files apart.
  virtual bool contains(llvm::StringRef name) const = 0;

  /// Whether tensor `name` is stored as codes, F8_E4M3, with a scale for every block in another tensor.
  virtual bool hasCodes(llvm::StringRef name) { return false; }

  /// Declares parameter `name` and returns the type it is stored in (F32, BF16 or F16; F8_E4M3 for
  /// `Init::Codes`). The error says what was
  /// expected and what was found. `get` answers for declared parameters only, and may then be called from several
  /// threads.
  virtual llvm::Expected<rt::DType> declare(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init) = 0;
};

/// Parameters that are a function of a seed and their names: small normal values (standard deviation 0.02), made when
/// they are asked for. The same on every machine.
class RandomParameters : public ParameterCatalog {
public:
  /// Most bytes of a model; more are refused before sizes overflow.
  static constexpr int64_t maxBytes = int64_t(1) << 60;

  /// `path` stands for the model in errors; all parameters are of type `dtype` (F32, BF16 or F16). With `withCodes`
  /// projections (of attention, dense networks and experts) are stored as codes, as quantised checkpoints have them.
  RandomParameters(std::string path, uint64_t seed, rt::DType dtype, bool withCodes = false)
      : path(std::move(path)), seed(seed), dtype(dtype), withCodes(withCodes) {}

  bool contains(llvm::StringRef name) const override { return false; }
  bool hasCodes(llvm::StringRef name) override;
  llvm::Expected<rt::DType> declare(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init) override;
  llvm::Expected<ParameterData> get(llvm::StringRef name) override;

private:
  struct Entry {
    std::vector<int64_t> shape;
    Init init;
    rt::DType dtype;
  };

  std::string path;
  uint64_t seed;
  rt::DType dtype;
  bool withCodes;
  int64_t total = 0;
  llvm::StringMap<Entry> declared;
};

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_MODEL_PARAMETERS_H

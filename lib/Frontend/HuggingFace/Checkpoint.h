//===- Checkpoint.h - the tensors of a model folder -----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_FRONTEND_HUGGINGFACE_CHECKPOINT_H
#define MOE_LIB_FRONTEND_HUGGINGFACE_CHECKPOINT_H

#include "lib/Frontend/Model/Parameters.h"
#include "moe/Runtime/Safetensors.h"

namespace moe::frontend {

/// The path of `file` in `folder`.
std::string inFolder(llvm::StringRef folder, llvm::StringRef file);

/// model.safetensors, or the shards that model.safetensors.index.json names. Files are memory mapped and validated; a
/// shard is opened when one of its tensors is asked for. Tensors that no model asks for are ignored.
class Checkpoint : public ParameterCatalog {
public:
  static llvm::Expected<std::unique_ptr<Checkpoint>> open(const std::string &folder);

  /// The type that tensor `name` is stored in, if there is one and it is F32, BF16 or F16.
  std::optional<rt::DType> storedType(llvm::StringRef name);

  /// From now on tensors of F8_E4M3 are codes: config.json says so.
  void expectCodes() { mayHaveCodes = true; }

  bool contains(llvm::StringRef name) const override;
  bool hasCodes(llvm::StringRef name) override;
  llvm::Expected<rt::DType> declare(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, Init init) override;
  llvm::Expected<ParameterData> get(llvm::StringRef name) override;

private:
  struct Shard {
    std::string path;
    std::optional<rt::SafetensorsFile> file; // when it was needed
  };

  llvm::Error readIndex(const std::string &folder);
  /// The tensor and the path of its file.
  llvm::Expected<const rt::TensorView *> find(llvm::StringRef name, llvm::StringRef &path);

  /// Path of the file that says which tensors there are.
  std::string source;
  std::vector<Shard> shards;
  /// Sharded: which shard holds a tensor. Empty for a single file.
  llvm::StringMap<size_t> placement;
  bool sharded = false;
  bool mayHaveCodes = false;
  llvm::StringMap<const rt::TensorView *> declared;
};

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_HUGGINGFACE_CHECKPOINT_H

//===- TensorFile.h - named tensors from safetensors or npy ---------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The inputs of a command line: a .safetensors file (many tensors) or a .npy file (one tensor without a name).
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_TENSORFILE_H
#define MOE_RUNTIME_TENSORFILE_H

#include "moe/Runtime/Safetensors.h"

namespace moe::rt {

/// Validates the .npy file (format versions 1 to 3) in `data`, which the caller keeps alive, and returns its array as
/// a tensor with an empty name. Refused, with `error` saying so: big-endian, Fortran order of more than one dimension,
/// object and structured types. `name` stands for the file in messages.
std::optional<TensorView> parseNpy(const unsigned char *data, uint64_t size, const std::string &name,
                                   std::string &error);

/// A mapped tensor file of either format; which one is read from its first bytes, not from its name.
class TensorFile {
public:
  /// On failure returns nothing and sets `error` to one line that names the file.
  static std::optional<TensorFile> open(const std::string &path, std::string &error);

  /// All tensors. The one of a .npy file has an empty name.
  const std::vector<TensorView> &tensors() const { return views; }

  /// The tensor called `name`, or null.
  const TensorView *find(std::string_view name) const;

private:
  std::optional<MappedFile> mapping;
  std::vector<TensorView> views;
};

} // namespace moe::rt

#endif // MOE_RUNTIME_TENSORFILE_H

//===- Safetensors.h - memory-mapped safetensors files --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading (fully validated) and writing of safetensors. Used by the compiler too: C++17, nothing is thrown; failures
// come back as one line that names the file, the tensor, what was expected and what was found.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_SAFETENSORS_H
#define MOE_RUNTIME_SAFETENSORS_H

#include "moe/Runtime/DType.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace moe::rt {

/// A named tensor somewhere in memory: dense, row-major, little-endian. `data` is not owned and may be unaligned.
struct TensorView {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  const unsigned char *data = nullptr;
  uint64_t size = 0; // bytes
};

/// A file mapped for reading. An empty file has no mapping (`data()` is null).
class MappedFile {
public:
  /// Maps `path`, which must be a regular file. On failure returns nothing and sets `error`.
  static std::optional<MappedFile> open(const std::string &path, std::string &error);

  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  const unsigned char *data() const { return bytes; }
  uint64_t size() const { return length; }

private:
  MappedFile(const unsigned char *bytes, uint64_t length) : bytes(bytes), length(length) {}

  const unsigned char *bytes;
  uint64_t length;
};

/// A safetensors file, validated when it is opened: what `tensors()` says can be used without further checks.
class SafetensorsFile {
public:
  /// Longest header, as in the reference implementation.
  static constexpr uint64_t maxHeaderSize = 100'000'000;

  /// Maps and validates `path`. On failure returns nothing and sets `error`.
  static std::optional<SafetensorsFile> open(const std::string &path, std::string &error);

  /// Validates `size` bytes that the caller keeps alive; `name` stands for the file in messages.
  static std::optional<SafetensorsFile> parse(const unsigned char *data, uint64_t size, const std::string &name,
                                              std::string &error);

  /// All tensors in the order of their data.
  const std::vector<TensorView> &tensors() const { return entries; }

  /// The tensor called `name`, or null.
  const TensorView *find(std::string_view name) const;

  /// `__metadata__`, in the order of the file.
  const std::vector<std::pair<std::string, std::string>> &metadata() const { return metadataEntries; }

private:
  std::optional<MappedFile> mapping;
  std::vector<TensorView> entries;
  std::vector<std::pair<std::string, std::string>> metadataEntries;
  std::unordered_map<std::string, size_t> index; // name -> position in `entries`
};

/// Writes `tensors` (unique names; `size` must be what dtype and shape ask for) to `path`. The file appears by rename,
/// complete or not at all; an existing device or pipe is written to directly. On failure returns false and sets
/// `error`.
bool writeSafetensors(const std::string &path, const std::vector<TensorView> &tensors,
                      const std::vector<std::pair<std::string, std::string>> &metadata, std::string &error);

} // namespace moe::rt

#endif // MOE_RUNTIME_SAFETENSORS_H

//===- Config.h - config.json of a checkpoint -----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Typed access to the keys of a JSON file. Errors name the file, the key, what was expected and what was found. The
// first one is kept, getters then return a harmless value; so a family reads all its keys and its caller asks once.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_FRONTEND_HUGGINGFACE_CONFIG_H
#define MOE_LIB_FRONTEND_HUGGINGFACE_CONFIG_H

#include "lib/Frontend/Model/Diagnostics.h"
#include "moe/Runtime/DType.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/JSON.h"

#include <initializer_list>
#include <optional>
#include <vector>

namespace moe::frontend {

/// The names of one thing, the preferred one first: families and versions differ. A dot leads into an object.
struct Keys {
  Keys(const char *key) : names{key} {}
  Keys(std::initializer_list<llvm::StringRef> names) : names(names) {}

  llvm::SmallVector<llvm::StringRef, 3> names;
};

class Config {
public:
  /// Largest size, count or index: index tensors are i32.
  static constexpr int64_t maxSize = 0x7fffffff;

  /// Reads a JSON file whose value is an object. Errors name the position.
  static llvm::Expected<Config> open(const std::string &path);

  const std::string &path() const { return file; }

  /// The value of the first of `keys` that is there and not null. All that are there must agree.
  const llvm::json::Value *find(const Keys &keys);
  bool has(const Keys &keys) { return find(keys) != nullptr; }

  /// An integer between `least` and `most`.
  int64_t integer(const Keys &keys, int64_t least, int64_t most, std::optional<int64_t> fallback = std::nullopt);
  /// A size: an integer between 1 and `maxSize`.
  int64_t size(const Keys &keys, std::optional<int64_t> fallback = std::nullopt) {
    return integer(keys, 1, maxSize, fallback);
  }
  /// A finite number greater than 0.
  double positive(const Keys &keys, std::optional<double> fallback = std::nullopt);
  bool flag(const Keys &keys, std::optional<bool> fallback = std::nullopt);
  std::string text(const Keys &keys, std::optional<std::string> fallback = std::nullopt);
  /// An integer or a list of integers, each between `least` and `most`; empty where there is none.
  std::vector<int64_t> integers(const Keys &keys, int64_t least, int64_t most);
  /// F32, BF16 or F16 from "float32" and so on; nothing where there is no key.
  std::optional<rt::DType> dtype(const Keys &keys);
  /// One of `known`; others are refused with the list.
  std::string choice(const Keys &keys, llvm::ArrayRef<llvm::StringRef> known,
                     std::optional<std::string> fallback = std::nullopt);

  /// The one of `keys` to name in messages: the one that is there, else the first.
  llvm::StringRef nameOf(const Keys &keys);
  /// Records "FILE: key 'KEY': `message`".
  void fail(const Keys &keys, const llvm::Twine &message);
  bool failed() const { return static_cast<bool>(errors); }
  llvm::Error takeError() { return errors.take(); }

private:
  Config(std::string file, llvm::json::Object root) : file(std::move(file)), root(std::move(root)) {}

  void missing(const Keys &keys);
  void wrong(const Keys &keys, const llvm::Twine &expected, const llvm::json::Value &found);

  std::string file;
  llvm::json::Object root;
  FirstError errors;
};

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_HUGGINGFACE_CONFIG_H

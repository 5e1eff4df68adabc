//===- Diagnostics.h - errors of the frontends ----------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every error is one line that begins with the path of the file it is about.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_FRONTEND_MODEL_DIAGNOSTICS_H
#define MOE_LIB_FRONTEND_MODEL_DIAGNOSTICS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>

namespace moe::frontend {

/// An error with the text "`path`: `message`".
llvm::Error errorIn(llvm::StringRef path, const llvm::Twine &message);

/// `text` between single quotes, on one line: control characters as \xNN, the middle of long texts left out.
std::string quoted(llvm::StringRef text);

/// "'a', 'b'"
std::string quotedList(llvm::ArrayRef<llvm::StringRef> texts);

/// "[4,8]"
std::string shapeText(llvm::ArrayRef<int64_t> shape);

/// Keeps the first of many errors. Code that reads a config or builds a model goes on with harmless values after an
/// error, so it need not check every step; who calls it asks once at the end.
class FirstError {
public:
  /// Records `message` ("path: what is wrong") unless there is an error already.
  void report(const llvm::Twine &message) {
    if (text.empty())
      text = message.str();
  }
  void report(llvm::Error error) { report(llvm::toString(std::move(error))); }

  explicit operator bool() const { return !text.empty(); }

  /// The error, or success where there was none. Forgets it.
  llvm::Error take() {
    if (text.empty())
      return llvm::Error::success();
    return llvm::createStringError(llvm::inconvertibleErrorCode(), llvm::Twine(std::exchange(text, {})));
  }

private:
  std::string text;
};

} // namespace moe::frontend

#endif // MOE_LIB_FRONTEND_MODEL_DIAGNOSTICS_H

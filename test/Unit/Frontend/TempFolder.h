//===- TempFolder.h - a folder that goes with its test --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_TEST_UNIT_FRONTEND_TEMPFOLDER_H
#define MOE_TEST_UNIT_FRONTEND_TEMPFOLDER_H

#include "moe/Runtime/Safetensors.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moe::frontend {

class TempFolder {
public:
  TempFolder();
  ~TempFolder();

  std::string path(llvm::StringRef file) const;
  std::string path() const { return folder.str().str(); }
  /// Writes `text` to `file` and returns its path.
  std::string write(llvm::StringRef file, llvm::StringRef text) const;
  /// Writes tensors of zeros, each of four elements of `dtype`, named `names`.
  void writeTensors(llvm::StringRef file, const std::vector<std::string> &names,
                    rt::DType dtype = rt::DType::F32) const;
  /// The error's text without the folder in front.
  std::string message(llvm::Error error) const;

private:
  llvm::SmallString<128> folder;
};

} // namespace moe::frontend

#endif // MOE_TEST_UNIT_FRONTEND_TEMPFOLDER_H

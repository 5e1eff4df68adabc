//===- OutputFile.h - files that appear complete or not at all ------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_OUTPUTFILE_H
#define MOE_LIB_DRIVER_OUTPUTFILE_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>

namespace llvm {
class raw_fd_ostream;
} // namespace llvm

namespace moe {

/// Whether a file could be written to `path`: its folder is there, and it is no folder itself. The error says what is
/// wrong.
llvm::Error checkOutput(llvm::StringRef path);

/// A file under a temporary name beside its place. `keep` renames it; without that it is gone at the end, also when a
/// signal ends the program.
class OutputFile {
public:
  /// Creates an empty temporary file for `path`.
  static llvm::Expected<OutputFile> create(llvm::StringRef path);

  OutputFile(OutputFile &&other);
  OutputFile &operator=(OutputFile &&) = delete;
  ~OutputFile();

  /// The temporary name, to write to.
  llvm::StringRef getTemporary() const { return temporary; }

  /// Calls `write` with a stream at the end of the file; its failures (a full disk) are errors.
  llvm::Error append(llvm::function_ref<llvm::Error(llvm::raw_fd_ostream &)> write);

  /// Gives the file its name. A device (/dev/null) gets a copy instead.
  llvm::Error keep();

private:
  OutputFile(std::string path, std::string temporary, bool isDevice)
      : path(std::move(path)), temporary(std::move(temporary)), isDevice(isDevice) {}

  std::string path;
  std::string temporary; // empty: nothing to remove
  bool isDevice;
};

} // namespace moe

#endif // MOE_LIB_DRIVER_OUTPUTFILE_H

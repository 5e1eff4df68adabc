//===- OutputFile.cpp - files that appear complete or not at all ----------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "OutputFile.h"
#include "Errors.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe;
namespace fs = llvm::sys::fs;

llvm::Error moe::checkOutput(llvm::StringRef path) {
  if (fs::is_directory(path))
    return inputError("output '" + path + "' is a folder; name a file with -o");
  llvm::StringRef parent = llvm::sys::path::parent_path(path);
  if (!parent.empty() && !fs::is_directory(parent))
    return inputError("folder '" + parent + "' of the output does not exist");
  return llvm::Error::success();
}

llvm::Expected<OutputFile> OutputFile::create(llvm::StringRef path) {
  if (llvm::Error error = checkOutput(path))
    return std::move(error);
  fs::file_status status;
  bool isDevice = !fs::status(path, status) && fs::exists(status) && !fs::is_regular_file(status);
  llvm::SmallString<128> model;
  if (isDevice)
    llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, model);
  else
    model = llvm::sys::path::parent_path(path);
  llvm::sys::path::append(model, "." + llvm::sys::path::filename(path) + ".%%%%%%%%");
  llvm::SmallString<128> temporary;
  if (std::error_code code = fs::createUniqueFile(model, temporary))
    return inputError("cannot write '" + path + "': " + code.message());
  llvm::sys::RemoveFileOnSignal(temporary);
  return OutputFile(path.str(), temporary.str().str(), isDevice);
}

OutputFile::OutputFile(OutputFile &&other)
    : path(std::move(other.path)), temporary(std::move(other.temporary)), isDevice(other.isDevice) {
  other.temporary.clear();
}

OutputFile::~OutputFile() {
  if (temporary.empty())
    return;
  fs::remove(temporary);
  llvm::sys::DontRemoveFileOnSignal(temporary);
}

llvm::Error OutputFile::append(llvm::function_ref<llvm::Error(llvm::raw_fd_ostream &)> write) {
  std::error_code code;
  llvm::raw_fd_ostream stream(temporary, code, fs::CD_OpenExisting, fs::FA_Write, fs::OF_Append);
  if (code)
    return inputError("cannot write '" + path + "': " + code.message());
  llvm::Error error = write(stream);
  stream.close();
  code = stream.error();
  stream.clear_error(); // reported here; else the destructor ends the program
  if (error)
    return error;
  if (code)
    return inputError("cannot write '" + path + "': " + code.message());
  return llvm::Error::success();
}

llvm::Error OutputFile::keep() {
  // What cannot be renamed stays for the destructor to remove.
  std::error_code code = isDevice ? fs::copy_file(temporary, path) : fs::rename(temporary, path);
  if (code)
    return inputError("cannot write '" + path + "': " + code.message());
  if (!isDevice) {
    llvm::sys::DontRemoveFileOnSignal(temporary);
    temporary.clear();
  }
  return llvm::Error::success();
}

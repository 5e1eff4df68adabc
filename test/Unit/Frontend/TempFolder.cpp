//===- TempFolder.cpp - a folder that goes with its test ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TempFolder.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

using namespace moe;
using namespace moe::frontend;

TempFolder::TempFolder() { EXPECT_FALSE(llvm::sys::fs::createUniqueDirectory("moe-frontend", folder)); }

TempFolder::~TempFolder() { llvm::sys::fs::remove_directories(folder); }

std::string TempFolder::path(llvm::StringRef file) const {
  llvm::SmallString<128> result(folder);
  llvm::sys::path::append(result, file);
  return result.str().str();
}

std::string TempFolder::write(llvm::StringRef file, llvm::StringRef text) const {
  std::error_code error;
  llvm::raw_fd_ostream stream(path(file), error);
  EXPECT_FALSE(error) << error.message();
  stream << text;
  return path(file);
}

void TempFolder::writeTensors(llvm::StringRef file, const std::vector<std::string> &names, rt::DType dtype) const {
  std::vector<unsigned char> zeros(4 * rt::dtypeBits(dtype) / 8);
  std::vector<rt::TensorView> tensors;
  for (const std::string &name : names)
    tensors.push_back({name, dtype, {2, 2}, zeros.data(), zeros.size()});
  std::string error;
  EXPECT_TRUE(rt::writeSafetensors(path(file), tensors, {}, error)) << error;
}

std::string TempFolder::message(llvm::Error error) const {
  std::string text = llvm::toString(std::move(error));
  llvm::StringRef rest = text;
  if (rest.consume_front(folder) && (rest.consume_front("/") || rest.consume_front(": ")))
    return rest.str();
  return text;
}

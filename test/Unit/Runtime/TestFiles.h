//===- TestFiles.h - files for unit tests ---------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_TEST_UNIT_RUNTIME_TESTFILES_H
#define MOE_TEST_UNIT_RUNTIME_TESTFILES_H

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace moe::rt::test {

/// The path of a file of the source tree.
inline std::string sourcePath(const std::string &relative) { return std::string(MOE_SOURCE_ROOT) + "/" + relative; }

/// All bytes of a file; the test fails if it cannot be read.
inline std::string readFile(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream.good()) << path;
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

/// A folder that is removed with everything in it.
class TemporaryFolder {
public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moe-test-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path); }

  std::string file(const std::string &name) const { return (path / name).string(); }
  std::string write(const std::string &name, const std::string &bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
    return file(name);
  }
  /// Number of files in it.
  std::ptrdiff_t count() const {
    return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
  }

private:
  std::filesystem::path path;
};

} // namespace moe::rt::test

#endif // MOE_TEST_UNIT_RUNTIME_TESTFILES_H

//===- MappedFile.cpp - a file mapped for reading -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Safetensors.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace moe::rt {

std::optional<MappedFile> MappedFile::open(const std::string &path, std::string &error) {
  // O_NONBLOCK: a pipe without a writer must not hang here before it is refused.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    error = path + ": cannot open: " + std::strerror(errno);
    return std::nullopt;
  }
  struct stat status;
  if (fstat(descriptor, &status) != 0) {
    error = path + ": cannot open: " + std::strerror(errno);
    close(descriptor);
    return std::nullopt;
  }
  if (!S_ISREG(status.st_mode)) {
    error = path + ": expected a regular file but got " + (S_ISDIR(status.st_mode) ? "a folder" : "a special file");
    close(descriptor);
    return std::nullopt;
  }
  if (status.st_size == 0) {
    close(descriptor);
    return MappedFile(nullptr, 0);
  }
  auto length = static_cast<size_t>(status.st_size);
  void *bytes = mmap(nullptr, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
  int failure = errno;
  close(descriptor);
  if (bytes == MAP_FAILED) {
    error = path + ": cannot map " + std::to_string(length) + " bytes: " + std::strerror(failure);
    return std::nullopt;
  }
  return MappedFile(static_cast<const unsigned char *>(bytes), length);
}

MappedFile::MappedFile(MappedFile &&other) noexcept
    : bytes(std::exchange(other.bytes, nullptr)), length(std::exchange(other.length, 0)) {}

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(bytes, other.bytes);
  std::swap(length, other.length);
  return *this;
}

MappedFile::~MappedFile() {
  if (bytes)
    munmap(const_cast<unsigned char *>(bytes), length);
}

} // namespace moe::rt

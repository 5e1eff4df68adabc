//===- SafetensorsWriter.cpp - writes safetensors atomically --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "moe/Runtime/Safetensors.h"

#include "../Text.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_set>

namespace moe::rt {
namespace {

/// A file that is being written: a temporary next to `path` that takes its name when it is complete, or `path` itself
/// where that is no regular file (renaming over /dev/null would replace the device).
class OutputFile {
public:
  explicit OutputFile(const std::string &path) : target(path) {
    struct stat status;
    if (stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
      descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      return;
    }
    // A symbolic link stays one: what it points to is replaced.
    char resolved[PATH_MAX];
    if (realpath(path.c_str(), resolved))
      target = resolved;
    temporary = target + ".XXXXXX";
    descriptor = mkostemp(temporary.data(), O_CLOEXEC);
    if (descriptor < 0) {
      temporary.clear();
      return;
    }
    mode_t mask = umask(0);
    umask(mask);
    (void)fchmod(descriptor, 0666 & ~mask);
  }
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;
  ~OutputFile() {
    if (descriptor >= 0)
      close(descriptor);
    if (!temporary.empty())
      unlink(temporary.c_str());
  }

  bool isOpen() const { return descriptor >= 0; }

  /// Writes all bytes; false leaves the reason in errno.
  bool write(const void *bytes, size_t size) {
    const char *next = static_cast<const char *>(bytes);
    while (size > 0) {
      ssize_t written = ::write(descriptor, next, std::min<size_t>(size, 1 << 30));
      if (written < 0 && errno == EINTR)
        continue;
      if (written < 0)
        return false;
      next += written;
      size -= static_cast<size_t>(written);
    }
    return true;
  }

  /// Gives the file its name; false leaves the reason in errno.
  bool commit() {
    int status = close(descriptor);
    descriptor = -1;
    if (status != 0)
      return false;
    if (temporary.empty())
      return true;
    if (rename(temporary.c_str(), target.c_str()) != 0)
      return false;
    temporary.clear();
    return true;
  }

private:
  std::string target;
  std::string temporary; // empty: nothing to rename or remove
  int descriptor = -1;
};

} // namespace

bool writeSafetensors(const std::string &path, const std::vector<TensorView> &tensors,
                      const std::vector<std::pair<std::string, std::string>> &metadata, std::string &error) {
  auto fail = [&](const std::string &message) {
    error = path + ": " + message;
    return false;
  };
  std::unordered_set<std::string_view> names{"__metadata__"};
  for (const TensorView &tensor : tensors) {
    if (!names.insert(tensor.name).second)
      return fail("cannot write two tensors called " + quoteText(tensor.name));
    std::optional<int64_t> bytes = tensorBytes(tensor.dtype, tensor.shape);
    if (!bytes || static_cast<uint64_t>(*bytes) != tensor.size)
      return fail("cannot write tensor " + quoteText(tensor.name) + ": expected " +
                  (bytes ? std::to_string(*bytes) + " bytes" : "a size below 2^63") + " for " +
                  std::string(dtypeName(tensor.dtype)) + " of shape " + shapeToString(tensor.shape) + " but got " +
                  std::to_string(tensor.size));
  }

  // Wide elements first: with a header of a multiple of 8 bytes every tensor is then aligned in the file.
  std::vector<const TensorView *> order;
  for (const TensorView &tensor : tensors)
    order.push_back(&tensor);
  // The addresses keep the order of the caller among equals.
  std::sort(order.begin(), order.end(), [](const TensorView *a, const TensorView *b) {
    unsigned bitsA = dtypeBits(a->dtype), bitsB = dtypeBits(b->dtype);
    return bitsA != bitsB ? bitsA > bitsB : a < b;
  });

  std::string header;
  try {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    for (const auto &[key, value] : metadata)
      json["__metadata__"][key] = value;
    uint64_t position = 0;
    for (const TensorView *tensor : order) {
      json[tensor->name] = {{"dtype", std::string(dtypeName(tensor->dtype))},
                            {"shape", tensor->shape},
                            {"data_offsets", {position, position + tensor->size}}};
      position += tensor->size;
    }
    header = json.dump();
  } catch (const nlohmann::json::exception &) {
    return fail("cannot write a tensor name or metadata that is not UTF-8");
  }
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > SafetensorsFile::maxHeaderSize)
    return fail("cannot write a header of " + std::to_string(header.size()) + " bytes, the limit is " +
                std::to_string(SafetensorsFile::maxHeaderSize));

  OutputFile file(path);
  auto failed = [&] { return fail(std::string("cannot write: ") + std::strerror(errno)); };
  if (!file.isOpen())
    return failed();
  unsigned char prefix[8];
  for (int i = 0; i < 8; ++i)
    prefix[i] = static_cast<unsigned char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  if (!file.write(prefix, sizeof(prefix)) || !file.write(header.data(), header.size()))
    return failed();
  for (const TensorView *tensor : order)
    if (!file.write(tensor->data, tensor->size))
      return failed();
  return file.commit() || failed();
}

} // namespace moe::rt

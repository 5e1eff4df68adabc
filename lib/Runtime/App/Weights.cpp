//===- Weights.cpp - opening the weights of a model ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PageMapper.h"

#include "moe/Runtime/Error.h"
#include "moe/Runtime/Model.h"
#include "moe/Runtime/ThreadPool.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

namespace moe::rt {

static std::string hexadecimal(uint64_t number) {
  char digits[17];
  snprintf(digits, sizeof digits, "%016" PRIx64, number);
  return digits;
}

Weights Weights::open(const std::string &file, const std::string &shown, const Manifest &manifest) {
  std::string error;
  std::optional<MappedFile> mapping = MappedFile::open(file, error);
  if (!mapping) {
    // The message names what was opened; say what the user calls it ("/proc/self/exe" means nothing to anybody).
    if (size_t at = error.find(file); at != std::string::npos)
      error.replace(at, file.size(), shown);
    throw InputError(error);
  }

  auto fail = [&](const std::string &what, const std::string &expected, const std::string &found) {
    throw InputError(shown + ": " + what + ": expected " + expected + " but got " + found);
  };
  WeightsTrailer trailer;
  if (mapping->size() < sizeof trailer)
    fail("weights trailer", std::to_string(sizeof trailer) + " bytes", "a file of " + std::to_string(mapping->size()));
  std::memcpy(&trailer, mapping->data() + mapping->size() - sizeof trailer, sizeof trailer);
  if (std::memcmp(trailer.magic, weightsMagic, sizeof weightsMagic) != 0)
    fail("weights trailer", "'" + std::string(weightsMagic, sizeof weightsMagic) + "' at the end of the file",
         "something else (not a weights file, or cut off)");
  if (trailer.fingerprint != manifest.fingerprint)
    fail("fingerprint of the weights", hexadecimal(manifest.fingerprint), hexadecimal(trailer.fingerprint));
  if (trailer.size != manifest.weightsSize)
    fail("size of the weights", std::to_string(manifest.weightsSize), std::to_string(trailer.size));
  if (trailer.offset % weightsPageSize != 0)
    fail("offset of the weights", "a multiple of " + std::to_string(weightsPageSize), std::to_string(trailer.offset));
  uint64_t room = mapping->size() - sizeof trailer;
  if (trailer.offset > room || trailer.size > room - trailer.offset)
    fail("weights", std::to_string(trailer.size) + " bytes at offset " + std::to_string(trailer.offset),
         "a file of " + std::to_string(mapping->size()));

  Weights weights;
  weights.mapping = std::move(mapping);
  weights.blob = weights.mapping->data() + trailer.offset;
  // What is not in the page cache yet is read ahead while the program starts. A hint: failure is no harm.
  madvise(const_cast<unsigned char *>(weights.blob), trailer.size, MADV_WILLNEED);
  return weights;
}

void Weights::mapAhead(const Manifest &manifest) {
  if (mapping && PageMapper::isWorthwhile(manifest.weightsSize))
    mapper = std::make_shared<PageMapper>(blob, manifest.weightsSize);
}

void Weights::copyToHugePages(const Manifest &manifest) {
  if (!mapping || manifest.weightsSize == 0)
    return;
  constexpr uint64_t page = 2 << 20;
  uint64_t size = (manifest.weightsSize + page - 1) / page * page;
  // One page more than needed, so that the copy can begin at a page's start.
  void *memory = mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw InputError("--huge-pages: expected " + std::to_string(size + page) +
                     " bytes of memory for the weights but got: " + strerror(errno));
  copy = std::shared_ptr<unsigned char>(static_cast<unsigned char *>(memory),
                                        [size](unsigned char *begin) { munmap(begin, size + page); });
  unsigned char *to = copy.get() + (page - reinterpret_cast<uintptr_t>(memory) % page) % page;
  madvise(to, size, MADV_HUGEPAGE); // a hint
  auto copyRange = [&](uint64_t begin, uint64_t end) { std::memcpy(to + begin, blob + begin, end - begin); };

  // Who first writes to a page decides where it lies; a page belongs to the tensor that begins on it or before it.
  uint64_t done = 0;
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    bool last = i + 1 == manifest.tensors.size();
    uint64_t end = last ? manifest.weightsSize : manifest.tensors[i + 1].offset / page * page;
    if (end <= done)
      continue;
    int64_t pages = int64_t((end - done + page - 1) / page);
    parallelFor(pages, [&](int64_t first, int64_t past) {
      copyRange(done + uint64_t(first) * page, std::min(done + uint64_t(past) * page, end));
    });
    done = end;
  }
  blob = to;
  mapper.reset();
  mapping.reset();
}

} // namespace moe::rt

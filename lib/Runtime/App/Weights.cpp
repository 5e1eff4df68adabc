//===- Weights.cpp - opening the weights of a model ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Error.h"
#include "moe/Runtime/Model.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

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
  return weights;
}

} // namespace moe::rt

//===- FakeModel.h - a hand-written compiled model -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_TEST_UNIT_RUNTIMEAPP_FAKEMODEL_H
#define MOE_TEST_UNIT_RUNTIMEAPP_FAKEMODEL_H

#include <cstdint>
#include <string>

namespace fake {

constexpr int64_t vocabulary = 257; // bytes and <|end|>
constexpr int32_t endOfText = 256;
constexpr int64_t layers = 2, experts = 4, maxPositions = 40;
constexpr uint64_t weightsSize = 1092, fingerprint = 0xc0ffee11;

/// The manifest as text.
std::string manifest();

/// A tokenizer.json whose tokens are the 256 bytes, with the byte's value as id, and <|end|>.
std::string tokenizer();

/// The bytes of a file that starts with `before` and carries the weights of the fake model.
std::string weightsFile(const std::string &before, uint64_t fingerprint = fake::fingerprint);

} // namespace fake

#endif // MOE_TEST_UNIT_RUNTIMEAPP_FAKEMODEL_H

//===- Normalizer.cpp - Unicode normalisation -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Normalizer.h"

#include "Utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace moe::rt {
namespace {

/// Sorts every run of combining marks by combining class, equal ones staying in order. utf8proc has this too, but as a
/// bubble sort, which a long run of marks makes quadratic.
void orderMarks(std::vector<utf8proc_int32_t> &codePoints) {
  std::vector<uint64_t> run; // class, position in the run, code point: sorts as it should
  auto finish = [&](size_t end) {
    std::sort(run.begin(), run.end());
    for (size_t i = 0; i < run.size(); ++i)
      codePoints[end - run.size() + i] = static_cast<utf8proc_int32_t>(run[i] & 0x1fffff);
    run.clear();
  };
  for (size_t i = 0; i < codePoints.size(); ++i) {
    auto combiningClass = static_cast<uint64_t>(utf8proc_get_property(codePoints[i])->combining_class);
    if (combiningClass != 0)
      run.push_back(combiningClass << 56 | uint64_t(run.size()) << 21 | static_cast<uint64_t>(codePoints[i]));
    else if (!run.empty())
      finish(i);
  }
  finish(codePoints.size());
}

} // namespace

bool isTriviallyNfc(std::string_view text) {
  // U+0300 is 0xcc 0x80; nothing below it is encoded with a lead byte from 0xcc on.
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xcc; });
}

std::string normalizeNfc(std::string_view text) {
  constexpr auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  std::vector<utf8proc_int32_t> codePoints;
  codePoints.reserve(text.size());
  for (size_t i = 0; i < text.size(); i += stepUtf8(text, i).length) {
    utf8proc_int32_t parts[32]; // the longest canonical decomposition has four
    int lastBoundary = 0;
    utf8proc_ssize_t count =
        utf8proc_decompose_char(codePointAt(text, i), parts, std::size(parts), options, &lastBoundary);
    if (count < 0 || count > utf8proc_ssize_t(std::size(parts)))
      throw std::runtime_error("cannot normalize the text: " + std::string(utf8proc_errmsg(count)));
    codePoints.insert(codePoints.end(), parts, parts + count);
  }
  orderMarks(codePoints);
  utf8proc_ssize_t count =
      utf8proc_normalize_utf32(codePoints.data(), static_cast<utf8proc_ssize_t>(codePoints.size()), options);
  if (count < 0)
    throw std::runtime_error("cannot normalize the text: " + std::string(utf8proc_errmsg(count)));
  std::string result;
  result.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    result += encodeUtf8(codePoints[static_cast<size_t>(i)]);
  return result;
}

} // namespace moe::rt

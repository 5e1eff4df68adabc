//===- Text.h - names of foreign files in messages ------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_TEXT_H
#define MOE_LIB_RUNTIME_TEXT_H

#include <string>
#include <string_view>

namespace moe::rt {

/// `text` between single quotes on one line: control characters as \xNN, the middle of very long texts left out.
inline std::string quoteText(std::string_view text) {
  constexpr size_t longest = 200;
  constexpr char digits[] = "0123456789abcdef";
  std::string result = "'";
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.size() > longest && i == longest / 2) {
      result += "...";
      i = text.size() - longest / 2;
    }
    auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f)
      (result += "\\x") += {digits[byte >> 4], digits[byte & 15]};
    else
      result += text[i];
  }
  return result + "'";
}

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_TEXT_H

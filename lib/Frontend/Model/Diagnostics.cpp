//===- Diagnostics.cpp - errors of the frontends --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Diagnostics.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe;

llvm::Error frontend::errorIn(llvm::StringRef path, const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), path + ": " + message);
}

std::string frontend::quoted(llvm::StringRef text) {
  constexpr size_t longest = 200;
  std::string middle;
  if (text.size() > longest) {
    middle = (text.take_front(longest / 2) + "..." + text.take_back(longest / 2)).str();
    text = middle;
  }
  std::string result = "'";
  for (unsigned char byte : text) {
    if (byte < 0x20 || byte == 0x7f)
      (result += "\\x") += llvm::toHex(llvm::ArrayRef<uint8_t>(byte), /*LowerCase=*/true);
    else
      result += static_cast<char>(byte);
  }
  return result + "'";
}

std::string frontend::quotedList(llvm::ArrayRef<llvm::StringRef> texts) {
  return llvm::join(llvm::map_range(texts, quoted), ", ");
}

std::string frontend::shapeText(llvm::ArrayRef<int64_t> shape) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << '[';
  llvm::interleave(shape, stream, ",");
  stream << ']';
  return text;
}

//===- Npy.cpp - reads NumPy's array files --------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Layout: "\x93NUMPY", version (2 bytes), header length (2 bytes, from version 2 on 4), a Python dictionary with the
// keys descr, fortran_order and shape, the data.
//
//===----------------------------------------------------------------------===//
#include "moe/Runtime/TensorFile.h"

#include "../Text.h"

#include <cstring>
#include <limits>

namespace moe::rt {
namespace {

constexpr char npyMagic[] = "\x93NUMPY";
constexpr size_t npyMagicSize = sizeof(npyMagic) - 1;

/// The one dictionary of a header: a small part of Python's literals.
class DictionaryReader {
public:
  explicit DictionaryReader(std::string_view text) : text(text) {}

  std::string descr;
  bool fortranOrder = false;
  std::vector<int64_t> shape;
  std::string error; // what was expected and found

  bool read() {
    bool hasDescr = false, hasOrder = false, hasShape = false;
    if (!expect('{'))
      return false;
    while (!accept('}')) {
      std::string key;
      if (!readString(key) || !expect(':'))
        return false;
      bool *seen = key == "descr"           ? &hasDescr
                   : key == "fortran_order" ? &hasOrder
                   : key == "shape"         ? &hasShape
                                            : nullptr;
      if (!seen)
        return fail("unknown key " + quoteText(key));
      if (*seen)
        return fail("the key " + quoteText(key) + " appears twice");
      *seen = true;
      if (seen == &hasDescr) {
        if (peek() == '[')
          return fail("structured types are not supported");
        if (!readString(descr))
          return false;
      } else if (seen == &hasOrder ? !readBool(fortranOrder) : !readShape()) {
        return false;
      }
      if (!accept(',') && peek() != '}')
        return fail("expected ',' or '}' at byte " + std::to_string(position));
    }
    if (peek() != '\0' || position != text.size())
      return fail("expected its end at byte " + std::to_string(position));
    const char *missing = !hasDescr ? "descr" : !hasOrder ? "fortran_order" : !hasShape ? "shape" : nullptr;
    return missing ? fail(std::string("no key '") + missing + "'") : true;
  }

private:
  bool fail(std::string message) {
    error = std::move(message);
    return false;
  }

  /// The next character that is no white space, or 0 at the end.
  char peek() {
    while (position < text.size() && std::strchr(" \t\r\n\f", text[position]) && text[position] != '\0')
      ++position;
    return position < text.size() ? text[position] : '\0';
  }
  bool accept(char wanted) {
    if (peek() != wanted)
      return false;
    ++position;
    return true;
  }
  bool expect(char wanted) {
    return accept(wanted) || fail(std::string("expected '") + wanted + "' at byte " + std::to_string(position));
  }

  bool readString(std::string &value) {
    char quote = peek();
    if (quote != '\'' && quote != '"')
      return fail("expected a string at byte " + std::to_string(position));
    size_t end = text.find(quote, position + 1);
    if (end == text.npos)
      return fail("a string does not end");
    value = text.substr(position + 1, end - position - 1);
    position = end + 1;
    return value.find('\\') == value.npos || fail("escapes in strings are not supported");
  }

  bool readBool(bool &value) {
    peek();
    for (bool candidate : {false, true}) {
      std::string_view word = candidate ? "True" : "False";
      if (text.substr(position, word.size()) == word) {
        position += word.size();
        value = candidate;
        return true;
      }
    }
    return fail("expected True or False at byte " + std::to_string(position));
  }

  bool readShape() {
    if (!expect('('))
      return false;
    while (!accept(')')) {
      if (peek() < '0' || peek() > '9')
        return fail("expected a size at byte " + std::to_string(position));
      int64_t size = 0;
      for (; position < text.size() && text[position] >= '0' && text[position] <= '9'; ++position)
        if (__builtin_mul_overflow(size, int64_t(10), &size) ||
            __builtin_add_overflow(size, int64_t(text[position] - '0'), &size))
          return fail("a size of the shape does not fit 63 bits");
      shape.push_back(size);
      if (!accept(',') && peek() != ')')
        return fail("expected ',' or ')' at byte " + std::to_string(position));
    }
    return true;
  }

  std::string_view text;
  size_t position = 0;
};

/// The type for a `descr` like "<f4", or nothing.
std::optional<DType> dtypeFromDescr(std::string_view descr) {
  struct Known {
    std::string_view kind;
    DType dtype;
  };
  constexpr Known table[] = {{"b1", DType::Bool}, {"i1", DType::I8},  {"u1", DType::U8},  {"i2", DType::I16},
                             {"u2", DType::U16},  {"i4", DType::I32}, {"u4", DType::U32}, {"i8", DType::I64},
                             {"u8", DType::U64},  {"f2", DType::F16}, {"f4", DType::F32}, {"f8", DType::F64},
                             {"c8", DType::C64}};
  if (descr.size() != 3)
    return std::nullopt;
  for (const Known &known : table)
    // '|' (no byte order) is for single bytes only; those are taken with any order.
    if (descr.substr(1) == known.kind &&
        (descr[0] == '<' || (dtypeBits(known.dtype) == 8 && (descr[0] == '|' || descr[0] == '>'))))
      return known.dtype;
  return std::nullopt;
}

} // namespace

std::optional<TensorView> parseNpy(const unsigned char *data, uint64_t size, const std::string &name,
                                   std::string &error) {
  auto fail = [&](const std::string &message) {
    error = name + ": " + message;
    return std::nullopt;
  };
  if (size < npyMagicSize + 2 || std::memcmp(data, npyMagic, npyMagicSize) != 0)
    return fail("expected a .npy file but its first bytes are others");
  unsigned version = data[npyMagicSize];
  if (version < 1 || version > 3 || data[npyMagicSize + 1] != 0)
    return fail("expected .npy format version 1.0, 2.0 or 3.0 but got " + std::to_string(version) + "." +
                std::to_string(data[npyMagicSize + 1]));
  unsigned lengthBytes = version == 1 ? 2 : 4;
  uint64_t start = npyMagicSize + 2 + lengthBytes;
  if (size < start)
    return fail("the file ends inside the .npy header");
  uint64_t headerSize = 0;
  for (unsigned i = lengthBytes; i-- > 0;)
    headerSize = headerSize << 8 | data[npyMagicSize + 2 + i];
  if (headerSize > size - start)
    return fail("the file ends inside the .npy header: expected a header of " + std::to_string(headerSize) +
                " bytes but the file has " + std::to_string(size));

  DictionaryReader reader({reinterpret_cast<const char *>(data) + start, static_cast<size_t>(headerSize)});
  if (!reader.read())
    return fail(".npy header: " + reader.error);
  std::optional<DType> dtype = dtypeFromDescr(reader.descr);
  if (!dtype) {
    if (reader.descr.size() == 3 && reader.descr[0] == '>')
      return fail(".npy header: big-endian data (descr " + quoteText(reader.descr) + ") is not supported");
    return fail(".npy header: type " + quoteText(reader.descr) + " is not supported");
  }
  // With fewer than two dimensions both orders are the same; NumPy then writes False.
  if (reader.fortranOrder && reader.shape.size() > 1)
    return fail(".npy header: fortran_order is not supported: expected the array in C order");
  std::optional<int64_t> bytes = tensorBytes(*dtype, reader.shape);
  if (!bytes)
    return fail(".npy header: the size of shape " + shapeToString(reader.shape) + " overflows 63 bits");
  uint64_t available = size - start - headerSize;
  if (static_cast<uint64_t>(*bytes) != available)
    return fail("expected " + std::to_string(*bytes) + " bytes of data for " + std::string(dtypeName(*dtype)) +
                " of shape " + shapeToString(reader.shape) + " but got " + std::to_string(available));
  return TensorView{"", *dtype, std::move(reader.shape), data + start + headerSize, available};
}

std::optional<TensorFile> TensorFile::open(const std::string &path, std::string &error) {
  std::optional<MappedFile> mapping = MappedFile::open(path, error);
  if (!mapping)
    return std::nullopt;
  TensorFile file;
  if (mapping->size() >= npyMagicSize && std::memcmp(mapping->data(), npyMagic, npyMagicSize) == 0) {
    std::optional<TensorView> array = parseNpy(mapping->data(), mapping->size(), path, error);
    if (!array)
      return std::nullopt;
    file.views.push_back(std::move(*array));
  } else {
    std::optional<SafetensorsFile> tensors = SafetensorsFile::parse(mapping->data(), mapping->size(), path, error);
    if (!tensors)
      return std::nullopt;
    file.views = tensors->tensors();
  }
  file.mapping = std::move(mapping);
  return file;
}

const TensorView *TensorFile::find(std::string_view name) const {
  for (const TensorView &view : views)
    if (view.name == name)
      return &view;
  return nullptr;
}

} // namespace moe::rt

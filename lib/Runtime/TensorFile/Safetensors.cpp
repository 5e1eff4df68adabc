//===- Safetensors.cpp - reads and validates safetensors ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Layout: header length (u64), header (JSON), data. Every byte of the data belongs to exactly one tensor; a header that
// leaves any doubt about that is refused.
//
//===----------------------------------------------------------------------===//
#include "moe/Runtime/Safetensors.h"

#include "../Text.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <tuple>
#include <unordered_set>

namespace moe::rt {
namespace {

/// What the header says of one tensor, before it is checked against the data.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> offsets;
  bool hasDType = false, hasShape = false, hasOffsets = false;
};

/// Reads the header event by event: that is how duplicate keys can be seen, and nothing is built that is not needed.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
public:
  std::vector<HeaderEntry> entries;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::string error;

  bool null() override {
    // The reference reader takes "__metadata__": null for no metadata.
    if (place == Place::Root && inMetadata) {
      inMetadata = false;
      return true;
    }
    return scalar("null");
  }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return number(value, value < 0 ? std::to_string(value) : std::string());
  }
  bool number_unsigned(number_unsigned_t value) override {
    bool fits = value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    return number(static_cast<int64_t>(value), fits ? std::string() : std::to_string(value));
  }
  bool number_float(number_float_t, const string_t &text) override { return number(0, text); }
  bool binary(binary_t &) override { return false; }

  bool string(string_t &value) override {
    if (place == Place::Metadata) {
      metadata.back().second = value;
      return true;
    }
    if (place == Place::Entry && field == Field::DType) {
      entries.back().dtype = value;
      entries.back().hasDType = true;
      return true;
    }
    return scalar("a string");
  }

  bool start_object(size_t) override {
    switch (place) {
    case Place::Outside:
      place = Place::Root;
      return true;
    case Place::Root:
      place = inMetadata ? Place::Metadata : Place::Entry;
      return true;
    default:
      return nested("an object");
    }
  }

  bool key(string_t &name) override {
    if (skipDepth > 0)
      return true;
    switch (place) {
    case Place::Root:
      if (!names.insert(name).second)
        return fail(quoteText(name) + " appears twice in the header");
      inMetadata = name == "__metadata__";
      if (!inMetadata)
        entries.emplace_back().name = name;
      return true;
    case Place::Metadata:
      if (!metadataNames.insert(name).second)
        return fail("__metadata__ has the key " + quoteText(name) + " twice");
      metadata.emplace_back(name, "");
      return true;
    case Place::Entry: {
      HeaderEntry &entry = entries.back();
      bool repeated = false;
      if (name == "dtype") {
        field = Field::DType;
        repeated = entry.hasDType;
      } else if (name == "shape") {
        field = Field::Shape;
        repeated = entry.hasShape;
      } else if (name == "data_offsets") {
        field = Field::Offsets;
        repeated = entry.hasOffsets;
      } else {
        field = Field::Unknown;
      }
      return repeated ? fail("tensor " + quoteText(entry.name) + " has the key " + quoteText(name) + " twice") : true;
    }
    default:
      return false; // lists have no keys
    }
  }

  bool end_object() override {
    if (skipping())
      return true;
    if (place == Place::Entry) {
      const HeaderEntry &entry = entries.back();
      const char *missing = !entry.hasDType     ? "dtype"
                            : !entry.hasShape   ? "shape"
                            : !entry.hasOffsets ? "data_offsets"
                                                : nullptr;
      if (missing)
        return fail("tensor " + quoteText(entry.name) + " has no '" + missing + "'");
      place = Place::Root;
    } else if (place == Place::Metadata) {
      place = Place::Root;
    }
    return true;
  }

  bool start_array(size_t) override {
    if (place == Place::Entry && field == Field::Shape) {
      entries.back().hasShape = true;
      place = Place::List;
      return true;
    }
    if (place == Place::Entry && field == Field::Offsets) {
      entries.back().hasOffsets = true;
      place = Place::List;
      return true;
    }
    return nested("an array");
  }

  bool end_array() override {
    if (!skipping())
      place = Place::Entry;
    return true;
  }

  bool parse_error(size_t position, const std::string &, const nlohmann::json::exception &) override {
    return fail("the safetensors header is not JSON: it does not parse at byte " + std::to_string(position));
  }

private:
  enum class Place { Outside, Root, Metadata, Entry, List };
  enum class Field { DType, Shape, Offsets, Unknown };

  bool fail(std::string message) {
    error = std::move(message);
    return false;
  }

  /// Where the reader is, for "expected ... in WHERE".
  std::string where() const {
    if (place == Place::Outside)
      return "the header";
    if (inMetadata)
      return "__metadata__";
    std::string tensor = "tensor " + quoteText(entries.back().name);
    if (place == Place::Root)
      return tensor;
    const char *fields[] = {"dtype", "shape", "data_offsets"};
    return tensor + ", " + fields[static_cast<int>(field)];
  }

  const char *expected() const {
    if (place == Place::Outside || place == Place::Root)
      return "an object";
    if (place == Place::Metadata || field == Field::DType)
      return "a string";
    return place == Place::List ? "a non-negative integer" : "an array";
  }

  bool wrong(const std::string &got) { return fail(where() + ": expected " + expected() + " but got " + got); }

  /// A value without structure. `got` describes it where it is wrong.
  bool scalar(const char *got) {
    if (skipDepth > 0 || (place == Place::Entry && field == Field::Unknown))
      return true;
    return wrong(got);
  }

  /// `bad` is the number's text where it is no non-negative 63-bit integer.
  bool number(int64_t value, const std::string &bad) {
    if (skipDepth > 0 || (place == Place::Entry && field == Field::Unknown))
      return true;
    if (place != Place::List || !bad.empty())
      return wrong(bad.empty() ? std::to_string(value) : bad);
    (field == Field::Shape ? entries.back().shape : entries.back().offsets).push_back(value);
    return true;
  }

  /// An object or array where the format has none: an unknown key's value is skipped, as the reference reader does.
  bool nested(const char *got) {
    if (skipDepth > 0 || (place == Place::Entry && field == Field::Unknown)) {
      ++skipDepth;
      return true;
    }
    return wrong(got);
  }

  /// Leaves one level of a skipped value, if there is one.
  bool skipping() {
    if (skipDepth == 0)
      return false;
    --skipDepth;
    return true;
  }

  Place place = Place::Outside;
  Field field = Field::Unknown;
  bool inMetadata = false;
  size_t skipDepth = 0;
  std::unordered_set<std::string> names;
  std::unordered_set<std::string> metadataNames;
};

uint64_t readLittleEndian64(const unsigned char *bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i)
    value = value << 8 | bytes[i];
  return value;
}

/// Checks dtype, shape and byte count of `entry` and makes the view of it. On failure sets `error`.
std::optional<TensorView> makeView(HeaderEntry &entry, std::string &error) {
  std::string tensor = "tensor " + quoteText(entry.name);
  std::optional<DType> dtype = dtypeFromName(entry.dtype);
  if (!dtype) {
    error = tensor + " has the unknown dtype " + quoteText(entry.dtype);
    return std::nullopt;
  }
  if (entry.offsets.size() != 2 || entry.offsets[0] > entry.offsets[1]) {
    error = tensor + ": expected data_offsets [begin,end] but got " + shapeToString(entry.offsets);
    return std::nullopt;
  }
  std::string type = std::string(dtypeName(*dtype)) + " of shape " + shapeToString(entry.shape);
  std::optional<int64_t> bytes = tensorBytes(*dtype, entry.shape);
  if (!bytes) {
    error = tensor + ": the size of " + type + " overflows 63 bits or is no whole number of bytes";
    return std::nullopt;
  }
  int64_t stored = entry.offsets[1] - entry.offsets[0];
  if (*bytes != stored) {
    error = tensor + ": expected " + std::to_string(*bytes) + " bytes for " + type + " but data_offsets " +
            shapeToString(entry.offsets) + " hold " + std::to_string(stored) + " bytes";
    return std::nullopt;
  }
  return TensorView{std::move(entry.name), *dtype, std::move(entry.shape), nullptr, static_cast<uint64_t>(stored)};
}

} // namespace

std::optional<SafetensorsFile> SafetensorsFile::parse(const unsigned char *data, uint64_t size, const std::string &name,
                                                      std::string &error) {
  auto fail = [&](const std::string &message) {
    error = name + ": " + message;
    return std::nullopt;
  };
  auto count = [](uint64_t bytes) { return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes"); };
  if (size < 8)
    return fail("expected a safetensors file (at least 8 bytes) but got " + count(size));
  uint64_t headerSize = readLittleEndian64(data);
  if (headerSize > maxHeaderSize)
    return fail("the safetensors header length is " + std::to_string(headerSize) + ", the limit is " +
                std::to_string(maxHeaderSize) + " (file size " + std::to_string(size) + ")");
  if (headerSize > size - 8)
    return fail("the file ends inside the safetensors header: expected a header of " + count(headerSize) +
                " but the file has " + count(size));
  const unsigned char *header = data + 8;
  if (headerSize == 0 || header[0] != '{')
    return fail("the safetensors header is not JSON: expected '{' as its first byte");

  HeaderReader reader;
  if (!nlohmann::json::sax_parse(header, header + headerSize, &reader))
    return fail(reader.error);

  // In the order of the data holes and overlaps are seen between neighbours.
  std::sort(reader.entries.begin(), reader.entries.end(), [](const HeaderEntry &a, const HeaderEntry &b) {
    return std::tie(a.offsets, a.name) < std::tie(b.offsets, b.name);
  });
  const bool sized = !reader.entries.empty() && reader.entries.back().offsets.size() == 2;
  const uint64_t expectedSize = 8 + headerSize + (sized ? static_cast<uint64_t>(reader.entries.back().offsets[1]) : 0);
  SafetensorsFile file;
  file.metadataEntries = std::move(reader.metadata);
  file.entries.reserve(reader.entries.size());
  const unsigned char *buffer = header + headerSize;
  uint64_t available = size - 8 - headerSize;
  uint64_t position = 0;
  for (HeaderEntry &entry : reader.entries) {
    std::optional<TensorView> view = makeView(entry, error);
    if (!view)
      return fail(error);
    auto begin = static_cast<uint64_t>(entry.offsets[0]);
    if (begin > position)
      return fail(count(begin - position) + " of data before tensor " + quoteText(view->name) +
                  " belong to no tensor: expected it to begin at " + std::to_string(position) + " but got " +
                  std::to_string(begin));
    if (begin < position)
      return fail("tensor " + quoteText(view->name) + " overlaps tensor " + quoteText(file.entries.back().name) +
                  ": expected it to begin at " + std::to_string(position) + " but got " + std::to_string(begin));
    position = begin + view->size;
    if (position > available)
      return fail("tensor " + quoteText(view->name) + " ends after the end of the file: expected a file of " +
                  count(expectedSize) + " but got " + std::to_string(size) + " (" +
                  std::to_string(expectedSize - size) + " too few)");
    view->data = buffer + begin;
    file.index.emplace(view->name, file.entries.size());
    file.entries.push_back(std::move(*view));
  }
  if (position != available)
    return fail(count(available - position) + " at the end belong to no tensor: expected a file of " +
                count(expectedSize) + " but got " + std::to_string(size));
  return file;
}

std::optional<SafetensorsFile> SafetensorsFile::open(const std::string &path, std::string &error) {
  std::optional<MappedFile> mapping = MappedFile::open(path, error);
  if (!mapping)
    return std::nullopt;
  std::optional<SafetensorsFile> file = parse(mapping->data(), mapping->size(), path, error);
  if (file)
    file->mapping = std::move(mapping);
  return file;
}

const TensorView *SafetensorsFile::find(std::string_view name) const {
  auto found = index.find(std::string(name));
  return found == index.end() ? nullptr : &entries[found->second];
}

} // namespace moe::rt

//===- TokenizerJson.cpp - the text of tokenizer.json ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Vocabulary and merges make up nearly all of the file (150,000 entries each are common) and are read event by event
// into flat tables; everything else becomes a small document.
//
//===----------------------------------------------------------------------===//
#include "TokenizerJson.h"

#include "../Text.h"

#include <functional>
#include <stdexcept>

namespace moe::rt {

static uint32_t hashOf(std::string_view text) {
  size_t hash = std::hash<std::string_view>()(text);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

size_t StringTable::slotOf(std::string_view wanted, uint32_t hash) const {
  size_t i = hash & (slots.size() - 1);
  while (slots[i].entry != 0 && (slots[i].hash != hash || text(slots[i].entry - 1) != wanted))
    i = (i + 1) & (slots.size() - 1);
  return i;
}

bool StringTable::insert(std::string_view text, int32_t value) {
  if (slots.size() < 2 * (entries.size() + 1)) {
    std::vector<Slot> old(slots.empty() ? 64 : 4 * slots.size());
    old.swap(slots);
    for (const Slot &slot : old)
      if (slot.entry != 0) {
        size_t i = slot.hash & (slots.size() - 1);
        while (slots[i].entry != 0)
          i = (i + 1) & (slots.size() - 1);
        slots[i] = slot;
      }
  }
  uint32_t hash = hashOf(text);
  size_t slot = slotOf(text, hash);
  if (slots[slot].entry != 0)
    return false;
  entries.push_back({buffer.size(), text.size(), value});
  buffer += text;
  slots[slot] = {static_cast<uint32_t>(entries.size()), hash};
  return true;
}

std::optional<int32_t> StringTable::find(std::string_view text) const {
  if (slots.empty())
    return std::nullopt;
  uint32_t found = slots[slotOf(text, hashOf(text))].entry;
  return found == 0 ? std::nullopt : std::optional<int32_t>(entries[found - 1].value);
}

namespace {

using nlohmann::json;

class Reader : public nlohmann::json_sax<json> {
public:
  TokenizerJson result;
  std::string error;

  bool null() override { return add(json()); }
  bool boolean(bool value) override { return add(value); }
  bool number_float(number_float_t value, const string_t &) override { return add(value); }
  bool binary(binary_t &) override { return false; }

  bool number_integer(number_integer_t value) override {
    return place == Place::Vocabulary ? token(value < 0 ? -1 : value) : add(value);
  }
  bool number_unsigned(number_unsigned_t value) override {
    return place == Place::Vocabulary ? token(value > uint64_t(maxTokenId) ? -1 : int64_t(value)) : add(value);
  }

  bool string(string_t &value) override {
    switch (place) {
    case Place::Document:
      return add(value);
    case Place::Vocabulary:
      return fail("model.vocab: expected an id for " + quoteText(currentKey) + " but got a string");
    case Place::Merges:
      return merge(value);
    case Place::Pair:
      if (++pairCount == 1)
        startMerge(value);
      else if (pairCount == 2)
        endMerge(value);
      return pairCount <= 2 || badMerge();
    }
    return false;
  }

  bool start_object(size_t) override {
    if (place != Place::Document)
      return add(json());
    if (atModelKey("vocab")) {
      result.hasVocabulary = true;
      attach(json()); // for the check of duplicate keys
      place = Place::Vocabulary;
      return true;
    }
    return open(json::object());
  }
  bool end_object() override {
    if (place == Place::Vocabulary)
      place = Place::Document;
    else
      stack.pop_back();
    return true;
  }
  bool start_array(size_t) override {
    if (place == Place::Merges) {
      place = Place::Pair;
      pairCount = 0;
      return true;
    }
    if (place != Place::Document)
      return add(json());
    if (atModelKey("merges")) {
      result.hasMerges = true;
      attach(json());
      place = Place::Merges;
      return true;
    }
    return open(json::array());
  }
  bool end_array() override {
    if (place == Place::Pair && pairCount != 2)
      return badMerge();
    if (place == Place::Pair)
      place = Place::Merges;
    else if (place == Place::Merges)
      place = Place::Document;
    else
      stack.pop_back();
    return true;
  }

  bool key(string_t &name) override {
    currentKey = name;
    if (place == Place::Document && stack.back()->contains(name))
      return fail("the key " + quoteText(name) + " appears twice in one object");
    return true;
  }

  bool parse_error(size_t position, const std::string &, const json::exception &) override {
    return fail("not JSON: it does not parse at byte " + std::to_string(position));
  }

private:
  enum class Place { Document, Vocabulary, Merges, Pair };

  bool fail(std::string message) {
    error = std::move(message);
    return false;
  }
  bool badMerge() {
    return fail("model.merges: expected \"a b\" or [\"a\", \"b\"] as element " +
                std::to_string(result.merges.size() - (place == Place::Pair && pairCount > 0)));
  }

  /// Whether the value that comes now is root.model.NAME.
  bool atModelKey(std::string_view name) const {
    if (stack.size() != 2 || currentKey != name || !stack[0]->is_object())
      return false;
    auto model = stack[0]->find("model");
    return model != stack[0]->end() && &*model == stack[1] && stack[1]->is_object();
  }

  /// A value that is no part of the big two, or is wrong in them.
  bool add(json value) {
    if (place == Place::Vocabulary)
      return fail("model.vocab: expected an integer as the id of " + quoteText(currentKey));
    if (place != Place::Document)
      return badMerge();
    attach(std::move(value));
    return true;
  }
  json *attach(json value) {
    if (stack.empty())
      return &(result.document = std::move(value));
    if (stack.back()->is_array())
      return &stack.back()->emplace_back(std::move(value));
    return &((*stack.back())[currentKey] = std::move(value));
  }
  bool open(json value) {
    // Readers of the document may recurse.
    if (stack.size() >= 32)
      return fail("nested more than 32 levels deep");
    stack.push_back(attach(std::move(value)));
    return true;
  }
  bool token(int64_t id) {
    if (id < 0)
      return fail("model.vocab: expected an id from 0 to " + std::to_string(maxTokenId) + " for " +
                  quoteText(currentKey));
    if (!result.vocabulary.insert(currentKey, static_cast<int32_t>(id)))
      return fail("model.vocab: " + quoteText(currentKey) + " appears twice");
    return true;
  }

  void startMerge(std::string_view left) {
    result.merges.push_back({result.mergeBuffer.size(), static_cast<uint32_t>(left.size()), 0});
    result.mergeBuffer += left;
  }
  void endMerge(std::string_view right) {
    result.merges.back().right = static_cast<uint32_t>(right.size());
    result.mergeBuffer += right;
  }
  bool merge(std::string_view both) {
    size_t space = both.find(' ');
    if (space == both.npos || both.find(' ', space + 1) != both.npos)
      return badMerge();
    startMerge(both.substr(0, space));
    endMerge(both.substr(space + 1));
    return true;
  }

  Place place = Place::Document;
  std::vector<json *> stack; // open objects and arrays of the document: their addresses hold while they are open
  std::string currentKey;
  int pairCount = 0;
};

} // namespace

TokenizerJson TokenizerJson::parse(std::string_view text) {
  Reader reader;
  if (!json::sax_parse(text.begin(), text.end(), &reader))
    throw std::runtime_error(reader.error);
  if (!reader.result.document.is_object())
    throw std::runtime_error("expected a JSON object");
  return std::move(reader.result);
}

} // namespace moe::rt

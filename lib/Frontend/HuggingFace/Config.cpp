//===- Config.cpp - config.json of a checkpoint ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Config.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

using namespace moe;
using namespace moe::frontend;
using llvm::StringRef;
using llvm::Twine;

/// Deepest nesting of `text`. LLVM's parser recurses, so a file of brackets would overflow the stack.
static unsigned nesting(StringRef text) {
  unsigned depth = 0, deepest = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

/// A value in messages, shortened.
static std::string valueText(const llvm::json::Value &value) {
  if (auto object = value.getAsObject())
    return object->empty() ? "an empty object" : "an object";
  std::string text;
  llvm::raw_string_ostream(text) << value;
  std::string shown = quoted(text);
  return shown.substr(1, shown.size() - 2);
}

llvm::Expected<Config> Config::open(const std::string &path) {
  constexpr size_t largest = size_t(256) << 20;
  constexpr unsigned deepest = 100;
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return errorIn(path, buffer.getError().message());
  StringRef text = (*buffer)->getBuffer();
  if (text.size() > largest)
    return errorIn(path, "expected a JSON file of at most " + Twine(largest) + " bytes but got " + Twine(text.size()));
  if (nesting(text) > deepest)
    return errorIn(path, "expected JSON nested at most " + Twine(deepest) + " levels deep but got more");
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(text);
  if (!value) // "[line:column, byte=offset]: what is wrong"
    return errorIn(path, "not valid JSON at " + llvm::toString(value.takeError()));
  llvm::json::Object *object = value->getAsObject();
  if (!object)
    return errorIn(path, "expected a JSON object but got " + valueText(*value));
  return Config(path, std::move(*object));
}

static const llvm::json::Value *lookUp(const llvm::json::Object &root, StringRef key) {
  const llvm::json::Object *object = &root;
  while (true) {
    auto [head, rest] = key.split('.');
    const llvm::json::Value *value = object->get(head);
    if (!value || value->kind() == llvm::json::Value::Null)
      return nullptr;
    if (rest.empty())
      return value;
    object = value->getAsObject();
    if (!object)
      return nullptr;
    key = rest;
  }
}

const llvm::json::Value *Config::find(const Keys &keys) {
  const llvm::json::Value *found = nullptr;
  StringRef foundKey;
  for (StringRef key : keys.names) {
    const llvm::json::Value *value = lookUp(root, key);
    if (!value)
      continue;
    if (found && *found != *value)
      errors.report(file + ": key " + quoted(key) + ": expected " + valueText(*found) + " as in key " +
                    quoted(foundKey) + " but got " + valueText(*value));
    if (!found) {
      found = value;
      foundKey = key;
    }
  }
  return found;
}

StringRef Config::nameOf(const Keys &keys) {
  for (StringRef key : keys.names)
    if (lookUp(root, key))
      return key;
  return keys.names.front();
}

void Config::fail(const Keys &keys, const Twine &message) {
  errors.report(file + ": key " + quoted(nameOf(keys)) + ": " + message);
}

void Config::missing(const Keys &keys) {
  std::string others;
  if (keys.names.size() > 1)
    others = " (nor is " + quotedList(llvm::ArrayRef(keys.names).drop_front()) + " there)";
  errors.report(file + ": key " + quoted(keys.names.front()) + " is missing" + others);
}

void Config::wrong(const Keys &keys, const Twine &expected, const llvm::json::Value &found) {
  fail(keys, "expected " + expected + " but got " + valueText(found));
}

/// "an integer between 1 and 9"
static std::string rangeText(int64_t least, int64_t most) {
  return ("an integer between " + Twine(least) + " and " + Twine(most)).str();
}

int64_t Config::integer(const Keys &keys, int64_t least, int64_t most, std::optional<int64_t> fallback) {
  const llvm::json::Value *value = find(keys);
  if (!value) {
    if (!fallback)
      missing(keys);
    return fallback.value_or(least);
  }
  std::optional<int64_t> number = value->getAsInteger();
  if (number && *number >= least && *number <= most)
    return *number;
  wrong(keys, rangeText(least, most), *value);
  return least;
}

double Config::positive(const Keys &keys, std::optional<double> fallback) {
  const llvm::json::Value *value = find(keys);
  if (!value) {
    if (!fallback)
      missing(keys);
    return fallback.value_or(1);
  }
  std::optional<double> number = value->getAsNumber();
  if (number && std::isfinite(*number) && *number > 0)
    return *number;
  wrong(keys, "a number greater than 0", *value);
  return 1;
}

bool Config::flag(const Keys &keys, std::optional<bool> fallback) {
  const llvm::json::Value *value = find(keys);
  if (!value) {
    if (!fallback)
      missing(keys);
    return fallback.value_or(false);
  }
  if (std::optional<bool> result = value->getAsBoolean())
    return *result;
  wrong(keys, "true or false", *value);
  return false;
}

std::string Config::text(const Keys &keys, std::optional<std::string> fallback) {
  const llvm::json::Value *value = find(keys);
  if (!value) {
    if (!fallback)
      missing(keys);
    return fallback.value_or("");
  }
  if (std::optional<StringRef> result = value->getAsString())
    return result->str();
  wrong(keys, "a string", *value);
  return "";
}

std::vector<int64_t> Config::integers(const Keys &keys, int64_t least, int64_t most) {
  const llvm::json::Value *value = find(keys);
  if (!value)
    return {};
  std::vector<int64_t> result;
  auto add = [&](const llvm::json::Value &element) {
    std::optional<int64_t> number = element.getAsInteger();
    if (number && *number >= least && *number <= most)
      result.push_back(*number);
    else
      wrong(keys, rangeText(least, most) + " or a list of them", element);
  };
  if (const llvm::json::Array *list = value->getAsArray())
    llvm::for_each(*list, add);
  else
    add(*value);
  return result;
}

std::string Config::choice(const Keys &keys, llvm::ArrayRef<StringRef> known, std::optional<std::string> fallback) {
  std::string value = text(keys, std::move(fallback));
  if (!failed() && !llvm::is_contained(known, value))
    fail(keys, quoted(value) + " is not supported (known: " + quotedList(known) + ")");
  return value;
}

std::optional<rt::DType> Config::dtype(const Keys &keys) {
  if (!has(keys))
    return std::nullopt;
  std::string name = choice(keys, {"float32", "bfloat16", "float16"});
  return llvm::StringSwitch<rt::DType>(name)
      .Case("bfloat16", rt::DType::BF16)
      .Case("float16", rt::DType::F16)
      .Default(rt::DType::F32);
}

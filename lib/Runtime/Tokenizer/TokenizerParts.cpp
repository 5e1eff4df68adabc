//===- TokenizerParts.cpp - interprets a tokenizer.json -------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every component is either understood completely or refused by its name: a tokenizer that is almost right gives a
// model that is quietly wrong.
//
//===----------------------------------------------------------------------===//
#include "TokenizerParts.h"

#include "../Text.h"
#include "ByteLevel.h"
#include "Normalizer.h"
#include "TokenizerJson.h"

#include <stdexcept>

namespace moe::rt {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string &message) { throw std::runtime_error(message); }

/// The value of `key`, null where it is absent.
const json &get(const json &object, const char *key) {
  static const json absent;
  auto found = object.find(key);
  return found == object.end() ? absent : *found;
}

/// An optional boolean; `where` is for messages.
bool getBool(const json &object, const char *key, bool absent, const std::string &where) {
  const json &value = get(object, key);
  if (value.is_null())
    return absent;
  if (!value.is_boolean())
    fail(where + ": expected a boolean as '" + key + "' but got " + value.type_name());
  return value.get<bool>();
}

std::string getString(const json &object, const char *key, const std::string &where) {
  const json &value = get(object, key);
  if (!value.is_string())
    fail(where + ": expected a string as '" + key + "' but got " + value.type_name());
  return value.get<std::string>();
}

/// The type of a component; `slot` is where it stands ("pre_tokenizer").
std::string componentType(const json &component, const std::string &slot) {
  if (!component.is_object())
    fail(slot + ": expected an object but got " + component.type_name());
  return getString(component, "type", slot);
}

[[noreturn]] void refuse(const std::string &slot, const std::string &what) {
  fail(slot + " " + what + " is not supported");
}

/// The parts of a Sequence, which every kind of component calls otherwise.
const json &sequenceParts(const json &component, const char *key, const std::string &slot) {
  const json &parts = get(component, key);
  if (!parts.is_array())
    fail(slot + " 'Sequence': expected an array as '" + key + "' but got " + parts.type_name());
  return parts;
}

void readNormalizer(const json &component, TokenizerParts &parts) {
  if (component.is_null())
    return;
  std::string type = componentType(component, "normalizer");
  if (type == "Sequence") {
    for (const json &part : sequenceParts(component, "normalizers", "normalizer"))
      readNormalizer(part, parts);
  } else if (type == "NFC") {
    parts.nfc = true;
  } else {
    refuse("normalizer", quoteText(type));
  }
}

void readSplit(const json &component, TokenizerParts &parts) {
  const json &pattern = get(component, "pattern");
  if (!pattern.is_object() || !get(pattern, "Regex").is_string())
    refuse("pre_tokenizer", "'Split' with a pattern that is no 'Regex'");
  std::string behavior = getString(component, "behavior", "pre_tokenizer 'Split'");
  if (behavior != "Isolated")
    refuse("pre_tokenizer", "'Split' with behavior " + quoteText(behavior));
  if (getBool(component, "invert", false, "pre_tokenizer 'Split'"))
    refuse("pre_tokenizer", "'Split' with invert true");
  try {
    parts.stages.push_back({false, Pattern(get(pattern, "Regex").get_ref<const std::string &>())});
  } catch (const std::runtime_error &error) {
    fail(std::string("pre_tokenizer 'Split': ") + error.what());
  }
}

/// Appends the stages of `component`; `hasByteLevel` tells whether the last of them was ByteLevel.
void readPreTokenizer(const json &component, TokenizerParts &parts, bool &hasByteLevel) {
  if (component.is_null())
    refuse("pre_tokenizer", "null");
  std::string type = componentType(component, "pre_tokenizer");
  if (type == "Sequence") {
    for (const json &part : sequenceParts(component, "pretokenizers", "pre_tokenizer"))
      readPreTokenizer(part, parts, hasByteLevel);
    return;
  }
  if (type != "Split" && type != "ByteLevel")
    refuse("pre_tokenizer", quoteText(type));
  // Behind ByteLevel the text is no longer text.
  if (hasByteLevel)
    refuse("pre_tokenizer", quoteText(type) + " after 'ByteLevel'");
  if (type == "Split") {
    readSplit(component, parts);
    return;
  }
  hasByteLevel = true;
  TokenizerParts::Stage stage;
  stage.prefixSpace = getBool(component, "add_prefix_space", true, "pre_tokenizer 'ByteLevel'");
  if (getBool(component, "use_regex", true, "pre_tokenizer 'ByteLevel'"))
    stage.pattern.emplace(gpt2Pattern);
  if (stage.prefixSpace || stage.pattern)
    parts.stages.push_back(std::move(stage));
}

void checkDecoder(const json &component, bool &hasByteLevel) {
  if (component.is_null())
    refuse("decoder", "null");
  std::string type = componentType(component, "decoder");
  if (type == "Sequence") {
    for (const json &part : sequenceParts(component, "decoders", "decoder"))
      checkDecoder(part, hasByteLevel);
    return;
  }
  if (type != "ByteLevel" || hasByteLevel)
    refuse("decoder", quoteText(type) + (hasByteLevel ? " after 'ByteLevel'" : ""));
  hasByteLevel = true;
}

/// Post-processors may do anything but add tokens.
void checkPostProcessor(const json &component) {
  if (component.is_null())
    return;
  std::string type = componentType(component, "post_processor");
  if (type == "ByteLevel") // only moves offsets
    return;
  if (type == "Sequence") {
    for (const json &part : sequenceParts(component, "processors", "post_processor"))
      checkPostProcessor(part);
    return;
  }
  if (type != "TemplateProcessing")
    refuse("post_processor", quoteText(type));
  const json &single = get(component, "single");
  if (!single.is_array())
    fail("post_processor 'TemplateProcessing': expected an array as 'single' but got " +
         std::string(single.type_name()));
  size_t sequences = 0;
  for (const json &piece : single) {
    if (!piece.is_object() || !get(piece, "Sequence").is_object()) {
      const json *special = piece.is_object() && piece.contains("SpecialToken") ? &piece["SpecialToken"] : nullptr;
      bool named = special && special->is_object() && get(*special, "id").is_string();
      refuse("post_processor",
             "'TemplateProcessing' that adds " + (named ? quoteText((*special)["id"].get<std::string>()) : "tokens"));
    }
    ++sequences;
  }
  if (sequences != 1)
    refuse("post_processor", "'TemplateProcessing' that takes the text " + std::to_string(sequences) + " times");
}

void setToken(TokenizerParts &parts, int32_t id, std::string_view bytes, bool special) {
  if (static_cast<size_t>(id) >= parts.tokens.size())
    parts.tokens.resize(static_cast<size_t>(id) + 1);
  parts.tokens[id] = {parts.text.size(), static_cast<uint32_t>(bytes.size()), true, special};
  parts.text += bytes;
}

/// Options of the model that must be off.
void checkModelOptions(const json &model, bool lacksBytes) {
  const json &dropout = get(model, "dropout");
  if (!dropout.is_null() && dropout != 0)
    refuse("model 'BPE'", "with dropout");
  for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json &value = get(model, key);
    if (!value.is_null() && value != "")
      refuse("model 'BPE'", std::string("with ") + key);
  }
  if (getBool(model, "byte_fallback", false, "model 'BPE'"))
    refuse("model 'BPE'", "with byte_fallback");
  // With a token for every byte nothing is ever unknown.
  const json &unknown = get(model, "unk_token");
  if (!unknown.is_null() && unknown != "" && lacksBytes)
    refuse("model 'BPE'", "with unk_token and a vocabulary that lacks bytes");
}

void readModel(const TokenizerJson &file, TokenizerParts &parts) {
  const json &model = get(file.document, "model");
  if (!model.is_object())
    fail("model: expected an object but got " + std::string(model.type_name()));
  // Files of old versions do not write the type of BPE.
  std::string type = get(model, "type").is_null() ? "BPE" : getString(model, "type", "model");
  if (type != "BPE")
    refuse("model", quoteText(type));
  if (!file.hasVocabulary)
    fail("model: expected an object as 'vocab'");
  if (!file.hasMerges)
    fail("model: expected an array as 'merges'");

  const StringTable &vocabulary = file.vocabulary;
  std::string bytes;
  parts.ignoreMerges = getBool(model, "ignore_merges", false, "model 'BPE'");
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    std::string_view text = vocabulary.text(i);
    int32_t id = vocabulary.value(i);
    if (static_cast<size_t>(id) < parts.tokens.size() && parts.tokens[id].present)
      fail("model.vocab: id " + std::to_string(id) + " appears twice, the second time for " + quoteText(text));
    bytes.clear();
    bool byteLevel = appendByteLevel(text, bytes);
    // An entry with other characters can only be an added token; it stands for itself.
    setToken(parts, id, byteLevel ? std::string_view(bytes) : text, false);
    if (parts.ignoreMerges && byteLevel)
      parts.wholeWords.emplace(bytes, id);
  }

  std::array<int32_t, 256> byteTokens;
  bool lacksBytes = false;
  for (int byte = 0; byte < 256; ++byte) {
    byteTokens[byte] = vocabulary.find(byteLevelCharacter(static_cast<unsigned char>(byte))).value_or(-1);
    lacksBytes |= byteTokens[byte] < 0;
  }
  checkModelOptions(model, lacksBytes);

  std::vector<Merge> merges;
  merges.reserve(file.merges.size());
  auto idOf = [&](std::string_view text, size_t i) {
    std::optional<int32_t> id = vocabulary.find(text);
    if (!id)
      fail("model.merges: element " + std::to_string(i) + " needs " + quoteText(text) + ", which model.vocab lacks");
    return *id;
  };
  for (size_t i = 0; i < file.merges.size(); ++i) {
    const TokenizerJson::MergeText &merge = file.merges[i];
    merges.push_back({idOf(file.left(merge), i), idOf(file.right(merge), i), idOf(file.joined(merge), i)});
  }
  parts.bpe = Bpe(byteTokens, merges);
}

void readAddedTokens(const TokenizerJson &file, TokenizerParts &parts) {
  const json &list = get(file.document, "added_tokens");
  if (list.is_null())
    return;
  if (!list.is_array())
    fail("added_tokens: expected an array but got " + std::string(list.type_name()));
  std::vector<AddedToken> raw, normalized;
  StringMap<bool> seen;
  for (const json &entry : list) {
    if (!entry.is_object())
      fail("added_tokens: expected objects but got " + std::string(entry.type_name()));
    AddedToken token;
    token.content = getString(entry, "content", "added_tokens");
    std::string where = "added token " + quoteText(token.content);
    const json &id = get(entry, "id");
    if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t(maxTokenId))
      fail(where + ": expected an 'id' from 0 to " + std::to_string(maxTokenId));
    token.id = id.get<int32_t>();
    if (token.content.empty())
      fail("added token " + std::to_string(token.id) + " has no content");
    token.special = getBool(entry, "special", false, where);
    token.singleWord = getBool(entry, "single_word", false, where);
    token.stripLeft = getBool(entry, "lstrip", false, where);
    token.stripRight = getBool(entry, "rstrip", false, where);
    token.normalized = getBool(entry, "normalized", !token.special, where);

    if (!seen.emplace(token.content, true).second)
      fail(where + " appears twice");
    std::optional<int32_t> known = file.vocabulary.find(token.content);
    if (known ? *known != token.id
              : static_cast<size_t>(token.id) < parts.tokens.size() && parts.tokens[token.id].present)
      fail(where + ": its id " + std::to_string(token.id) +
           (known ? " is " + std::to_string(*known) + " in model.vocab" : " belongs to another token"));
    setToken(parts, token.id, token.content, token.special);
    if (token.normalized && parts.nfc)
      token.content = normalizeNfc(token.content);
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  parts.rawTokens = AddedTokenMatcher(std::move(raw));
  parts.normalizedTokens = AddedTokenMatcher(std::move(normalized));
}

} // namespace

TokenizerParts TokenizerParts::build(const TokenizerJson &json) {
  TokenizerParts parts;
  readNormalizer(get(json.document, "normalizer"), parts);
  bool hasByteLevel = false;
  readPreTokenizer(get(json.document, "pre_tokenizer"), parts, hasByteLevel);
  if (!hasByteLevel)
    refuse("pre_tokenizer", "without 'ByteLevel'");
  bool decodes = false;
  checkDecoder(get(json.document, "decoder"), decodes);
  if (!decodes)
    refuse("decoder", "without 'ByteLevel'");
  checkPostProcessor(get(json.document, "post_processor"));
  readModel(json, parts);
  readAddedTokens(json, parts);
  return parts;
}

} // namespace moe::rt

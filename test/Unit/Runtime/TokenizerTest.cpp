//===- TokenizerTest.cpp - ids and text as Hugging Face gives them --------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The expected ids are those of the Hugging Face tokenizers library; see test/Inputs/tokenizer/README.md.
//
//===----------------------------------------------------------------------===//
#include "TestFiles.h"

#include "moe/Runtime/Tokenizer.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <stdexcept>

using namespace moe::rt;
using namespace moe::rt::test;
using nlohmann::json;

namespace {

std::string fromHex(const std::string &hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string streamed(const Tokenizer &tokenizer, const std::vector<int32_t> &ids, bool skipSpecial) {
  StreamingDecoder decoder(tokenizer, skipSpecial);
  std::string text;
  for (int32_t id : ids) {
    std::string piece = decoder.push(id);
    EXPECT_EQ(toValidUtf8(piece), piece);
    text += piece;
  }
  return text + decoder.flush();
}

void checkCases(const Tokenizer &tokenizer, const json &cases) {
  ASSERT_FALSE(cases.empty());
  for (const json &entry : cases) {
    std::string text = entry.contains("hex") ? fromHex(entry["hex"]) : entry["text"].get<std::string>();
    SCOPED_TRACE(entry.dump(-1, ' ', true).substr(0, 300));
    auto expected = entry["ids"].get<std::vector<int32_t>>();
    std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(ids, expected);
    std::string decoded = entry["decoded"];
    EXPECT_EQ(toValidUtf8(tokenizer.decode(expected)), decoded);
    EXPECT_EQ(streamed(tokenizer, expected, false), decoded);
    std::string skipped = entry.value("decoded_without_special", decoded);
    EXPECT_EQ(toValidUtf8(tokenizer.decode(expected, true)), skipped);
    EXPECT_EQ(streamed(tokenizer, expected, true), skipped);
  }
}

json readJson(const std::string &relative) { return json::parse(readFile(sourcePath(relative))); }

Tokenizer sampleTokenizer() { return Tokenizer::fromJson(readFile(sourcePath("examples/lexicon-moe/tokenizer.json"))); }

TEST(Tokenizer, SampleModelAgreesWithHuggingFace) {
  checkCases(sampleTokenizer(), readJson("test/Inputs/tokenizer/lexicon.cases.json"));
}

TEST(Tokenizer, SampleModelCountsTheTokensOfItsTexts) {
  Tokenizer tokenizer = sampleTokenizer();
  json domains = readJson("examples/lexicon-moe/eval/expected.json")["domains"];
  ASSERT_EQ(domains.size(), 4u);
  for (const auto &[name, expected] : domains.items()) {
    std::string text = readFile(sourcePath("examples/lexicon-moe/eval/" + name + ".txt"));
    std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(ids.size(), expected["tokens"].get<size_t>()) << name;
    EXPECT_EQ(tokenizer.decode(ids), text) << name;
  }
}

TEST(Tokenizer, VariantsAgreeWithHuggingFace) {
  json base = readJson("test/Inputs/tokenizer/qwen.tokenizer.json");
  json variants = readJson("test/Inputs/tokenizer/qwen.cases.json");
  ASSERT_GE(variants.size(), 10u);
  for (const json &variant : variants) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    json document = base;
    document.merge_patch(variant["patch"]);
    checkCases(Tokenizer::fromJson(document.dump()), variant["cases"]);
  }
}

TEST(Tokenizer, KnowsItsVocabulary) {
  json base = readJson("test/Inputs/tokenizer/qwen.tokenizer.json");
  int32_t special = base["added_tokens"][0]["id"];
  base["added_tokens"][4]["id"] = 2000; // leaves a hole
  Tokenizer tokenizer = Tokenizer::fromJson(base.dump());
  EXPECT_EQ(tokenizer.vocabularySize(), 2001u);
  EXPECT_TRUE(tokenizer.contains(2000) && tokenizer.contains(0) && tokenizer.contains(special));
  EXPECT_FALSE(tokenizer.contains(1999) || tokenizer.contains(-1) || tokenizer.contains(2001));
  EXPECT_TRUE(tokenizer.isSpecial(special));
  EXPECT_FALSE(tokenizer.isSpecial(2000) || tokenizer.isSpecial(0) || tokenizer.isSpecial(-5));
  EXPECT_EQ(tokenizer.tokenBytes(special), "<|endoftext|>");
  for (int32_t id : {-1, 1999, 2001, INT32_MAX, INT32_MIN}) {
    try {
      tokenizer.decode({0, id});
      ADD_FAILURE() << id;
    } catch (const std::runtime_error &error) {
      EXPECT_EQ(error.what(), "token id " + std::to_string(id) + " is not in the vocabulary");
    }
    EXPECT_THROW(StreamingDecoder(tokenizer, true).push(id), std::runtime_error);
  }
}

/// Hugging Face takes the characters of an added token for bytes where it can, and so loses this one's accent.
TEST(Tokenizer, AddedTokensDecodeToTheirContent) {
  json base = readJson("test/Inputs/tokenizer/qwen.tokenizer.json");
  base["added_tokens"][4]["content"] = "<\xc3\xa9>";
  Tokenizer tokenizer = Tokenizer::fromJson(base.dump());
  std::vector<int32_t> ids = tokenizer.encode("<\xc3\xa9>");
  EXPECT_EQ(ids, std::vector<int32_t>{base["added_tokens"][4]["id"]});
  EXPECT_EQ(tokenizer.decode(ids), "<\xc3\xa9>");
}

TEST(Tokenizer, StreamsWholeCharactersOnly) {
  Tokenizer tokenizer = sampleTokenizer();
  std::vector<int32_t> bytes; // one token per byte of U+1F642
  for (int32_t id = 0; bytes.size() < 4 && id < int32_t(tokenizer.vocabularySize()); ++id)
    if (tokenizer.tokenBytes(id) == std::string("\xf0\x9f\x99\x82").substr(bytes.size(), 1)) {
      bytes.push_back(id);
      id = -1;
    }
  ASSERT_EQ(bytes.size(), 4u);
  StreamingDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(bytes[0]), "");
  EXPECT_EQ(decoder.push(bytes[1]), "");
  EXPECT_EQ(decoder.push(bytes[2]), "");
  EXPECT_EQ(decoder.push(bytes[3]), "\xf0\x9f\x99\x82");
  EXPECT_EQ(decoder.flush(), "");
  EXPECT_EQ(decoder.push(bytes[0]), "");
  EXPECT_EQ(decoder.push(bytes[0]), "\xef\xbf\xbd") << "the first can never become a character";
  EXPECT_EQ(decoder.flush(), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(Tokenizer, ReplacesInvalidBytes) {
  EXPECT_EQ(toValidUtf8("plain \xc3\xa9"), "plain \xc3\xa9");
  EXPECT_EQ(toValidUtf8("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(toValidUtf8("\xe4\xbd"), "\xef\xbf\xbd") << "one for a maximal part";
  EXPECT_EQ(toValidUtf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "surrogates are no characters";
  EXPECT_EQ(toValidUtf8("\xf4\x90z"), "\xef\xbf\xbd\xef\xbf\xbdz");
}

/// Nothing here is a benchmark: what is quadratic takes minutes, what is not takes well under a second.
TEST(Tokenizer, LongTextsTakeLinearTime) {
  json base = readJson("test/Inputs/tokenizer/qwen.tokenizer.json");
  Tokenizer tokenizer = Tokenizer::fromJson(base.dump());
  auto start = std::chrono::steady_clock::now();
  const size_t size = 1 << 20;
  std::string marks;
  for (size_t i = 0; i < size / 4; ++i)
    marks += "\xcc\x81\xcc\xa3"; // accents above and below, which normalisation has to sort
  std::string mixed;
  for (size_t i = 0; i < size; ++i)
    mixed += "thinger"[i * i % 7];
  for (const std::string &text : {std::string(size, 'a'), std::string(size, ' '), std::string(size, '\n'),
                                  std::string(size, '\xff'), std::string(size, '<'), mixed}) {
    std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(toValidUtf8(text), tokenizer.decode(ids));
  }
  EXPECT_FALSE(tokenizer.encode(marks).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

} // namespace

//===- TokenizerRefusalTest.cpp - what a tokenizer.json may not say -------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TestFiles.h"

#include "moe/Runtime/Tokenizer.h"

#include <nlohmann/json.hpp>

#include <stdexcept>

using namespace moe::rt;
using namespace moe::rt::test;
using nlohmann::json;

namespace {

/// The message with which a text is refused, without its common start.
std::string refusal(const std::string &text) {
  try {
    Tokenizer::fromJson(text);
  } catch (const std::runtime_error &error) {
    std::string message = error.what();
    EXPECT_TRUE(message.starts_with("tokenizer.json: ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(16);
  }
  return "accepted";
}

/// The same for a small good tokenizer with `patch` (RFC 7396) applied to it.
std::string refusalWith(const std::string &patch) {
  json document = json::parse(readFile(sourcePath("test/Inputs/tokenizer/qwen.tokenizer.json")));
  document.merge_patch(json::parse(patch));
  return refusal(document.dump());
}

std::string refusalOfPattern(const std::string &pattern) {
  json split = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  json patch = {{"pre_tokenizer",
                 {{"type", "Sequence"}, {"pretokenizers", {split, {{"type", "ByteLevel"}, {"use_regex", false}}}}}}};
  std::string message = refusalWith(patch.dump()), start = "pre_tokenizer 'Split': ";
  return message.starts_with(start) ? message.substr(start.size()) : message;
}

TEST(TokenizerRefusal, NamesComponents) {
  EXPECT_EQ(refusalWith("{}"), "accepted");
  EXPECT_EQ(refusalWith(R"({"normalizer":{"type":"Lowercase"}})"), "normalizer 'Lowercase' is not supported");
  EXPECT_EQ(refusalWith(R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend"}]}})"),
            "normalizer 'Prepend' is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":{"type":"Metaspace","replacement":"_"}})"),
            "pre_tokenizer 'Metaspace' is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":null})"), "pre_tokenizer null is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":{"pretokenizers":[{"type":"Digits"}]}})"),
            "pre_tokenizer 'Digits' is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":{"pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"}]}})"),
            "pre_tokenizer 'ByteLevel' after 'ByteLevel' is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":{"pretokenizers":[]}})"),
            "pre_tokenizer without 'ByteLevel' is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Isolated"}})"),
            "pre_tokenizer 'Split' with a pattern that is no 'Regex' is not supported");
  EXPECT_EQ(refusalWith(R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":" "},"behavior":"Removed"}})"),
            "pre_tokenizer 'Split' with behavior 'Removed' is not supported");
  EXPECT_EQ(
      refusalWith(R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":" "},"behavior":"Isolated","invert":true}})"),
      "pre_tokenizer 'Split' with invert true is not supported");
  EXPECT_EQ(refusalWith(R"({"decoder":null})"), "decoder null is not supported");
  EXPECT_EQ(refusalWith(R"({"decoder":{"type":"Metaspace"}})"), "decoder 'Metaspace' is not supported");
  EXPECT_EQ(refusalWith(R"({"decoder":{"type":"Sequence","decoders":[{"type":"ByteLevel"},{"type":"Strip"}]}})"),
            "decoder 'Strip' after 'ByteLevel' is not supported");
  EXPECT_EQ(refusalWith(R"({"decoder":{"type":"Sequence","decoders":[]}})"),
            "decoder without 'ByteLevel' is not supported");
  EXPECT_EQ(refusalWith(R"({"model":{"type":"Unigram"}})"), "model 'Unigram' is not supported");
  EXPECT_EQ(refusalWith(R"({"model":{"type":"WordPiece"}})"), "model 'WordPiece' is not supported");
}

TEST(TokenizerRefusal, PostProcessors) {
  EXPECT_EQ(refusalWith(R"({"post_processor":null})"), "accepted");
  EXPECT_EQ(refusalWith(R"({"post_processor":{"type":"BertProcessing"}})"),
            "post_processor 'BertProcessing' is not supported");
  EXPECT_EQ(refusalWith(R"({"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}}]}})"),
            "accepted");
  EXPECT_EQ(refusalWith(R"({"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},
                            {"Sequence":{"id":"A"}}]}})"),
            "post_processor 'TemplateProcessing' that adds '<s>' is not supported");
  EXPECT_EQ(refusalWith(R"({"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},
                            {"type":"TemplateProcessing","single":[]}]}})"),
            "post_processor 'TemplateProcessing' that takes the text 0 times is not supported");
}

TEST(TokenizerRefusal, ModelOptions) {
  EXPECT_EQ(refusalWith(R"({"model":{"dropout":0.1}})"), "model 'BPE' with dropout is not supported");
  EXPECT_EQ(refusalWith(R"({"model":{"dropout":0.0,"continuing_subword_prefix":"","end_of_word_suffix":""}})"),
            "accepted");
  EXPECT_EQ(refusalWith(R"({"model":{"continuing_subword_prefix":"##"}})"),
            "model 'BPE' with continuing_subword_prefix is not supported");
  EXPECT_EQ(refusalWith(R"({"model":{"end_of_word_suffix":"</w>"}})"),
            "model 'BPE' with end_of_word_suffix is not supported");
  EXPECT_EQ(refusalWith(R"({"model":{"byte_fallback":true}})"), "model 'BPE' with byte_fallback is not supported");
  EXPECT_EQ(refusalWith(R"({"model":{"unk_token":"<unk>"}})"), "accepted") << "every byte has a token";
  EXPECT_EQ(refusalWith(R"({"model":{"unk_token":"<unk>","vocab":{"a":null},"merges":[]}})"),
            "model 'BPE' with unk_token and a vocabulary that lacks bytes is not supported");
}

TEST(TokenizerRefusal, BrokenModels) {
  EXPECT_EQ(refusalWith(R"({"model":null})"), "model: expected an object but got null");
  EXPECT_EQ(refusalWith(R"({"model":{"vocab":null}})"), "model: expected an object as 'vocab'");
  EXPECT_EQ(refusalWith(R"({"model":{"merges":{}}})"), "model: expected an array as 'merges'");
  EXPECT_EQ(refusalWith(R"({"model":{"vocab":{"a":1}}})").substr(0, 33), "model.vocab: id 1 appears twice, ");
  EXPECT_EQ(refusalWith(R"({"model":{"vocab":{"a":-1}}})"), "model.vocab: expected an id from 0 to 4194303 for 'a'");
  EXPECT_EQ(refusalWith(R"({"model":{"vocab":{"a":4194304}}})"),
            "model.vocab: expected an id from 0 to 4194303 for 'a'");
  EXPECT_EQ(refusalWith(R"({"model":{"vocab":{"a":"b"}}})"), "model.vocab: expected an id for 'a' but got a string");
  EXPECT_EQ(refusalWith(R"({"model":{"vocab":{"a":[]}}})"), "model.vocab: expected an integer as the id of 'a'");
  EXPECT_EQ(refusalWith(R"({"model":{"merges":["a b","c"]}})"),
            "model.merges: expected \"a b\" or [\"a\", \"b\"] as element 1");
  for (const char *merge :
       {R"("a b c")", "3", "null", "{}", R"(["a"])", R"(["a","b","c"])", R"(["a",3])", "[]", "[[]]"})
    EXPECT_EQ(refusalWith(std::string(R"({"model":{"merges":[)") + merge + "]}}"),
              "model.merges: expected \"a b\" or [\"a\", \"b\"] as element 0")
        << merge;
  EXPECT_EQ(refusalWith(R"({"model":{"merges":["x y"]}})"),
            "model.merges: element 0 needs 'xy', which model.vocab lacks");
}

TEST(TokenizerRefusal, BrokenJson) {
  EXPECT_EQ(refusal(""), "not JSON: it does not parse at byte 1");
  EXPECT_EQ(refusal("[]"), "expected a JSON object");
  EXPECT_EQ(refusal("{\"a\":1,\"a\":2}"), "the key 'a' appears twice in one object");
  EXPECT_EQ(refusal("{\"model\":{\"vocab\":{\"a\":1,\"a\":2}}}"), "model.vocab: 'a' appears twice");
  EXPECT_EQ(refusal("{\"model\":{\"vocab\":{},\"vocab\":{}}}"), "the key 'vocab' appears twice in one object");
  EXPECT_EQ(refusal("{\"a\":" + std::string(100000, '[')), "nested more than 32 levels deep");
}

TEST(TokenizerRefusal, AddedTokens) {
  auto with = [](const std::string &entry) { return refusalWith(R"({"added_tokens":[)" + entry + "]}"); };
  EXPECT_EQ(with(R"({"id":0,"content":"<x>"})"), "added token '<x>': its id 0 belongs to another token");
  EXPECT_EQ(with(R"({"id":5000,"content":"a"})").substr(0, 31), "added token 'a': its id 5000 is");
  EXPECT_EQ(with(R"({"id":5000,"content":""})"), "added token 5000 has no content");
  EXPECT_EQ(with(R"({"id":-1,"content":"<x>"})"), "added token '<x>': expected an 'id' from 0 to 4194303");
  EXPECT_EQ(with(R"({"id":5000,"content":"<x>","special":1})"),
            "added token '<x>': expected a boolean as 'special' but got number");
  EXPECT_EQ(with(R"({"id":5000,"content":"<x>"},{"id":5001,"content":"<x>"})"), "added token '<x>' appears twice");
  EXPECT_EQ(with("3"), "added_tokens: expected objects but got number");
}

TEST(TokenizerRefusal, PatternsThatMeanSomethingElse) {
  EXPECT_EQ(refusalOfPattern(R"(\w+)"), "the pattern uses '\\w', which is not supported");
  EXPECT_EQ(refusalOfPattern(R"(\bx)"), "the pattern uses '\\b', which is not supported");
  EXPECT_EQ(refusalOfPattern(R"(\h)"), "the pattern uses '\\h', which is not supported");
  EXPECT_EQ(refusalOfPattern(R"((a)\1)"), "the pattern uses '\\1', which is not supported");
  EXPECT_EQ(refusalOfPattern("^a"), "the pattern uses '^', which is not supported");
  EXPECT_EQ(refusalOfPattern("a$"), "the pattern uses '$', which is not supported");
  EXPECT_EQ(refusalOfPattern("[a[b]]"), "the pattern uses '[ inside a class', which is not supported");
  EXPECT_EQ(refusalOfPattern("[]a]"), "the pattern uses '] inside a class', which is not supported");
  EXPECT_EQ(refusalOfPattern("[a&&b]"), "the pattern uses '&&', which is not supported");
  EXPECT_EQ(refusalOfPattern(R"([\S])"), "the pattern uses '\\S inside a class', which is not supported");
  EXPECT_EQ(refusalOfPattern("(?<n>a)"), "the pattern uses '(?<', which is not supported");
  EXPECT_EQ(refusalOfPattern("a(?i)b"), "the pattern uses '(?i', which is not supported");
  EXPECT_EQ(refusalOfPattern("(*UCP)a"), "the pattern uses '(*', which is not supported");
  EXPECT_EQ(refusalOfPattern("a{2}+"), "the pattern uses '{2}+', which is not supported");
  EXPECT_EQ(refusalOfPattern("a{,2}"), "the pattern uses '{', which is not supported");
  EXPECT_EQ(refusalOfPattern(R"(\xe4)"), "the pattern uses '\\xe4', which is not supported");
  EXPECT_EQ(refusalOfPattern(R"(\p{Alphabetic})").substr(0, 29), "the pattern does not compile:");
  EXPECT_EQ(refusalOfPattern("(a").substr(0, 29), "the pattern does not compile:");
  EXPECT_EQ(refusalOfPattern("[a"), "the pattern has a class without its ']'");
  EXPECT_EQ(refusalOfPattern("a\\"), "the pattern ends with a backslash");
}

} // namespace

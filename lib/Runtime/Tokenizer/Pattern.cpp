//===- Pattern.cpp - the regular expressions of pre-tokenizers ------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Pattern.h"

#include "Utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>

namespace moe::rt {
namespace {

/// Unicode's White_Space as the inside of a class. PCRE2's own \s would also take U+180E, which lost that property.
constexpr char whiteSpace[] = R"(\x09-\x0d\x{85}\p{Z})";

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool isHex(char c) { return isDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/// Rewrites a pattern from left to right. What is not known to mean the same to both libraries is refused.
class Translator {
public:
  explicit Translator(std::string_view text) : text(text) {}

  std::string run() {
    while (position < text.size()) {
      switch (text[position]) {
      case '\\':
        escape(/*inClass=*/false);
        break;
      case '[':
        characterClass();
        break;
      case '(':
        group();
        break;
      case '{':
        interval();
        break;
      case '^':
      case '$':
        refuse(text.substr(position, 1));
      default:
        result += text[position++];
      }
    }
    return std::move(result);
  }

private:
  [[noreturn]] void refuse(std::string_view construct) const {
    throw std::runtime_error("the pattern uses '" + std::string(construct) + "', which is not supported");
  }

  /// The `length` bytes here, for messages.
  std::string_view here(size_t length) const { return text.substr(position, length); }

  bool startsWith(std::string_view prefix) const { return text.substr(position).starts_with(prefix); }

  void copy(size_t length) {
    result += text.substr(position, length);
    position += length;
  }

  void escape(bool inClass) {
    if (position + 1 >= text.size())
      throw std::runtime_error("the pattern ends with a backslash");
    char next = text[position + 1];
    switch (next) {
    case 's':
      result += inClass ? whiteSpace : "[" + std::string(whiteSpace) + "]";
      break;
    case 'S':
      if (inClass)
        refuse("\\S inside a class");
      result += "[^" + std::string(whiteSpace) + "]";
      break;
    case 'd':
      result += "\\p{Nd}";
      break;
    case 'D':
      result += "\\P{Nd}";
      break;
    case 'v': // one character for Oniguruma, a set for PCRE2
      result += "\\x0b";
      break;
    case 'r':
    case 'n':
    case 't':
    case 'f':
    case 'a':
    case 'e':
      (result += '\\') += next;
      break;
    case 'p':
    case 'P':
      property();
      return;
    case 'x':
    case 'u':
      codePoint();
      return;
    default:
      if (isLetter(next) || isDigit(next) || static_cast<unsigned char>(next) >= 0x80)
        refuse(here(1 + stepUtf8(text, position + 1).length));
      (result += '\\') += next;
    }
    position += 2;
  }

  /// \p{NAME} and \P{NAME}: a general category, or a script.
  void property() {
    size_t end = text.find('}', position);
    if (position + 2 >= text.size() || text[position + 2] != '{' || end == text.npos)
      refuse(here(2));
    std::string_view name = text.substr(position + 3, end - position - 3);
    if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) { return isLetter(c) || c == '_'; }))
      refuse(text.substr(position, end + 1 - position));
    result += text.substr(position, 3);
    // PCRE2 would take a bare script name for its extensions.
    if (name.size() > 2)
      result += "sc:";
    (result += name) += '}';
    position = end + 1;
  }

  /// \x{H...}, \xHH below 0x80 (above, Oniguruma means a byte) and \uHHHH.
  void codePoint() {
    bool braces = text[position + 1] == 'x' && position + 2 < text.size() && text[position + 2] == '{';
    size_t begin = position + (braces ? 3 : 2);
    size_t length = 0;
    size_t most = braces ? 8 : text[position + 1] == 'x' ? 2 : 4;
    while (length < most && begin + length < text.size() && isHex(text[begin + length]))
      ++length;
    bool closed = !braces || (begin + length < text.size() && text[begin + length] == '}');
    if (length == 0 || !closed || (!braces && length != most) || (most == 2 && text[begin] >= '8'))
      refuse(here(begin + length - position));
    ((result += "\\x{") += text.substr(begin, length)) += '}';
    position = begin + length + braces;
  }

  void characterClass() {
    copy(1);
    if (position < text.size() && text[position] == '^')
      copy(1);
    bool first = true;
    for (; position < text.size() && (first || text[position] != ']'); first = false) {
      if (text[position] == ']' || text[position] == '[')
        refuse(std::string(here(1)) + " inside a class");
      if (startsWith("&&"))
        refuse("&&");
      if (text[position] == '\\')
        escape(/*inClass=*/true);
      else
        copy(1);
    }
    if (position == text.size())
      throw std::runtime_error("the pattern has a class without its ']'");
    copy(1);
  }

  void group() {
    if (startsWith("(*"))
      refuse("(*");
    if (!startsWith("(?")) {
      copy(1);
      return;
    }
    for (std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"})
      if (startsWith(known)) {
        copy(known.size());
        return;
      }
    // Further inside, Oniguruma lets an option reach over the alternatives that follow, PCRE2 does not.
    if (position == 0 && startsWith("(?i)")) {
      copy(4);
      return;
    }
    refuse(here(3));
  }

  /// {n}, {n,} or {n,m}. After these Oniguruma reads '+' and '?' as quantifiers of their own.
  void interval() {
    size_t end = position + 1;
    while (end < text.size() && (isDigit(text[end]) || text[end] == ','))
      ++end;
    std::string_view inside = text.substr(position + 1, end - position - 1);
    bool wellFormed = end < text.size() && text[end] == '}' && !inside.empty() && inside[0] != ',' &&
                      std::count(inside.begin(), inside.end(), ',') <= 1;
    if (!wellFormed)
      refuse(here(1));
    size_t length = end + 1 - position;
    if (end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '?'))
      refuse(here(length + 1));
    copy(length);
  }

  std::string_view text;
  size_t position = 0;
  std::string result;
};

std::string pcreMessage(int code) {
  PCRE2_UCHAR8 buffer[256];
  pcre2_get_error_message_8(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char *>(buffer);
}

template <auto function> struct Free {
  template <typename T> void operator()(T *pointer) const { function(pointer); }
};

/// What matching needs besides the code, one per thread and for all patterns: making it takes longer than many a match.
struct MatchState {
  std::unique_ptr<pcre2_match_data_8, Free<pcre2_match_data_free_8>> data;
  std::unique_ptr<pcre2_match_context_8, Free<pcre2_match_context_free_8>> context;
  std::unique_ptr<pcre2_jit_stack_8, Free<pcre2_jit_stack_free_8>> stack;

  MatchState()
      : data(pcre2_match_data_create_8(/*ovecsize=*/1, nullptr)), context(pcre2_match_context_create_8(nullptr)),
        stack(pcre2_jit_stack_create_8(32 * 1024, 16 * 1024 * 1024, nullptr)) {
    if (!data || !context)
      throw std::bad_alloc();
    if (stack)
      pcre2_jit_stack_assign_8(context.get(), nullptr, stack.get());
  }
};

} // namespace

std::string translatePattern(std::string_view pattern) { return Translator(pattern).run(); }

Pattern::Pattern(std::string_view pattern) {
  std::string translated = translatePattern(pattern);
  std::unique_ptr<pcre2_compile_context_8, Free<pcre2_compile_context_free_8>> context(
      pcre2_compile_context_create_8(nullptr));
  if (!context)
    throw std::bad_alloc();
  pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
  int failure = 0;
  PCRE2_SIZE offset = 0;
  code = pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(translated.data()), translated.size(), PCRE2_UTF | PCRE2_UCP,
                         &failure, &offset, context.get());
  if (!code)
    throw std::runtime_error("the pattern does not compile: " + pcreMessage(failure));
  // Where there is no code generator (or no executable memory) the interpreter gives the same matches.
  (void)pcre2_jit_compile_8(code, PCRE2_JIT_COMPLETE);
}

Pattern::Pattern(Pattern &&other) noexcept : code(std::exchange(other.code, nullptr)) {}

Pattern::~Pattern() { pcre2_code_free_8(code); }

void Pattern::split(std::string_view text, const std::function<void(std::string_view)> &emit) const {
  thread_local const MatchState state;
  auto subject = reinterpret_cast<PCRE2_SPTR8>(text.data());
  size_t emitted = 0;      // end of the last match: everything before is emitted
  size_t start = 0;        // where to search from
  bool afterMatch = false; // an empty match at `emitted` would follow another match directly
  auto emitUpTo = [&](size_t end) {
    if (end > emitted)
      emit(text.substr(emitted, end - emitted));
    emitted = end;
  };
  while (start <= text.size()) {
    // Without the check, which would read all of the text for every word.
    int count =
        pcre2_match_8(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK, state.data.get(), state.context.get());
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
      count = pcre2_match_8(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.data.get(),
                            state.context.get());
    if (count == PCRE2_ERROR_NOMATCH)
      break;
    if (count < 0)
      throw std::runtime_error("cannot split the text: " + pcreMessage(count));
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer_8(state.data.get());
    size_t begin = span[0], end = span[1];
    if (begin == end && afterMatch && end == emitted) {
      // An empty match right behind a match does not count; look on from the next character.
      if (start >= text.size())
        break;
      start += stepUtf8(text, start).length;
      continue;
    }
    emitUpTo(begin);
    emitUpTo(end);
    afterMatch = true;
    start = end;
  }
  emitUpTo(text.size());
}

} // namespace moe::rt

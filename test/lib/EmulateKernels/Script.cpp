//===- Script.cpp - what a test does with its kernels ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Script.h"

#include "moe/Runtime/Emulator.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <cmath>
#include <cstring>

using namespace llvm;

namespace {

enum class Type { F32, BF16, F16, I32, I8 };

unsigned sizeOf(Type type) { return type == Type::I8 ? 1 : type == Type::F16 || type == Type::BF16 ? 2 : 4; }

/// An element of a buffer as a number, and back.
double decode(Type type, const char *bytes) {
  switch (type) {
  case Type::F32: {
    float value;
    memcpy(&value, bytes, 4);
    return value;
  }
  case Type::I32: {
    int32_t value;
    memcpy(&value, bytes, 4);
    return value;
  }
  case Type::I8:
    return *reinterpret_cast<const int8_t *>(bytes);
  case Type::F16:
  case Type::BF16:
    break;
  }
  uint16_t bits;
  memcpy(&bits, bytes, 2);
  APFloat value(type == Type::F16 ? APFloat::IEEEhalf() : APFloat::BFloat(), APInt(16, bits));
  bool losesInfo;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
  return value.convertToDouble();
}

void encode(Type type, double number, char *bytes) {
  uint64_t bits = 0;
  if (type == Type::I32 || type == Type::I8) {
    bits = uint64_t(int64_t(number));
  } else {
    APFloat value(number);
    bool losesInfo;
    value.convert(type == Type::F32   ? APFloat::IEEEsingle()
                  : type == Type::F16 ? APFloat::IEEEhalf()
                                      : APFloat::BFloat(),
                  APFloat::rmNearestTiesToEven, &losesInfo);
    bits = value.bitcastToAPInt().getZExtValue();
  }
  memcpy(bytes, &bits, sizeOf(type)); // little-endian
}

struct Buffer {
  Type type;
  int64_t count;
  void *device = nullptr;

  std::vector<double> read() const {
    std::vector<char> bytes(count * sizeOf(type));
    moe_rt_gpu_copy_out(bytes.data(), device, int64_t(bytes.size()));
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(decode(type, bytes.data() + i * sizeOf(type)));
    return values;
  }
};

/// A line, word by word.
class Words {
public:
  explicit Words(StringRef line) : line(line) { SplitString(line, words); }

  bool empty() const { return next == words.size(); }
  StringRef take() { return empty() ? StringRef() : words[next++]; }
  bool consume(StringRef word) {
    if (empty() || words[next] != word)
      return false;
    ++next;
    return true;
  }
  Error error(const Twine &message) const { return createStringError("'" + line + "': " + message); }

private:
  StringRef line;
  SmallVector<StringRef> words;
  size_t next = 0;
};

class Script {
public:
  Script(function_ref<Expected<const MoeGpuKernel *>(StringRef)> lookup, const moe::test::ScriptOptions &options)
      : lookup(lookup), options(options) {}

  ~Script() {
    for (auto &entry : buffers)
      moe_rt_gpu_free(entry.second.device);
  }

  Error run(StringRef line);

private:
  Error makeBuffer(Words &words);
  Error launch(Words &words);
  Error compare(Words &words, StringRef how);
  Error print(Words &words);
  Expected<Buffer *> find(Words &words, StringRef name);
  Error makeTensorMap(Words &words, StringRef text, void *map);
  static Expected<std::array<int64_t, 3>> takeTriple(Words &words);

  function_ref<Expected<const MoeGpuKernel *>(StringRef)> lookup;
  const moe::test::ScriptOptions &options;
  StringMap<Buffer> buffers;
};

} // namespace

Expected<Buffer *> Script::find(Words &words, StringRef name) {
  auto found = buffers.find(name);
  if (found == buffers.end())
    return words.error("no buffer '" + name + "'");
  return &found->second;
}

Error Script::makeBuffer(Words &words) {
  StringRef name = words.take(), typeName = words.take();
  std::optional<Type> type = StringSwitch<std::optional<Type>>(typeName)
                                 .Case("f32", Type::F32)
                                 .Case("bf16", Type::BF16)
                                 .Case("f16", Type::F16)
                                 .Case("i32", Type::I32)
                                 .Case("i8", Type::I8)
                                 .Default(std::nullopt);
  if (!type)
    return words.error("unknown type '" + typeName + "'");
  Buffer buffer{*type, 0};
  if (words.take().getAsInteger(10, buffer.count))
    return words.error("expected a number of elements");
  unsigned size = sizeOf(*type);
  buffer.device = moe_rt_gpu_alloc(buffer.count * size);
  if (!buffers.try_emplace(name, buffer).second)
    return words.error("a second buffer of that name");
  StringRef how = words.take();
  if (how.empty())
    return Error::success();

  double value = 0;
  uint32_t state = 0;
  if (how == "fill" && words.take().getAsDouble(value))
    return words.error("expected a value");
  if (how == "random" && words.take().getAsInteger(10, state))
    return words.error("expected a seed");
  std::vector<char> bytes(buffer.count * size);
  for (int64_t i = 0; i < buffer.count; ++i) {
    if (how == "iota")
      value = double(i);
    // Multiples of 1/64 in [-1, 1), and -64 to 63 for integers: sums of products are not all exact, but nearly.
    if (how == "random") {
      state = state * 1664525 + 1013904223;
      value = double(int(state >> 16 & 127) - 64) / (*type == Type::I32 || *type == Type::I8 ? 1 : 64);
    }
    encode(*type, value, bytes.data() + i * size);
  }
  if (how != "zero" && how != "iota" && how != "random" && how != "fill")
    return words.error("unknown contents '" + how + "'");
  moe_rt_gpu_copy_in(buffer.device, bytes.data(), int64_t(bytes.size()));
  return Error::success();
}

Expected<std::array<int64_t, 3>> Script::takeTriple(Words &words) {
  SmallVector<StringRef> parts;
  words.take().split(parts, ',');
  std::array<int64_t, 3> sizes = {1, 1, 1};
  if (parts.size() > 3)
    return words.error("expected at most three sizes");
  for (auto [part, size] : zip(parts, sizes))
    if (part.getAsInteger(10, size))
      return words.error("expected a size");
  return sizes;
}

/// NAME:SIZES:STRIDES:BOX:SWIZZLE
Error Script::makeTensorMap(Words &words, StringRef text, void *map) {
  SmallVector<StringRef> parts;
  text.split(parts, ':');
  if (parts.size() != 5)
    return words.error("expected a buffer, sizes, strides, a box and a swizzle");
  auto buffer = find(words, parts[0]);
  if (!buffer)
    return buffer.takeError();
  SmallVector<int64_t> numbers[3];
  for (int i = 0; i < 3; ++i) {
    SmallVector<StringRef> texts;
    if (parts[i + 1] != "-")
      parts[i + 1].split(texts, 'x');
    for (StringRef digits : texts)
      if (digits.getAsInteger(10, numbers[i].emplace_back()))
        return words.error("expected a number");
  }
  auto &[sizes, strides, wideBox] = numbers;
  int32_t swizzle;
  if (sizes.empty() || sizes.size() > 5 || strides.size() + 1 != sizes.size() || wideBox.size() != sizes.size() ||
      parts[4].getAsInteger(10, swizzle))
    return words.error("expected a stride less than sizes, and a box of as many dimensions");
  SmallVector<int32_t> box(wideBox.begin(), wideBox.end());
  Type type = (*buffer)->type;
  if (type == Type::I32 || type == Type::I8)
    return words.error("expected a buffer of floats");
  moe_rt_gpu_tensor_map(map, (*buffer)->device,
                        type == Type::F16    ? MoeGpuF16
                        : type == Type::BF16 ? MoeGpuBF16
                                             : MoeGpuF32,
                        int32_t(sizes.size()), sizes.data(), strides.data(), box.data(), swizzle);
  return Error::success();
}

Error Script::launch(Words &words) {
  auto kernel = lookup(words.take());
  if (!kernel)
    return kernel.takeError();
  if (!words.consume("grid"))
    return words.error("expected 'grid'");
  auto grid = takeTriple(words);
  if (!grid)
    return grid.takeError();
  if (!words.consume("block"))
    return words.error("expected 'block'");
  auto block = takeTriple(words);
  if (!block)
    return block.takeError();
  int64_t sharedBytes = 0;
  if (words.consume("shared") && words.take().getAsInteger(10, sharedBytes))
    return words.error("expected a number of bytes");
  // A parameter is a word, or a tensor map.
  struct alignas(64) Parameter {
    uint64_t words[16];
  };
  std::vector<Parameter> values;
  if (words.consume("args"))
    while (!words.empty()) {
      auto [prefix, number] = words.take().split(':');
      uint64_t value = 0;
      values.emplace_back();
      if (prefix == "map") {
        if (Error error = makeTensorMap(words, number, &values.back()))
          return error;
        continue;
      }
      if (prefix == "f32") {
        double wide;
        if (number.getAsDouble(wide))
          return words.error("expected a number");
        encode(Type::F32, wide, reinterpret_cast<char *>(&value));
      } else if (prefix == "i32" || prefix == "i64") {
        int64_t integer;
        if (number.getAsInteger(10, integer))
          return words.error("expected a number");
        value = uint64_t(integer);
      } else {
        auto buffer = find(words, prefix);
        if (!buffer)
          return buffer.takeError();
        value = reinterpret_cast<uintptr_t>((*buffer)->device);
      }
      values.back().words[0] = value;
    }
  std::vector<void *> params;
  for (Parameter &value : values)
    params.push_back(&value);

  auto start = std::chrono::steady_clock::now();
  moe_rt_gpu_launch(*kernel, (*grid)[0], (*grid)[1], (*grid)[2], (*block)[0], (*block)[1], (*block)[2], sharedBytes,
                    params.data(), int64_t(params.size()));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.showTimes) {
    auto counters = json::parse(moe::rt::lastLaunchCounters());
    if (!counters)
      return counters.takeError();
    int64_t operations = counters->getAsObject()->getObject("counters")->getInteger("mma_operations").value_or(0);
    errs() << (*kernel)->name << ": " << format("%.3f s", seconds);
    if (operations)
      errs() << format(", %.0f MFLOP/s in matrix products", double(operations) / seconds / 1e6);
    errs() << "\n";
  }
  return Error::success();
}

Error Script::compare(Words &words, StringRef how) {
  StringRef names[2];
  std::vector<double> values[2];
  for (int i = 0; i < 2; ++i) {
    names[i] = words.take();
    auto buffer = find(words, names[i]);
    if (!buffer)
      return buffer.takeError();
    values[i] = (*buffer)->read();
  }
  double tolerance = 0;
  if (how != "same" && words.take().getAsDouble(tolerance))
    return words.error("expected a tolerance");
  if (values[0].size() != values[1].size())
    return words.error("the sizes differ");
  double largest = 0;
  size_t at = 0;
  for (size_t i = 0; i < values[0].size(); ++i) {
    double difference = std::fabs(values[0][i] - values[1][i]);
    if (std::isnan(difference) || difference > largest) {
      at = i;
      largest = std::isnan(difference) ? INFINITY : difference;
    }
  }
  outs() << how << " " << names[0] << " " << names[1] << ": " << values[0].size() << " elements, largest difference "
         << format("%g", largest) << "\n";
  if ((how == "differ") != (largest <= tolerance))
    return Error::success();
  return words.error("element " + Twine(at) + " is " + Twine(std::to_string(values[0][at])) + " and " +
                     Twine(std::to_string(values[1][at])));
}

Error Script::print(Words &words) {
  StringRef name = words.take();
  auto buffer = find(words, name);
  if (!buffer)
    return buffer.takeError();
  std::vector<double> values = (*buffer)->read();
  size_t count = values.size();
  if (!words.empty() && words.take().getAsInteger(10, count))
    return words.error("expected a number");
  values.resize(std::min(count, values.size()));
  outs() << name << ":";
  for (double value : values)
    outs() << " " << format((*buffer)->type == Type::I32 ? "%.0f" : "%g", value);
  outs() << "\n";
  return Error::success();
}

/// Totals on one line, and one for each operation.
static Error printCounters() {
  auto counters = json::parse(moe::rt::lastLaunchCounters());
  if (!counters)
    return counters.takeError();
  json::Object &totals = *counters->getAsObject()->getObject("counters");
  json::Array sites = std::move(*totals.getArray("sites"));
  totals.erase("sites");
  outs() << *counters << "\n";
  for (const json::Value &site : sites)
    outs() << site << "\n";
  return Error::success();
}

Error Script::run(StringRef line) {
  Words words(line);
  StringRef command = words.take();
  Error error = command == "buffer"                                              ? makeBuffer(words)
                : command == "launch"                                            ? launch(words)
                : command == "close" || command == "differ" || command == "same" ? compare(words, command)
                : command == "print"                                             ? print(words)
                : command == "counters"                                          ? printCounters()
                                                                                 : words.error("unknown command");
  if (!error && !words.empty())
    error = words.error("unexpected '" + words.take() + "'");
  return error;
}

std::vector<StringRef> moe::test::findScript(StringRef text) {
  std::vector<StringRef> script;
  SmallVector<StringRef> lines;
  text.split(lines, '\n');
  for (StringRef line : lines)
    if (size_t at = line.find("EMULATE:"); at != StringRef::npos)
      script.push_back(line.drop_front(at + strlen("EMULATE:")).trim());
  return script;
}

Expected<std::string> moe::test::plantBug(StringRef text, StringRef name) {
  std::string result;
  bool isKnown = false;
  SmallVector<StringRef> lines;
  text.split(lines, '\n');
  for (StringRef line : lines) {
    StringRef code = line.ltrim();
    auto [before, comment] = line.rsplit("//");
    SmallVector<StringRef> names;
    SplitString(comment, names);
    if (code.consume_front("//") && code.consume_front(name) && code.consume_front(" ")) {
      result += code;
      isKnown = true;
    } else if (!before.trim().empty() && is_contained(names, name)) {
      isKnown = true;
    } else {
      result += line;
    }
    result += '\n';
  }
  if (!isKnown)
    return createStringError("no line with the bug '" + name + "'");
  return result;
}

Error moe::test::runScript(ArrayRef<StringRef> lines, function_ref<Expected<const MoeGpuKernel *>(StringRef)> lookup,
                           const ScriptOptions &options) {
  Script script(lookup, options);
  for (StringRef line : lines)
    if (Error error = script.run(line))
      return error;
  return Error::success();
}

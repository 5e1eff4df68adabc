//===- SafetensorsTest.cpp - reading and writing safetensors --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TestFiles.h"

#include "moe/Runtime/Safetensors.h"
#include "moe/Runtime/TensorFile.h"

#include <sys/stat.h>

using namespace moe::rt;
using namespace moe::rt::test;

namespace {

/// A file with this header and `dataSize` bytes 0, 1, 2 ...
std::string makeFile(const std::string &header, size_t dataSize) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  bytes += header;
  for (size_t i = 0; i < dataSize; ++i)
    bytes += static_cast<char>(i);
  return bytes;
}

std::optional<SafetensorsFile> parse(const std::string &bytes, std::string &error) {
  return SafetensorsFile::parse(reinterpret_cast<const unsigned char *>(bytes.data()), bytes.size(), "f", error);
}

/// The message with which these bytes are refused.
std::string refusal(const std::string &bytes) {
  std::string error;
  EXPECT_FALSE(parse(bytes, error).has_value());
  EXPECT_EQ(error.find('\n'), std::string::npos);
  return error;
}
std::string refusal(const std::string &header, size_t dataSize) { return refusal(makeFile(header, dataSize)); }

TEST(Safetensors, ReadsTensorsAndMetadata) {
  std::string bytes = makeFile(R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},"__metadata__":)"
                               R"({"format":"pt","x":"y"},"a":{"data_offsets":[0,2],"shape":[],"dtype":"BF16"}}  )",
                               26);
  std::string error;
  std::optional<SafetensorsFile> file = parse(bytes, error);
  ASSERT_TRUE(file) << error;
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(file->tensors()[0].dtype, DType::BF16);
  EXPECT_TRUE(file->tensors()[0].shape.empty());
  const TensorView *b = file->find("b");
  ASSERT_TRUE(b);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b->size, 24u);
  EXPECT_EQ(b->data[0], 2);
  EXPECT_EQ(file->find("c"), nullptr);
  ASSERT_EQ(file->metadata().size(), 2u);
  EXPECT_EQ(file->metadata()[0], std::make_pair(std::string("format"), std::string("pt")));
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  std::string error;
  EXPECT_TRUE(parse(makeFile("{}", 0), error)) << error;
  EXPECT_TRUE(parse(makeFile(R"({"__metadata__":null})", 0), error)) << error;
  // Empty tensors at any place, unknown keys, sub-byte types, escapes in names.
  EXPECT_TRUE(parse(makeFile(R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[1,1],"more":[{"a":[1]},2]},)"
                             R"("q":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},)"
                             R"("\u00e9\n":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[1,4]}})",
                             4),
                    error))
      << error;
}

TEST(Safetensors, RefusesBrokenFraming) {
  EXPECT_EQ(refusal(""), "f: expected a safetensors file (at least 8 bytes) but got 0 bytes");
  EXPECT_EQ(refusal(std::string(7, '\0')), "f: expected a safetensors file (at least 8 bytes) but got 7 bytes");
  EXPECT_EQ(refusal(std::string(8, '\0')), "f: the safetensors header is not JSON: expected '{' as its first byte");
  EXPECT_EQ(refusal(std::string(7, '\0') + '\x40'),
            "f: the safetensors header length is 4611686018427387904, the limit is 100000000 (file size 8)");
  EXPECT_EQ(refusal(makeFile("{}", 0).substr(0, 9)),
            "f: the file ends inside the safetensors header: expected a header of 2 bytes but the file has 9 bytes");
  EXPECT_EQ(refusal(" {}", 0), "f: the safetensors header is not JSON: expected '{' as its first byte");
  EXPECT_NE(refusal("{this is not}", 0).find("the safetensors header is not JSON"), std::string::npos);
  EXPECT_NE(refusal("{}{}", 0).find("not JSON"), std::string::npos);
  EXPECT_NE(refusal("{\"\xff\":1}", 0).find("not JSON"), std::string::npos);
  EXPECT_NE(refusal("{" + std::string(100000, '['), 0).find("not JSON"), std::string::npos);
}

TEST(Safetensors, RefusesBrokenEntries) {
  EXPECT_EQ(refusal(R"({"w":3})", 0), "f: tensor 'w': expected an object but got 3");
  EXPECT_EQ(refusal(R"({"w":[]})", 0), "f: tensor 'w': expected an object but got an array");
  EXPECT_EQ(refusal(R"({"w":null})", 0), "f: tensor 'w': expected an object but got null");
  EXPECT_EQ(refusal(R"({"w":{"shape":[],"data_offsets":[0,0]}})", 0), "f: tensor 'w' has no 'dtype'");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","data_offsets":[0,0]}})", 0), "f: tensor 'w' has no 'shape'");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[]}})", 0), "f: tensor 'w' has no 'data_offsets'");
  EXPECT_EQ(refusal(R"({"w":{"dtype":7,"shape":[],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', dtype: expected a string but got 7");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F33","shape":[],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w' has the unknown dtype 'F33'");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', shape: expected an array but got an object");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[-8],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', shape: expected a non-negative integer but got -8");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', shape: expected a non-negative integer but got 1.5");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', shape: expected a non-negative integer but got 9223372036854775808");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', shape: expected a non-negative integer but got a string");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4),
            "f: tensor 'w', shape: expected a non-negative integer but got an array");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4),
            "f: tensor 'w': expected data_offsets [begin,end] but got [4]");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4),
            "f: tensor 'w': expected data_offsets [begin,end] but got [4,0]");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1),
            "f: tensor 'w': the size of F4 of shape [3] overflows 63 bits or is no whole number of bytes");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})", 0), "f: __metadata__: expected a string but got 1");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":{}}})", 0), "f: __metadata__: expected a string but got an object");
}

TEST(Safetensors, RefusesDuplicateKeys) {
  EXPECT_EQ(refusal(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                    R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                    2),
            "f: 'w' appears twice in the header");
  EXPECT_EQ(refusal(R"({"__metadata__":{},"__metadata__":{}})", 0), "f: '__metadata__' appears twice in the header");
  EXPECT_EQ(refusal(R"({"__metadata__":{"k":"a","k":"b"}})", 0), "f: __metadata__ has the key 'k' twice");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1),
            "f: tensor 'w' has the key 'dtype' twice");
  EXPECT_EQ(refusal(R"({"w":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1),
            "f: tensor 'w' has the key 'shape' twice");
}

TEST(Safetensors, RefusesSizesThatDoNotAgree) {
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F64","shape":[2,2],"data_offsets":[0,16]}})", 16),
            "f: tensor 'w': expected 32 bytes for F64 of shape [2,2] but data_offsets [0,16] hold 16 bytes");
  EXPECT_EQ(
      refusal(R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0),
      "f: tensor 'w': the size of F32 of shape [4611686018427387904,4] overflows 63 bits or is no whole number of "
      "bytes");
  EXPECT_NE(
      refusal(R"({"w":{"dtype":"U8","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})", 0).find("overflows"),
      std::string::npos);
}

TEST(Safetensors, RefusesDataThatIsNotCoveredExactly) {
  const std::string a = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)";
  EXPECT_EQ(refusal(a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})", 10),
            "f: 2 bytes of data before tensor 'b' belong to no tensor: expected it to begin at 4 but got 6");
  EXPECT_EQ(refusal(a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})", 7),
            "f: tensor 'b' overlaps tensor 'a': expected it to begin at 4 but got 3");
  EXPECT_EQ(refusal(a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
            "f: tensor 'b' overlaps tensor 'a': expected it to begin at 4 but got 0");
  std::string twoTensors = a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})";
  std::string total = std::to_string(8 + twoTensors.size() + 8);
  EXPECT_EQ(refusal(twoTensors, 7), "f: tensor 'b' ends after the end of the file: expected a file of " + total +
                                        " bytes but got " + std::to_string(8 + twoTensors.size() + 7) + " (1 too few)");
  EXPECT_EQ(refusal(twoTensors, 9), "f: 1 byte at the end belong to no tensor: expected a file of " + total +
                                        " bytes but got " + std::to_string(8 + twoTensors.size() + 9));
}

TEST(Safetensors, MessagesStayOnOneLine) {
  EXPECT_EQ(refusal(R"({"a\nb":3})", 0), "f: tensor 'a\\x0ab': expected an object but got 3");
  EXPECT_LT(refusal("{\"" + std::string(10000, 'x') + "\":3}", 0).size(), 300u);
}

TEST(Safetensors, OpensOnlyRegularFiles) {
  TemporaryFolder folder;
  std::string error;
  EXPECT_FALSE(SafetensorsFile::open(folder.file("missing"), error));
  EXPECT_EQ(error, folder.file("missing") + ": cannot open: No such file or directory");
  EXPECT_FALSE(SafetensorsFile::open(folder.file(""), error));
  EXPECT_NE(error.find("expected a regular file but got a folder"), std::string::npos);
  ASSERT_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(SafetensorsFile::open(folder.file("pipe"), error));
  EXPECT_NE(error.find("expected a regular file but got a special file"), std::string::npos);
  EXPECT_FALSE(SafetensorsFile::open(folder.write("empty", ""), error));
  EXPECT_EQ(error, folder.file("empty") + ": expected a safetensors file (at least 8 bytes) but got 0 bytes");
}

TEST(SafetensorsWriter, RoundTrip) {
  TemporaryFolder folder;
  std::string path = folder.file("out.safetensors");
  const unsigned char bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  std::vector<TensorView> tensors = {{"u8", DType::U8, {3}, bytes, 3},
                                     {"none", DType::F32, {2, 0}, nullptr, 0},
                                     {"\"quoted\" \xc3\xa9", DType::BF16, {2, 1}, bytes + 3, 4},
                                     {"f64", DType::F64, {}, bytes + 1, 8}};
  std::string error;
  ASSERT_TRUE(writeSafetensors(path, tensors, {{"made_by", "test"}}, error)) << error;
  EXPECT_EQ(folder.count(), 1);
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(status.st_mode & 0777, 0666 & ~mask);

  std::optional<TensorFile> file = TensorFile::open(path, error);
  ASSERT_TRUE(file) << error;
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const TensorView &tensor : tensors) {
    const TensorView *read = file->find(tensor.name);
    ASSERT_TRUE(read) << tensor.name;
    EXPECT_EQ(read->dtype, tensor.dtype);
    EXPECT_EQ(read->shape, tensor.shape);
    ASSERT_EQ(read->size, tensor.size);
    EXPECT_TRUE(std::equal(tensor.data, tensor.data + tensor.size, read->data));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read->data) % (dtypeBits(read->dtype) / 8), 0u) << "aligned in the file";
  }
  std::optional<SafetensorsFile> same = SafetensorsFile::open(path, error);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->metadata()[0].second, "test");
}

TEST(SafetensorsWriter, LeavesNothingBehindWhenItFails) {
  TemporaryFolder folder;
  const unsigned char bytes[4] = {};
  std::string error;
  EXPECT_FALSE(writeSafetensors(folder.file("o"), {{"a", DType::U8, {4}, bytes, 4}, {"a", DType::U8, {4}, bytes, 4}},
                                {}, error));
  EXPECT_EQ(error, folder.file("o") + ": cannot write two tensors called 'a'");
  EXPECT_FALSE(writeSafetensors(folder.file("o"), {{"a", DType::F32, {2}, bytes, 4}}, {}, error));
  EXPECT_EQ(error, folder.file("o") + ": cannot write tensor 'a': expected 8 bytes for F32 of shape [2] but got 4");
  EXPECT_FALSE(writeSafetensors(folder.file("o"), {{"\xff", DType::U8, {4}, bytes, 4}}, {}, error));
  EXPECT_EQ(folder.count(), 0);
  EXPECT_FALSE(writeSafetensors(folder.file("missing/o"), {}, {}, error));
  EXPECT_EQ(error, folder.file("missing/o") + ": cannot write: No such file or directory");
}

TEST(SafetensorsWriter, KeepsLinksAndDevices) {
  TemporaryFolder folder;
  std::string target = folder.write("target", "old"), link = folder.file("link"), error;
  std::filesystem::create_symlink(target, link);
  ASSERT_TRUE(writeSafetensors(link, {}, {}, error)) << error;
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_TRUE(SafetensorsFile::open(target, error)) << error;
  ASSERT_TRUE(writeSafetensors("/dev/null", {}, {}, error)) << error;
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(DTypes, NamesAndSizes) {
  for (int i = 0; i <= static_cast<int>(DType::F6E3M2); ++i) {
    auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtypeFromName(dtypeName(dtype)), dtype);
  }
  EXPECT_EQ(dtypeFromName("f32"), std::nullopt);
  EXPECT_TRUE(isFloatDType(DType::BF16) && isFloatDType(DType::F8E4M3) && !isFloatDType(DType::C64));
  EXPECT_TRUE(isIntegerDType(DType::U64) && isIntegerDType(DType::I8) && !isIntegerDType(DType::Bool));
  EXPECT_EQ(tensorBytes(DType::F32, {2, 3}), 24);
  EXPECT_EQ(tensorBytes(DType::F32, {}), 4);
  EXPECT_EQ(tensorBytes(DType::F32, {0, 3}), 0);
  EXPECT_EQ(tensorBytes(DType::F32, {-1, 0}), std::nullopt);
  EXPECT_EQ(tensorBytes(DType::F6E2M3, {4}), 3);
  EXPECT_EQ(tensorBytes(DType::U8, {INT64_MAX}), INT64_MAX);
  EXPECT_EQ(tensorBytes(DType::U16, {INT64_MAX}), std::nullopt);
}

} // namespace

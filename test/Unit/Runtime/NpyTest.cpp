//===- NpyTest.cpp - reading NumPy's array files --------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TestFiles.h"

#include "moe/Runtime/TensorFile.h"

using namespace moe::rt;
using namespace moe::rt::test;

namespace {

std::string makeNpy(const std::string &header, size_t dataSize, int version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(version);
  bytes += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    bytes += static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(dataSize, '\x01');
}

std::optional<TensorView> parse(const std::string &bytes, std::string &error) {
  return parseNpy(reinterpret_cast<const unsigned char *>(bytes.data()), bytes.size(), "f", error);
}

std::string refusal(const std::string &bytes) {
  std::string error;
  EXPECT_FALSE(parse(bytes, error).has_value());
  return error;
}

TEST(Npy, ReadsAllVersions) {
  for (int version : {1, 2, 3}) {
    std::string bytes = makeNpy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 24, version), error;
    std::optional<TensorView> array = parse(bytes, error);
    ASSERT_TRUE(array) << error;
    EXPECT_EQ(array->dtype, DType::F32);
    EXPECT_EQ(array->shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(array->size, 24u);
    EXPECT_EQ(reinterpret_cast<const char *>(array->data), bytes.data() + bytes.size() - 24);
  }
}

TEST(Npy, ReadsAllTypesAndRanks) {
  struct Case {
    const char *descr, *shape;
    DType dtype;
    size_t bytes;
  };
  for (const Case &c : std::initializer_list<Case>{{"|b1", "(3,)", DType::Bool, 3},
                                                   {"|i1", "()", DType::I8, 1},
                                                   {"|u1", "(0, 7)", DType::U8, 0},
                                                   {"<i2", "(1,1)", DType::I16, 2},
                                                   {"<u2", "(1,)", DType::U16, 2},
                                                   {"<i4", "(2,)", DType::I32, 8},
                                                   {"<u4", "(2,)", DType::U32, 8},
                                                   {"<i8", "(1,)", DType::I64, 8},
                                                   {"<u8", "(1,)", DType::U64, 8},
                                                   {"<f2", "(1,2,3)", DType::F16, 12},
                                                   {"<f8", "(1,)", DType::F64, 8},
                                                   {"<c8", "(1,)", DType::C64, 8}}) {
    std::string error;
    std::string header = std::string("{\"shape\":") + c.shape + ",'fortran_order':False,'descr':'" + c.descr + "'}";
    std::optional<TensorView> array = parse(makeNpy(header, c.bytes), error);
    ASSERT_TRUE(array) << error;
    EXPECT_EQ(array->dtype, c.dtype);
  }
  // One dimension has no order.
  std::string error;
  EXPECT_TRUE(parse(makeNpy("{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", 8), error)) << error;
}

TEST(Npy, Refuses) {
  auto header = [](const char *descr, const char *order, const char *shape) {
    return std::string("{'descr': ") + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + "}";
  };
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "True", "(2, 3)"), 24)),
            "f: .npy header: fortran_order is not supported: expected the array in C order");
  EXPECT_EQ(refusal(makeNpy(header("'>f4'", "False", "(2,)"), 8)),
            "f: .npy header: big-endian data (descr '>f4') is not supported");
  EXPECT_EQ(refusal(makeNpy(header("'|O'", "False", "(2,)"), 8)), "f: .npy header: type '|O' is not supported");
  EXPECT_EQ(refusal(makeNpy(header("'<V2'", "False", "(2,)"), 4)), "f: .npy header: type '<V2' is not supported");
  EXPECT_EQ(refusal(makeNpy(header("[('x', '<f4')]", "False", "(2,)"), 8)),
            "f: .npy header: structured types are not supported");
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "False", "(2,)"), 7)),
            "f: expected 8 bytes of data for F32 of shape [2] but got 7");
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "False", "(2,)"), 9)),
            "f: expected 8 bytes of data for F32 of shape [2] but got 9");
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "False", "(4611686018427387904, 4)"), 0)),
            "f: .npy header: the size of shape [4611686018427387904,4] overflows 63 bits");
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "False", "(99999999999999999999,)"), 0)),
            "f: .npy header: a size of the shape does not fit 63 bits");
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "False", "(-1,)"), 0)), "f: .npy header: expected a size at byte 51");
  EXPECT_EQ(refusal(makeNpy("{'descr': '<f4', 'shape': ()}", 4)), "f: .npy header: no key 'fortran_order'");
  EXPECT_EQ(refusal(makeNpy("{'descr': '<f4', 'descr': '<f4'}", 4)), "f: .npy header: the key 'descr' appears twice");
  EXPECT_EQ(refusal(makeNpy("{'x': 1}", 4)), "f: .npy header: unknown key 'x'");
  EXPECT_EQ(refusal(makeNpy("{'descr: 1}", 4)), "f: .npy header: a string does not end");
  EXPECT_EQ(refusal(makeNpy(header("'<f4'", "False", "()") + "x", 4)), "f: .npy header: expected its end at byte 53");
  EXPECT_EQ(refusal(makeNpy("", 0)), "f: .npy header: expected '{' at byte 0");
  EXPECT_EQ(refusal(makeNpy("{}", 0, 4)), "f: expected .npy format version 1.0, 2.0 or 3.0 but got 4.0");
  EXPECT_EQ(refusal("\x93NUMPY\x01"), "f: expected a .npy file but its first bytes are others");
  std::string cut = makeNpy(header("'<f4'", "False", "()"), 0);
  EXPECT_EQ(refusal(cut.substr(0, 40)), "f: the file ends inside the .npy header: expected a header of " +
                                            std::to_string(cut.size() - 10) + " bytes but the file has 40");
  EXPECT_EQ(refusal(cut.substr(0, 9)), "f: the file ends inside the .npy header");
}

TEST(TensorFile, TellsFormatsApartByContent) {
  TemporaryFolder folder;
  std::string error;
  std::string path =
      folder.write("array.safetensors", makeNpy("{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", 8));
  std::optional<TensorFile> file = TensorFile::open(path, error);
  ASSERT_TRUE(file) << error;
  ASSERT_EQ(file->tensors().size(), 1u);
  EXPECT_EQ(file->tensors()[0].name, "");
  EXPECT_FALSE(TensorFile::open(folder.write("x.npy", "{}"), error));
  EXPECT_EQ(error, folder.file("x.npy") + ": expected a safetensors file (at least 8 bytes) but got 2 bytes");
}

} // namespace

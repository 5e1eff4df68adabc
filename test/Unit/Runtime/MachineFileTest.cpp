//===- MachineFileTest.cpp - measured machines of a user ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TestFiles.h"
#include "moe/Runtime/CostModel.h"

#include <gmock/gmock.h>

using namespace moe::rt;
using namespace moe::rt::test;
using testing::HasSubstr;

namespace {

Machine named(const std::string &cpu, int threads, double bandwidth) {
  Machine machine = defaultMachine();
  machine.cpu = cpu;
  machine.threads = threads;
  machine.bandwidth = {{1e6, {bandwidth, 2 * bandwidth}}};
  return machine;
}

/// The value of an environment variable, put back at the end of the scope.
class Variable {
public:
  Variable(const char *name, const char *value) : name(name) {
    if (const char *now = getenv(name))
      before = now;
    else
      wasSet = false;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Variable() { wasSet ? setenv(name, before.c_str(), 1) : unsetenv(name); }

private:
  const char *name;
  std::string before;
  bool wasSet = true;
};

TEST(MachineFile, RoundTrip) {
  TemporaryFolder folder;
  std::string path = folder.file("a/b/machine.json"), error;
  Machine machine = named("cpu with \"quotes\"", 3, 7e9);
  ASSERT_TRUE(storeMachine(path, machine, error)) << error;
  auto found = loadMachine(path, machine.cpu, 3, error);
  ASSERT_TRUE(found) << error;
  EXPECT_EQ(found->l2Bytes, machine.l2Bytes);
  EXPECT_EQ(found->l3Bytes, machine.l3Bytes);
  EXPECT_NEAR(found->loopSeconds, machine.loopSeconds, 1e-15);
  ASSERT_EQ(found->bandwidth.size(), 1u);
  EXPECT_NEAR(found->bandwidth[0].bytes.all, 14e9, 1);
  ASSERT_EQ(found->peaks.size(), machine.peaks.size());
  EXPECT_NEAR(found->peak("avx2", Arithmetic::F32, 1), machine.peak("avx2", Arithmetic::F32, 1), 1);
  // Nothing but the file is left.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.file("a/b")), {}), 1);
}

TEST(MachineFile, OthersStay) {
  TemporaryFolder folder;
  std::string path = folder.file("machine.json"), error;
  ASSERT_TRUE(storeMachine(path, named("one", 2, 1e9), error));
  ASSERT_TRUE(storeMachine(path, named("two", 2, 2e9), error));
  ASSERT_TRUE(storeMachine(path, named("one", 4, 3e9), error));
  ASSERT_TRUE(storeMachine(path, named("one", 2, 4e9), error)); // replaces the first
  EXPECT_DOUBLE_EQ(loadMachine(path, "one", 2, error)->readBandwidth(1, 1), 4e9);
  EXPECT_DOUBLE_EQ(loadMachine(path, "two", 2, error)->readBandwidth(1, 1), 2e9);
  EXPECT_DOUBLE_EQ(loadMachine(path, "one", 4, error)->readBandwidth(1, 1), 3e9);
  EXPECT_FALSE(loadMachine(path, "one", 3, error));
  EXPECT_EQ(error, "");
}

TEST(MachineFile, AbsentIsNoError) {
  TemporaryFolder folder;
  std::string error = "before";
  EXPECT_FALSE(loadMachine(folder.file("none.json"), "one", 2, error));
  EXPECT_EQ(error, "");
  EXPECT_FALSE(readMachine(folder.file("none.json"), error));
  EXPECT_THAT(error, HasSubstr("none.json': does not exist"));
}

TEST(MachineFile, InvalidFilesAreExplained) {
  TemporaryFolder folder;
  auto errorOf = [&](const std::string &text) {
    std::string path = folder.write("machine.json", text), error;
    EXPECT_FALSE(loadMachine(path, "one", 2, error)) << text;
    EXPECT_EQ(error.find('\n'), std::string::npos);
    EXPECT_THAT(error, HasSubstr(path));
    return error;
  };
  auto withMachine = [](const std::string &members) {
    return R"({"version":1,"machines":[{"cpu":"one","threads":2,"l2_bytes":1,"l3_bytes":0,"parallel_loop_us":1,)" +
           members + "}]}";
  };
  EXPECT_THAT(errorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(errorOf("[1]"), HasSubstr("key 'version' is missing"));
  EXPECT_THAT(errorOf(R"({"version":2,"machines":[]})"), HasSubstr("version: expected 1 but got 2"));
  EXPECT_THAT(errorOf(R"({"version":1,"machines":{}})"), HasSubstr("machines: expected a list but got {}"));
  EXPECT_THAT(errorOf(R"({"version":1,"machines":[{"cpu":7}]})"), HasSubstr("cpu: expected a string but got 7"));
  EXPECT_THAT(errorOf(R"({"version":1,"machines":[{"cpu":"one","threads":1.5}]})"),
              HasSubstr("threads: expected a whole number but got 1.5"));
  EXPECT_THAT(errorOf(withMachine(R"("read_gbytes_per_s":[])")), HasSubstr("at least one footprint"));
  EXPECT_THAT(errorOf(withMachine(R"("read_gbytes_per_s":[{"footprint":1,"one_thread":0,"all_threads":1}])")),
              HasSubstr("one_thread: expected a number above 0 but got 0"));
  std::string point = R"({"footprint":1,"one_thread":1,"all_threads":1})";
  EXPECT_THAT(errorOf(withMachine(R"("read_gbytes_per_s":[)" + point + "," + point + "]")),
              HasSubstr("ascending footprints"));
  EXPECT_THAT(errorOf(withMachine(R"("read_gbytes_per_s":[)" + point + R"(],"peak_gflops":[{"arithmetic":"f64"}])")),
              HasSubstr("arithmetic: expected f32, bf16 or int8 but got 'f64'"));
  // A new calibration takes the place of such a file.
  std::string error;
  ASSERT_TRUE(storeMachine(folder.file("machine.json"), named("one", 2, 1e9), error)) << error;
  EXPECT_TRUE(loadMachine(folder.file("machine.json"), "one", 2, error));
}

TEST(MachineFile, FailuresToWriteAreExplained) {
  TemporaryFolder folder;
  std::string blocker = folder.write("file", "x"), error;
  EXPECT_FALSE(storeMachine(blocker + "/machine.json", named("one", 2, 1e9), error));
  EXPECT_THAT(error, HasSubstr("cannot be written"));
}

TEST(MachineFile, MachineToTuneFor) {
  TemporaryFolder folder;
  std::string path = folder.file("machine.json"), error;
  ASSERT_TRUE(storeMachine(path, named("other", 2, 1e9), error));
  EXPECT_EQ(readMachine(path, error)->cpu, "other"); // the only one
  ASSERT_TRUE(storeMachine(path, named("third", 2, 1e9), error));
  EXPECT_FALSE(readMachine(path, error));
  EXPECT_THAT(error, HasSubstr("expected one of this processor"));
  ASSERT_TRUE(storeMachine(path, named(cpuModel(), 1, 1e9), error));
  ASSERT_TRUE(storeMachine(path, named(cpuModel(), 2, 1e9), error));
  auto found = readMachine(path, error);
  ASSERT_TRUE(found) << error;
  EXPECT_EQ(found->cpu, cpuModel());
  EXPECT_EQ(found->threads, 2);
}

TEST(MachineFile, PathFollowsTheEnvironment) {
  {
    Variable cache("XDG_CACHE_HOME", "/somewhere"), home("HOME", "/home/me");
    EXPECT_EQ(machineFilePath(), "/somewhere/moe-mlir/machine.json");
  }
  {
    Variable cache("XDG_CACHE_HOME", "relative"), home("HOME", "/home/me");
    EXPECT_EQ(machineFilePath(), "/home/me/.cache/moe-mlir/machine.json");
  }
  {
    Variable cache("XDG_CACHE_HOME", nullptr), home("HOME", nullptr);
    EXPECT_EQ(machineFilePath(), "");
  }
}

TEST(MachineFile, ProcessorHasAName) {
  EXPECT_NE(cpuModel(), "");
  EXPECT_EQ(cpuModel().find('\n'), std::string::npos);
}

} // namespace

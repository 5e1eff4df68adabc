//===- MachineFile.cpp - measured machines of a user ----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/CostModel.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

namespace moe::rt {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int fileVersion = 1;

/// What is wrong with a file. Does not leave this source.
struct Invalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};

const Json &member(const Json &object, const char *key) {
  if (!object.is_object() || !object.contains(key))
    throw Invalid(std::string("key '") + key + "' is missing");
  return object[key];
}

double number(const Json &object, const char *key, bool zero = false) {
  const Json &value = member(object, key);
  double found = value.is_number() ? value.get<double>() : -1;
  if (!std::isfinite(found) || found < 0 || (found == 0 && !zero))
    throw Invalid(std::string(key) + ": expected a number " + (zero ? "of at least" : "above") + " 0 but got " +
                  value.dump());
  return found;
}

std::string text(const Json &object, const char *key) {
  const Json &value = member(object, key);
  if (!value.is_string())
    throw Invalid(std::string(key) + ": expected a string but got " + value.dump());
  return value.get<std::string>();
}

const Json &list(const Json &object, const char *key) {
  const Json &value = member(object, key);
  if (!value.is_array())
    throw Invalid(std::string(key) + ": expected a list but got " + value.dump());
  return value;
}

// Files are in GB/s and GFLOP/s, which people can check at a glance.
Rate readRate(const Json &object) { return {number(object, "one_thread") * 1e9, number(object, "all_threads") * 1e9}; }

Json writeRate(const Rate &rate) { return {{"one_thread", rate.one * 1e-9}, {"all_threads", rate.all * 1e-9}}; }

Machine readOne(const Json &object) {
  Machine machine;
  machine.cpu = text(object, "cpu");
  double threads = number(object, "threads");
  if (threads != std::floor(threads) || threads > 1e6)
    throw Invalid("threads: expected a whole number but got " + object["threads"].dump());
  machine.threads = int(threads);
  machine.l2Bytes = number(object, "l2_bytes");
  machine.l3Bytes = number(object, "l3_bytes", /*zero=*/true);
  machine.loopSeconds = number(object, "parallel_loop_us", /*zero=*/true) * 1e-6;
  for (const Json &point : list(object, "read_gbytes_per_s"))
    machine.bandwidth.push_back({number(point, "footprint"), readRate(point)});
  if (machine.bandwidth.empty())
    throw Invalid("read_gbytes_per_s: expected at least one footprint but got none");
  for (size_t i = 1; i < machine.bandwidth.size(); ++i)
    if (machine.bandwidth[i].footprint <= machine.bandwidth[i - 1].footprint)
      throw Invalid("read_gbytes_per_s: expected ascending footprints");
  for (const Json &peak : list(object, "peak_gflops")) {
    std::string name = text(peak, "arithmetic");
    std::optional<Arithmetic> arithmetic = parseArithmetic(name);
    if (!arithmetic)
      throw Invalid("arithmetic: expected f32, bf16 or int8 but got '" + name + "'");
    machine.peaks.push_back({text(peak, "level"), *arithmetic, readRate(peak)});
  }
  return machine;
}

Json writeOne(const Machine &machine) {
  Json bandwidth = Json::array(), peaks = Json::array();
  for (const BandwidthPoint &point : machine.bandwidth) {
    Json object{{"footprint", int64_t(point.footprint)}};
    object.update(writeRate(point.bytes));
    bandwidth.push_back(std::move(object));
  }
  for (const Peak &peak : machine.peaks) {
    Json object{{"level", peak.level}, {"arithmetic", arithmeticName(peak.arithmetic)}};
    object.update(writeRate(peak.operations));
    peaks.push_back(std::move(object));
  }
  return {{"cpu", machine.cpu},
          {"threads", machine.threads},
          {"l2_bytes", int64_t(machine.l2Bytes)},
          {"l3_bytes", int64_t(machine.l3Bytes)},
          {"parallel_loop_us", machine.loopSeconds * 1e6},
          {"read_gbytes_per_s", std::move(bandwidth)},
          {"peak_gflops", std::move(peaks)}};
}

/// All machines of a file; none if it does not exist. Throws Invalid.
std::vector<Machine> readAll(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR)
      return {};
    throw Invalid(std::string("cannot be read: ") + std::strerror(errno));
  }
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (!file.good())
    throw Invalid("cannot be read");
  Json root = Json::parse(bytes.str(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded())
    throw Invalid("not valid JSON");
  if (number(root, "version") != fileVersion)
    throw Invalid("version: expected 1 but got " + root["version"].dump());
  std::vector<Machine> machines;
  for (const Json &object : list(root, "machines"))
    machines.push_back(readOne(object));
  return machines;
}

/// Calls `use` on the machines of a file; turns every exception into `error`.
template <typename Use> std::optional<Machine> withMachines(const std::string &path, std::string &error, Use use) {
  error.clear();
  try {
    return use(readAll(path));
  } catch (const std::exception &exception) {
    error = "'" + path + "': " + exception.what();
    std::replace(error.begin(), error.end(), '\n', ' ');
    return std::nullopt;
  }
}

} // namespace

std::string cpuModel() {
  // The first processor's lines; x86 has the first group of names, Arm the second.
  static const char *const keys[] = {"model name",      "cpu family",       "model",       "stepping",
                                     "CPU implementer", "CPU architecture", "CPU variant", "CPU part"};
  std::string values[std::size(keys)];
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line) && !line.empty();) {
    size_t colon = line.find(':');
    if (colon == std::string::npos)
      continue;
    size_t end = line.find_last_not_of(" \t", colon ? colon - 1 : 0), start = line.find_first_not_of(" \t", colon + 1);
    for (size_t i = 0; i < std::size(keys); ++i)
      if (end != std::string::npos && line.compare(0, end + 1, keys[i]) == 0 && start != std::string::npos)
        values[i] = line.substr(start);
  }
  std::string name = values[0].empty() ? "processor" : values[0];
  for (size_t i = 1; i < std::size(keys); ++i)
    if (!values[i].empty())
      name += std::string(i == 1 || i == 4 ? " " : "/") + values[i];
  return name;
}

std::string machineFilePath() {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  // The standard asks to ignore relative paths.
  if (cache && cache[0] == '/')
    return std::string(cache) + "/moe-mlir/machine.json";
  if (home && *home)
    return std::string(home) + "/.cache/moe-mlir/machine.json";
  return {};
}

std::optional<Machine> loadMachine(const std::string &path, const std::string &cpu, int threads, std::string &error) {
  return withMachines(path, error, [&](std::vector<Machine> machines) -> std::optional<Machine> {
    for (Machine &machine : machines)
      if (machine.cpu == cpu && machine.threads == threads)
        return std::move(machine);
    return std::nullopt;
  });
}

std::optional<Machine> readMachine(const std::string &path, std::string &error) {
  return withMachines(path, error, [&](std::vector<Machine> machines) -> std::optional<Machine> {
    if (machines.empty())
      throw Invalid(fs::exists(path) ? "machines: expected at least one but got none" : "does not exist");
    std::string cpu = cpuModel();
    // Of this processor with different numbers of threads the largest.
    const Machine *best = nullptr;
    for (const Machine &machine : machines)
      if (machine.cpu == cpu && (!best || machine.threads > best->threads))
        best = &machine;
    if (best)
      return *best;
    if (machines.size() > 1)
      throw Invalid("machines: expected one of this processor ('" + cpu + "') or one in all but got " +
                    std::to_string(machines.size()));
    return machines.front();
  });
}

std::string machineText(const Machine &machine) {
  return writeOne(machine).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool storeMachine(const std::string &path, const Machine &machine, std::string &error) {
  error.clear();
  std::string temporary = path + "." + std::to_string(getpid()) + ".tmp";
  try {
    std::string ignored;
    Json machines = Json::array();
    withMachines(path, ignored, [&](const std::vector<Machine> &known) -> std::optional<Machine> {
      for (const Machine &other : known)
        if (other.cpu != machine.cpu || other.threads != machine.threads)
          machines.push_back(writeOne(other));
      return std::nullopt;
    });
    machines.push_back(writeOne(machine));
    if (fs::path folder = fs::path(path).parent_path(); !folder.empty())
      fs::create_directories(folder);
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << Json{{"version", fileVersion}, {"machines", std::move(machines)}}.dump(1, ' ', false,
                                                                                   Json::error_handler_t::replace)
         << "\n";
    file.close();
    if (!file)
      throw Invalid(std::string("cannot be written: ") + std::strerror(errno));
    fs::rename(temporary, path);
    return true;
  } catch (const fs::filesystem_error &exception) {
    error = "'" + path + "': cannot be written: " + exception.code().message();
  } catch (const std::exception &exception) {
    error = "'" + path + "': " + exception.what();
  }
  std::error_code ignored;
  fs::remove(temporary, ignored);
  return false;
}

} // namespace moe::rt

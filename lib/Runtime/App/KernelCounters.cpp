//===- KernelCounters.cpp - what kernels did in a call --------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "KernelCounters.h"

#include "Commands.h"

#include <nlohmann/json.hpp>

namespace moe::rt {

using Json = nlohmann::ordered_json;

constexpr uint64_t sectorBytes = 32;

KernelCounters &KernelCounters::operator+=(const KernelCounters &other) {
  launches += other.launches;
  blocks += other.blocks;
  products += other.products;
  productOperations += other.productOperations;
  threadInstructions += other.threadInstructions;
  barriers += other.barriers;
  movedBytes += other.movedBytes;
  usedBytes += other.usedBytes;
  differentBytes += other.differentBytes;
  bankConflicts += other.bankConflicts;
  return *this;
}

std::vector<KernelCounters> parseKernelCounters(const std::string &text) {
  std::vector<KernelCounters> kernels;
  for (const Json &each : Json::parse(text)) {
    const Json &counters = each.at("counters"), &global = counters.at("global"), &shared = counters.at("shared");
    KernelCounters kernel;
    kernel.name = each.at("kernel");
    kernel.launches = each.at("launches");
    kernel.blocks = each.at("blocks");
    kernel.products = counters.at("mma");
    kernel.productOperations = counters.at("mma_operations");
    kernel.threadInstructions = counters.at("thread_instructions");
    kernel.barriers = counters.at("barriers");
    kernel.movedBytes = global.at("sectors").get<uint64_t>() * sectorBytes;
    kernel.usedBytes = global.at("sector_bytes_used");
    kernel.differentBytes =
        (global.at("different_sectors_read").get<uint64_t>() + global.at("different_sectors_written").get<uint64_t>()) *
        sectorBytes;
    kernel.bankConflicts = shared.at("wavefronts").get<uint64_t>() - shared.at("ideal_wavefronts").get<uint64_t>();
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

static KernelCounters sumOf(const CountedCall &call) {
  KernelCounters sum;
  for (const KernelCounters &kernel : call.kernels)
    sum += kernel;
  return sum;
}

static Json describe(const KernelCounters &kernel) {
  return {{"launches", kernel.launches},
          {"blocks", kernel.blocks},
          {"mma", kernel.products},
          {"mma_operations", kernel.productOperations},
          {"thread_instructions", kernel.threadInstructions},
          {"barriers", kernel.barriers},
          {"moved_bytes", kernel.movedBytes},
          {"used_bytes", kernel.usedBytes},
          {"different_bytes", kernel.differentBytes},
          {"bank_conflicts", kernel.bankConflicts}};
}

std::string countersJson(const std::vector<CountedCall> &calls) {
  Json list = Json::array();
  for (const CountedCall &call : calls) {
    Json object = {{"entry", call.entry}, {"tokens", call.tokens}, {"least_bytes", call.leastBytes}};
    object.update(describe(sumOf(call)));
    Json kernels = Json::array();
    for (const KernelCounters &kernel : call.kernels) {
      Json one = {{"kernel", kernel.name}};
      one.update(describe(kernel));
      kernels.push_back(std::move(one));
    }
    object["kernels"] = std::move(kernels);
    list.push_back(std::move(object));
  }
  return Json{{"counters", list}}.dump() + "\n";
}

static std::string row(const std::string &name, const KernelCounters &kernel) {
  return format("  %-28s %8llu %8llu %10llu %10.3f %10.3f %10.3f %6.1f%% %9llu %12.3f\n", name.c_str(),
                (unsigned long long)kernel.launches, (unsigned long long)kernel.blocks,
                (unsigned long long)kernel.products, double(kernel.productOperations) * 1e-6,
                double(kernel.movedBytes) * 1e-6, double(kernel.differentBytes) * 1e-6,
                kernel.movedBytes ? 100 * double(kernel.usedBytes) / double(kernel.movedBytes) : 100.0,
                (unsigned long long)kernel.bankConflicts, double(kernel.threadInstructions) * 1e-6);
}

std::string countersTable(const std::vector<CountedCall> &calls) {
  std::string text;
  for (const CountedCall &call : calls) {
    text += format("%s, %lld token%s: at least %.3f MB (weights and tensors once)\n", call.entry.c_str(),
                   (long long)call.tokens, call.tokens == 1 ? "" : "s", call.leastBytes * 1e-6);
    text += format("  %-28s %8s %8s %10s %10s %10s %10s %7s %9s %12s\n", "kernel", "launches", "blocks", "mma", "MFLOP",
                   "moved MB", "differ. MB", "used", "conflicts", "M instr.");
    for (const KernelCounters &kernel : call.kernels)
      text += row(kernel.name, kernel);
    text += row("all", sumOf(call));
  }
  return text;
}

} // namespace moe::rt

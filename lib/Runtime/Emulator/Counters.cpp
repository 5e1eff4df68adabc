//===- Counters.cpp - what a profiler of the GPU would count --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Counters.h"

#include <algorithm>
#include <bit>
#include <cstdio>

using namespace moe::rt::simt;

AccessCounts &AccessCounts::operator+=(const AccessCounts &other) {
  requests += other.requests;
  bytes += other.bytes;
  wavefronts += other.wavefronts;
  idealWavefronts += other.idealWavefronts;
  sectors += other.sectors;
  sectorBytes += other.sectorBytes;
  partialLanes += other.partialLanes;
  return *this;
}

/// In order; addresses of lanes usually are already.
static void sort(uint64_t *begin, uint64_t *end) {
  if (!std::is_sorted(begin, end))
    std::sort(begin, end);
}

/// Wavefronts of a phase of aligned chunks of 16 bytes, `part` bytes behind the addresses: each takes four banks at
/// once.
static uint32_t countChunks(const Request &request, uint32_t lanes, uint32_t part) {
  std::array<std::array<uint64_t, 8>, 8> chunks;
  std::array<uint8_t, 8> counts{};
  uint32_t most = 0;
  for (; lanes; lanes &= lanes - 1) {
    uint64_t chunk = (request.addresses[std::countr_zero(lanes)] + part) / 16;
    auto &inBanks = chunks[chunk % 8];
    uint8_t &count = counts[chunk % 8];
    if (std::find(inBanks.begin(), inBanks.begin() + count, chunk) == inBanks.begin() + count)
      inBanks[count++] = chunk;
    most = std::max<uint32_t>(most, count);
  }
  return most;
}

AccessCounts moe::rt::simt::countShared(const Request &request, uint32_t bytes, bool atomic) {
  AccessCounts counts;
  counts.requests = 1;
  counts.bytes = uint64_t(std::popcount(request.mask)) * bytes;
  // What is wider than 16 bytes is several instructions.
  for (uint32_t part = 0; part < bytes; part += 16) {
    uint32_t width = std::min(bytes - part, 16u);
    uint32_t lanesPerPhase = width <= 4 ? 32 : width <= 8 ? 16 : 8;
    for (uint32_t first = 0; first < 32; first += lanesPerPhase) {
      uint32_t lanes = request.mask & uint32_t(((uint64_t(1) << lanesPerPhase) - 1) << first);
      if (!lanes)
        continue;
      ++counts.idealWavefronts;
      if (width == 16 && !atomic) {
        counts.wavefronts += countChunks(request, lanes, part);
        continue;
      }
      std::array<uint64_t, 32 * 4> words; // at most four words of each of eight lanes, or a word or two of each lane
      size_t count = 0;
      for (; lanes; lanes &= lanes - 1) {
        uint64_t address = request.addresses[std::countr_zero(lanes)] + part;
        for (uint64_t word = address / 4; word <= (address + width - 1) / 4; ++word)
          words[count++] = word;
      }
      if (!atomic) {
        sort(words.data(), words.data() + count);
        count = std::unique(words.begin(), words.begin() + count) - words.begin();
      }
      std::array<uint32_t, 32> perBank{};
      uint32_t most = 0;
      for (size_t i = 0; i < count; ++i)
        most = std::max(most, ++perBank[words[i] % 32]);
      counts.wavefronts += most;
    }
  }
  return counts;
}

AccessCounts moe::rt::simt::countGlobal(const Request &request, uint32_t bytes) {
  AccessCounts counts;
  counts.requests = 1;
  counts.bytes = uint64_t(std::popcount(request.mask)) * bytes;
  std::array<uint64_t, 32> addresses;
  size_t count = 0;
  for (uint32_t lanes = request.mask; lanes; lanes &= lanes - 1)
    addresses[count++] = request.addresses[std::countr_zero(lanes)];
  sort(addresses.data(), addresses.data() + count);
  uint64_t nextSector = 0, nextByte = 0; // behind what is counted
  for (size_t i = 0; i < count; ++i) {
    uint64_t begin = addresses[i], end = begin + bytes;
    uint64_t firstSector = std::max(begin / 32, nextSector), sectorEnd = (end + 31) / 32;
    if (sectorEnd > firstSector) {
      counts.sectors += sectorEnd - firstSector;
      nextSector = sectorEnd;
    }
    if (end > nextByte) {
      counts.sectorBytes += end - std::max(begin, nextByte);
      nextByte = end;
    }
  }
  return counts;
}

void Counters::begin(size_t siteCount) {
  *this = Counters();
  bySite.resize(siteCount);
}

Counters &Counters::operator+=(const Counters &other) {
  products += other.products;
  productOperations += other.productOperations;
  collectives += other.collectives;
  barriers += other.barriers;
  instructions += other.instructions;
  sectorsRead += other.sectorsRead;
  sectorsWritten += other.sectorsWritten;
  warpgroupProducts += other.warpgroupProducts;
  bulkCopies += other.bulkCopies;
  bulkBytes += other.bulkBytes;
  leastPendingGroups = std::min(leastPendingGroups, other.leastPendingGroups);
  bySite.resize(std::max(bySite.size(), other.bySite.size()));
  for (size_t site = 0; site < other.bySite.size(); ++site)
    for (size_t space = 0; space < 2; ++space)
      bySite[site][space] += other.bySite[site][space];
  return *this;
}

void Counters::add(uint32_t site, uint32_t space, const Request &request, uint32_t bytes, bool atomic) {
  AccessCounts counts = space == MoeSimtShared ? countShared(request, bytes, atomic) : countGlobal(request, bytes);
  counts.partialLanes = request.mask != ~0u;
  add(site, space, counts);
}

void Counters::add(uint32_t site, uint32_t space, const AccessCounts &counts) {
  if (site >= bySite.size())
    bySite.resize(site + 1);
  bySite[site][space == MoeSimtShared] += counts;
}

AccessCounts Counters::sum(uint32_t space) const {
  AccessCounts sum;
  for (const auto &counts : bySite)
    sum += counts[space == MoeSimtShared];
  return sum;
}

AccessCounts Counters::at(uint32_t site, uint32_t space) const {
  return site < bySite.size() ? bySite[site][space == MoeSimtShared] : AccessCounts();
}

namespace {

/// Text of JSON.
class Json {
public:
  void number(const char *key, uint64_t value) {
    this->key(key);
    text += std::to_string(value);
  }
  void string(const char *key, const char *value) {
    this->key(key);
    text += '"';
    for (; *value; ++value) {
      if (*value == '"' || *value == '\\')
        text += '\\';
      text += (unsigned char)*value < 32 ? ' ' : *value;
    }
    text += '"';
  }
  void open(const char *key, char bracket) {
    this->key(key);
    text += bracket;
    isFirst = true;
  }
  void close(char bracket) {
    text += bracket;
    isFirst = false;
  }
  void key(const char *key) {
    if (!isFirst)
      text += ", ";
    isFirst = false;
    if (key)
      text += '"' + std::string(key) + "\": ";
  }

  std::string text;

private:
  bool isFirst = true;
};

void writeShared(Json &json, const AccessCounts &counts) {
  json.number("requests", counts.requests);
  json.number("bytes", counts.bytes);
  json.number("wavefronts", counts.wavefronts);
  json.number("ideal_wavefronts", counts.idealWavefronts);
}

void writeGlobal(Json &json, const AccessCounts &counts) {
  json.number("requests", counts.requests);
  json.number("bytes", counts.bytes);
  json.number("sectors", counts.sectors);
  json.number("sector_bytes_used", counts.sectorBytes);
}

} // namespace

std::string Counters::report(const MoeSimtSite *sites, size_t siteCount) const {
  Json json;
  json.text = "{";
  json.number("mma", products);
  json.number("mma_operations", productOperations);
  json.number("warp_operations", collectives);
  json.number("barriers", barriers);
  json.number("thread_instructions", instructions);
  if (warpgroupProducts)
    json.number("wgmma", warpgroupProducts);
  if (bulkCopies) {
    json.number("bulk_copies", bulkCopies);
    json.number("bulk_bytes", bulkBytes);
  }
  if (leastPendingGroups != ~uint64_t(0))
    json.number("least_pending_copy_groups", leastPendingGroups);
  AccessCounts global = sum(MoeSimtGlobal), shared = sum(MoeSimtShared);
  json.open("shared", '{');
  writeShared(json, shared);
  json.close('}');
  json.open("global", '{');
  writeGlobal(json, global);
  json.number("different_sectors_read", sectorsRead);
  json.number("different_sectors_written", sectorsWritten);
  json.close('}');
  json.open("sites", '[');
  for (size_t i = 0; i < std::min(siteCount, bySite.size()); ++i) {
    const auto &[inGlobal, inShared] = bySite[i];
    if (!inGlobal.requests && !inShared.requests)
      continue;
    json.open(nullptr, '{');
    json.string("operation", sites[i].text);
    json.string("function", sites[i].function);
    if (inShared.requests) {
      json.open("shared", '{');
      writeShared(json, inShared);
      json.close('}');
    }
    if (inGlobal.requests) {
      json.open("global", '{');
      writeGlobal(json, inGlobal);
      json.close('}');
    }
    json.close('}');
  }
  json.close(']');
  json.text += "}";
  return json.text;
}

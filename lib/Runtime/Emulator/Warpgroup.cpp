//===- Warpgroup.cpp - products of four warps -----------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Warpgroup.h"
#include "Machine.h"

#include <bit>
#include <cstring>

using namespace moe::rt::simt;

using ull = unsigned long long;

namespace {

// A token is a NaN that no operation makes: negative, and not quiet.
constexpr uint32_t tokenBits = 0xff800000, quietBit = 0x400000;
constexpr uint32_t elementBits = 7, tileBits = 6, mostVersion = 511;
constexpr uint32_t mostTiles = 1 << tileBits;

float makeToken(uint32_t tile, uint32_t version, uint32_t element) {
  return std::bit_cast<float>(tokenBits | version << (elementBits + tileBits) | tile << elementBits | element);
}

/// Where register `element` of a lane lies in the 64 x N matrix of a warpgroup.
uint32_t rowOf(uint32_t warp, uint32_t lane, uint32_t element) { return 16 * warp + lane / 4 + element / 2 % 2 * 8; }
uint32_t columnOf(uint32_t lane, uint32_t element) { return element / 4 * 8 + lane % 4 * 2 + element % 2; }

/// The arguments of moe_simt_wgmma in the exchange words of a lane.
struct Arguments {
  uint64_t a, b;
  float *registers;
  uint32_t flags;

  static Arguments of(const Thread &thread) {
    Arguments arguments;
    memcpy(&arguments.a, thread.words, 8);
    memcpy(&arguments.b, thread.words + 2, 8);
    memcpy(&arguments.registers, thread.words + 4, 8);
    arguments.flags = thread.words[6];
    return arguments;
  }
};

/// Which warp of its warpgroup it is.
uint32_t indexOf(const Warp &warp) { return warp.index % Warpgroup::warps; }

/// The matrix that a descriptor describes.
SharedMatrix decode(const Warp &warp, uint64_t descriptor, uint32_t rows, uint32_t site) {
  Machine &machine = Machine::get();
  const Thread &thread = warp.threads[0];
  constexpr std::array<uint32_t, 4> swizzles = {0, 128, 64, 32};
  auto field = [&](uint32_t bit, uint32_t width) { return descriptor >> bit & ((uint64_t(1) << width) - 1); };
  SharedMatrix matrix{field(0, 14) << 4, field(16, 14) << 4, field(32, 14) << 4, swizzles[field(62, 2)]};
  if (field(14, 2) || field(30, 2) || field(46, 3) || field(52, 10))
    machine.trap(thread, site, "matrix descriptor 0x%llx: expected zeros in bits 14, 15, 30, 31, 46 to 48 and 52 to 61",
                 ull(descriptor));
  uint64_t pattern = matrix.swizzleBytes * 8;
  if (pattern && (matrix.start % pattern >= matrix.swizzleBytes || field(49, 3)))
    machine.trap(thread, site,
                 "misaligned matrix descriptor 0x%llx: expected its first row at a multiple of %llu, for the swizzle, "
                 "but got shared address 0x%llx",
                 ull(descriptor), ull(pattern), ull(matrix.start));
  if (pattern && (matrix.eights % pattern || matrix.start % matrix.swizzleBytes + 32 > matrix.swizzleBytes))
    machine.trap(thread, site,
                 "matrix descriptor 0x%llx: expected rows within %u bytes, and eight rows each at a multiple of %llu, "
                 "but got shared address 0x%llx and %llu",
                 ull(descriptor), matrix.swizzleBytes, ull(pattern), ull(matrix.start), ull(matrix.eights));
  for (uint32_t row = 0; row < rows; ++row)
    for (uint32_t chunk = 0; chunk < 2; ++chunk)
      if (!isInShared(machine, matrix.offset(row, chunk), 16))
        machine.trap(thread, site,
                     "read out of bounds: row %u of the matrix of descriptor 0x%llx at shared address 0x%llx, the "
                     "block has %llu bytes",
                     row, ull(descriptor), ull(matrix.offset(row, chunk)), ull(machine.sharedBytes()));
  return matrix;
}

} // namespace

uint64_t SharedMatrix::offset(uint32_t row, uint32_t chunk) const {
  if (swizzleBytes == 0)
    return start + row / 8 * eights + row % 8 * 16 + chunk * chunks;
  return swizzled(start + row / 8 * eights + row % 8 * swizzleBytes + chunk * 16, swizzleBytes);
}

uint32_t Warpgroup::Product::columns() const { return flags & MoeSimtWgmmaColumns; }

void Warpgroup::begin() {
  ofWarp = {};
  products.clear();
  done = nextTile = registers = 0;
  for (Tile &tile : tiles)
    tile.columns = 0;
  agent.reset();
}

Warpgroup::OfWarp &Warpgroup::of(const Warp &warp) { return ofWarp[indexOf(warp)]; }
const Warpgroup::OfWarp &Warpgroup::of(const Warp &warp) const { return ofWarp[indexOf(warp)]; }

std::optional<Warpgroup::Token> Warpgroup::tokenOf(float value) const {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  Token token{bits >> elementBits & (mostTiles - 1), bits >> (elementBits + tileBits) & mostVersion,
              bits & ((1 << elementBits) - 1)};
  if ((bits & (tokenBits | quietBit)) != tokenBits || token.version == 0 || token.tile >= tiles.size() ||
      tiles[token.tile].columns == 0)
    return std::nullopt;
  return token;
}

/// Whether the registers of all lanes are the tokens of one tile, the latest ones of the warp.
bool Warpgroup::isTile(const Warp &warp, uint32_t columns) const {
  std::optional<Token> first = tokenOf(Arguments::of(warp.threads[0]).registers[0]);
  if (!first || tiles[first->tile].columns != columns || tiles[first->tile].versions[indexOf(warp)] != first->version)
    return false;
  float expected[128];
  for (uint32_t i = 0; i < columns / 2; ++i)
    expected[i] = makeToken(first->tile, first->version, i);
  for (uint32_t lane = 0; lane < warpSize; ++lane)
    if (memcmp(Arguments::of(warp.threads[lane]).registers, expected, columns / 2 * sizeof(float)) != 0)
      return false;
  return true;
}

/// A tile that no register stands for any more: there are as many as fit into the registers of a thread, and some.
uint32_t Warpgroup::newTile(const Warp &warp, uint32_t columns, uint32_t site) {
  uint32_t count = std::min(mostTiles, std::max(4u, 512 / columns));
  if (tiles.size() < count)
    tiles.resize(count);
  uint32_t index = nextTile++ % count;
  Tile &tile = tiles[index];
  if (tile.columns)
    for (uint64_t last : tile.products)
      if (last >= done)
        Machine::get().trap(warp.threads[0], site, "more accumulators in flight than there are registers");
  tile.columns = columns;
  tile.values.resize(size_t(rows) * columns);
  tile.versions = {};
  tile.products = {};
  tile.reads = {};
  return index;
}

/// The warp's rows of a tile, from registers.
void Warpgroup::fill(Tile &tile, const Warp &warp, uint32_t site) {
  for (uint32_t lane = 0; lane < warpSize; ++lane) {
    const Thread &thread = warp.threads[lane];
    const float *registers = Arguments::of(thread).registers;
    for (uint32_t i = 0; i < tile.columns / 2; ++i)
      tile.values[rowOf(indexOf(warp), lane, i) * tile.columns + columnOf(lane, i)] = value(thread, registers[i], site);
  }
}

void Warpgroup::issue(Warp &warp, uint32_t site) {
  Machine &machine = Machine::get();
  const Thread &thread = warp.threads[0];
  Arguments arguments = Arguments::of(thread);
  uint32_t columns = arguments.flags & MoeSimtWgmmaColumns, index = indexOf(warp);
  for (uint32_t lane = 1; lane < warpSize; ++lane) {
    Arguments other = Arguments::of(warp.threads[lane]);
    if (other.a != arguments.a || other.b != arguments.b || other.flags != arguments.flags)
      machine.trap(warp.threads[lane], site, "lanes of a warp give a product different descriptors");
  }
  OfWarp &state = of(warp);
  uint64_t number = state.issued++;
  bool isInPlace = isTile(warp, columns);
  bool isFirst = number == done + products.size();
  if (isFirst) {
    Product product{decode(warp, arguments.a, rows, site),
                    decode(warp, arguments.b, columns, site),
                    arguments.a,
                    arguments.b,
                    arguments.flags,
                    0,
                    0,
                    site,
                    !isInPlace,
                    {},
                    0};
    product.tile = isInPlace ? tokenOf(arguments.registers[0])->tile : newTile(warp, columns, site);
    product.version = tiles[product.tile].version = tiles[product.tile].version % mostVersion + 1;
    shared = warp.block->shared;
    products.push_back(std::move(product));
  }
  Product &product = products[number - done];
  Tile &tile = tiles[product.tile];
  if (product.descriptorA != arguments.a || product.descriptorB != arguments.b || product.flags != arguments.flags ||
      product.site != site || product.isFresh == isInPlace ||
      (isInPlace && tokenOf(arguments.registers[0])->tile != product.tile))
    machine.trap(thread, site, "divergent warpgroup: warp %u begins another product than the warps before it",
                 warp.index);
  if (product.isFresh ? !state.isFenced : tile.reads[index] > state.fences)
    machine.trap(thread, site, "a product without a wgmma.fence between it and the last access to its accumulators");
  if (product.isFresh && !(product.flags & MoeSimtWgmmaZero))
    fill(tile, warp, site);
  tile.versions[index] = product.version;
  tile.products[index] = number;
  for (uint32_t lane = 0; lane < warpSize; ++lane) {
    float *registers = Arguments::of(warp.threads[lane]).registers;
    for (uint32_t i = 0; i < columns / 2; ++i)
      registers[i] = makeToken(product.tile, product.version, i);
  }
  if (machine.checking) {
    Shadow::View view = warp.block->shadow.view(warp.index);
    if (isFirst)
      product.view = std::move(view);
    else
      Shadow::meet(product.view, view);
  }
  for (const OfWarp &other : ofWarp)
    if (other.issued <= number)
      return;
  // All of them have begun it.
  if (machine.checking)
    check(warp, product);
  ++machine.counters.warpgroupProducts;
  machine.counters.productOperations += uint64_t(2) * rows * columns * depth;
  Warp *first = &warp - index;
  for (uint32_t i = 0; i < warps; ++i)
    for (uint32_t lane = 0; lane < warpSize; ++lane)
      if (first[i].threads[lane].state == State::AtWarpgroup)
        machine.wake(first[i], 1u << lane);
}

/// Checks and notes that the product reads its matrices from now on.
void Warpgroup::check(const Warp &warp, Product &product) {
  Shadow &shadow = warp.block->shadow;
  if (!agent)
    agent = shadow.addAgent();
  auto checkMatrix = [&](const SharedMatrix &matrix, uint32_t rows) {
    for (uint32_t row = 0; row < rows; ++row)
      for (uint32_t chunk = 0; chunk < 2; ++chunk)
        if (Finding found = shadow.readByAgent(matrix.offset(row, chunk), 16, *agent, product.view);
            found.conflict != Conflict::None)
          report(warp.threads[0], found, MoeSimtLoad, product.site);
  };
  checkMatrix(product.a, rows);
  checkMatrix(product.b, product.columns());
  product.clock = shadow.tick(*agent);
}

void Warpgroup::beginWait(const Warp &warp, uint32_t pending) {
  OfWarp &state = of(warp);
  state.isFenced = false;
  if (state.groupEnds.size() <= pending)
    return;
  auto end = state.groupEnds.end() - pending;
  state.target = *(end - 1);
  state.groupEnds.erase(state.groupEnds.begin(), end);
}

bool Warpgroup::canFinish(const Warp &warp) const {
  for (const OfWarp &other : ofWarp)
    if (other.issued < of(warp).target)
      return false;
  return true;
}

void Warpgroup::finishWait(const Warp &warp) {
  OfWarp &state = of(warp);
  while (done < state.target) {
    multiply(products.front());
    lastClock = products.front().clock;
    products.pop_front();
    ++done;
  }
  state.waited = state.target;
  if (agent && done)
    warp.block->shadow.acquireAgent(warp.index, *agent, lastClock + 1);
}

float Warpgroup::value(const Thread &thread, float token, uint32_t site) {
  std::optional<Token> found = tokenOf(token);
  if (!found)
    return token;
  Machine &machine = Machine::get();
  const Warp &warp = *thread.warp;
  uint32_t index = indexOf(warp);
  Tile &tile = tiles[found->tile];
  if (tile.versions[index] != found->version)
    machine.trap(thread, site, "a read of accumulators that a later product has taken");
  if (tile.products[index] >= of(warp).waited)
    machine.trap(thread, site,
                 "a read of accumulators of a product that may still be under way, without a wgmma.wait_group between");
  tile.reads[index] = of(warp).fences + 1;
  return tile.values[rowOf(index, thread.lane, found->element) * tile.columns + columnOf(thread.lane, found->element)];
}

void Warpgroup::multiply(const Product &product) {
  uint32_t columns = product.columns();
  bool isHalf = product.flags & MoeSimtWgmmaF16;
  auto load = [&](const SharedMatrix &matrix, uint32_t row, bool isNegative, float *to, size_t stride) {
    for (uint32_t chunk = 0; chunk < 2; ++chunk) {
      uint16_t elements[8];
      memcpy(elements, shared + matrix.offset(row, chunk), sizeof elements);
      for (uint32_t i = 0; i < 8; ++i) {
        float value = isHalf ? moe_simt_from_f16(elements[i]) : std::bit_cast<float>(uint32_t(elements[i]) << 16);
        to[(8 * chunk + i) * stride] = isNegative ? -value : value;
      }
    }
  };
  float b[depth][256];
  for (uint32_t column = 0; column < columns; ++column)
    load(product.b, column, product.flags & MoeSimtWgmmaNegateB, &b[0][column], 256);
  for (uint32_t row = 0; row < rows; ++row) {
    float a[depth];
    load(product.a, row, product.flags & MoeSimtWgmmaNegateA, a, 1);
    float *sums = &tiles[product.tile].values[size_t(row) * columns];
    if (product.flags & MoeSimtWgmmaZero)
      std::fill_n(sums, columns, 0.0f);
    // As in Mma.cpp: with k ascending, each product rounded. Four at a time keep a sum in a register.
    for (uint32_t k = 0; k < depth; k += 4)
      for (uint32_t column = 0; column < columns; ++column) {
#pragma clang fp contract(off)
        float sum = sums[column];
        sum = sum + a[k] * b[k][column];
        sum = sum + a[k + 1] * b[k + 1][column];
        sum = sum + a[k + 2] * b[k + 2][column];
        sum = sum + a[k + 3] * b[k + 3][column];
        sums[column] = sum;
      }
  }
}

/// The warpgroup of a warp; ends the process if there are not four warps of it.
static Warpgroup &warpgroupOf(Warp &warp, uint32_t site) {
  std::vector<Warpgroup> &groups = warp.block->warpgroups;
  if (warp.index / Warpgroup::warps >= groups.size())
    Machine::get().trap(warp.threads[0], site, "warp %u is in no warpgroup: the block has only %zu", warp.index,
                        groups.size());
  return groups[warp.index / Warpgroup::warps];
}

/// Threads of a multiprocessor share 64 Ki registers.
static void setRegisters(Warp &warp, uint32_t site) {
  Machine &machine = Machine::get();
  uint32_t registers = warp.threads[0].words[0];
  bool isMore = warp.threads[0].words[1];
  Warpgroup &group = warpgroupOf(warp, site);
  if (registers < 24 || registers > 256 || registers % 8)
    machine.trap(warp.threads[0], site, "setmaxnreg: expected a multiple of 8 from 24 to 256 but got %u", registers);
  if (group.registers && isMore != (registers > group.registers) && registers != group.registers)
    machine.trap(warp.threads[0], site, "setmaxnreg: expected %s than %u registers but got %u",
                 isMore ? "more" : "less", group.registers, registers);
  group.registers = registers;
  uint64_t all = 0;
  for (const Warpgroup &other : warp.block->warpgroups)
    all += other.registers;
  all *= Warpgroup::warps * warpSize;
  if (all > 64 * 1024)
    machine.trap(warp.threads[0], site, "deadlock: setmaxnreg asks for %llu registers, a multiprocessor has 65536",
                 ull(all));
}

void moe::rt::simt::controlProducts(Warp &warp, uint32_t operation, uint32_t site) {
  switch (operation) {
  case MoeSimtWgmma:
    return warpgroupOf(warp, site).issue(warp, site);
  case MoeSimtWgmmaFence:
    return warpgroupOf(warp, site).fence(warp);
  case MoeSimtWgmmaCommit:
    return warpgroupOf(warp, site).commit(warp);
  case MoeSimtWgmmaWait:
    return warpgroupOf(warp, site).beginWait(warp, warp.threads[0].words[0]);
  default:
    return setRegisters(warp, site);
  }
}

void moe_simt_wgmma(float *registers, uint64_t a, uint64_t b, uint32_t flags, uint32_t site) {
  uint32_t *words = moe_simt_lane;
  memcpy(words, &a, 8);
  memcpy(words + 2, &b, 8);
  memcpy(words + 4, &registers, 8);
  words[6] = flags;
  moe_simt_collective(MoeSimtWgmma, ~0u, site);
}

void moe_simt_wgmma_wait(uint32_t pending, uint32_t site) {
  Machine &machine = Machine::get();
  Thread &thread = machine.self();
  Warp &warp = *thread.warp;
  thread.words[0] = pending;
  moe_simt_collective(MoeSimtWgmmaWait, ~0u, site);
  Warpgroup &group = warpgroupOf(warp, site);
  thread.site = site;
  while (!group.canFinish(warp))
    machine.block(State::AtWarpgroup);
  group.finishWait(warp);
}

float moe_simt_wgmma_value(float token, uint32_t site) {
  Thread &thread = Machine::get().self();
  std::vector<Warpgroup> &groups = thread.warp->block->warpgroups;
  uint32_t index = thread.warp->index / Warpgroup::warps;
  return index < groups.size() ? groups[index].value(thread, token, site) : token;
}

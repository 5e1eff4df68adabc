//===- LaunchQueue.cpp - launches as graphs -------------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "LaunchQueue.h"

#include <algorithm>

namespace moe::rt::cuda {

/// Launches that are put off at most, and rows of launches that are remembered.
static constexpr size_t mostPending = 4096, mostRows = 16;

/// Where the values of a launch lie, as the driver wants to know it.
static std::vector<void *> pointersTo(const Launch &launch) {
  std::vector<void *> pointers;
  auto *value = const_cast<unsigned char *>(launch.values.data());
  for (int64_t i = 0; i < launch.kernel->paramCount; value += launch.kernel->paramBytes[i++])
    pointers.push_back(value);
  return pointers;
}

static KernelNodeParams describe(const Launch &launch, std::vector<void *> &pointers) {
  const unsigned (&grid)[3] = launch.grid, (&block)[3] = launch.block;
  return {launch.function,    grid[0],         grid[1], grid[2], block[0], block[1], block[2],
          launch.sharedBytes, pointers.data(), nullptr};
}

void LaunchQueue::add(const MoeGpuKernel &kernel, Function function, const int64_t (&grid)[3],
                      const int64_t (&block)[3], int64_t sharedBytes, void **params) {
  Launch launch{&kernel, function, {}, {}, unsigned(sharedBytes), {}};
  std::copy_n(grid, 3, launch.grid);
  std::copy_n(block, 3, launch.block);
  for (int64_t i = 0; i < kernel.paramCount; ++i) {
    auto *value = static_cast<unsigned char *>(params[i]);
    launch.values.insert(launch.values.end(), value, value + kernel.paramBytes[i]);
  }
  pending.push_back(std::move(launch));
  if (!usesGraphs || pending.size() == mostPending)
    flush();
}

void LaunchQueue::flush() {
  if (pending.empty())
    return;
  // A single launch gains nothing.
  Row *row = usesGraphs && pending.size() > 1 ? find() : nullptr;
  if (row && (row->program ? update(*row) : build(*row)))
    check(api.GraphLaunch(row->program, stream), "launching a graph");
  else
    launchOneByOne();
  pending.clear();
}

/// The row of the pending launches' kernels, if it was seen before; else remembers it.
LaunchQueue::Row *LaunchQueue::find() {
  auto isSame = [&](const Row &row) {
    return std::equal(row.launches.begin(), row.launches.end(), pending.begin(), pending.end(),
                      [](const Launch &a, const Launch &b) { return a.kernel == b.kernel; });
  };
  if (auto found = std::find_if(rows.begin(), rows.end(), isSame); found != rows.end()) {
    rows.splice(rows.begin(), rows, found);
    return &rows.front();
  }
  if (rows.size() == mostRows) {
    destroy(rows.back());
    rows.pop_back();
  }
  rows.push_front({pending, nullptr, {}, nullptr});
  return nullptr;
}

void LaunchQueue::launchOneByOne() {
  for (const Launch &launch : pending) {
    std::vector<void *> pointers = pointersTo(launch);
    const unsigned (&grid)[3] = launch.grid, (&block)[3] = launch.block;
    check(api.LaunchKernel(launch.function, grid[0], grid[1], grid[2], block[0], block[1], block[2], launch.sharedBytes,
                           stream, pointers.data(), nullptr),
          launch.kernel->name);
  }
}

/// Makes the graph of the pending launches: a chain, as in the stream. A driver that cannot do it is not asked again.
bool LaunchQueue::build(Row &row) {
  Result result = api.GraphCreate(&row.graph, 0);
  for (const Launch &launch : pending) {
    if (result != Success)
      break;
    std::vector<void *> pointers = pointersTo(launch);
    KernelNodeParams params = describe(launch, pointers);
    GraphNode node = nullptr;
    const GraphNode *before = row.nodes.empty() ? nullptr : &row.nodes.back();
    result = api.GraphAddKernelNode(&node, row.graph, before, before ? 1 : 0, &params);
    row.nodes.push_back(node);
  }
  if (result == Success)
    result = api.GraphInstantiate(&row.program, row.graph, 0);
  if (result != Success) {
    row.program = nullptr;
    destroy(row);
    usesGraphs = false;
    return false;
  }
  row.launches = pending;
  return true;
}

/// Changes the launches in the graph that are not as the pending ones. Where the driver takes no such change the graph
/// is given up, and made again when the row comes the next time.
bool LaunchQueue::update(Row &row) {
  for (size_t i = 0; i < pending.size(); ++i) {
    if (pending[i] == row.launches[i])
      continue;
    std::vector<void *> pointers = pointersTo(pending[i]);
    KernelNodeParams params = describe(pending[i], pointers);
    if (api.GraphExecKernelNodeSetParams(row.program, row.nodes[i], &params) != Success) {
      destroy(row);
      return false;
    }
    row.launches[i] = pending[i];
  }
  return true;
}

/// Back to a row that was only seen.
void LaunchQueue::destroy(Row &row) {
  if (row.program)
    check(api.GraphExecDestroy(row.program), "freeing a graph");
  if (row.graph)
    check(api.GraphDestroy(row.graph), "freeing a graph");
  row.program = nullptr;
  row.graph = nullptr;
  row.nodes.clear();
}

} // namespace moe::rt::cuda

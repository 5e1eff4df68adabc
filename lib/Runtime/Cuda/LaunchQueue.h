//===- LaunchQueue.h - launches as graphs ---------------------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model's step is hundreds of short kernels, one after the other. Launches are put off until something else has to
// happen in the stream (a copy, a wait). Where the same kernels come in the same order a second time, as when a text is
// decoded, a graph is made of them, and from then on the row is one call of the driver. A launch that differs from the
// one in the graph (the position in the cache, an address, a grid) is changed there before; a row of other kernels is
// launched one by one, and becomes a graph of its own if it comes again.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_CUDA_LAUNCHQUEUE_H
#define MOE_LIB_RUNTIME_CUDA_LAUNCHQUEUE_H

#include "Driver.h"
#include "moe/Runtime/Gpu.h"

#include <list>
#include <vector>

namespace moe::rt::cuda {

/// One launch, with a copy of its parameters.
struct Launch {
  const MoeGpuKernel *kernel;
  Function function;
  unsigned grid[3], block[3], sharedBytes;
  std::vector<unsigned char> values; ///< of all parameters, one behind the other

  bool operator==(const Launch &other) const = default;
};

class LaunchQueue {
public:
  /// With `usesGraphs`, launches are put off; else each goes to the driver at once.
  LaunchQueue(const Driver &api, Stream stream, bool usesGraphs)
      : api(api), stream(stream), usesGraphs(usesGraphs && api.hasGraphs()) {}

  /// Takes a launch, and reads the values of its parameters.
  void add(const MoeGpuKernel &kernel, Function function, const int64_t (&grid)[3], const int64_t (&block)[3],
           int64_t sharedBytes, void **params);

  /// Hands all launches to the driver. Call it before anything else is put into the stream.
  void flush();

private:
  /// A row of launches that was seen, and its graph if it was seen twice.
  struct Row {
    std::vector<Launch> launches; ///< as they are in the graph
    Graph graph = nullptr;        ///< lives as long as what is made of it: the nodes are its own
    std::vector<GraphNode> nodes;
    GraphExec program = nullptr;
  };

  Row *find();
  void launchOneByOne();
  bool build(Row &row);
  bool update(Row &row);
  void destroy(Row &row);

  const Driver &api;
  Stream stream;
  bool usesGraphs;
  std::vector<Launch> pending;
  std::list<Row> rows; ///< the one that was used last comes first
};

} // namespace moe::rt::cuda

#endif // MOE_LIB_RUNTIME_CUDA_LAUNCHQUEUE_H

//===- DeviceMemory.h - buffers in the memory of a GPU --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Memory comes from the driver in segments and is handed out from there: what one step gives back the next one takes
// again, without asking the driver. There is one stream, so a buffer may be given to someone else as soon as the host
// has no use for it: whoever gets it comes later in the stream.
//
// Where a buffer lies depends on nothing but the ranges that are in use. So a step that asks for the same sizes as the
// one before, and has given everything back, gets the same addresses, which graphs of launches live on.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_LIB_RUNTIME_CUDA_DEVICEMEMORY_H
#define MOE_LIB_RUNTIME_CUDA_DEVICEMEMORY_H

#include "Driver.h"

#include <map>
#include <set>
#include <utility>

namespace moe::rt::cuda {

class DeviceMemory {
public:
  explicit DeviceMemory(const Driver &api) : api(api) {}

  /// A buffer of at least `bytes`, aligned to 256; 0 if neither the segments nor the driver have so much.
  DevicePointer allocate(size_t bytes);

  /// Takes back what allocate returned.
  void free(DevicePointer buffer);

  /// Gives segments without a buffer back to the driver. Nothing may be using what was freed. False if there are none.
  bool releaseUnused();

private:
  struct Range {
    size_t bytes;
    bool isUsed, isFirst; ///< of its segment
  };
  using Position = std::map<DevicePointer, Range>::iterator;

  bool addSegment(size_t bytes);
  void markUnused(Position range);
  void merge(Position range, Position next);

  const Driver &api;
  std::map<DevicePointer, Range> ranges;
  std::set<std::pair<size_t, DevicePointer>> unused; ///< the smallest first, of equal ones the lowest
};

} // namespace moe::rt::cuda

#endif // MOE_LIB_RUNTIME_CUDA_DEVICEMEMORY_H

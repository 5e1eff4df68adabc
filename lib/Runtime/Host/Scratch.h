//===- Scratch.h - memory that a thread lends to loop bodies ----*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_HOST_SCRATCH_H
#define MOE_LIB_RUNTIME_HOST_SCRATCH_H

#include <cstddef>

namespace moe::rt {

/// Memory of the calling thread for as long as this object lives. The thread keeps it for the next loop and grows it
/// when more is asked for. A loop inside of a body gets memory of its own.
class Scratch {
public:
  /// `size` bytes, 64-byte aligned, not initialised. Out of memory ends the process with a message.
  explicit Scratch(size_t size);
  ~Scratch();
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;

  /// Null if nothing was asked for.
  void *data() const { return memory; }

private:
  void *memory;
};

} // namespace moe::rt

#endif // MOE_LIB_RUNTIME_HOST_SCRATCH_H

//===- Fiber.h - stacks and the switch between them -----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_EMULATOR_FIBER_H
#define MOE_LIB_RUNTIME_EMULATOR_FIBER_H

#include <cstddef>
#include <cstdint>

/// Saves the registers that a call preserves on the running stack, stores its pointer at `saved` and goes on with the
/// stack `next`, which was left by this function or made by `Stacks::prepare`.
extern "C" void moe_simt_switch(void **saved, void *next);

namespace moe::rt::simt {

/// The stacks of the threads of one block, kept for the blocks after it.
class Stacks {
public:
  Stacks() = default;
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;
  ~Stacks();

  /// Makes room for at least `count` stacks.
  void reserve(size_t count);

  /// Readies stack `index`: the first switch to the returned pointer calls `entry`, which must not return.
  void *prepare(size_t index, void (*entry)());

  /// Whether stack `index` was used beyond its end.
  bool overflowed(size_t index) const;

  /// Whether `address` lies in stack `index`.
  bool contains(size_t index, const void *address) const {
    return size_t(static_cast<const char *>(address) - bottom(index)) < stride;
  }

  static constexpr size_t usableBytes = 64 * 1024;

private:
  // Below the first stack there is room for one more, so that it can overflow without a crash, as the others can.
  char *bottom(size_t index) const { return memory + (index + 1) * stride; }

  // With a power of two between them, the hot ends of all stacks would share a few sets of the caches.
  static constexpr size_t stride = usableBytes + 17 * 64;
  static constexpr uint64_t canary = 0x5ca1ab1e0ddba11;

  char *memory = nullptr;
  size_t capacity = 0;
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_FIBER_H
